"""The long run of `make soak`, for a moment, and that it would see what goes wrong."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace

import numpy as np
import pytest

from tests.soak import __main__ as soak
from tests.support.amount import amount


def test_a_short_run_loses_nothing(capsys, monkeypatch):
    """Either way of reading, every event once; the books are balanced at the end."""
    # The memory of a process that runs a whole test suite says nothing after a second.
    monkeypatch.setattr(soak, "GROWTH", 1 << 30)
    monkeypatch.setattr(soak, "LEAST", 0.5)  # others may use the machine
    monkeypatch.setattr(soak, "RATE", amount(soak.RATE))
    assert soak.main(1.0) == 0
    said = capsys.readouterr().out
    totals = re.findall(r"(\d+) produced = (\d+) received \+ 0 dropped", said)
    assert len(totals) == 2
    for produced, received in totals:
        assert int(produced) == int(received) > 0


def entered(way: str, *numbers: int) -> soak.Books:
    books = soak.Books()
    events = np.zeros(len(numbers), soak.EVENT)
    events["sequence"] = numbers
    if way == "batch":
        books.batch(events)
    else:
        for event in events:
            books.event(event.tobytes())
    return books


@pytest.mark.parametrize("way", ["batch", "events"])
def test_the_books_see_gaps_and_doubles(way):
    """Missing ones are counted, doubles and those out of order too."""
    good = entered(way, 1, 2, 3)
    assert (good.received, good.missing, good.disordered) == (3, 0, 0)
    assert good.percentiles(50) == [soak.SLOWEST]  # made at time 0
    assert entered(way, 1, 2, 5).missing == 2
    assert entered(way, 1, 2, 2, 3).disordered == 1
    assert entered(way, 1, 3, 2, 4).disordered == 1


def test_late_events_take_no_memory():
    """Growth would be blamed on the reader."""
    books = soak.Books()
    events = np.zeros(1000, soak.EVENT)
    events["sequence"] = range(1, 1001)
    before = soak.look(books).memory
    events["time"] = time.monotonic_ns() - np.arange(1000) * 1_000_000
    books.batch(events)
    assert 400_000 < books.percentiles(50)[0] < soak.SLOWEST
    assert soak.look(books).memory - before < soak.GROWTH


def test_a_producer_that_was_stopped_does_not_flood_the_ring():
    """It catches up by less than the ring holds, and forgets the rest."""
    times = iter([0.0, 0.001, 3.0, 3.001, 5.0])
    runs = []

    class Program:
        def run(self, data, repeat):
            runs.append(repeat)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(soak, "time", SimpleNamespace(monotonic=times.__next__, sleep=lambda _: None))
        soak.produce(Program(), 4.0, soak.RATE)
    assert runs == [100, soak.BURST, 100]


def looks(*memory: int, descriptors: int = 5) -> list[soak.Look]:
    made = [soak.Look(float(at), 0.1, 0.0, at, each, 5) for at, each in enumerate(memory)]
    return [*made[:-1], made[-1]._replace(descriptors=descriptors)]


def test_the_verdict_names_what_is_wrong():
    """Losses, memory and descriptors that grow; but no moment's peak."""
    books = entered("batch", 1, 2, 3)
    peak = looks(0, 1 << 20, 1 << 25, 1 << 20, 1 << 20, 1 << 25)
    assert soak.verdict(books, peak, 3, 0, 0) == []
    assert "3 received" in soak.verdict(books, peak, 4, 0, 0)[0]
    assert "1 dropped" in soak.verdict(books, peak, 4, 1, 1)[0]
    growing = looks(*(number << 20 for number in range(8)))
    assert "memory grew" in soak.verdict(books, growing, 3, 0, 0)[0]
    leaking = looks(0, 0, 0, 0, descriptors=6)
    assert soak.verdict(books, leaking, 3, 0, 0) == ["1 more descriptors"]
