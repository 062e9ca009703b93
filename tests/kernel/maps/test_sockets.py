"""Maps of sockets: sockmap, sockhash, reuseport array; sockets go in, cookies come out."""

from __future__ import annotations

import contextlib
import socket
import struct

import pytest

import pyebpf
from pyebpf import Map, MapType

SO_COOKIE = 57


def cookie(one):
    return struct.unpack("=Q", one.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0]


@contextlib.contextmanager
def connected():
    """Both ends of a TCP connection over loopback."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        accepted, _ = server.accept()
        with accepted:
            yield client, accepted


@pytest.mark.parametrize(
    ("kind", "key"), [(MapType.SOCKMAP, 1), (MapType.SOCKHASH, 0xAABBCCDD)], ids=str
)
def test_sockets_go_in_and_their_cookies_come_out(netns, kind, key):
    """Values of eight bytes show which socket it is; it leaves the map when it is closed."""
    keyed = {"key": "I"} if kind == MapType.SOCKHASH else {}
    with Map.create(type=kind, **keyed, value_size=8, max_entries=4, name="s") as m:
        with connected() as (client, accepted):
            m[key] = client
            assert m[key] == cookie(client)
            if kind == MapType.SOCKMAP:
                assert (dict(m), len(m)) == ({key: cookie(client)}, 1)
            m[key] = accepted
            assert m[key] == cookie(accepted) != cookie(client)
            assert key in m
            del m[key]
            assert key not in m
            m[key] = client
        assert key not in m


def test_small_values_cannot_be_looked_up(netns):
    """The kernel has no room for a cookie, and says so."""
    with (
        Map.create(type=MapType.SOCKMAP, max_entries=1, name="s") as m,
        connected() as (client, _),
    ):
        m[0] = client
        with pytest.raises(pyebpf.SyscallError, match='lookup in map "s"') as raised:
            m[0]
        assert raised.value.errno == 28  # ENOSPC


def test_a_socket_that_is_not_connected_is_refused(netns):
    """The error names the map, and the slot stays empty."""
    with Map.create(type=MapType.SOCKMAP, value_size=8, max_entries=1, name="s") as m:
        with socket.socket() as fresh, pytest.raises(pyebpf.SyscallError, match='update map "s"'):
            m[0] = fresh
        assert 0 not in m


def test_a_reuseport_array_takes_sockets_of_a_group(netns):
    """Only those that share their port; another is EINVAL."""
    with (
        Map.create(type=MapType.REUSEPORT_SOCKARRAY, value_size=8, max_entries=4, name="r") as m,
        socket.socket(type=socket.SOCK_DGRAM) as first,
        socket.socket(type=socket.SOCK_DGRAM) as second,
        socket.socket(type=socket.SOCK_DGRAM) as alone,
    ):
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        first.bind(("127.0.0.1", 0))
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        second.bind(first.getsockname())
        alone.bind(("127.0.0.1", 0))
        m[0], m[1] = first, second
        assert m.to_dict() == {0: cookie(first), 1: cookie(second)}
        with pytest.raises(pyebpf.SyscallError, match=r'update map "r"'):
            m[2] = alone
        del m[0]
        assert m.get(0) is None
        assert m[1] == cookie(second)
