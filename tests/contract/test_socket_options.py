"""Programs of sockets, and of groups of sockets that share a port."""

from __future__ import annotations

import contextlib
import os
import socket
import struct

import pytest

from pyebpf.sys import kernel as seam
from pyebpf.uapi.bpf import AttachType, ProgType
from tests.support.contract import load, outcome

ATTACH, DETACH, ATTACH_GROUP, DETACH_GROUP = 50, 27, 52, 68
PASS = bytes([0xB7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])


def set_option(fd: int, name: int, value: int = 0):
    given = struct.pack("=i", value)
    return outcome(lambda: seam.current().setsockopt(fd, socket.SOL_SOCKET, name, given))


@pytest.fixture
def sharing():
    """Two sockets that share a port, and one that does not."""
    with contextlib.ExitStack() as stack:
        made = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3)
        ]
        for each in made[:2]:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            each.bind(("127.0.0.1", made[0].getsockname()[1]))
        yield [each.fileno() for each in made]


def test_a_socket_has_one_filter(kernel, sharing):
    """Which is replaced; ENOENT without."""
    fd = sharing[2]
    with load() as one, load() as two, load(ProgType.XDP) as other:
        assert set_option(fd, DETACH) == "ENOENT"
        assert set_option(fd, ATTACH, one.fileno()) is None
        assert set_option(fd, ATTACH, two.fileno()) is None
        assert set_option(fd, ATTACH, other.fileno()) == "EINVAL"
        assert set_option(fd, ATTACH, fd) == "EINVAL"
        assert set_option(fd, ATTACH, 0x7FFFFFF0) == "EBADF"
        assert set_option(fd, DETACH) is None
        assert set_option(fd, DETACH) == "ENOENT"
        assert set_option(0x7FFFFFF0, DETACH) == "EBADF"
        assert set_option(one.fileno(), DETACH) == "ENOTSOCK"


def test_a_group_has_one_program(kernel, sharing):
    """Whichever of its sockets is asked."""
    first, second, alone = sharing
    reuseport = {"expected_attach_type": AttachType.SK_REUSEPORT_SELECT}
    with (
        load() as one,
        load(ProgType.SK_REUSEPORT, PASS, **reuseport) as two,
        load(ProgType.XDP) as other,
    ):
        assert set_option(first, DETACH_GROUP) == "ENOENT"
        assert set_option(first, ATTACH_GROUP, one.fileno()) is None
        assert set_option(second, ATTACH_GROUP, two.fileno()) is None
        assert set_option(first, DETACH_GROUP) is None
        assert set_option(second, DETACH_GROUP) == "ENOENT"
        assert set_option(first, ATTACH_GROUP, other.fileno()) == "EINVAL"
        assert set_option(alone, ATTACH_GROUP, one.fileno()) == "EINVAL"
        assert set_option(alone, DETACH_GROUP) == "EINVAL"
        near, far = socket.socketpair()
        with near, far:
            assert set_option(near.fileno(), ATTACH_GROUP, two.fileno()) == "524"
    reader, writer = os.pipe()
    assert set_option(reader, DETACH_GROUP) == "ENOTSOCK"
    os.close(reader)
    os.close(writer)
