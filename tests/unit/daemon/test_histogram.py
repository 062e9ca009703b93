"""Histograms look as bcc's do: held against bcc itself where it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from pyebpf.daemon import linear_histogram, log2_histogram, log2_slot

BCC = """
import json, sys
from bcc import table
kind, values, unit, strip = json.load(sys.stdin)
print_it = table._print_log2_hist if kind == "log2" else table._print_linear_hist
print_it(values, unit, strip)
"""
COUNTS = {
    "few": [0, 12, 90, 3],
    "gaps": [0, 0, 0, 7, 0, 0, 1, 0],
    "one": [0, 1],
    "zero only": [5],
    "nothing": [0, 0, 0],
    "large": [0, 10**9, 3, 10**6, 10**9 - 1],
    "wide": [0] * 30 + [4, 5, 6, 7, 8],
    "thousands": [n * n % 97 for n in range(33)],
}


def bcc(kind, values, unit, strip):
    python = next((path for path in ("/usr/bin/python3",) if shutil.which(path)), None)
    if python is None:
        pytest.skip("no system Python")
    done = subprocess.run(
        [python, "-c", BCC],
        input=json.dumps([kind, [*values, *[0] * (65 - len(values))], unit, strip]),
        capture_output=True,
        text=True,
    )
    if "No module named 'bcc'" in done.stderr:
        pytest.skip("bcc is not installed")
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


@pytest.mark.parametrize("strip", [False, True], ids=["all", "stripped"])
@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("kind", ["log2", "linear"])
def test_the_text_is_bccs(kind, name, strip):
    """Line by line."""
    counts = COUNTS[name]
    make = log2_histogram if kind == "log2" else linear_histogram
    ours = make(dict(enumerate(counts)), unit="usecs", strip_leading_zeros=strip)
    assert ours == bcc(kind, counts, "usecs", strip)


def test_per_cpu_counts_are_summed_up():
    """Lists as per-CPU maps have them."""
    assert log2_histogram({1: [3, 4]}) == log2_histogram({1: 7})


def test_slots_are_those_of_bpf_log2l():
    """Every value is in the slot whose line has it."""
    for value in [0, 1, 2, 3, 4, 7, 8, 1023, 1024, 2**63, 2**64 - 1]:
        text = log2_histogram({log2_slot(value): 1}, strip_leading_zeros=True)
        low, high = text.splitlines()[1].split(":")[0].split("->")
        assert int(low) <= value <= int(high)
