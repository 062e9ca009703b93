"""Where types start: found piece by piece, as far as somebody asks."""

from __future__ import annotations

import threading

import pytest

from pyebpf.btf import decode
from pyebpf.btf.places import PIECE, Places
from pyebpf.errors import BtfError
from tests.support.btf_builder import BtfBuilder

COUNT = 20_000  # some four pieces


def area(*, broken: bool = False) -> tuple[memoryview, list[int]]:
    """Return the words of many types of different lengths, and where they start."""
    builder = BtfBuilder()
    starts = []
    for number in range(COUNT):
        starts.append(len(builder.types) // 4)
        if number % 7:
            builder.ptr(1)
        else:
            builder.struct("s", 8, *[("m", 1, 0)] * (number % 5))
    if broken:
        builder.add(0x55)
    data = builder.build()
    words = decode.type_words(data, decode.read_header(data))
    assert len(words) > 3 * PIECE
    return words, starts


def test_no_more_is_walked_than_is_asked_for() -> None:
    """And in the end all of it."""
    words, starts = area()
    places = Places(words, [], 1)
    assert len(places.found) == 0
    assert places.reach(10)
    assert 10 < len(places.found) < COUNT // 2
    assert places.number_at(starts[10]) == 10
    assert len(places.found) < COUNT // 2
    assert not places.reach(COUNT)
    assert places.all().tolist() == starts


def test_every_place_is_told_from_what_is_none() -> None:
    """From the last to the first, and from the first to the last."""
    words, starts = area()
    expected = {start: number for number, start in enumerate(starts)}
    for order in (range(len(words)), range(len(words) - 1, -1, -97)):
        places = Places(words, [], 1)
        for place in order:
            assert places.number_at(place) == expected.get(place)
    assert places.number_at(len(words)) is None


def test_what_is_malformed_later_is_no_obstacle_before() -> None:
    """But an error, each time, when somebody gets there."""
    words, starts = area(broken=True)
    places = Places(words, [], 1)
    assert places.reach(100)
    for _ in range(2):
        with pytest.raises(BtfError, match="unknown kind 85") as caught:
            places.all()
        assert caught.value.where.startswith(f"type {COUNT + 1}, ")
    assert places.number_at(starts[100]) == 100


def test_threads_find_the_same_places() -> None:
    """However they come in between each other."""
    words, starts = area()
    wrong: list[int] = []

    def look(places: Places, ready: threading.Barrier, first: int) -> None:
        ready.wait()
        wrong.extend(
            number
            for number in range(first, COUNT, 991)
            if places.number_at(starts[number]) != number or not places.reach(number)
        )

    for _ in range(20):
        places, ready = Places(words, [], 1), threading.Barrier(8)
        threads = [threading.Thread(target=look, args=(places, ready, n * 37)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert places.all().tolist() == starts
