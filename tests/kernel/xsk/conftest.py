"""Cables of one and of two queues, cards, and a raw socket at the other end of one or the other."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator

import pytest

from tests.support import kernel
from tests.support.frames import FarEnd
from tests.support.netns import Namespace, Veth, connect, plug


@pytest.fixture
def cable(veth: Veth) -> Veth:
    """A cable of one queue in each direction: all packets come in by it."""
    return veth


@pytest.fixture
def far(cable: Veth) -> Iterator[FarEnd]:
    """A raw socket at the other end."""
    with contextlib.closing(FarEnd(cable)) as end:
        yield end


CARDS = "virtio_net"  # has had all that zero-copy needs since Linux 6.13


@pytest.fixture
def cards(netns: Namespace) -> Iterator[Veth]:
    """Two network cards that are joined, in place of a cable: see tests/vm."""
    drivers = pathlib.Path("/sys/class/net").glob("*/device/driver")
    found = sorted(each.parts[-3] for each in drivers if each.resolve().name == CARDS)
    if len(found) != 2 or "PYEBPF_MACHINE_IS_OURS" not in os.environ:
        pytest.skip(f"two {CARDS} cards on a machine that is ours: PYEBPF_MACHINE_IS_OURS")
    kernel.needs("6.13", f"zero-copy by {CARDS}")
    peer = Namespace()
    near, far = found
    try:
        yield plug(netns, near, peer, far)
    finally:
        # Left to the kernel they would come back some time.
        for end, name in ((netns, near), (peer, far)):
            end.run("ip", "link", "set", name, "netns", "1")
        peer.close()


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
