"""Attaching, seen by its effects: counts go up while a link is open and stop when it is closed."""

from __future__ import annotations

import ctypes
import os
import select
import socket
import threading
import warnings

import pytest

import pyebpf
from pyebpf import link
from tests.support.bpftool import missed
from tests.support.programs import built

LIBC = ctypes.CDLL(None)


@pytest.fixture
def probes():
    """The probes object, counting this process only."""
    spec = pyebpf.load_spec(built("probes"))
    spec.variables["target_pid"].value = os.getpid()
    with pyebpf.load(spec) as bpf:
        yield bpf


def fork_once() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def hits(bpf: pyebpf.Collection, name: str) -> int:
    value = bpf.variables[f"{name}_hits"].value
    assert isinstance(value, int)
    return value


def getuid_through_libc() -> None:
    LIBC.getuid()


BY_NAME = {
    "tracepoint": ("on_tracepoint", os.getppid),
    "raw_tracepoint": ("on_raw_tracepoint", fork_once),
    "tp_btf": ("on_tp_btf", fork_once),
}


@pytest.mark.parametrize("kind", BY_NAME)
def test_a_section_name_says_where_to_attach(probes, kind, tracefs):
    """Exactly the events between attach and close are seen."""
    name, trigger = BY_NAME[kind]
    trigger()
    with pyebpf.attach(probes.programs[name]) as attached:
        for _ in range(5):
            trigger()
        assert attached.target
    trigger()
    assert hits(probes, kind) == 5


def test_a_collection_attaches_all_it_can_and_detaches_when_it_closes(tracefs):
    """XDP, socket filter and the probes without a target are left to pyebpf.link."""
    spec = pyebpf.load_spec(built("probes"))
    spec.variables["target_pid"].value = os.getpid()
    with pyebpf.load(spec) as bpf:
        assert set(bpf.attach()) == {"on_tracepoint", "on_raw_tracepoint", "on_tp_btf"}
        assert bpf.attach() == {}, "what is attached is not attached twice"
        os.getppid()
        fork_once()
        assert [hits(bpf, kind) for kind in BY_NAME] == [1, 1, 1]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            links = list(bpf.links.values())
    assert all(each.closed for each in links)


@pytest.mark.parametrize("kind", ["uprobe", "uretprobe"])
def test_a_uprobe_sees_calls_of_a_library_function(probes, kind):
    """By library name and symbol; entry and return."""
    program = probes.programs[f"on_{kind}"]
    with link.attach_uprobe(program, "libc.so.6", "getuid", retprobe=kind == "uretprobe"):
        for _ in range(3):
            getuid_through_libc()
    getuid_through_libc()
    assert hits(probes, kind) == 3


def test_a_uprobe_sees_only_the_process_it_was_asked_for(probes):
    """pid= keeps other processes out, here even this one."""
    child = os.fork()
    if not child:
        threading.Event().wait()
        os._exit(0)
    try:
        with link.attach_uprobe(probes.programs["on_uprobe"], "libc.so.6", "getuid", pid=child):
            getuid_through_libc()
        assert hits(probes, "uprobe") == 0
        with link.attach_uprobe(
            probes.programs["on_uprobe"], "libc.so.6", "getuid", pid=os.getpid()
        ):
            getuid_through_libc()
        assert hits(probes, "uprobe") == 1
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_a_section_name_may_hold_a_uprobes_target():
    """SEC("uprobe/path:function") needs no more words."""
    spec = pyebpf.load_spec(built("probes"))
    spec.variables["target_pid"].value = os.getpid()
    spec.programs["on_uprobe"].section = "uprobe/libc.so.6:getuid"
    spec.programs["on_uprobe"].attach_to = "libc.so.6:getuid"
    with pyebpf.load(spec) as bpf:
        assert set(bpf.attach("on_uprobe")) == {"on_uprobe"}
        getuid_through_libc()
        assert hits(bpf, "uprobe") == 1


def test_missing_files_and_symbols_are_named(probes):
    """The error says which file or symbol there is none of."""
    program = probes.programs["on_uprobe"]
    with pytest.raises(pyebpf.EbpfError, match="getuidd"):
        link.attach_uprobe(program, "libc.so.6", "getuidd")
    with pytest.raises(pyebpf.EbpfError, match="libnothing"):
        link.attach_uprobe(program, "libnothing.so.1", "getuid")
    with pytest.raises(pyebpf.EbpfError, match="/no/such/file"):
        link.attach_uprobe(program, "/no/such/file", "getuid")


def test_a_socket_filter_sees_what_the_socket_receives(probes):
    """Every packet passes the filter while it is attached, and the filter decides its length."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with left, right:
        with link.attach_socket(probes.programs["on_socket"], right):
            for size in (10, 20, 30):
                left.send(bytes(size))
            assert [len(right.recv(100)) for _ in range(3)] == [10, 20, 30]
        left.send(bytes(40))
        assert len(right.recv(100)) == 40
    assert hits(probes, "socket") == 3
    assert probes.variables["socket_bytes"].value == 60


def test_a_socket_filter_needs_a_program_of_its_kind(probes):
    """The refusal names the program and its type."""
    left, right = socket.socketpair()
    with left, right, pytest.raises(pyebpf.AttachError, match='"on_xdp" is of type'):
        link.attach_socket(probes.programs["on_xdp"], right)


def send_over(veth, count: int, *, port: int = 4242) -> list[int]:
    """Send datagrams from the far end of the cable; return the sizes that arrived here."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((veth.address, port))
        receiver.setblocking(False)
        with (
            veth.peer.entered(),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        ):
            for size in range(1, count + 1):
                sender.sendto(bytes(size), (veth.address, port))
        arrived = []
        # A veth delivers in the sender's softirq, but NAPI may finish a moment later.
        while len(arrived) < count and select.select([receiver], [], [], 0.5)[0]:
            arrived.append(len(receiver.recv(2048)))
        return arrived


@pytest.mark.parametrize(
    "mode", [pyebpf.XdpMode.AUTO, pyebpf.XdpMode.GENERIC, pyebpf.XdpMode.DRIVER], ids=str
)
def test_xdp_sees_the_packets_of_an_interface(probes, veth, mode):
    """Real packets over a cable: each is counted while the link is open, and still arrives."""
    send_over(veth, 3)
    with link.attach_xdp(probes.programs["on_xdp"], veth.name, mode=mode):
        assert send_over(veth, 5) == [1, 2, 3, 4, 5]
    send_over(veth, 3)
    assert hits(probes, "xdp") == 5


def test_xdp_drops_what_it_is_told_to(veth):
    """A blocked port gets nothing, others everything; the program counted both."""
    spec = pyebpf.load_spec(built("xdp_drop"))
    spec.variables["blocked_port"].value = 4343
    with pyebpf.load(spec) as bpf, link.attach_xdp(bpf.programs["xdp_drop"], veth.name):
        assert send_over(veth, 4, port=4343) == []
        assert send_over(veth, 3, port=4242) == [1, 2, 3]
        counts = bpf.maps["counts"]
        assert counts.sum(pyebpf.XdpAction.DROP) == 4
        assert counts.sum(pyebpf.XdpAction.PASS) == 3


def test_xdp_wants_an_xdp_program_and_an_interface(probes):
    """Mistakes are caught before the kernel is asked."""
    with pytest.raises(ValueError, match="not XDP"):
        link.attach_xdp(probes.programs["on_socket"], "lo")
    with pytest.raises(ValueError, match="no network interface 'nothing0'"):
        link.attach_xdp(probes.programs["on_xdp"], "nothing0")


def test_an_interface_that_cannot_offload_says_so(probes, veth):
    """By link or netlink: nothing is attached, in no mode."""
    for use_link in (None, True, False):
        with pytest.raises(pyebpf.EbpfError, match='attach program "on_xdp" to XDP on '):
            link.attach_xdp(
                probes.programs["on_xdp"], veth.name, mode=pyebpf.XdpMode.OFFLOAD, use_link=use_link
            )
    assert link.query_xdp(veth.name).attached == 0


def test_a_second_xdp_program_is_told_about_the_first(probes, netns):
    """EBUSY in words."""
    with (
        link.attach_xdp(probes.programs["on_xdp"], "lo"),
        pytest.raises(pyebpf.SyscallError, match="another XDP program"),
    ):
        link.attach_xdp(probes.programs["on_xdp"], "lo")


def test_a_link_knows_its_program_and_can_change_it(probes, netns):
    """info() names kind and program; update() puts another one in place."""
    with (
        pyebpf.load(built("xdp_drop")) as other,
        link.attach_xdp(probes.programs["on_xdp"], "lo") as attached,
    ):
        assert attached.info().type == pyebpf.LinkType.XDP
        assert attached.info().program_id == probes.programs["on_xdp"].id
        attached.update(other.programs["xdp_drop"])
        assert attached.info().program_id == other.programs["xdp_drop"].id
        attached.detach()
        with link.attach_xdp(probes.programs["on_xdp"], "lo"):
            pass


def test_a_pinned_link_outlives_its_owner(probes, bpffs, netns):
    """close() does not detach what a pin holds; opening the pin gives the link back."""
    path = bpffs / "xdp"
    with link.attach_xdp(probes.programs["on_xdp"], "lo") as attached:
        attached.pin(path)
    with link.Link.from_pin(path) as opened:
        assert opened.info().program_id == probes.programs["on_xdp"].id
        with pytest.raises(pyebpf.SyscallError, match="another XDP program"):
            link.attach_xdp(probes.programs["on_xdp"], "lo")
        with pytest.raises(ValueError, match="no map is pinned"):
            pyebpf.Map.from_pin(path)
        opened.detach()
        path.unlink()
    with link.attach_xdp(probes.programs["on_xdp"], "lo"):
        pass


def test_links_the_kernel_holds_are_listed(probes, netns):
    """loaded_links() opens each that bpftool shows; ours is among them."""
    with link.attach_xdp(probes.programs["on_xdp"], "lo") as attached:
        assert missed("link", pyebpf.link.loaded_links(), attached) == set()


def test_a_forgotten_link_warns_and_detaches(probes):
    """Nobody depends on the collector silently."""
    links = [pyebpf.attach(probes.programs["on_raw_tracepoint"])]
    with pytest.warns(ResourceWarning, match="unclosed"):
        links.clear()
    fork_once()
    assert hits(probes, "raw_tracepoint") == 0


def test_a_locked_filter_stays_and_says_so(probes):
    """close() does not pretend: the socket keeps its filter, the link is closed all the same."""
    so_lock_filter = 44
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with left, right:
        attached = link.attach_socket(probes.programs["on_socket"], right)
        right.setsockopt(socket.SOL_SOCKET, so_lock_filter, 1)
        with pytest.raises(pyebpf.PrivilegeError, match="detach from socket"):
            attached.close()
        assert attached.closed
        attached.close()
        left.send(bytes(10))
    assert hits(probes, "socket") == 1


def test_a_filter_that_is_refused_leaves_the_one_that_is_there(probes):
    """A failing attachment changes nothing."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with left, right, link.attach_socket(probes.programs["on_socket"], right):
        with pytest.raises(pyebpf.AttachError, match='"on_xdp" is of type'):
            link.attach_socket(probes.programs["on_xdp"], right)
        left.send(bytes(10))
        assert hits(probes, "socket") == 1


def test_a_pinned_program_is_attached_by_hand(probes, bpffs, tracefs):
    """It has no section name any more, so attach() says so; the functions of link need none."""
    probes.programs["on_tracepoint"].pin(bpffs / "program")
    try:
        with pyebpf.Program.from_pin(bpffs / "program") as opened:
            with pytest.raises(pyebpf.LoadError, match="not loaded from an object"):
                pyebpf.attach(opened)
            with link.attach_tracepoint(opened, "syscalls", "sys_enter_getppid"):
                os.getppid()
        assert hits(probes, "tracepoint") == 1
    finally:
        (bpffs / "program").unlink()


def test_a_closed_program_is_named(probes, tracefs):
    """And what was opened to attach it to is closed again."""
    program = probes.programs["on_tracepoint"]
    program.close()
    with pytest.raises(pyebpf.ClosedError, match='program "on_tracepoint" used after close'):
        pyebpf.attach(program)


def test_wrong_programs_and_names_are_refused_with_what_is_near(probes, tracefs):
    """Before the kernel is asked, where that is possible."""
    raw, point = probes.programs["on_raw_tracepoint"], probes.programs["on_tracepoint"]
    with pytest.raises(pyebpf.AttachError, match="not TRACEPOINT"):
        link.attach_tracepoint(raw, "sched", "sched_process_exec")
    with pytest.raises(pyebpf.AttachError, match="not RAW_TRACEPOINT or"):
        link.attach_raw_tracepoint(point, "sched_process_exec")
    with pytest.raises(pyebpf.AttachError, match="not KPROBE"):
        link.attach_uprobe(point, "libc.so.6", "getuid")
    with pytest.raises(pyebpf.AttachError, match="not TRACING or LSM or EXT"):
        link.attach_tracing(point)
    with pytest.raises(pyebpf.SyscallError, match=r"near: sched_process_exec"):
        link.attach_raw_tracepoint(raw, "sched_proces_exec")
    with (
        link.attach_tracepoint(point, "sched", "sched_process_exec"),
        pytest.raises(pyebpf.SyscallError, match="attached there already"),
    ):
        link.attach_tracepoint(point, "sched", "sched_process_exec")


def test_a_link_cannot_be_disowned_but_pinned(probes):
    """It lives as long as its descriptors and pins."""
    with (
        pyebpf.attach(probes.programs["on_raw_tracepoint"]) as attached,
        pytest.raises(pyebpf.NotSupportedError, match=r"pin\(path\)"),
    ):
        attached.disown()
