"""Cables of one and of two queues, and a raw socket at the other end of the narrow one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.support.frames import FarEnd
from tests.support.netns import Namespace, Veth, connect


@pytest.fixture
def cable(veth: Veth) -> Veth:
    """A cable of one queue in each direction: all packets come in by it."""
    return veth


@pytest.fixture
def far(cable: Veth) -> Iterator[FarEnd]:
    """A raw socket at the other end."""
    with contextlib.closing(FarEnd(cable)) as end:
        yield end


@pytest.fixture
def wide(netns: Namespace) -> Iterator[Veth]:
    """A cable of two queues in each direction.

    What an AF_XDP socket sends by a queue of one end comes in by the same queue of the other; of
    what others send a hash decides, and its seed is another one after each boot.
    """
    peer = Namespace()
    try:
        yield connect(netns, peer, queues=2)
    finally:
        peer.close()
