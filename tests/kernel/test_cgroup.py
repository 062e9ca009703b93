"""Every hook of a cgroup by its effect on this process: allowed, denied, rewritten, counted."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import subprocess

import pytest

import pyebpf
from pyebpf import AttachType, link
from pyebpf.uapi.per_hook import AttachFlag
from tests.support.bpftool import bpftool_json
from tests.support.cgroups import joined
from tests.support.killed import killed
from tests.support.programs import only

SO_PRIORITY = 12
LOCALHOST = "127.0.0.1"


def udp(family: int = socket.AF_INET) -> socket.socket:
    return socket.socket(family, socket.SOCK_DGRAM)


def to_itself(family: int, address: str, *, receive: bool = False) -> None:
    """One datagram from an unconnected socket to itself."""
    with udp(family) as sock:
        sock.settimeout(0.2)
        sock.bind((address, 0))
        sock.sendto(b"x", sock.getsockname())
        if receive:
            sock.recvfrom(10)


def connected(family: int, address: str) -> socket.socket:
    sock = udp(family)
    try:
        sock.connect((address, 9))
    except OSError:
        sock.close()
        raise
    return sock


def connect(family: int, address: str) -> None:
    connected(family, address).close()


def bind(family: int, address: str) -> None:
    with udp(family) as sock:
        sock.bind((address, 0))


def peer_name(family: int, address: str) -> None:
    with connected(family, address) as sock:
        sock.getpeername()


def own_name(family: int, address: str) -> None:
    with connected(family, address) as sock:
        sock.getsockname()


@contextlib.contextmanager
def unix_pair():
    name = f"\0pyebpf-test-{os.getpid()}"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client,
    ):
        server.bind(name)
        client.bind(f"{name}-client")
        yield server, client, name


def unix_connect() -> None:
    with unix_pair() as (_, client, name):
        client.connect(name)


def unix_send() -> None:
    with unix_pair() as (_, client, name):
        client.sendto(b"x", name)


def unix_receive() -> None:
    with unix_pair() as (server, client, name):
        client.sendto(b"x", name)
        server.recvfrom(10)


def unix_names(ask: str) -> None:
    with unix_pair() as (_, client, name):
        client.connect(name)
        getattr(client, ask)()


def priority(action: str) -> None:
    with udp() as sock:
        if action == "set":
            sock.setsockopt(socket.SOL_SOCKET, SO_PRIORITY, 3)
        else:
            assert sock.getsockopt(socket.SOL_SOCKET, SO_PRIORITY) == 77


def read_once(path: str) -> None:
    with pathlib.Path(path).open("rb", buffering=0) as file:
        file.read(10)


V4, V6 = (socket.AF_INET, LOCALHOST), (socket.AF_INET6, "::1")

# What makes the hook run once, and the errno that denies it (None: it cannot).
HOOKS = {
    "ingress": (lambda: to_itself(*V4, receive=True), TimeoutError),
    "egress": (lambda: to_itself(*V4), PermissionError),
    "sock_create": (lambda: udp().close(), PermissionError),
    "sock_release": (lambda: udp().close(), None),
    "bind4": (lambda: bind(*V4), PermissionError),
    "bind6": (lambda: bind(*V6), PermissionError),
    "post_bind4": (lambda: bind(*V4), PermissionError),
    "post_bind6": (lambda: bind(*V6), PermissionError),
    "connect4": (lambda: connect(*V4), PermissionError),
    "connect6": (lambda: connect(*V6), PermissionError),
    "connect_unix": (unix_connect, PermissionError),
    "sendmsg4": (lambda: to_itself(*V4), PermissionError),
    "sendmsg6": (lambda: to_itself(*V6), PermissionError),
    "sendmsg_unix": (unix_send, PermissionError),
    "recvmsg4": (lambda: to_itself(*V4, receive=True), None),
    "recvmsg6": (lambda: to_itself(*V6, receive=True), None),
    "recvmsg_unix": (unix_receive, None),
    "getpeername4": (lambda: peer_name(*V4), None),
    "getpeername6": (lambda: peer_name(*V6), None),
    "getpeername_unix": (lambda: unix_names("getpeername"), None),
    "getsockname4": (lambda: own_name(*V4), None),
    "getsockname6": (lambda: own_name(*V6), None),
    "getsockname_unix": (lambda: unix_names("getsockname"), None),
    "getsockopt": (lambda: priority("get"), PermissionError),
    "setsockopt": (lambda: priority("set"), PermissionError),
    "sysctl": (lambda: read_once("/proc/sys/kernel/ostype"), PermissionError),
    "dev": (lambda: os.close(os.open("/dev/zero", os.O_RDONLY)), PermissionError),
}


@pytest.mark.parametrize("use_link", [None, False], ids=["link", "attach"])
@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_sees_and_decides(name, use_link, cgroup, netns):
    """Exactly the calls of processes in the group, while it is attached."""
    action, denied = HOOKS[name]
    with pyebpf.load(only("hooks_cgroup", name)) as bpf:
        program, hits = bpf.programs[name], bpf.variables[f"{name}_hits"]
        with joined(cgroup):
            with link.attach_cgroup(program, cgroup, use_link=use_link) as attached:
                action()
                once = hits.value
                assert once in ((1, 2) if name == "dev" else (1,))
                if denied is not None:
                    bpf.variables["allow"].value = 0
                    with pytest.raises(denied):
                        action()
                details = attached.info()
                assert details.program_id == program.id
                assert details.cgroup_id == cgroup.stat().st_ino
            before = hits.value
            if name != "getsockopt":
                action()
        assert hits.value == before


def test_sock_ops_see_a_connection(cgroup, netns):
    """Several times, as it is established."""
    with (
        pyebpf.load(only("hooks_cgroup", "sock_ops")) as bpf,
        joined(cgroup),
        link.attach_cgroup(bpf.programs["sock_ops"], cgroup),
        socket.create_server((LOCALHOST, 0)) as server,
        socket.create_connection(server.getsockname()),
    ):
        assert bpf.variables["sock_ops_hits"].value >= 2


def test_a_connection_is_sent_elsewhere(cgroup, netns):
    """The program rewrites the port, as load balancers do."""
    with (
        pyebpf.load(only("hooks_cgroup", "connect4")) as bpf,
        socket.create_server((LOCALHOST, 0)) as server,
        joined(cgroup),
        link.attach_cgroup(bpf.programs["connect4"], cgroup),
    ):
        bpf.variables["from_port"].value = 7777
        bpf.variables["to_port"].value = server.getsockname()[1]
        with socket.create_connection((LOCALHOST, 7777)) as client:
            assert client.getpeername() == server.getsockname()


def test_bpftool_shows_the_same(cgroup):
    """Program, hook and flags, for links and attached programs."""
    with (
        pyebpf.load(only("hooks_cgroup", "one", "bind4")) as bpf,
        link.attach_cgroup(bpf.programs["one"], cgroup),
        link.attach_cgroup(bpf.programs["bind4"], cgroup, use_link=False),
    ):
        try:
            found = bpftool_json("cgroup", "show", str(cgroup))
        except subprocess.CalledProcessError as error:
            found = json.loads(error.stdout)
        assert {each["attach_flags"] for each in found} <= {"multi"}
        shown = {each["attach_type"]: each["id"] for each in found}
        if not shown:
            pytest.skip("this bpftool does not list a cgroup's programs on this kernel")
        assert shown == {
            "cgroup_inet_egress": bpf.programs["one"].id,
            "cgroup_inet4_bind": bpf.programs["bind4"].id,
        }
        for hook in (AttachType.CGROUP_INET_EGRESS, AttachType.CGROUP_INET4_BIND):
            found = pyebpf.query(cgroup, hook)
            assert found.flags & AttachFlag.ALLOW_MULTI
            assert [each.program_id for each in found.programs] == [shown[hook.c_name[4:].lower()]]


def send(bpf: pyebpf.Collection) -> int:
    bpf.variables["order"].value = 0
    to_itself(*V4)
    value = bpf.variables["order"].value
    assert isinstance(value, int)
    return value


@pytest.fixture
def ordered(netns):
    """Three programs that write down their order."""
    with pyebpf.load(only("hooks_cgroup", "one", "two", "three")) as bpf:
        yield bpf


def test_groups_below_run_theirs_first_and_effective_lists_all(ordered, cgroup):
    """And PROG_QUERY with BPF_F_QUERY_EFFECTIVE tells the same order."""
    one, two = ordered.programs["one"], ordered.programs["two"]
    below = cgroup / "below"
    below.mkdir()
    try:
        with link.attach_cgroup(one, cgroup), link.attach_cgroup(two, below):
            (below / "cgroup.procs").write_text(str(os.getpid()))
            try:
                assert send(ordered) == 21
            finally:
                (cgroup.parent / "cgroup.procs").write_text(str(os.getpid()))
            hook = AttachType.CGROUP_INET_EGRESS
            mine = pyebpf.query(below, hook)
            assert [each.program_id for each in mine.programs] == [two.id]
            every = pyebpf.query(below, hook, effective=True)
            assert [each.program_id for each in every.programs] == [two.id, one.id]
    finally:
        below.rmdir()


def test_an_override_gives_way_to_groups_below(ordered, cgroup):
    """BPF_F_ALLOW_OVERRIDE: only the lowest one runs."""
    one, two = ordered.programs["one"], ordered.programs["two"]
    below = cgroup / "below"
    below.mkdir()
    try:
        with (
            link.attach_cgroup(one, cgroup, flags=AttachFlag.ALLOW_OVERRIDE),
            link.attach_cgroup(two, below, flags=AttachFlag.ALLOW_OVERRIDE),
        ):
            (below / "cgroup.procs").write_text(str(os.getpid()))
            try:
                assert send(ordered) == 2
            finally:
                (cgroup.parent / "cgroup.procs").write_text(str(os.getpid()))
    finally:
        below.rmdir()


def test_closing_leaves_a_program_that_took_the_place(ordered, cgroup):
    """With BPF_F_ALLOW_OVERRIDE the second replaces the first."""
    one, two = ordered.programs["one"], ordered.programs["two"]
    flags, hook = AttachFlag.ALLOW_OVERRIDE, AttachType.CGROUP_INET_EGRESS
    first = link.attach_cgroup(one, cgroup, flags=flags)
    with link.attach_cgroup(two, cgroup, flags=flags):
        first.close()
        assert [each.program_id for each in pyebpf.query(cgroup, hook).programs] == [two.id]
    assert pyebpf.query(cgroup, hook).programs == ()


def test_who_wants_to_be_alone_is_named(ordered, cgroup):
    """EPERM is no missing privilege here, and says so."""
    one, two = ordered.programs["one"], ordered.programs["two"]
    with (
        link.attach_cgroup(one, cgroup, flags=AttachFlag(0)),
        pytest.raises(pyebpf.SyscallError, match=rf'program {one.id} "one" of this cgroup'),
    ):
        link.attach_cgroup(two, cgroup)


def test_programs_are_ordered_by_anchors(ordered, cgroup):
    """Before and after another one (Linux 6.17), or before groups below (6.15)."""
    one, two, three = (ordered.programs[name] for name in ("one", "two", "three"))
    with joined(cgroup), link.attach_cgroup(two, cgroup) as middle:
        with (
            link.attach_cgroup(one, cgroup, before=middle) as head,
            link.attach_cgroup(three, cgroup, after=head),
        ):
            assert send(ordered) == 132
        with (
            link.attach_cgroup(one, cgroup, use_link=False),
            link.attach_cgroup(three, cgroup, before=one, use_link=False),
        ):
            assert send(ordered) == 231
        with pytest.raises(pyebpf.SyscallError, match="go before or after is not attached"):
            link.attach_cgroup(one, cgroup, before=two, use_link=False)
        assert send(ordered) == 2


def test_a_program_is_updated_in_place(ordered, cgroup):
    """By links, and by attachments with BPF_F_REPLACE."""
    one, two = ordered.programs["one"], ordered.programs["two"]
    with joined(cgroup):
        for use_link in (True, False):
            with link.attach_cgroup(one, cgroup, use_link=use_link) as attached:
                attached.update(two)
                assert send(ordered) == 2
                assert attached.info().program_id == two.id
            assert send(ordered) == 0


def test_mistakes_are_explained(ordered, cgroup):
    """A version-1 group, no group, a program of another kind, one attached twice."""
    one = ordered.programs["one"]
    with pytest.raises(pyebpf.AttachError, match=r"no directory of a cgroup2 file system"):
        link.attach_cgroup(one, "/proc")
    with pytest.raises(pyebpf.AttachError, match="no cgroup /sys/fs/nothing"):
        link.attach_cgroup(one, "/sys/fs/nothing")
    with (
        pyebpf.load(only("hooks_net", "classify")) as other,
        pytest.raises(pyebpf.AttachError, match="not of a cgroup"),
    ):
        link.attach_cgroup(other.programs["classify"], cgroup)
    with (
        link.attach_cgroup(one, cgroup, use_link=False),
        pytest.raises(pyebpf.SyscallError, match="attached there already"),
    ):
        link.attach_cgroup(one, cgroup, use_link=False)


def test_a_group_that_vanishes_takes_its_programs_along(ordered, cgroup):
    """Closing has nothing to do then; new ones are refused with the reason."""
    below = cgroup / "below"
    below.mkdir()
    directory = os.open(below, os.O_RDONLY)
    try:
        with (
            link.attach_cgroup(ordered.programs["one"], below),
            link.attach_cgroup(ordered.programs["two"], below, use_link=False),
        ):
            below.rmdir()
        with pytest.raises(pyebpf.EbpfError, match="removed"):
            link.attach_cgroup(ordered.programs["one"], directory)
    finally:
        os.close(directory)


def test_what_a_killed_process_left_is_found_and_removed(ordered, cgroup):
    """Programs that were attached without links."""
    one = ordered.programs["one"]
    with killed(lambda: link.attach_cgroup(one, cgroup, use_link=False)) as child:
        (left,) = link.leftovers()
        assert (left.kind, left.program_id, left.pid) == ("attach", one.id, child)
        assert str(cgroup) in left.target
        assert [each.pid for each in link.clean_up()] == [child]
    assert pyebpf.query(cgroup, AttachType.CGROUP_INET_EGRESS).programs == ()
    assert link.leftovers() == []
