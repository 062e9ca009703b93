"""How the tests of this run ended, for `tests/test_parity.py`, which comes last."""

from __future__ import annotations

from typing import NamedTuple

import pytest

__all__ = ["OUTCOMES", "Outcome", "Outcomes"]


class Outcome(NamedTuple):
    """How one test ended."""

    name: str  # passed, failed, skipped
    reason: str


class Outcomes:
    """Outcomes by the test's file and function; a test with parameters has several."""

    def __init__(self) -> None:
        self._by_test: dict[str, list[Outcome]] = {}

    def add(self, report: pytest.TestReport) -> None:
        """Note what a report says, if it says how a test ended."""
        if report.when != "call" and not (report.when == "setup" and report.skipped):
            return
        found = report.longrepr
        reason = found[2].removeprefix("Skipped: ") if isinstance(found, tuple) else ""
        test = report.nodeid.partition("[")[0]
        self._by_test.setdefault(test, []).append(Outcome(report.outcome, reason))

    def of(self, test: str) -> list[Outcome]:
        """Return how ``tests/test_x.py::test_y`` ended: nothing, if it was not run."""
        return self._by_test.get(test, [])


OUTCOMES = pytest.StashKey[Outcomes]()
