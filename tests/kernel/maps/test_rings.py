"""Kinds without elements: ring buffers of both directions, arenas; made from Python, and used."""

from __future__ import annotations

import mmap
import struct

import pytest

import pyebpf
from pyebpf import Arena, Map, MapType
from tests.support.producers import Producer


def test_a_ring_made_here_carries_what_a_program_writes():
    """Its size becomes one the kernel takes; every record arrives."""
    with Map.create(type=MapType.RINGBUF, max_entries=5000, name="ring") as ring:
        assert ring.max_entries == ring.info().max_entries == 8192
        with Producer("ring", ring.fileno(), base=16) as producer:
            producer.run(5)
            with pyebpf.RingReader(ring) as reader:
                records = [reader.read(timeout=5) for _ in range(5)]
        assert [struct.unpack_from("=Q", each)[0] for each in records] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", [MapType.RINGBUF, MapType.USER_RINGBUF, MapType.ARENA], ids=str)
def test_they_have_no_elements(kind):
    """A TypeError for whatever wants some; information all the same."""
    with Map.create(type=kind, max_entries=4096, name="r") as m:
        assert m.info().type == kind
        for use in (lambda: len(m), lambda: list(m), m.to_dict, m.clear, m.lookup_batch):
            with pytest.raises(TypeError, match=r'map "r" has no keys'):
                use()
        with pytest.raises(TypeError, match=r'map "r" .* has no pop'):
            m.pop()
        with pytest.raises(TypeError, match=r'map "r" .* has no values to be mapped'):
            m.memory()


def test_an_arena_made_here_is_memory():
    """Shared by all who open it."""
    with Arena.create(type=MapType.ARENA, max_entries=2, name="a") as arena:
        with arena.memory() as memory:
            assert len(memory) == 2 * mmap.PAGESIZE
            memory[:4] = b"abcd"
            with Arena.from_fd(arena.fileno()) as other, other.memory() as seen:
                assert bytes(seen[:4]) == b"abcd"
        with Map.from_fd(arena.fileno()) as plain, pytest.raises(TypeError, match=r"pyebpf\.Arena"):
            plain.memory()
