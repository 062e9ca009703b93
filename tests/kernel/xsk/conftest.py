"""A cable with two queues, and a raw socket at its other end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.support.frames import FarEnd
from tests.support.netns import Namespace, Veth, connect


@pytest.fixture
def cable(netns: Namespace) -> Iterator[Veth]:
    """A cable from the private namespace to another one, two queues wide."""
    peer = Namespace()
    try:
        yield connect(netns, peer, queues=2)
    finally:
        peer.close()


@pytest.fixture
def far(cable: Veth) -> Iterator[FarEnd]:
    """A raw socket at the other end."""
    with contextlib.closing(FarEnd(cable)) as end:
        yield end
