"""How long a program takes: test runs in rounds, so that the spread shows what the machine added.

    a round         BPF_PROG_TEST_RUN with repeat=N, whose mean the kernel tells in whole ns
    without repeat  N runs while the kernel's statistics are on

The program runs for real: maps change, and events are sent.
"""

from __future__ import annotations

from collections.abc import Callable

from pyebpf.plain import plain
from pyebpf.programs.stats import ProgramStats, enable_stats

__all__ = ["BenchmarkResult", "by_statistics", "measure"]


@plain(frozen=True, kw_only=True)
class BenchmarkResult:
    """How long one run of a program took.

    Attributes:
        retval: What its last run returned.
        repeat: Runs in each round.
        rounds: Mean nanoseconds of a run in each round, in the order of time.
    """

    retval: int
    repeat: int
    rounds: tuple[float, ...]

    @property
    def ns(self) -> float:
        """The median of the rounds: nanoseconds of a run."""
        return _at(self.rounds, 0.5)

    @property
    def spread(self) -> tuple[float, float]:
        """The middle half of the rounds: a quarter was faster, a quarter slower."""
        return _at(self.rounds, 0.25), _at(self.rounds, 0.75)

    @property
    def fastest(self) -> float:
        """The round that was disturbed least."""
        return min(self.rounds)

    def __str__(self) -> str:
        low, high = self.spread
        return f"{self.ns:.1f} ns [{low:.1f}..{high:.1f}]"


def measure(run: Callable[[], tuple[int, float]], *, repeat: int, rounds: int) -> BenchmarkResult:
    """Run rounds; *run* is one, and returns the program's value and the mean nanoseconds.

    Raises:
        ValueError: There would be nothing to measure.
    """
    if rounds < 1 or repeat < 1:
        raise ValueError(f"{rounds} rounds of {repeat} runs: at least one of one is needed")
    found = [run() for _ in range(rounds)]
    return BenchmarkResult(
        retval=found[-1][0], repeat=repeat, rounds=tuple(mean for _, mean in found)
    )


def by_statistics(
    run: Callable[[], int], stats: Callable[[], ProgramStats], repeat: int
) -> tuple[int, float]:
    """Run a program *repeat* times; return its last value and what the kernel counted for a run.

    Raises:
        ValueError: The kernel counted none.
    """
    retval = 0
    with enable_stats():
        before = stats()
        for _ in range(repeat):
            retval = run()
        after = stats()
    counted = after.run_count - before.run_count
    if not counted:
        raise ValueError(f"not one of {repeat} test runs was of this program: is it attached?")
    return retval, (after.run_time_ns - before.run_time_ns) / counted


# Between the two rounds next to that part of the way from the fastest to the slowest.
def _at(rounds: tuple[float, ...], part: float) -> float:
    ordered = sorted(rounds)
    place = part * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
