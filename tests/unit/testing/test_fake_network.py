"""The network of a made-up kernel: the library attaches as it does to Linux, and tests fire."""

from __future__ import annotations

import contextlib
import json
import pathlib
import struct

import pytest

import pyebpf
from pyebpf import link
from pyebpf.errors import NetlinkError, SyscallError
from pyebpf.host import mounts
from pyebpf.sys import kernel as seam
from pyebpf.testing import FakeKernel
from pyebpf.uapi.bpf import AttachFlag, AttachType
from pyebpf.uapi.net import TcAction, XdpAction
from tests.support.programs import built

PACKET = bytes(64)


@pytest.fixture
def kernel():
    with FakeKernel(interfaces={"eth7": 77, "nk0": 78}, netkits=["nk0"]) as made:
        yield made


@pytest.fixture
def net(kernel):
    with pyebpf.load(built("hooks_net")) as collection:
        yield collection


@pytest.fixture
def groups(kernel):
    with pyebpf.load(built("hooks_cgroup")) as collection:
        yield collection


def group(kernel: FakeKernel, path: str) -> pathlib.Path:
    """Make a control group; return it as a daemon would name it."""
    pathlib.Path(kernel.path("sys/fs/cgroup", path)).mkdir()
    return pathlib.Path("/sys/fs/cgroup", path)


def verdicts(outcomes) -> list[int]:
    return [each.retval for each in outcomes]


# --- interfaces


@pytest.mark.parametrize("use_link", [True, False])
def test_xdp_is_attached_asked_for_and_fired(kernel, net, use_link):
    """By link and by netlink; a second one is told which program is in its way."""
    one, two = net.programs["xdp_one"], net.programs["xdp_two"]
    with link.attach_xdp(one, "eth7", use_link=use_link) as held:
        assert verdicts(kernel.fire("xdp/eth7", PACKET)) == [XdpAction.PASS]
        assert link.query_xdp("eth7").program_id == one.id
        assert held.info().ifindex == 77
        with pytest.raises(SyscallError, match='"xdp_one"'):
            link.attach_xdp(two, "eth7")
        net.variables["xdp_verdict"].value = XdpAction.DROP
        held.update(two)
        assert kernel.fire("xdp/eth7", PACKET)[0].program == "xdp_two"
        assert verdicts(kernel.fire("xdp/eth7", PACKET)) == [XdpAction.DROP]
    assert kernel.fire("xdp/eth7", PACKET) == []
    assert link.query_xdp("eth7").program_id == 0


def test_filters_of_clsact_are_fired_after_programs_of_tcx(kernel, net):
    """Until one decides; the qdisc goes with the last filter."""
    one, two, classify = (net.programs[name] for name in ("one", "two", "classify"))
    with (
        link.attach_clsact(classify, "eth7", "ingress", priority=2) as last,
        link.attach_clsact(one, "eth7", "ingress", priority=1),
        link.attach_tcx(two, "eth7"),
    ):
        net.variables["tc_verdict"].value = TcAction.SHOT
        outcomes = kernel.fire("tc/eth7/ingress", PACKET)
        assert [each.program for each in outcomes] == ["two", "one", "classify"]
        assert outcomes[-1].retval == TcAction.SHOT
        assert kernel.fire("tc/eth7/egress", PACKET) == []
        last.update(one)
        assert last.info().program_id == one.id
        assert [each.name for each in link.tc_filters("eth7", "ingress")] == [
            "pyebpf:one",
            "pyebpf:one",
        ]
    assert link.tc_filters("eth7", "ingress") == []
    assert kernel.fire("tc/eth7/ingress", PACKET) == []


def test_actions_are_filters_of_all_packets(kernel, net):
    """One for each priority; PIPE is what the kernel makes of -1."""
    act, classify = net.programs["act"], net.programs["classify"]
    with link.attach_action(act, "eth7", "egress", priority=3) as made:
        assert verdicts(kernel.fire("tc/eth7/egress", PACKET)) == [TcAction.OK]
        assert made.info().program_id == act.id
        with pytest.raises(NetlinkError, match="priority 3"):
            link.attach_action(act, "eth7", "egress", priority=3)
        with pytest.raises(NetlinkError, match="kind does not match"):
            link.attach_clsact(classify, "eth7", "egress", priority=3)
    assert kernel.fire("tc/eth7/egress", PACKET) == []


def test_a_classifier_without_direct_action_says_what_matches(kernel, net):
    """0 is not its packet."""
    classify, one = net.programs["classify"], net.programs["one"]
    with (
        link.attach_clsact(classify, "lo", "egress", priority=1, direct_action=False, class_id=9),
        link.attach_clsact(one, "lo", "egress", priority=2),
    ):
        assert len(kernel.fire("tc/lo/egress", PACKET)) == 2
        net.variables["tc_verdict"].value = 5
        assert len(kernel.fire("tc/lo/egress", PACKET)) == 1


def test_programs_stand_in_order_on_tcx_and_netkit(kernel, net):
    """With and without links; the library's query shows it."""
    one, two, three = (net.programs[name] for name in ("one", "two", "three"))
    with (
        link.attach_tcx(one, "eth7") as first,
        link.attach_tcx(two, "eth7", before=first),
        link.attach_tcx(three, "eth7", after=two, use_link=False),
    ):
        kernel.fire("tcx/eth7/ingress", PACKET)
        assert net.variables["order"].value == 231
        found = pyebpf.link.query("eth7", AttachType.TCX_INGRESS)
        assert [each.program_id for each in found.programs] == [two.id, three.id, one.id]
        assert [bool(each.link_id) for each in found.programs] == [True, False, True]
        assert found.revision == 4
        with pytest.raises(SyscallError, match="ESTALE"):
            link.attach_tcx(net.programs["classify"], "eth7", "ingress", revision=2)
    net.variables["order"].value = 0
    with link.attach_netkit(one, "nk0") as first, link.attach_netkit(two, "nk0", before=first):
        kernel.fire("netkit/nk0/primary", PACKET)
        assert net.variables["order"].value == 21
        assert first.info().ifindex == 78
        assert kernel.fire("netkit/nk0/peer", PACKET) == []
    with pytest.raises(SyscallError, match="no netkit device"):
        link.attach_netkit(one, "eth7")


# --- netfilter and namespaces


def test_netfilter_programs_run_by_priority_until_one_drops(kernel, net):
    """Each family and hook for itself."""
    program = net.programs["on_netfilter"]
    hook = link.NetfilterHook.LOCAL_IN
    with (
        link.attach_netfilter(program, hook, priority=5),
        link.attach_netfilter(program, hook, priority=-5) as first,
    ):
        assert verdicts(kernel.fire("netfilter/ipv4/local_in", PACKET)) == [1, 1]
        net.variables["netfilter_verdict"].value = 0
        assert verdicts(kernel.fire("netfilter/ipv4/local_in", PACKET)) == [0]
        assert first.info().priority == -5
        assert kernel.fire("netfilter/ipv6/local_in", PACKET) == []
    with pytest.raises(ValueError, match="no hook netfilter/ipv4/sideways"):
        kernel.fire("netfilter/ipv4/sideways", PACKET)


def test_programs_of_a_namespace_are_fired(kernel, net):
    """With the struct they are given; the dissector with a packet."""
    with (
        link.attach_netns(net.programs["on_lookup"]) as lookup,
        link.attach_netns(net.programs["dissect"], use_link=False),
    ):
        assert verdicts(kernel.fire("sk_lookup", {"local_port": 80})) == [1]
        assert net.variables["lookup_hits"].value == 0
        assert verdicts(kernel.fire("flow_dissector", PACKET)) == [129]
        assert lookup.info().netns_inode == pathlib.Path("/proc/self/ns/net").stat().st_ino
        with pytest.raises(SyscallError, match='"dissect" is attached there'):
            link.attach_netns(net.programs["dissect"])
    assert kernel.fire("sk_lookup") == []
    assert kernel.fire("flow_dissector", PACKET) == []


# --- control groups


def test_a_group_has_the_programs_of_those_above(kernel, groups):
    """Which are told what the test says, and change it."""
    outer, inner = group(kernel, "outer"), group(kernel, "outer/inner")
    groups.variables["from_port"].value = 80
    groups.variables["to_port"].value = 8080
    port = struct.pack(">H", 80)
    with (
        link.attach_cgroup(groups.programs["connect4"], outer) as above,
        link.attach_cgroup(groups.programs["connect4"], inner, use_link=False),
    ):
        address = {"user_family": 2, "user_ip4": 0x0100007F, "user_port": port}
        first, second = kernel.fire("cgroup/connect4", address, cgroup="outer/inner")
        assert first.data[24:26] == struct.pack(">H", 8080)
        assert (first.retval, second.retval) == (1, 1)
        assert len(kernel.fire("cgroup/connect4", address, cgroup="/outer")) == 1
        assert kernel.fire("cgroup/connect4", address) == []
        groups.variables["allow"].value = 0
        assert verdicts(kernel.fire("cgroup/connect4", address, cgroup="outer")) == [0]
        assert (
            above.info().cgroup_id == pathlib.Path(kernel.path("sys/fs/cgroup/outer")).stat().st_ino
        )
        found = link.query(inner, AttachType.CGROUP_INET4_CONNECT, effective=True)
        assert len(found.programs) == 2
    assert kernel.fire("cgroup/connect4", {}, cgroup="outer/inner") == []


@pytest.mark.parametrize(
    ("program", "hook", "data"),
    [
        ("egress", "cgroup_skb/egress", b"\x45" + bytes(40)),
        ("ingress", "cgroup_skb/ingress", b"\x60" + bytes(60)),
        ("sock_create", "cgroup/sock_create", {"family": 2, "type": 1}),
        ("post_bind6", "cgroup/post_bind6", {"src_ip6": bytes(16)}),
        ("bind6", "cgroup/bind6", {"user_ip6": bytes(16)}),
        ("connect_unix", "cgroup/connect_unix", {}),
        ("sendmsg4", "cgroup/sendmsg4", {"user_ip4": 1}),
        ("recvmsg6", "cgroup/recvmsg6", {}),
        ("getsockname_unix", "cgroup/getsockname_unix", {}),
        ("setsockopt", "cgroup/setsockopt", {"level": 1, "optname": 2, "optval": b"1234"}),
        ("sysctl", "cgroup/sysctl", {"write": 1}),
        ("dev", "cgroup/dev", {"access_type": 2 << 16 | 2, "major": 1, "minor": 3}),
        ("sock_ops", "sockops", {"op": 3, "family": 2}),
    ],
)
def test_each_hook_of_a_group_is_fired(kernel, groups, program, hook, data):
    """By the name its section has."""
    path = group(kernel, "all")
    with link.attach_cgroup(groups.programs[program], path):
        outcomes = kernel.fire(hook, data, cgroup="all")
        assert [(each.program, each.retval) for each in outcomes] == [(program[:15], 1)]
        assert groups.variables[f"{program}_hits"].value == 1
    assert kernel.fire(hook, data, cgroup="all") == []


def test_the_value_of_an_option_comes_back(kernel, groups):
    """As the program left it."""
    path = group(kernel, "all")
    with link.attach_cgroup(groups.programs["getsockopt"], path):
        option = {"level": 1, "optname": 12, "optval": bytes(4), "retval": -5}
        (outcome,) = kernel.fire("cgroup/getsockopt", option, cgroup="all")
        assert outcome.data == struct.pack("=i", 77)
        with pytest.raises(TypeError, match="as a dict"):
            kernel.fire("cgroup/getsockopt", b"1234", cgroup="all")


def test_a_group_that_is_removed_lets_its_programs_go(kernel, groups):
    """The link says that it is attached to nothing."""
    path = group(kernel, "short-lived")
    program = groups.programs["dev"]
    with link.attach_cgroup(program, path) as held:
        pathlib.Path(kernel.path("sys/fs/cgroup/short-lived")).rmdir()
        assert held.info().cgroup_id == 0
        with pytest.raises(SyscallError, match="ENOLINK"):
            held.update(program)
    with pytest.raises(pyebpf.AttachError, match="no cgroup"):
        link.attach_cgroup(program, path)
    with pytest.raises(ValueError, match="no control group"):
        kernel.fire("cgroup/dev", {}, cgroup="short-lived")


def test_who_is_alone_in_a_group_is_told_to_others(kernel, groups):
    """By name."""
    path = group(kernel, "alone")
    with (
        link.attach_cgroup(groups.programs["dev"], path, flags=AttachFlag(0)),
        pytest.raises(pyebpf.PrivilegeError, match='"dev" of this cgroup'),
    ):
        link.attach_cgroup(groups.programs["dev"], path)


def test_groups_are_found_where_the_kernel_mounts_them(kernel, groups, tmp_path):
    """Another directory is none."""
    assert mounts.of_type("cgroup2") == ["/sys/fs/cgroup"]
    with pytest.raises(pyebpf.AttachError, match="no directory of a cgroup2 file system"):
        link.attach_cgroup(groups.programs["dev"], tmp_path)
    with link.attach_cgroup(groups.programs["dev"], "/sys/fs/cgroup"):
        assert len(kernel.fire("cgroup/dev")) == 1


@pytest.mark.parametrize(
    ("hook", "data", "error"),
    [
        ("cgroup/connect4", b"short", ValueError),
        ("cgroup/connect4", {"no_such_member": 1}, ValueError),
        ("cgroup/dev", (1, 2), TypeError),
        ("xdp/eth7", {"packet": 1}, TypeError),
        ("kprobe/do_unlinkat", {"dfd": 1}, TypeError),
        ("netkit/eth7/primary", PACKET, ValueError),
        ("cgroup/nothing", b"", ValueError),
    ],
)
def test_what_a_hook_cannot_take_is_refused(kernel, hook, data, error):
    """With a reason, before anything runs."""
    with pytest.raises(error):
        kernel.fire(hook, data)


def test_netlink_that_is_not_modelled_is_named(kernel):
    """And its failures are made on demand, too."""
    from pyebpf.sys import tc
    from pyebpf.sys.rtnetlink import RouteSocket
    from pyebpf.uapi.rtnetlink import IfInfoMsg, RtnetlinkType

    with RouteSocket() as socket:
        with pytest.raises(NotImplementedError, match="RTM_DELLINK"):
            socket.request(RtnetlinkType.DELLINK, bytes(IfInfoMsg.SIZE))
        kernel.fail("rtnetlink", 105)
        with pytest.raises(SyscallError, match="ENOBUFS"):
            tc.qdisc_kind(socket, 1)
        assert tc.qdisc_kind(socket, 1) == ""
    kernel.fail("socket", 24)
    with pytest.raises(SyscallError, match="EMFILE"), contextlib.ExitStack() as stack:
        stack.enter_context(RouteSocket())


def test_interfaces_come_and_go(kernel):
    """By names and numbers of their own."""
    kernel.add_interface("eth8", 88)
    assert kernel.fire("xdp/eth8", PACKET) == []
    for name, index in (("eth8", 89), ("eth9", 88)):
        with pytest.raises(ValueError, match="there is an interface"):
            kernel.add_interface(name, index)
    kernel.remove_interface("eth8")
    with pytest.raises(ValueError, match="no interface 'eth8'"):
        kernel.fire("xdp/eth8", PACKET)
    with pytest.raises(ValueError, match="no interface 'eth8'"):
        kernel.remove_interface("eth8")


def test_what_a_dead_process_left_is_cleaned_up(kernel, net):
    """Each kernel has a journal of its own."""
    path = pathlib.Path(kernel.path("run/pyebpf/attachments"))
    with FakeKernel() as other:
        assert other.path("run") != kernel.path("run")
    with seam.use(kernel):
        program = net.programs["xdp_one"]
        held = link.attach_xdp(program, "eth7", use_link=False)
        (entry,) = path.iterdir()
        fields = json.loads(entry.read_text("utf-8"))
        entry.write_text(json.dumps({**fields, "started": fields["started"] + 1}), "utf-8")
        assert [each.program_id for each in link.leftovers()] == [program.id]
        link.clean_up()
        assert link.query_xdp("eth7").program_id == 0
        held.close()
        assert list(path.iterdir()) == []
