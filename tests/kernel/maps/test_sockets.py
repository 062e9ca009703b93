"""Maps of sockets: sockmap, sockhash, reuseport array; sockets go in, cookies come out."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys

import pytest

import pyebpf
from pyebpf import AttachType, Map, MapType, ProgType
from pyebpf.sys import bpf as commands
from pyebpf.uapi.attrs import ProgAttach, ProgLoad
from pyebpf.uapi.helpers import FuncId

SO_COOKIE = 57
SO_ATTACH_REUSEPORT_EBPF = 52


def cookie(one):
    return struct.unpack("=Q", one.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0]


def program(kind, attach_type, code):
    """Load instructions that end with: r0 = 1 (pass), exit."""
    code += insn(0xB7, 0, 0, 0, 1) + insn(0x95)
    attr = ProgLoad(
        prog_type=kind,
        expected_attach_type=attach_type,
        insns=code,
        insn_cnt=len(code) // 8,
        license=b"GPL\0",
    )
    return commands.prog_load(attr)


def insn(opcode, dst=0, src=0, offset=0, immediate=0):
    registers = src << 4 | dst if sys.byteorder == "little" else dst << 4 | src
    return struct.pack("=BBhi", opcode, registers, offset, immediate)


def load_map(register, m):
    return insn(0x18, register, 1, 0, m.fileno()) + insn(0)


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


@pytest.mark.parametrize("kind", [MapType.SOCKMAP, MapType.SOCKHASH], ids=str)
def test_a_message_goes_where_the_map_says(netns, kind):
    """What is sent on one connection arrives at the end of another, once its socket is there."""
    keyed = {"key": "I"} if kind == MapType.SOCKHASH else {}
    with (
        Map.create(type=kind, **keyed, value_size=8, max_entries=4, name="s") as m,
        connected() as (sender, usual),
        connected() as (_, other),
    ):
        m[1] = sender
        # r1 is the message; slot or key 0, BPF_F_INGRESS.
        hashed = kind == MapType.SOCKHASH
        key = insn(0x62, 10, 0, -4, 0) + insn(0xBF, 3, 10) + insn(0x07, 3, 0, 0, -4)
        helper = FuncId.msg_redirect_hash if hashed else FuncId.msg_redirect_map
        code = load_map(2, m) + (key if hashed else insn(0xB7, 3)) + insn(0xB7, 4, 0, 0, 1)
        code += insn(0x85, 0, 0, 0, helper)
        with program(ProgType.SK_MSG, AttachType.SK_MSG_VERDICT, code) as verdict:
            attach = ProgAttach(
                target_fd=m.fileno(),
                attach_bpf_fd=verdict.fileno(),
                attach_type=AttachType.SK_MSG_VERDICT,
            )
            commands.prog_attach(attach)
            try:
                m[0] = other
                m[1] = sender
                sender.sendall(b"hello")
                other.settimeout(10)
                assert other.recv(100) == b"hello"
                del m[0]
                usual.setblocking(False)
                with pytest.raises(BlockingIOError):
                    usual.recv(100)
            finally:
                commands.prog_detach(attach)


def test_a_program_chooses_among_sockets_that_share_a_port(netns):
    """Every datagram goes to the socket in slot 1."""
    with (
        Map.create(type=MapType.REUSEPORT_SOCKARRAY, max_entries=2, name="r") as m,
        contextlib.ExitStack() as opened,
    ):
        sockets = []
        for _ in range(2):
            one = opened.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind(sockets[0].getsockname() if sockets else ("127.0.0.1", 0))
            one.settimeout(10)
            sockets.append(one)
        m[0], m[1] = sockets
        # r1 is the context; the key 1 is on the stack.
        code = insn(0x62, 10, 0, -4, 1) + insn(0xBF, 3, 10) + insn(0x07, 3, 0, 0, -4)
        code = load_map(2, m) + code + insn(0xB7, 4)
        code += insn(0x85, 0, 0, 0, FuncId.sk_select_reuseport)
        with program(ProgType.SK_REUSEPORT, AttachType.SK_REUSEPORT_SELECT, code) as chosen:
            sockets[0].setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, chosen.fileno())
        sender = opened.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        for number in range(8):
            sender.sendto(bytes([number]), sockets[0].getsockname())
        assert [sockets[1].recv(10)[0] for _ in range(8)] == list(range(8))
        sockets[0].setblocking(False)
        with pytest.raises(BlockingIOError):
            sockets[0].recv(10)
