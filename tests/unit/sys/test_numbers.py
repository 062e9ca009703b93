"""System call numbers per architecture."""

from __future__ import annotations

import re
import subprocess

import pytest

from pyebpf.errors import NotSupportedError
from pyebpf.sys.numbers import numbers


@pytest.mark.parametrize(
    ("machine", "wide", "bpf", "perf"),
    [
        ("x86_64", True, 321, 298),
        ("x86_64", False, 357, 336),
        ("i686", False, 357, 336),
        ("aarch64", True, 280, 241),
        ("aarch64", False, 386, 364),
        ("armv7l", False, 386, 364),
        ("riscv64", True, 280, 241),
        ("ppc64le", True, 361, 319),
        ("s390x", True, 351, 331),
        ("mips64", True, 5315, 5292),
    ],
)
def test_each_architecture_has_its_numbers(machine: str, wide: bool, bpf: int, perf: int) -> None:
    """By uname's name and the width of our own pointers."""
    assert numbers(machine, wide=wide) == (bpf, perf)


def test_an_unknown_architecture_is_named() -> None:
    """No guess: a wrong number would be some other system call."""
    with pytest.raises(NotSupportedError, match=r"bpf\(2\) on pdp11"):
        numbers("pdp11")


def test_this_machines_numbers_are_its_headers() -> None:
    """Oracle: what the C preprocessor finds in asm/unistd.h."""
    source = "#include <asm/unistd.h>\n"
    try:
        command = ["cc", "-dM", "-E", "-xc", "-"]
        done = subprocess.run(command, input=source, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no C compiler, or no kernel headers")
    found = dict(re.findall(r"^#define __NR_(\w+) (\d+)", done.stdout, re.MULTILINE))
    assert numbers() == (int(found["bpf"]), int(found["perf_event_open"]))
