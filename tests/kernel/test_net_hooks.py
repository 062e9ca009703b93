"""Hooks of namespaces, sockets and socket maps, by what becomes of real data."""

from __future__ import annotations

import contextlib
import json
import pathlib
import socket
import subprocess

import pytest

import pyebpf
from pyebpf import AttachType, link
from tests.support.killed import killed
from tests.support.netns import packets
from tests.support.programs import only

LOCALHOST = "127.0.0.1"
USED_PORT, UNUSED_PORT = 4242, 7777
BOTH = pytest.mark.parametrize("use_link", [None, False], ids=["link", "attach"])


def hits(bpf: pyebpf.Collection, name: str) -> int:
    value = bpf.variables[f"{name}_hits"].value
    assert isinstance(value, int)
    return value


# --- network namespaces ------------------------------------------------------------------------


def test_a_lookup_steers_a_port_nobody_listens_on(netns):
    """To the socket in the map; untouched before and after."""
    with (
        pyebpf.load(only("hooks_net", "on_lookup")) as bpf,
        socket.create_server((LOCALHOST, 0)) as server,
    ):
        bpf.maps["sockets"][0] = server.fileno()
        bpf.variables["lookup_port"].value = UNUSED_PORT
        program = bpf.programs["on_lookup"]
        with link.attach_netns(program) as attached:
            with socket.create_connection((LOCALHOST, UNUSED_PORT)):
                server.accept()[0].close()
            assert attached.info().program_id == program.id
            assert (
                attached.info().netns_inode
                == pathlib.Path("/proc/thread-self/ns/net").stat().st_ino
            )
            found = pyebpf.query(None, AttachType.SK_LOOKUP)
            assert [each.program_id for each in found.programs] == [program.id]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((LOCALHOST, UNUSED_PORT))
        assert hits(bpf, "lookup") == 1
        assert pyebpf.query(None, AttachType.SK_LOOKUP).programs == ()


def test_another_namespace_is_named_by_its_file(netns, veth):
    """Without going there; detaching finds the way back, too."""
    path = f"/proc/self/fd/{veth.peer.fileno()}"
    with pyebpf.load(only("hooks_net", "on_lookup", "dissect")) as bpf:
        for name, hook, use_link in (
            ("on_lookup", AttachType.SK_LOOKUP, True),
            ("dissect", AttachType.FLOW_DISSECTOR, True),
            ("dissect", AttachType.FLOW_DISSECTOR, False),
        ):
            with link.attach_netns(bpf.programs[name], path, use_link=use_link):
                assert len(pyebpf.query(path, hook).programs) == 1
                assert pyebpf.query(None, hook).programs == ()
            assert pyebpf.query(path, hook).programs == ()
        with pytest.raises(pyebpf.AttachError, match="only links"):
            link.attach_netns(bpf.programs["on_lookup"], use_link=False)
        with pytest.raises(pyebpf.AttachError, match="no network namespace /run/netns/none"):
            link.attach_netns(bpf.programs["on_lookup"], "/run/netns/none")


@BOTH
def test_a_flow_dissector_takes_packets_apart(netns, veth, use_link):
    """It runs for packets whose flow the kernel wants to know; there is only one."""
    with (
        pyebpf.load(only("hooks_net", "dissect", "rehash")) as bpf,
        link.attach_tc(bpf.programs["rehash"], veth.name, "egress"),
    ):
        program = bpf.programs["dissect"]
        with link.attach_netns(program, use_link=use_link):
            assert packets(veth, 3, outward=True) == 3
            with pytest.raises(pyebpf.SyscallError, match=f'program {program.id} "dissect"'):
                link.attach_netns(program, use_link=True)
        assert hits(bpf, "dissector") == 3
        packets(veth, 2, outward=True)
        assert hits(bpf, "dissector") == 3


def test_a_dissector_left_by_a_killed_process_is_removed(netns):
    """Namespaces keep programs that were attached without a link."""
    with pyebpf.load(only("hooks_net", "dissect")) as bpf:
        program = bpf.programs["dissect"]
        with killed(lambda: link.attach_netns(program, use_link=False)) as child:
            assert [each.pid for each in link.clean_up()] == [child]
        assert pyebpf.query(None, AttachType.FLOW_DISSECTOR).programs == ()


# --- sockets -----------------------------------------------------------------------------------


def group(stack: contextlib.ExitStack) -> list[socket.socket]:
    """Two UDP sockets that share a port."""
    sockets: list[socket.socket] = []
    for _ in range(2):
        sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(sockets[0].getsockname() if sockets else (LOCALHOST, 0))
        sock.settimeout(2)
        sockets.append(sock)
    return sockets


def shares(sockets: list[socket.socket], count: int) -> list[int]:
    """Send from different ports; return how many each socket of the group got."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sender.sendto(b"x", sockets[0].getsockname())
    got = []
    for sock in sockets:
        sock.setblocking(False)
        number = 0
        with contextlib.suppress(BlockingIOError):
            while sock.recv(10):
                number += 1
        got.append(number)
    return got


@pytest.mark.parametrize("name", ["second_socket", "select_socket"])
def test_a_program_chooses_among_sockets_of_a_port(netns, name):
    """By index or out of a map: always the second while it is attached."""
    with pyebpf.load(only("hooks_net", name)) as bpf, contextlib.ExitStack() as stack:
        sockets = group(stack)
        if name == "select_socket":
            for index, sock in enumerate(sockets):
                bpf.maps["group"][index] = sock.fileno()
        with link.attach_reuseport(bpf.programs[name], sockets[0]):
            assert shares(sockets, 16) == [0, 16]
        assert hits(bpf, "reuseport") == 16
        assert sum(shares(sockets, 16)) == 16
        assert hits(bpf, "reuseport") == 16
        with pytest.raises(pyebpf.SyscallError, match="group of socket"), socket.socket() as alone:
            link.attach_reuseport(bpf.programs[name], alone)


# --- sockmaps ----------------------------------------------------------------------------------


@contextlib.contextmanager
def connection():
    with (
        socket.create_server((LOCALHOST, 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        accepted, _ = server.accept()
        with accepted:
            client.settimeout(2)
            accepted.settimeout(2)
            yield client, accepted


def put(bpf: pyebpf.Collection, index: int, sock: socket.socket) -> None:
    bpf.maps["sockets"][index] = sock.fileno()


@BOTH
def test_a_parser_and_a_verdict_send_data_elsewhere(netns, use_link):
    """What one connection receives leaves through another."""
    with (
        pyebpf.load(only("hooks_net", "parse", "forward")) as bpf,
        connection() as (client, accepted),
        connection() as (other, other_accepted),
        link.attach_sockmap(bpf.programs["parse"], bpf.maps["sockets"], use_link=use_link),
        link.attach_sockmap(
            bpf.programs["forward"], bpf.maps["sockets"], use_link=use_link
        ) as verdict,
    ):
        put(bpf, 0, accepted)
        put(bpf, 1, other_accepted)
        client.sendall(b"over there")
        assert other.recv(100) == b"over there"
        assert hits(bpf, "skb_verdict") >= 1
        assert verdict.info().program_id == bpf.programs["forward"].id
        assert verdict.info().map_id == bpf.maps["sockets"].info().id


@BOTH
def test_a_verdict_on_what_is_sent(netns, use_link):
    """Dropped while the program says so: the sender is told."""
    with (
        pyebpf.load(only("hooks_net", "on_msg")) as bpf,
        connection() as (client, accepted),
    ):
        with link.attach_sockmap(bpf.programs["on_msg"], bpf.maps["sockets"], use_link=use_link):
            put(bpf, 0, client)
            client.sendall(b"passes")
            assert accepted.recv(100) == b"passes"
            bpf.variables["msg_verdict"].value = 0
            with pytest.raises(PermissionError):
                client.send(b"dropped")
            assert hits(bpf, "msg") == 2
        # A socket keeps the program it met in the map, so it leaves the map.
        del bpf.maps["sockets"][0]
        client.sendall(b"free")
        assert accepted.recv(100) == b"free"


def test_a_verdict_without_a_parser(netns):
    """And a conflict names what is there."""
    with (
        pyebpf.load(only("hooks_net", "swallow")) as bpf,
        connection() as (client, accepted),
        link.attach_sockmap(bpf.programs["swallow"], bpf.maps["sockets"], use_link=True) as first,
    ):
        put(bpf, 0, accepted)
        client.sendall(b"gone")
        accepted.settimeout(0.2)
        with pytest.raises(TimeoutError):
            accepted.recv(100)
        assert hits(bpf, "skb_verdict") == 1
        name = rf'program {bpf.programs["swallow"].id} "swallow" is attached'
        with pytest.raises(pyebpf.SyscallError, match=name):
            link.attach_sockmap(bpf.programs["swallow"], bpf.maps["sockets"], use_link=True)
        assert first.info().attach_type == AttachType.SK_SKB_VERDICT


def test_a_sockmap_program_needs_a_sockmap(netns):
    """Other maps and other programs are refused by name."""
    with pyebpf.load(only("hooks_net", "swallow", "classify")) as bpf:
        with pytest.raises(pyebpf.AttachError, match='map "group"'):
            link.attach_sockmap(bpf.programs["swallow"], bpf.maps["group"])
        with pytest.raises(pyebpf.AttachError, match='"classify"'):
            link.attach_sockmap(bpf.programs["classify"], bpf.maps["sockets"])


# --- netfilter ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hook", "outward"),
    [("PRE_ROUTING", False), ("LOCAL_IN", False), ("LOCAL_OUT", True), ("POST_ROUTING", True)],
)
def test_a_netfilter_program_drops_packets(veth, hook, outward):
    """While it is attached and says so."""
    where = link.NetfilterHook[hook]
    with pyebpf.load(only("hooks_net", "on_netfilter")) as bpf:
        program = bpf.programs["on_netfilter"]
        with link.attach_netfilter(program, where, priority=-10) as attached:
            assert packets(veth, 3, outward=outward) == 3
            bpf.variables["netfilter_verdict"].value = 0
            assert packets(veth, 2, outward=outward) == 0
            details = attached.info()
            assert (details.family, details.hook, details.priority) == (2, int(where), -10)
        assert hits(bpf, "netfilter") == 5
        assert packets(veth, 1, outward=outward) == 1


def test_a_netfilter_program_decides_what_is_forwarded(veth):
    """A packet that comes in by the cable and leaves by it again."""

    def came_back() -> int:
        told = json.loads(veth.peer.run("ip", "-j", "-s", "link", "show", veth.peer_name))
        return int(told[0]["stats64"]["rx"]["packets"])

    def send(count: int) -> None:
        with (
            veth.peer.entered(),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        ):
            for _ in range(count):
                sock.sendto(b"x", ("10.97.0.9", 4242))

    settings = pathlib.Path("/proc/sys/net/ipv4")
    (settings / "ip_forward").write_text("1")
    for name in ("all", veth.name):
        (settings / f"conf/{name}/send_redirects").write_text("0")
    subprocess.run(["ip", "route", "add", "10.97.0.0/24", "via", veth.peer_address], check=True)
    veth.peer.run("ip", "route", "add", "10.97.0.0/24", "via", veth.address)
    with pyebpf.load(only("hooks_net", "on_netfilter")) as bpf:
        before = came_back()
        with link.attach_netfilter(bpf.programs["on_netfilter"], link.NetfilterHook.FORWARD):
            send(3)
            assert came_back() == before + 3
            bpf.variables["netfilter_verdict"].value = 0
            send(2)
            assert came_back() == before + 3
        send(1)
        assert came_back() == before + 4
        assert hits(bpf, "netfilter") == 5


def test_a_netfilter_program_has_a_family(netns):
    """That of IPv6 sees no IPv4, and the other way round."""
    with pyebpf.load(only("hooks_net", "on_netfilter")) as bpf:
        program, hook = bpf.programs["on_netfilter"], link.NetfilterHook.LOCAL_IN
        bpf.variables["netfilter_verdict"].value = 0
        for family, other in ((LOCALHOST, "::1"), ("::1", LOCALHOST)):
            kind = link.NetfilterFamily.IPV6 if family == "::1" else link.NetfilterFamily.IPV4
            with link.attach_netfilter(program, hook, family=kind):
                assert not reaches_itself(family)
                assert reaches_itself(other)
            assert reaches_itself(family)
        assert hits(bpf, "netfilter") == 2


def reaches_itself(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        sock.bind((address, 0))
        sock.sendto(b"x", sock.getsockname())
        try:
            return sock.recv(10) == b"x"
        except TimeoutError:
            return False


def test_netfilter_priorities_are_taken_once(netns):
    """And some belong to the kernel; defragmentation needs one above its own."""
    with pyebpf.load(only("hooks_net", "on_netfilter")) as bpf:
        program = bpf.programs["on_netfilter"]
        hook = link.NetfilterHook.LOCAL_IN
        with link.attach_netfilter(program, hook, priority=5):
            with pytest.raises(pyebpf.SyscallError, match="priority 5"):
                link.attach_netfilter(program, hook, priority=5)
            family = link.NetfilterFamily.IPV6
            with link.attach_netfilter(program, hook, family=family, priority=5):
                pass
            with link.attach_netfilter(program, hook, priority=6, defragment=True) as whole:
                assert whole.info().flags == 1
        with pytest.raises(ValueError, match="priority 2147483647"):
            link.attach_netfilter(program, hook, priority=(1 << 31) - 1)


# --- the rest ----------------------------------------------------------------------------------


def test_light_weight_tunnels_take_a_pinned_program(veth, bpffs):
    """The route keeps it: ip route … encap bpf xmit pinned PATH."""
    pin = bpffs / "on_xmit"
    with pyebpf.load(only("hooks_net", "on_xmit")) as bpf:
        with pytest.raises(pyebpf.LoadError, match=r"ip route add .* encap bpf xmit pinned"):
            pyebpf.attach(bpf.programs["on_xmit"])
        bpf.programs["on_xmit"].pin(pin)
        try:
            route = ["ip", "route", "add", f"{veth.peer_address}/32", "encap", "bpf", "xmit"]
            route += ["pinned", str(pin), "dev", veth.name]
            subprocess.run(route, check=True)
        finally:
            pin.unlink()
        assert packets(veth, 3, outward=True) == 3
        assert hits(bpf, "lwt") == 3
        subprocess.run(["ip", "route", "del", f"{veth.peer_address}/32"], check=True)
        assert packets(veth, 3, outward=True) == 3
        assert hits(bpf, "lwt") == 3


def test_infrared_receivers_are_looked_for(netns):
    """No device, and a device of another kind."""
    with pyebpf.load(only("hooks_net", "on_lirc")) as bpf:
        with pytest.raises(pyebpf.AttachError, match="no lirc device /dev/lirc77"):
            link.attach_lirc(bpf.programs["on_lirc"], "/dev/lirc77")
        with pytest.raises(pyebpf.SyscallError, match="no lirc device that receives"):
            link.attach_lirc(bpf.programs["on_lirc"], "/dev/null")
