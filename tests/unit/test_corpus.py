"""What runs the corpus says how a side ended: a traceback, a signal or a lack of time is seen."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from tests.corpus import ours
from tests.corpus.report import run_forked

MEMORY = 4 << 30


def fails() -> None:
    ours.put("open", 0, "")
    raise ValueError("a bug")


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hangs() -> None:
    while True:
        signal.pause()


def hoards() -> None:
    bytearray(MEMORY)


@pytest.mark.parametrize(
    ("work", "limit", "trouble"),
    [
        (fails, 60, "ValueError: a bug"),
        (dies, 60, f"ended with -{signal.SIGKILL:d}"),
        (hangs, 0.01, "no end after 0.01 s"),
        (hoards, 60, "MemoryError"),
    ],
)
def test_trouble_of_a_forked_side_is_reported(
    work: Callable[[], None], limit: float, trouble: str
) -> None:
    """Whatever ends the process, the report has it, and what was printed before."""
    report = run_forked(work, limit=limit, memory=MEMORY)
    assert trouble in report.trouble
    assert report.opened == (work is fails)


def test_a_forked_side_that_ends_well_has_no_trouble() -> None:
    """Its lines are all there is."""
    report = run_forked(lambda: ours.put("open", 5, "no"), limit=60, memory=MEMORY)
    assert (report.trouble, report.opened, report.error) == ("", False, "no")
