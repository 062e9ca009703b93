"""Packets that the card puts into memory of ours, and takes out of it, by itself."""

from __future__ import annotations

import contextlib
import errno

import pytest

from pyebpf import Umem, XskMode, XskSocket
from pyebpf.errors import SyscallError
from tests.support.frames import PATIENCE, FarEnd, frame, numbers
from tests.support.netns import Veth

SOME, ALL = 64, 1024  # at a time; the card's own queues have 256


@pytest.fixture
def far(cards: Veth):
    with contextlib.closing(FarEnd(cards)) as end:
        yield end


@pytest.mark.parametrize("mode", [XskMode.ZERO_COPY, XskMode.AUTO], ids=str)
def test_every_frame_comes_and_goes_in_order(cards: Veth, far: FarEnd, mode: XskMode) -> None:
    """Of many lengths, more than the rings have entries; then all memory is free again."""
    with (
        Umem(256, mode=mode) as umem,
        XskSocket(cards.name, umem=umem, fill_size=128, tx_size=64, completion_size=64) as xsk,
    ):
        assert xsk.zero_copy
        for start in range(0, ALL, SOME):
            wanted = list(range(start, start + SOME))
            far.send(wanted, length=60 + start)
            found: list[int] = []
            while len(found) < SOME:
                batch = numbers(xsk.receive(PATIENCE))
                assert batch, xsk.statistics()
                found += batch
            assert found == wanted
            assert xsk.send([frame(number, 60 + start) for number in wanted]) == SOME
            assert far.receive(SOME) == wanted
        assert xsk.flush(PATIENCE)
        found_at_last = xsk.statistics()
        assert (found_at_last.received, found_at_last.sent) == (ALL, ALL)
        assert (found_at_last.rx_dropped, found_at_last.rx_ring_full) == (0, 0)
        assert umem.usage() == (128, 128, 0, 0, 0)


def test_frames_go_back_changed_from_where_they_came(cards: Veth, far: FarEnd) -> None:
    """A lease is the card's own memory; the other way they leave by what is reserved of it."""
    with Umem(mode=XskMode.ZERO_COPY) as umem, XskSocket(cards.name, umem=umem) as xsk:
        far.send(range(SOME))
        seen: list[int] = []
        while len(seen) < SOME:
            with xsk.lease(PATIENCE) as lease:
                assert len(lease)
                found = numbers(lease)
                seen += found
                xsk.send([frame(number + 1000) for number in found])
        assert seen == list(range(SOME))
        assert far.receive(SOME) == list(range(1000, 1000 + SOME))


def test_a_card_may_be_made_to_copy(cards: Veth, far: FarEnd) -> None:
    """And a queue that another has is told of."""
    with Umem(mode=XskMode.COPY) as umem, XskSocket(cards.name, umem=umem) as xsk:
        assert not xsk.zero_copy
        far.send(range(SOME))
        seen: list[int] = []
        while len(seen) < SOME:
            seen += numbers(xsk.receive(PATIENCE))
        assert seen == list(range(SOME))
        with Umem(mode=XskMode.ZERO_COPY) as other, pytest.raises(SyscallError) as caught:
            XskSocket(cards.name, umem=other, map=False)
        assert caught.value.errno == errno.EBUSY
