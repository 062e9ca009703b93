"""Peers take turns at the same works; the medians are compared.

    suite: maps, … ──descriptors──▶ one process per peer ◀──name of a work── rounds ──▶ medians
                                          └──nanoseconds an operation──▶

A peer is a program that says as JSON what it can do (``{"works": […]}``) or what it lacks
(``{"missing": "…"}``), and then answers each line that names a work by ``{"ns": 123.4}``: CPU time
of its own thread, so that others on the machine count little. A ``"note"`` in an answer is shown
beside its work; of all rounds the one of the worst. In every round each peer does each work once,
and they change who comes first; a machine that is slow for a while is so for all.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

__all__ = ["BUILD", "OURS", "Command", "Result", "Suite", "measure", "report", "write"]

BUILD = Path(__file__).parents[2] / "build" / "bench"
OURS = "pyebpf"
SCALE = {"us": 1e3, "ms": 1e6}  # of units that are not nanoseconds


@dataclass(frozen=True)
class Command:
    """How a peer is started."""

    peer: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class Suite(Protocol):
    """Works that belong together."""

    UNITS: Mapping[str, str]  # by work

    def subjects(self, python: str) -> AbstractContextManager[tuple[list[Command], list[int]]]:
        """Return the peers, and descriptors they inherit; what they work on lives meanwhile."""


@dataclass(frozen=True)
class Result:
    """What a peer took for a work.

    Attributes:
        median: Of all rounds.
        min: The best round.
        max: The worst.
        low: Of the middle half of rounds.
        high: Likewise.
        note: What the peer said in its worst round.
    """

    work: str
    peer: str
    median: float
    min: float
    max: float
    unit: str
    rounds: int
    low: float
    high: float
    note: str = ""


class Peer:
    """A running peer; `missing` says what it lacks."""

    def __init__(self, command: Command, inherited: list[int]) -> None:
        self.name = command.peer
        self.works: list[str] = []
        self.missing = ""
        self.python = ""
        try:
            self.process = subprocess.Popen(
                command.arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **command.environment},
                pass_fds=inherited,
                text=True,
            )
        except OSError as error:
            self.missing = str(error)
            return
        said = self._answer()
        self.works = said.get("works", [])
        self.missing = said.get("missing", "")
        self.python = said.get("python", "")

    def run(self, work: str) -> tuple[float, str]:
        self.process.stdin.write(work + "\n")
        self.process.stdin.flush()
        said = self._answer()
        return said["ns"], said.get("note", "")

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"missing": f"it ended: {self.process.wait()}"}

    def close(self) -> None:
        if not hasattr(self, "process"):
            return
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def measure(suite: Suite, *, python: str, rounds: int, works: str) -> Iterator[Result]:
    """Measure the works of a suite whose names start with *works*."""
    with suite.subjects(python) as (commands, inherited):
        peers = [Peer(command, inherited) for command in commands]
        try:
            yield from _measure(suite, peers, rounds, works)
        finally:
            for peer in peers:
                peer.close()


def _measure(suite: Suite, peers: list[Peer], rounds: int, works: str) -> Iterator[Result]:
    for peer in peers:
        about = f" ({peer.python})" if peer.python else ""
        print(f"{peer.name}{about}: {f'skipped, {peer.missing}' if peer.missing else 'measured'}")
    wanted = [work for work in suite.UNITS if work.startswith(works)]
    numbers: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for turn in range(rounds + 1):
        for work in wanted:
            able = [peer for peer in peers if work in peer.works]
            first = turn % max(len(able), 1)
            for peer in able[first:] + able[:first]:
                spent, note = peer.run(work)
                spent /= SCALE.get(suite.UNITS[work], 1)
                if turn:  # the first is for caches, and for what is made once
                    numbers.setdefault((work, peer.name), []).append((spent, note))
    for (work, name), answers in numbers.items():
        answers.sort()
        found = [spent for spent, _ in answers]
        yield Result(
            work=work,
            peer=name,
            median=statistics.median(found),
            min=found[0],
            max=found[-1],
            unit=suite.UNITS[work],
            rounds=rounds,
            low=found[len(found) // 4],
            high=found[-1 - len(found) // 4],
            note=answers[-1][1],
        )


def report(results: Sequence[Result]) -> None:
    """Print a table: medians, their spread, and how we compare."""
    medians = {(one.work, one.peer): one.median for one in results}
    print(f"\n{'work':22s} {'peer':9s} {'median':>9s} {'middle half':>19s} {'all':>19s}")
    for one in results:
        line = (
            f"{one.work:22s} {one.peer:9s} {one.median:9.2f} "
            f"{f'[{one.low:.2f}..{one.high:.2f}]':>19s} {f'[{one.min:.2f}..{one.max:.2f}]':>19s} "
            f"{one.unit}"
        )
        ours = medians.get((one.work, OURS))
        if ours is not None and one.peer != OURS:
            unit = one.unit.partition("/")[0]
            line += f"   we: {one.median / ours:5.2f}x, {ours - one.median:+.0f} {unit}"
        print(f"{line}   ({one.note})" if one.note else line)


def write(results: Sequence[Result], path: Path) -> None:
    """Write the results as JSON."""
    names = ("work", "peer", "median", "min", "max", "unit", "rounds")
    rows = [{name: getattr(one, name) for name in names} for one in results]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1) + "\n")
