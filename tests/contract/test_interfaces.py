"""Programs of interfaces, namespaces and netfilter: XDP and clsact by netlink, order, links."""

from __future__ import annotations

import array
import contextlib
import errno
import os
import struct
from collections.abc import Iterator

import pytest

from pyebpf.errors import NetlinkError
from pyebpf.sys import bpf, netlink, tc
from pyebpf.sys import kernel as seam
from pyebpf.sys.fd import FD
from pyebpf.sys.rtnetlink import RouteSocket, set_xdp, xdp_state
from pyebpf.sys.tc import FilterAt
from pyebpf.uapi.attrs import (
    LinkCreate,
    LinkCreateNetfilter,
    LinkCreateTcx,
    LinkDetach,
    LinkUpdate,
    ProgAttach,
    ProgQuery,
)
from pyebpf.uapi.bpf import AttachFlag, AttachType, ProgType
from pyebpf.uapi.info import LinkInfo, LinkInfoNetfilter, LinkInfoNetns, LinkInfoXdp, ProgInfo
from pyebpf.uapi.net import XdpAttached, XdpFlag
from pyebpf.uapi.rtnetlink import IfInfoMsg, IflaAttr, IflaXdpAttr, RtnetlinkType
from tests.support.contract import load, outcome, require

LO = 1
NOWHERE = 424242
UNSUPPORTED = errno.errorcode[errno.EOPNOTSUPP]
INGRESS = AttachType.TCX_INGRESS
BEFORE, AFTER, BY_LINK, BY_ID, REPLACE = (
    AttachFlag.BEFORE,
    AttachFlag.AFTER,
    AttachFlag.LINK,
    AttachFlag.ID,
    AttachFlag.REPLACE,
)

pytestmark = pytest.mark.usefixtures("newest")


@pytest.fixture(autouse=True)
def inside(kernel, request) -> None:
    """Only a network of the test's own is changed."""
    if kernel is None:
        request.getfixturevalue("netns")


@pytest.fixture
def near(kernel, request) -> int:
    """An interface with a driver."""
    if kernel is None:
        request.getfixturevalue("veth")
    return seam.current().interface_index("near")


@contextlib.contextmanager
def loaded(kind: ProgType, count: int, **more: int) -> Iterator[list[FD]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(load(kind, **more)) for _ in range(count)]


def id_of(program: FD) -> int:
    info = ProgInfo()
    bpf.obj_get_info_by_fd(program.fileno(), info)
    return int(info.id)


def told(call):
    """Return what a call gives, or the errno and the kernel's words."""
    words = ""

    def watched():
        nonlocal words
        try:
            return call()
        except NetlinkError as error:
            words = error.extack
            raise

    result = outcome(watched)
    return f"{result}: {words}" if words else result


# --- XDP


def xdp_link(program: FD, index: int, flags: int = 0):
    attr = LinkCreate(
        prog_fd=program.fileno(), target_ifindex=index, attach_type=AttachType.XDP, flags=flags
    )
    return outcome(lambda: bpf.link_create(attr))


def test_xdp_by_netlink_belongs_to_the_interface(kernel):
    """Replaced by whoever may; NOEXIST and an expected program stand in the way."""
    with RouteSocket() as socket, loaded(ProgType.XDP, 2) as (first, second):

        def put(program: FD | None, flags: int = 0, expected: FD | None = None, index: int = LO):
            fd = program.fileno() if program is not None else None
            wanted = expected.fileno() if expected is not None else None
            return told(lambda: set_xdp(socket, index, fd, flags, expected_fd=wanted))

        assert xdp_state(socket, LO) == (XdpAttached.NONE, 0, 0, 0, 0)
        assert put(first, XdpFlag.UPDATE_IF_NOEXIST) is None
        number = id_of(first)
        assert xdp_state(socket, LO) == (XdpAttached.SKB, number, 0, number, 0)
        there = "EBUSY: XDP program already attached"
        assert put(second, XdpFlag.UPDATE_IF_NOEXIST) == there
        other = "EEXIST: Active program does not match expected"
        assert put(second, 0, second) == other
        assert put(second, 0, first) is None
        assert xdp_state(socket, LO).program_id == id_of(second)
        assert put(None, 0, first) == other
        assert xdp_link(first, LO) == "EBUSY"
        assert put(None) is None
        assert put(None) is None
        assert put(first, XdpFlag.DRV_MODE) == (
            f"{UNSUPPORTED}: Underlying driver does not support XDP in native mode"
        )
        assert put(first, XdpFlag.DRV_MODE | XdpFlag.SKB_MODE) == "EINVAL"
        assert put(first, 1 << 10) == "EINVAL"
        assert put(first, index=NOWHERE) == "ENODEV"
        with load() as wrong:
            assert put(wrong) == "EINVAL"
        assert outcome(lambda: xdp_state(socket, NOWHERE)) == "ENODEV"
        with xdp_link(first, LO) as held:
            link = "EBUSY: Can't replace active BPF XDP link"
            assert put(second) == link
            assert put(None) == link
            info = LinkInfoXdp()
            bpf.obj_get_info_by_fd(held.fileno(), info)
            assert info.ifindex == LO
            assert xdp_state(socket, LO).generic_id == number


def test_an_interface_runs_xdp_in_its_driver_or_not(kernel, near):
    """The one mode keeps the other out."""
    with RouteSocket() as socket, loaded(ProgType.XDP, 2) as (first, second):
        number = id_of(first)
        with xdp_link(first, near):
            assert xdp_state(socket, near) == (XdpAttached.DRV, number, number, 0, 0)
            assert xdp_link(second, near, XdpFlag.SKB_MODE) == "EEXIST"
            assert xdp_link(second, near, XdpFlag.DRV_MODE) == "EBUSY"
        with xdp_link(first, near, XdpFlag.SKB_MODE):
            assert xdp_state(socket, near) == (XdpAttached.SKB, number, 0, number, 0)
            assert told(lambda: set_xdp(socket, near, second.fileno(), 0)) == (
                "EEXIST: Native and generic XDP can't be active at the same time"
            )
        assert xdp_link(first, near, XdpFlag.HW_MODE) == "EINVAL"
        elsewhere = {"expected_attach_type": AttachType.XDP_CPUMAP}
        with load(ProgType.XDP, **elsewhere) as wrong:
            assert told(lambda: set_xdp(socket, near, wrong.fileno(), 0)) == (
                "EINVAL: BPF_XDP_CPUMAP programs can not be attached to a device"
            )
        assert xdp_state(socket, near).attached == XdpAttached.NONE


def test_requests_that_say_less_or_more_do_what_they_say(kernel):
    """No program named: nothing happens; an expected one without its flag's partner: EINVAL."""
    with RouteSocket() as socket, loaded(ProgType.XDP, 1) as (program,):

        def ask(*parts: bytes):
            body = netlink.fixed(IfInfoMsg(ifi_index=LO))
            body += netlink.attribute(IflaAttr.XDP, *parts, nested=True)
            return told(lambda: socket.request(RtnetlinkType.SETLINK, body))

        flags = netlink.attribute(IflaXdpAttr.FLAGS, struct.pack("=I", XdpFlag.REPLACE))
        fd = netlink.attribute(IflaXdpAttr.FD, struct.pack("=i", program.fileno()))
        assert ask() == []
        assert ask(fd, flags) == "EINVAL"
        wrong = netlink.attribute(IflaXdpAttr.FD, struct.pack("=i", 0x7FFFFFF0))
        assert ask(wrong) == "EBADF"


# --- clsact


def test_a_qdisc_is_made_once_and_removed_with_its_filters(kernel):
    """And says so."""
    with RouteSocket() as socket, loaded(ProgType.SCHED_CLS, 1) as (program,):
        at = FilterAt(LO, egress=False)

        def add():
            return told(lambda: tc.add_filter(socket, at, program.fileno(), name="x"))

        def delete(kind: str = "clsact"):
            return told(lambda: tc.delete_clsact(socket, LO, kind))

        assert tc.qdisc_kind(socket, LO) == ""
        assert add() == "EINVAL: Parent Qdisc doesn't exists"
        assert delete() == "ENOENT: Cannot find specified qdisc on specified device"
        assert tc.add_clsact(socket, LO) is True
        assert tc.add_clsact(socket, LO) is False
        assert tc.qdisc_kind(socket, LO) == "clsact"
        # Older kernels say no more than the beginning.
        assert delete("ingress").startswith("EINVAL: Invalid qdisc name")
        assert tc.empty(socket, LO)
        assert add() == FilterAt(LO, False, 0xC000, 1)
        assert not tc.empty(socket, LO)
        assert delete() is None
        assert delete() == "EINVAL: Invalid handle"
        assert add() == "EINVAL: Parent Qdisc doesn't exists"
        assert tc.filters(socket, LO, egress=False) == []
        assert told(lambda: tc.add_clsact(socket, NOWHERE)) == "ENODEV"
        assert told(lambda: tc.filters(socket, NOWHERE, egress=False)) == []


def test_filters_run_by_priority_and_the_newest_first(kernel):
    """The kernel counts priorities down and handles up."""
    with RouteSocket() as socket, loaded(ProgType.SCHED_CLS, 3) as (one, two, three):
        tc.add_clsact(socket, LO)

        def add(program: FD, priority: int = 0, handle: int = 0, **more):
            at = FilterAt(LO, True, priority, handle)
            return told(lambda: tc.add_filter(socket, at, program.fileno(), name="mine", **more))

        def listed():
            return [
                (each.program_id, each.at.priority, each.at.handle)
                for each in tc.filters(socket, LO, egress=True)
            ]

        assert add(one) == FilterAt(LO, True, 0xC000, 1)
        assert add(two) == FilterAt(LO, True, 0xBFFF, 1)
        assert add(three, 5) == FilterAt(LO, True, 5, 1)
        assert add(one, 5) == FilterAt(LO, True, 5, 2)
        assert add(two, 5, 7) == FilterAt(LO, True, 5, 7)
        ids = [id_of(each) for each in (one, two, three)]
        assert listed() == [
            (ids[1], 5, 7), (ids[0], 5, 2), (ids[2], 5, 1), (ids[1], 0xBFFF, 1), (ids[0], 0xC000, 1)
        ]  # fmt: skip
        assert add(one, 5, 7) == "EEXIST: Filter already exists"
        assert add(three, 5, 2, replace=True, direct=False, class_id=9) == FilterAt(LO, True, 5, 2)
        assert add(one, 5) == FilterAt(LO, True, 5, 3)
        found = tc.filters(socket, LO, egress=True)
        assert [(each.at.handle, each.direct) for each in found[:4]] == [
            (3, True), (7, True), (2, False), (1, True)
        ]  # fmt: skip
        assert {each.name for each in found} == {"mine"}
        with load(ProgType.XDP) as wrong:
            assert add(wrong) == "EINVAL"
        assert tc.filters(socket, LO, egress=False) == []
        tc.delete_clsact(socket, LO)


def test_filters_are_taken_off_one_by_one(kernel):
    """ENOENT for what is not there, EINVAL for another kind."""
    with RouteSocket() as socket, loaded(ProgType.SCHED_CLS, 1) as (program,):
        tc.add_clsact(socket, LO)
        first = tc.add_filter(socket, FilterAt(LO, False, 5), program.fileno(), name="a")
        second = tc.add_filter(socket, FilterAt(LO, False, 5), program.fileno(), name="b")

        def delete(at: FilterAt, kind: str = "bpf"):
            return told(lambda: tc.delete_filter(socket, at, kind))

        not_there = "ENOENT: Filter with specified priority/protocol not found"
        assert delete(first._replace(priority=6)) == not_there
        assert delete(first, "matchall") == (
            "EINVAL: Specified filter kind does not match existing one"
        )
        assert delete(first._replace(handle=9)) == "ENOENT: Specified filter handle not found"
        assert delete(first._replace(priority=0)) == (
            "ENOENT: Cannot flush filters with protocol, handle or kind set"
        )
        assert delete(first) is None
        assert [each.name for each in tc.filters(socket, LO, egress=False)] == ["b"]
        assert delete(second._replace(handle=0)) is None
        assert tc.empty(socket, LO)
        assert delete(second) == "ENOENT: Cannot find specified filter chain"
        tc.delete_clsact(socket, LO)


# --- order


def tcx_link(program: FD, flags: int = 0, beside: int = 0, revision: int = 0, index: int = LO):
    attr = LinkCreateTcx(
        prog_fd=program.fileno(),
        target_ifindex=index,
        attach_type=INGRESS,
        flags=flags,
        relative_fd=beside,
        expected_revision=revision,
    )
    return outcome(lambda: bpf.link_create(attr))


def tcx_attach(program: FD, flags: int = 0, **more: int):
    attr = ProgAttach(
        target_ifindex=LO,
        attach_bpf_fd=program.fileno(),
        attach_type=INGRESS,
        attach_flags=flags,
        **more,
    )
    return outcome(lambda: bpf.prog_attach(attr))


def tcx_detach(program: FD | None = None, flags: int = 0, **more: int):
    fd = program.fileno() if program is not None else 0
    attr = ProgAttach(
        target_ifindex=LO, attach_bpf_fd=fd, attach_type=INGRESS, attach_flags=flags, **more
    )
    return outcome(lambda: bpf.prog_detach(attr))


def tcx_list(room: int = 16):
    """Return program ids, link ids and revision, or an errno."""
    ids, links = array.array("I", bytes(4 * room)), array.array("I", bytes(4 * room))
    attr = ProgQuery(target_ifindex=LO, attach_type=INGRESS, prog_ids=ids, prog_cnt=room)
    attr.link_ids = links
    result = outcome(lambda: bpf.prog_query(attr))
    return result or (list(ids[: attr.prog_cnt]), list(links[: attr.prog_cnt]), attr.revision)


def link_id(fd: FD) -> int:
    info = LinkInfo()
    bpf.obj_get_info_by_fd(fd.fileno(), info)
    return int(info.id)


def test_programs_choose_their_place(kernel):
    """By program, link or id, before and after; all that was said must agree."""
    require("tcx", "6.6")
    with loaded(ProgType.SCHED_CLS, 5) as programs, contextlib.ExitStack() as stack:
        one, two, three, four, five = programs
        ids = [id_of(each) for each in programs]
        assert tcx_list() == ([], [], 1)
        held = stack.enter_context(tcx_link(one))
        assert tcx_attach(two, BEFORE) is None
        assert tcx_list() == ([ids[1], ids[0]], [0, link_id(held)], 3)
        assert tcx_attach(three, AFTER, relative_fd=two.fileno()) is None
        other = stack.enter_context(tcx_link(four, BEFORE | BY_LINK, held.fileno()))
        assert tcx_list()[0] == [ids[1], ids[2], ids[3], ids[0]]
        assert tcx_attach(five, BEFORE | BY_ID | BY_LINK, relative_fd=link_id(other)) is None
        everything = [ids[1], ids[2], ids[4], ids[3], ids[0]]
        assert tcx_list()[::2] == (everything, 6)
        assert tcx_attach(one) == "EEXIST"
        assert tcx_link(two) == "EEXIST"
        assert tcx_list()[::2] == (everything, 6)
        assert tcx_detach(five, 0, expected_revision=5) == "ESTALE"
        assert tcx_detach(five, 0, expected_revision=6) is None
        assert tcx_detach(one) == "EBUSY"
        assert tcx_detach(five) == "ENOENT"
        with load(ProgType.SCHED_CLS) as new:
            assert tcx_attach(new, AFTER, relative_fd=five.fileno()) == "ENOENT"
            assert tcx_attach(new, 0, relative_fd=two.fileno()) == "EINVAL"
            assert tcx_attach(new, BEFORE | AFTER) == "ERANGE"
            assert tcx_attach(new, BY_ID | BEFORE, relative_fd=0x7FFFFFF0) == "ENOENT"
            assert tcx_attach(new, BY_LINK | BEFORE, relative_fd=two.fileno()) == "EINVAL"
            assert tcx_attach(new, 1 << 20) == "EINVAL"
            assert tcx_attach(new, 0, expected_revision=1) == "ESTALE"
            assert tcx_link(new, REPLACE) in ("EINVAL", "ENOENT")
            assert tcx_link(new, 0, 0, 1) == "ESTALE"
            assert tcx_link(new, index=NOWHERE) == "ENODEV"
        with load(ProgType.XDP) as wrong:
            assert tcx_attach(wrong) == "EINVAL"
            assert tcx_attach(five, BEFORE, relative_fd=wrong.fileno()) == "EINVAL"
        assert tcx_detach(two) is None
        assert tcx_detach(three) is None


def test_a_program_takes_the_place_of_another(kernel):
    """By PROG_ATTACH only what was attached so."""
    require("tcx", "6.6")
    with loaded(ProgType.SCHED_CLS, 4) as programs, contextlib.ExitStack() as stack:
        one, two, three, four = programs
        ids = [id_of(each) for each in programs]
        held = stack.enter_context(tcx_link(one))
        assert tcx_attach(two) is None
        assert tcx_attach(three, REPLACE, replace_bpf_fd=two.fileno()) is None
        assert tcx_list()[::2] == ([ids[0], ids[2]], 4)
        assert tcx_attach(two, REPLACE, replace_bpf_fd=one.fileno()) == "EBUSY"
        assert tcx_attach(two, REPLACE, replace_bpf_fd=four.fileno()) == "ENOENT"
        assert tcx_attach(two, REPLACE) in ("EBADF", "EINVAL")

        def change(program: FD):
            attr = LinkUpdate(link_fd=held.fileno(), new_prog_fd=program.fileno())
            return outcome(lambda: bpf.link_update(attr))

        assert change(three) == "EEXIST"
        assert change(four) is None
        assert tcx_list()[::2] == ([ids[3], ids[2]], 5)
        assert change(four) is None
        assert tcx_list()[2] == 5
        assert tcx_detach(three) is None


def test_the_first_and_the_last_are_taken_off_without_a_name(kernel):
    """But not a link's."""
    require("tcx", "6.6")
    with loaded(ProgType.SCHED_CLS, 3) as programs:
        ids = [id_of(each) for each in programs]
        assert tcx_detach() == "ENOENT"
        for each in programs:
            assert tcx_attach(each) is None
        assert tcx_list(1) == "ENOSPC"
        assert tcx_detach(None, BEFORE) is None
        assert tcx_list()[0] == ids[1:]
        assert tcx_detach(None, AFTER) is None
        assert tcx_list()[0] == [ids[1]]
        with tcx_link(programs[0]):
            assert tcx_detach(None, AFTER) == "EBUSY"
        assert tcx_detach() is None
        assert tcx_list()[:2] == ([], [])


def test_what_is_attached_goes_with_the_interface(kernel, near, request):
    """Links stay, attached to nothing."""
    with (
        loaded(ProgType.XDP, 1) as (program,),
        loaded(ProgType.SCHED_CLS, 2) as (one, two),
        RouteSocket() as socket,
        xdp_link(program, near) as xdp,
        tcx_link(one, index=near) as tcx,
    ):
        tc.add_clsact(socket, near)
        tc.add_filter(socket, FilterAt(near, False), two.fileno(), name="x")
        if kernel is None:
            request.getfixturevalue("netns").run("ip", "link", "delete", "near")
        else:
            kernel.remove_interface("near")
        for held, new in ((xdp, program), (tcx, two)):
            info = LinkInfoXdp()
            bpf.obj_get_info_by_fd(held.fileno(), info)
            assert info.ifindex == 0
            attr = LinkUpdate(link_fd=held.fileno(), new_prog_fd=new.fileno())
            assert outcome(lambda attr=attr: bpf.link_update(attr)) == "ENOLINK"
        assert tcx_link(two, index=near) == "ENODEV"
        assert outcome(lambda: xdp_state(socket, near)) == "ENODEV"
        assert tc.qdisc_kind(socket, near) == ""
        if kernel is not None:
            kernel.add_interface("near", near)
            assert tc.qdisc_kind(socket, near) == ""
            assert xdp_state(socket, near).program_id == 0


# --- the network namespace


def test_one_flow_dissector_sits_in_a_namespace(kernel):
    """A link keeps others out; what was attached without one is replaced."""
    kind = AttachType.FLOW_DISSECTOR
    with (
        loaded(ProgType.FLOW_DISSECTOR, 2) as (one, two),
        FD(os.open("/proc/thread-self/ns/net", os.O_RDONLY)) as own,
    ):

        def create(program: FD, place: int = own.fileno(), **more: int):
            attr = LinkCreate(prog_fd=program.fileno(), target_fd=place, attach_type=kind, **more)
            return outcome(lambda: bpf.link_create(attr))

        def attach(program: FD, **more: int):
            attr = ProgAttach(attach_bpf_fd=program.fileno(), attach_type=kind, **more)
            return outcome(lambda: bpf.prog_attach(attr))

        def detach(program: FD):
            attr = ProgAttach(attach_bpf_fd=program.fileno(), attach_type=kind)
            return outcome(lambda: bpf.prog_detach(attr))

        def there():
            ids = array.array("I", bytes(16))
            attr = ProgQuery(
                target_fd=own.fileno(), attach_type=kind, prog_ids=ids, prog_cnt=len(ids)
            )
            bpf.prog_query(attr)
            return list(ids[: attr.prog_cnt])

        assert create(one, flags=4) == "EINVAL"
        assert create(one, one.fileno()) == "EINVAL"
        assert detach(one) == "ENOENT"
        with create(one) as held:
            assert there() == [id_of(one)]
            assert create(two) == "E2BIG"
            assert attach(two) == "EEXIST"
            assert detach(one) == "EINVAL"
            info = LinkInfoNetns()
            bpf.obj_get_info_by_fd(held.fileno(), info)
            assert (info.netns_ino, info.attach_type) == (os.fstat(own.fileno()).st_ino, kind)
            update = LinkUpdate(link_fd=held.fileno(), new_prog_fd=two.fileno())
            assert outcome(lambda: bpf.link_update(update)) is None
            assert there() == [id_of(two)]
            bpf.link_detach(LinkDetach(link_fd=held.fileno()))
            bpf.obj_get_info_by_fd(held.fileno(), info)
            assert info.netns_ino == 0
            assert outcome(lambda: bpf.link_update(update)) == "ENOLINK"
        assert attach(one, attach_flags=AttachFlag.ALLOW_MULTI) == "EINVAL"
        assert attach(one) is None
        assert attach(one) == "EINVAL"
        assert create(two) == "EEXIST"
        assert attach(two) is None
        assert there() == [id_of(two)]
        assert detach(one) == "ENOENT"
        assert detach(two) is None
        assert there() == []


def test_lookups_are_many(kernel):
    """Links only, and only of programs loaded for it."""
    kind = AttachType.SK_LOOKUP
    with (
        loaded(ProgType.SK_LOOKUP, 2, code=ACCEPT, expected_attach_type=kind) as (one, two),
        FD(os.open("/proc/thread-self/ns/net", os.O_RDONLY)) as own,
    ):

        def create(program: FD):
            attr = LinkCreate(prog_fd=program.fileno(), target_fd=own.fileno(), attach_type=kind)
            return outcome(lambda: bpf.link_create(attr))

        with create(one), create(two), create(one):
            ids = array.array("I", bytes(16))
            attr = ProgQuery(target_fd=own.fileno(), attach_type=kind, prog_ids=ids, prog_cnt=4)
            bpf.prog_query(attr)
            assert list(ids) == [id_of(one), id_of(two), id_of(one), 0]
            attr.prog_cnt = 2
            assert outcome(lambda: bpf.prog_query(attr)) == "ENOSPC"
        attach = ProgAttach(attach_bpf_fd=one.fileno(), attach_type=kind)
        assert outcome(lambda: bpf.prog_attach(attach)) == "EINVAL"


# --- netfilter

ACCEPT = bytes([0xB7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])


def test_priorities_of_netfilter_are_unique(kernel):
    """And checked, as are family, hook and flags."""
    kind = AttachType.NETFILTER
    loading = {"code": ACCEPT, "expected_attach_type": kind}
    with loaded(ProgType.NETFILTER, 2, **loading) as (one, two):

        def create(program: FD, priority: int = 7, family: int = 2, hook: int = 1, **more: int):
            attr = LinkCreateNetfilter(
                prog_fd=program.fileno(),
                attach_type=kind,
                pf=family,
                hooknum=hook,
                priority=priority,
                **more,
            )
            return outcome(lambda: bpf.link_create(attr))

        with create(one) as held:
            assert create(two) == "EBUSY"
            create(two, 8).close()
            create(two, 7, hook=0).close()
            info = LinkInfoNetfilter()
            bpf.obj_get_info_by_fd(held.fileno(), info)
            assert (info.pf, info.hooknum, info.priority, info.flags) == (2, 1, 7, 0)
            update = LinkUpdate(link_fd=held.fileno(), new_prog_fd=two.fileno())
            assert outcome(lambda: bpf.link_update(update)) == UNSUPPORTED
            assert outcome(lambda: bpf.link_detach(LinkDetach(link_fd=held.fileno()))) is None
            bpf.obj_get_info_by_fd(held.fileno(), info)
            assert (info.pf, info.hooknum, info.priority, info.flags) == (2, 1, 7, 0)
            create(two).close()
        assert create(one, family=7) == "EAFNOSUPPORT"
        assert create(one, hook=5) == "EPROTO"
        assert create(one, -(1 << 31)) == "ERANGE"
        assert create(one, (1 << 31) - 1) == "ERANGE"
        assert create(one, -400, netfilter_flags=1) == "ERANGE"
        assert create(one, netfilter_flags=2) == UNSUPPORTED
        assert create(one, flags=1) == "EINVAL"
