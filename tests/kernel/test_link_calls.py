"""What can be done with an open link, hook by hook, by effect: update, detach, disown, close.

Attaching and the first program's effect are tested where the hook is; here a second one that does
nothing takes its place.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess

import pytest

import pyebpf
from pyebpf import AttachType, ProgramSpec, link
from pyebpf.link import journal
from pyebpf.spec import CollectionSpec
from pyebpf.uapi.per_hook import AttachFlag
from tests.support import kernel
from tests.support.cgroups import joined
from tests.support.killed import killed
from tests.support.netns import Namespace, packets
from tests.support.programs import only

LOCALHOST, UNUSED_PORT = "127.0.0.1", 7777


@contextlib.contextmanager
def idle(section: str, result: int):
    """A program that returns a number and does nothing."""
    spec = ProgramSpec.assemble("idle", f"r0 = {result}; exit", section=section, license="GPL")
    with pyebpf.load(CollectionSpec(programs={"idle": spec})) as bpf:
        yield bpf.programs["idle"]


def count(bpf: pyebpf.Collection, name: str) -> int:
    value = bpf.variables[name].value
    assert isinstance(value, int)
    return value


def look_up(bpf, veth, cgroup) -> None:
    bpf.variables["lookup_port"].value = UNUSED_PORT
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection((LOCALHOST, UNUSED_PORT)).close()


def send_message(bpf, veth, cgroup) -> None:
    """A socket keeps the program it met when it came into the map: each time another one."""
    with (
        socket.create_server((LOCALHOST, 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        server.accept()[0],
    ):
        bpf.maps["sockets"][0] = client.fileno()
        client.sendall(b"message")
        del bpf.maps["sockets"][0]


def arrive(bpf, veth, cgroup) -> None:
    packets(veth, 1)


def leave_group(bpf, veth, cgroup) -> None:
    with joined(cgroup), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", (LOCALHOST, 9))


# Program and its counter; section and result of the idle one; what makes it run; how to attach it.
HOOKS = {
    "sk_lookup": (
        ("hooks_net", "on_lookup", "lookup_hits"), ("sk_lookup", 1), look_up,
        lambda bpf, veth, cgroup: link.attach_netns(bpf.programs["on_lookup"]),
    ),
    "sk_msg": (
        ("hooks_net", "on_msg", "msg_hits"), ("sk_msg", 1), send_message,
        lambda bpf, veth, cgroup: link.attach_sockmap(
            bpf.programs["on_msg"], bpf.maps["sockets"], use_link=True
        ),
    ),
    "sk_msg, attached": (
        ("hooks_net", "on_msg", "msg_hits"), ("sk_msg", 1), send_message,
        lambda bpf, veth, cgroup: link.attach_sockmap(
            bpf.programs["on_msg"], bpf.maps["sockets"], use_link=False
        ),
    ),
    "tcx": (
        ("hooks_net", "classify", "tc_hits"), ("tcx/ingress", -1), arrive,
        lambda bpf, veth, cgroup: link.attach_tcx(bpf.programs["classify"], veth.name, "ingress"),
    ),
    "tcx, attached": (
        ("hooks_net", "classify", "tc_hits"), ("tcx/ingress", -1), arrive,
        lambda bpf, veth, cgroup: link.attach_tcx(
            bpf.programs["classify"], veth.name, "ingress", use_link=False
        ),
    ),
    "clsact": (
        ("hooks_net", "classify", "tc_hits"), ("tc", 0), arrive,
        lambda bpf, veth, cgroup: link.attach_clsact(
            bpf.programs["classify"], veth.name, "ingress"
        ),
    ),
    "xdp": (
        ("hooks_net", "xdp_one", "xdp_one_hits"), ("xdp", 2), arrive,
        lambda bpf, veth, cgroup: link.attach_xdp(bpf.programs["xdp_one"], veth.name),
    ),
    "xdp, netlink": (
        ("hooks_net", "xdp_one", "xdp_one_hits"), ("xdp", 2), arrive,
        lambda bpf, veth, cgroup: link.attach_xdp(
            bpf.programs["xdp_one"], veth.name, use_link=False
        ),
    ),
    "cgroup": (
        ("hooks_cgroup", "egress", "egress_hits"), ("cgroup_skb/egress", 1), leave_group,
        lambda bpf, veth, cgroup: link.attach_cgroup(bpf.programs["egress"], cgroup),
    ),
    "cgroup, attached": (
        ("hooks_cgroup", "egress", "egress_hits"), ("cgroup_skb/egress", 1), leave_group,
        lambda bpf, veth, cgroup: link.attach_cgroup(
            bpf.programs["egress"], cgroup, use_link=False
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("hook", HOOKS)
def test_another_program_takes_the_place(hook, veth, cgroup):
    """The first runs before the update and not after it; only if the expected one is there."""
    (name, program, counter), (section, result), act, attach = HOOKS[hook]
    if hook == "sk_msg, attached":
        kernel.needs("5.18", "asking which program a sockmap has")
    with pyebpf.load(only(name, program)) as bpf, idle(section, result) as other:
        with attach(bpf, veth, cgroup) as attached:
            act(bpf, veth, cgroup)
            before = count(bpf, counter)
            assert before >= 1
            with pytest.raises(pyebpf.EbpfError):
                attached.update(other, expected=other)
            act(bpf, veth, cgroup)
            assert count(bpf, counter) == 2 * before, "the refused update changed nothing"
            attached.update(other, expected=bpf.programs[program])
            assert attached.info().program_id == other.id
            act(bpf, veth, cgroup)
            assert count(bpf, counter) == 2 * before
            attached.update(bpf.programs[program])
            act(bpf, veth, cgroup)
            assert count(bpf, counter) == 3 * before
        act(bpf, veth, cgroup)
        assert count(bpf, counter) == 3 * before


def test_a_flow_dissector_is_updated(veth):
    """By link and by attachment; there is only one in a namespace."""
    for use_link in (None, False):
        with (
            pyebpf.load(only("hooks_net", "dissect", "rehash")) as bpf,
            idle("flow_dissector", 0) as other,
            link.attach_tc(bpf.programs["rehash"], veth.name, "egress"),
            link.attach_netns(bpf.programs["dissect"], use_link=use_link) as attached,
        ):
            packets(veth, 2, outward=True)
            assert count(bpf, "dissector_hits") == 2
            with pytest.raises(pyebpf.EbpfError):
                attached.update(other, expected=other)
            attached.update(other)
            packets(veth, 2, outward=True)
            assert count(bpf, "dissector_hits") == 2
            found = pyebpf.query(None, AttachType.FLOW_DISSECTOR)
            assert [each.program_id for each in found.programs] == [other.id]


def test_an_iterator_is_updated():
    """The next walk is the other program's; one that is open goes on."""
    spec = only("hooks_trace", "on_task")
    with (
        pyebpf.load(spec) as bpf,
        idle("iter/task", 0) as other,
        link.attach_iter(bpf.programs["on_task"]) as walk,
    ):
        assert walk.read()
        walk.update(other)
        assert walk.read() == b""
        assert walk.info().program_id == other.id


@pytest.mark.parametrize("hook", ["sk_lookup", "sk_msg", "tcx", "xdp", "cgroup", "netfilter"])
def test_detaching_leaves_an_empty_link(hook, veth, cgroup):
    """Pinned or not: the program runs no more, and the link can be asked still."""
    if hook == "netfilter":
        name, program, counter, act = "hooks_net", "on_netfilter", "netfilter_hits", arrive

        def attach(bpf, veth, cgroup):
            return link.attach_netfilter(bpf.programs[program], link.NetfilterHook.LOCAL_IN)
    else:
        (name, program, counter), _, act, attach = HOOKS[hook]
    with pyebpf.load(only(name, program)) as bpf, attach(bpf, veth, cgroup) as attached:
        act(bpf, veth, cgroup)
        before = count(bpf, counter)
        assert before >= 1
        attached.detach()
        act(bpf, veth, cgroup)
        assert count(bpf, counter) == before
        assert attached.info().program_id == bpf.programs[program].id
        assert not attached.closed


def test_what_the_kernel_cannot_do_with_a_link_is_said(tracefs, netns):
    """Events and tracepoints neither update nor detach; they go on."""
    spec = only("probes", "on_tracepoint", "on_raw_tracepoint")
    spec.variables["target_pid"].value = os.getpid()
    with pyebpf.load(spec) as bpf, pyebpf.load(only("hooks_net", "on_netfilter")) as net:
        program = net.programs["on_netfilter"]
        with (
            pyebpf.attach(bpf.programs["on_tracepoint"]) as event,
            pyebpf.attach(bpf.programs["on_raw_tracepoint"]) as raw,
            link.attach_netfilter(program, link.NetfilterHook.LOCAL_IN) as filtering,
        ):
            for each, name in ((event, "on_tracepoint"), (raw, "on_raw_tracepoint")):
                with pytest.raises(pyebpf.EbpfError, match="update link to program"):
                    each.update(bpf.programs[name])
                with pytest.raises(pyebpf.EbpfError, match=r"detach from .*tracepoint"):
                    each.detach()
            with pytest.raises(pyebpf.EbpfError, match="update link to program"):
                filtering.update(program)
            os.getppid()
            assert count(bpf, "tracepoint_hits") == 1


# --- who owns what is attached -----------------------------------------------------------------


def test_closing_leaves_a_link_that_took_the_place(netns):
    """Somebody took ours off and attached theirs by a link: there is nothing to do."""
    with pyebpf.load(only("hooks_net", "xdp_one", "xdp_two")) as bpf:
        first = link.attach_xdp(bpf.programs["xdp_one"], "lo", use_link=False)
        netns.run("ip", "link", "set", "lo", "xdp", "off")
        with link.attach_xdp(bpf.programs["xdp_two"], "lo", use_link=True):
            first.close()
            assert link.query_xdp("lo").program_id == bpf.programs["xdp_two"].id
    assert link.query_xdp("lo").program_id == 0


@pytest.mark.parametrize("way", ["xdp", "clsact"])
def test_a_forgotten_attachment_warns_and_stays(netns, way):
    """Nobody depends on the collector silently, and nothing is taken off behind one's back."""
    with pyebpf.load(only("hooks_net", "xdp_one", "one")) as bpf:
        links = [
            link.attach_xdp(bpf.programs["xdp_one"], "lo", use_link=False)
            if way == "xdp"
            else link.attach_clsact(bpf.programs["one"], "lo")
        ]
        with pytest.warns(ResourceWarning, match="unclosed"):
            links.clear()
        if way == "xdp":
            assert link.query_xdp("lo").program_id == bpf.programs["xdp_one"].id
        else:
            assert len(link.tc_filters("lo", "ingress")) == 1
    for entry in journal.entries():
        if entry.number("pid") == os.getpid():
            entry.remove()


def test_a_disowned_filter_stays_on_its_socket():
    """As long as the socket lives; what else needs its descriptor says so."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with pyebpf.load(only("probes", "on_socket")) as bpf, left, right:
        attached = link.attach_socket(bpf.programs["on_socket"], right)
        attached.disown()
        assert attached.closed
        left.send(bytes(10))
        assert count(bpf, "socket_hits") == 1


def attach_and_update(attach, first, second):
    attached = attach(first)
    attached.update(second)
    return attached


@pytest.mark.parametrize("way", ["xdp", "clsact", "tcx", "cgroup"])
def test_the_program_of_an_update_is_found_after_a_kill(netns, cgroup, way):
    """Whichever was attached last is what is written down."""
    attach = {
        "xdp": lambda program: link.attach_xdp(program, "lo", use_link=False),
        "clsact": lambda program: link.attach_clsact(program, "lo"),
        "tcx": lambda program: link.attach_tcx(program, "lo", use_link=False),
        "cgroup": lambda program: link.attach_cgroup(program, cgroup, use_link=False),
    }[way]
    name = "hooks_cgroup" if way == "cgroup" else "hooks_net"
    one, two = ("xdp_one", "xdp_two") if way == "xdp" else ("one", "two")
    with pyebpf.load(only(name, one, two)) as bpf:
        first, second = bpf.programs[one], bpf.programs[two]
        if way == "tcx":
            attach(first).close()  # skips where there is none
        with killed(lambda: attach_and_update(attach, first, second)):
            assert [each.program_id for each in link.leftovers()] == [second.id]
            assert [each.program_id for each in link.clean_up()] == [second.id]
    assert link.query_xdp("lo").program_id == 0
    assert link.tc_filters("lo", "ingress") == []
    assert link.leftovers() == []


def test_a_sockmaps_program_of_a_killed_process_is_found_and_removed():
    """The map lives on here, and so does what is attached to it."""
    kernel.needs("5.18", "asking which program a sockmap has")
    with pyebpf.load(only("hooks_net", "on_msg")) as bpf:
        program, sockets = bpf.programs["on_msg"], bpf.maps["sockets"]
        with killed(lambda: link.attach_sockmap(program, sockets, use_link=False)) as child:
            (left,) = link.leftovers()
            assert (left.kind, left.pid) == ("attach", child)
            assert "sockets" in left.target
            assert [each.pid for each in link.clean_up()] == [child]
        assert pyebpf.query(sockets, AttachType.SK_MSG_VERDICT).programs == ()


def test_links_vanish_with_a_killed_process_unless_they_are_pinned(netns, bpffs):
    """Nothing is written down for either."""
    with pyebpf.load(only("hooks_net", "xdp_one", "one")) as bpf:
        link.attach_tcx(bpf.programs["one"], "lo").close()  # skips where there is none

        def attach():
            pinned = link.attach_tcx(bpf.programs["one"], "lo")
            pinned.pin(bpffs / "tcx")
            return link.attach_xdp(bpf.programs["xdp_one"], "lo"), pinned

        with killed(attach):
            assert link.leftovers() == []
            assert link.query_xdp("lo").program_id == 0
            assert len(pyebpf.query("lo", AttachType.TCX_INGRESS).programs) == 1
            (bpffs / "tcx").unlink()


# --- places that vanish, and places that are taken ---------------------------------------------


def test_a_namespace_that_vanishes_leaves_an_empty_link():
    """It says so: inode 0, and ENOLINK for an update."""
    namespace = Namespace()
    with pyebpf.load(only("hooks_net", "on_lookup")) as bpf, idle("sk_lookup", 1) as other:
        with namespace.entered():
            attached = link.attach_netns(bpf.programs["on_lookup"])
        with attached:
            inode = attached.info().netns_inode
            assert inode
            namespace.close()
            for _ in range(1000):  # the kernel takes namespaces down behind the scenes
                if attached.info().netns_inode == 0:
                    break
                os.sched_yield()
                subprocess.run(["true"], check=True)
            assert attached.info().netns_inode == 0
            with pytest.raises(pyebpf.SyscallError, match="attached to is gone"):
                attached.update(other)


def test_a_taken_netfilter_priority_names_its_program(netns):
    """Of this network namespace, or of another one: links do not tell."""
    with pyebpf.load(only("hooks_net", "on_netfilter")) as bpf:
        program, hook = bpf.programs["on_netfilter"], link.NetfilterHook.LOCAL_IN
        with (
            link.attach_netfilter(program, hook, priority=5),
            pytest.raises(
                pyebpf.SyscallError, match=rf'program {program.id} "on_netfilter".* has priority 5'
            ),
        ):
            link.attach_netfilter(program, hook, priority=5)


def test_a_cgroups_revision_keeps_others_from_interfering(cgroup):
    """ESTALE in words (Linux 6.17), by link and by attachment."""
    with pyebpf.load(only("hooks_cgroup", "one", "two", "three")) as bpf:
        one, two, three = (bpf.programs[name] for name in ("one", "two", "three"))
        for use_link in (None, False):
            with link.attach_cgroup(one, cgroup, use_link=use_link):
                seen = pyebpf.query(cgroup, AttachType.CGROUP_INET_EGRESS).revision
                with (
                    link.attach_cgroup(two, cgroup, revision=max(seen, 1), use_link=use_link),
                    pytest.raises(pyebpf.SyscallError, match="another revision"),
                ):
                    link.attach_cgroup(three, cgroup, revision=seen, use_link=use_link)


def test_a_preorder_program_runs_before_those_of_groups_below(cgroup, netns):
    """BPF_F_PREORDER (Linux 6.15)."""
    kernel.needs("6.15", "BPF_F_PREORDER")
    below = cgroup / "below"
    below.mkdir()
    try:
        with pyebpf.load(only("hooks_cgroup", "one", "two")) as bpf:
            one, two = bpf.programs["one"], bpf.programs["two"]
            with (
                link.attach_cgroup(one, cgroup, flags=AttachFlag.PREORDER),
                link.attach_cgroup(two, below),
            ):
                (below / "cgroup.procs").write_text(str(os.getpid()))
                try:
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                        sock.sendto(b"x", (LOCALHOST, 9))
                finally:
                    (cgroup.parent / "cgroup.procs").write_text(str(os.getpid()))
                assert count(bpf, "order") == 12
    finally:
        below.rmdir()


def test_a_group_of_version_1_is_refused(real_kernel):
    """With the place where one of version 2 is."""
    points = kernel.mount_points("cgroup")
    if not points:
        pytest.skip("no version-1 control groups are mounted")
    with (
        pyebpf.load(only("hooks_cgroup", "one")) as bpf,
        pytest.raises(pyebpf.AttachError, match="no directory of a cgroup2 file system"),
    ):
        link.attach_cgroup(bpf.programs["one"], points[0])
