"""Which way is taken: by what the user says, by what it would cost, by what it has cost."""

from __future__ import annotations

import pytest

from pyebpf.errors import NotSupportedError, SyscallError
from pyebpf.maps import bulk_choice
from pyebpf.maps.bulk_choice import Choice, Entries, EntriesChoice

SOME = Entries(bytearray(100), bytearray(200), 100)


class Program:
    """Takes a time of its own; now and then it is of no use."""

    def __init__(self, clock: list[int], *, cost: int) -> None:
        self.clock, self.cost = clock, cost
        self.usable, self.closed, self.runs = True, False, 0
        self.spoiled = False

    def get(self) -> Entries | None:
        self.runs += 1
        self.clock[0] += self.cost
        return None if self.spoiled else SOME

    def close(self) -> None:
        self.closed = True
        self.usable = False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    now = [0]
    monkeypatch.setattr(bulk_choice.time, "thread_time_ns", lambda: now[0])
    return now


def plain(clock: list[int], cost: int):
    def get() -> Entries:
        clock[0] += cost
        return SOME

    return get


def use(choice: EntriesChoice, program: Program, clock: list[int], cost: int, times: int) -> int:
    """Return how many of these copies the program made."""
    before = program.runs
    for _ in range(times):
        assert choice.entries(lambda: program, plain(clock, cost), wanted=None) is SOME
    return program.runs - before


def test_the_quicker_way_is_taken(clock: list[int]) -> None:
    """Nearly always; the other one gets a chance now and then."""
    for cost, nearly in ((10, range(90, 100)), (1000, range(1, 10))):
        choice, program = EntriesChoice(), Program(clock, cost=cost)
        choice.spend(1 << 20)  # so much that it pays
        use(choice, program, clock, 100, 5)
        assert use(choice, program, clock, 100, 100) in nearly


def test_what_gets_slower_is_left(clock: list[int]) -> None:
    """A map whose entries begin to come and go makes work in the kernel one for nothing."""
    choice, program = EntriesChoice(), Program(clock, cost=10)
    choice.spend(1 << 20)
    use(choice, program, clock, 100, 50)
    program.spoiled = True
    assert use(choice, program, clock, 100, 100) < 10
    program.spoiled = False
    assert use(choice, program, clock, 100, 200) > 100


def test_nothing_is_made_before_it_pays(clock: list[int]) -> None:
    """Copies of a hundred entries, some hundred times."""
    choice, program = EntriesChoice(), Program(clock, cost=1)
    assert use(choice, program, clock, 100, 600) == 0
    assert use(choice, program, clock, 100, 600) > 400


def test_a_refusal_is_final() -> None:
    """The kernel is not asked again; who insists hears why."""
    asked = []

    def make() -> Program:
        asked.append(1)
        raise SyscallError("BPF_PROG_LOAD", 22)

    choice: Choice[Program] = Choice()
    for _ in range(3):
        assert choice.bulk(make, 1 << 20, wanted=None) is None
        with pytest.raises(NotSupportedError, match="EINVAL"):
            choice.bulk(make, 1, wanted=True)
    assert asked == [1]


def test_a_parents_program_is_replaced_and_none_outlives_its_map() -> None:
    """What this process may not use is let go; so is what was made while the map was closed."""
    clock = [0]
    choice: Choice[Program] = Choice()
    first = choice.bulk(lambda: Program(clock, cost=1), 1, wanted=True)
    assert first is not None
    assert choice.bulk(lambda: Program(clock, cost=1), 1, wanted=True) is first
    first.usable = False
    second = choice.bulk(lambda: Program(clock, cost=1), 1, wanted=True)
    assert first.closed
    assert second is not None
    assert second is not first
    made: list[Program] = []

    def make() -> Program:
        choice.close()
        made.append(Program(clock, cost=1))
        return made[0]

    second.usable = False
    with pytest.raises(NotSupportedError):
        choice.bulk(make, 1, wanted=True)
    assert made[0].closed
