"""Programs of control groups: order, who lets whom in, what is told, what goes with the group."""

from __future__ import annotations

import array
import contextlib
import os
import pathlib
from collections.abc import Iterator

import pytest

from pyebpf.sys import bpf
from pyebpf.sys.fd import FD
from pyebpf.uapi.attrs import (
    LinkCreate,
    LinkCreateCgroup,
    LinkDetach,
    LinkUpdate,
    ProgAttach,
    ProgQuery,
)
from pyebpf.uapi.bpf import AttachFlag, AttachType, ProgType, QueryFlag
from pyebpf.uapi.info import LinkInfoCgroup, ProgInfo
from tests.support.contract import load, outcome, require

pytestmark = pytest.mark.usefixtures("newest")

INGRESS = AttachType.CGROUP_INET_INGRESS
RETURN_ONE = bytes([0xB7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])
MULTI, OVERRIDE = AttachFlag.ALLOW_MULTI, AttachFlag.ALLOW_OVERRIDE


@pytest.fixture(autouse=True)
def new_enough() -> None:
    """What is attached to a group had no revision, and no place beside others, before."""
    require("revisions of what is attached", "6.6")


@pytest.fixture
def group(kernel, request) -> pathlib.Path:
    """A control group of the test's own."""
    if kernel is None:
        path: pathlib.Path = request.getfixturevalue("cgroup")
        return path
    path = pathlib.Path(kernel.path("sys/fs/cgroup/group"))
    path.mkdir()
    return path


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[int]:
    with FD(os.open(path, os.O_RDONLY | os.O_DIRECTORY)) as fd:
        yield fd.fileno()


@contextlib.contextmanager
def loaded(count: int) -> Iterator[list[FD]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(load(ProgType.CGROUP_SKB, RETURN_ONE, expected_attach_type=INGRESS))
            for _ in range(count)
        ]


def id_of(program: FD) -> int:
    info = ProgInfo()
    bpf.obj_get_info_by_fd(program.fileno(), info)
    return int(info.id)


def create(group: int, program: FD, flags: int = 0, beside: int = 0, revision: int = 0):
    attr = LinkCreateCgroup(
        prog_fd=program.fileno(),
        target_fd=group,
        attach_type=INGRESS,
        flags=flags,
        relative_fd=beside,
        expected_revision=revision,
    )
    return outcome(lambda: bpf.link_create(attr))


def attach(group: int, program: FD, flags: int = MULTI, **more: int):
    attr = ProgAttach(
        target_fd=group,
        attach_bpf_fd=program.fileno(),
        attach_type=INGRESS,
        attach_flags=flags,
        **more,
    )
    return outcome(lambda: bpf.prog_attach(attr))


def detach(group: int, program: FD | None, **more: int):
    fd = program.fileno() if program is not None else 0
    attr = ProgAttach(target_fd=group, attach_bpf_fd=fd, attach_type=INGRESS, **more)
    return outcome(lambda: bpf.prog_detach(attr))


def attached(group: int, *, effective: bool = False, room: int = 16):
    """Return ids, flags and revision, or an errno."""
    ids = array.array("I", bytes(4 * room))
    attr = ProgQuery(target_fd=group, attach_type=INGRESS, prog_ids=ids, prog_cnt=room)
    attr.query_flags = QueryFlag.QUERY_EFFECTIVE if effective else 0
    result = outcome(lambda: bpf.prog_query(attr))
    return result or (list(ids[: attr.prog_cnt]), attr.attach_flags, attr.revision)


def test_links_stand_in_a_row_and_go_when_closed(kernel, group):
    """The same program twice, too; each change counts."""
    with opened(group) as fd, loaded(2) as (first, second):
        assert attached(fd) == ([], 0, 1)
        one, two, three = create(fd, first), create(fd, second), create(fd, first)
        ids = [id_of(first), id_of(second), id_of(first)]
        assert attached(fd) == (ids, MULTI, 4)
        two.close()
        assert attached(fd) == ([ids[0], ids[2]], MULTI, 5)
        one.close()
        three.close()
        assert attached(fd) == ([], 0, 7)


def test_links_say_what_they_are_and_can_be_changed(kernel, group):
    """EINVAL for another type, EPERM for another program than is there, ENOLINK when it is off."""
    with (
        opened(group) as fd,
        loaded(2) as (first, second),
        load(ProgType.XDP) as other,
        create(fd, first) as made,
    ):
        info = LinkInfoCgroup()
        bpf.obj_get_info_by_fd(made.fileno(), info)
        assert (info.cgroup_id, info.attach_type) == (os.fstat(fd).st_ino, INGRESS)

        def change(program: FD, expected: FD | None = None):
            attr = LinkUpdate(link_fd=made.fileno(), new_prog_fd=program.fileno())
            if expected is not None:
                attr.flags, attr.old_prog_fd = AttachFlag.REPLACE, expected.fileno()
            return outcome(lambda: bpf.link_update(attr))

        assert change(other) == "EINVAL"
        assert change(second, second) == "EPERM"
        assert change(second, first) is None
        assert attached(fd) == ([id_of(second)], MULTI, 3)
        assert outcome(lambda: bpf.link_detach(LinkDetach(link_fd=made.fileno()))) is None
        assert attached(fd) == ([], 0, 4)
        assert change(first) == "ENOLINK"
        bpf.obj_get_info_by_fd(made.fileno(), info)
        assert (info.cgroup_id, info.attach_type) == (0, INGRESS)


def test_programs_are_checked(kernel, group):
    """Type, attach type, flags; and that it is a group."""
    with opened(group) as fd, loaded(1) as (program,), load(ProgType.XDP) as other:
        assert create(fd, other) == "EINVAL"
        assert attach(fd, other) == "EINVAL"
        assert create(fd, program, flags=MULTI) == "EINVAL"
        assert create(fd, program, flags=1 << 20) == "EINVAL"
        assert attach(fd, program, 1 << 20) == "EINVAL"
        assert attach(fd, program, MULTI | OVERRIDE) == "EINVAL"
        wrong = LinkCreate(
            prog_fd=program.fileno(), target_fd=fd, attach_type=AttachType.CGROUP_DEVICE
        )
        assert outcome(lambda: bpf.link_create(wrong)) == "EINVAL"
        assert create(program.fileno(), program) == "EBADF"
        with opened(pathlib.Path("/")) as root:
            assert create(root, program) == "EBADF"
            assert attach(root, program) == "EBADF"
            assert attached(root) == "EBADF"
        attr = ProgAttach(target_fd=fd, attach_bpf_fd=program.fileno(), attach_type=250)
        assert outcome(lambda: bpf.prog_attach(attr)) == "EINVAL"
        query = ProgQuery(target_fd=fd, attach_type=INGRESS, query_flags=1 << 5)
        assert outcome(lambda: bpf.prog_query(query)) == "EINVAL"
    bound = {"expected_attach_type": AttachType.CGROUP_INET4_BIND}
    with opened(group) as fd, load(ProgType.CGROUP_SOCK_ADDR, RETURN_ONE, **bound) as program:
        attr = LinkCreate(
            prog_fd=program.fileno(), target_fd=fd, attach_type=AttachType.CGROUP_INET6_BIND
        )
        assert outcome(lambda: bpf.link_create(attr)) == "EINVAL"


def test_the_group_keeps_what_is_attached_to_it(kernel, group):
    """Beside others, each once; alone it is replaced, and detached whoever is named."""
    with opened(group) as fd, loaded(3) as (first, second, third):
        assert detach(fd, first) == "ENOENT"
        assert attach(fd, first) is None
        assert attach(fd, first) == "EINVAL"
        assert attach(fd, second) is None
        assert attach(fd, third, 0) == "EPERM"
        assert attach(fd, third, OVERRIDE) == "EPERM"
        assert attached(fd) == ([id_of(first), id_of(second)], MULTI, 3)
        replace = MULTI | AttachFlag.REPLACE
        assert attach(fd, third, replace, replace_bpf_fd=first.fileno()) is None
        assert attach(fd, first, replace, replace_bpf_fd=first.fileno()) == "ENOENT"
        assert attach(fd, first, AttachFlag.REPLACE) == "EINVAL"
        assert attached(fd) == ([id_of(third), id_of(second)], MULTI, 4)
        assert detach(fd, first) == "ENOENT"
        assert detach(fd, None) == "EINVAL"
        assert detach(fd, third, attach_flags=MULTI) == "EINVAL"
        assert detach(fd, third) is None
        assert detach(fd, second) is None
        for flags in (0, OVERRIDE):
            assert attach(fd, first, flags) is None
            assert create(fd, second) == "EPERM"
            assert attach(fd, second, flags) is None
            assert attached(fd)[:2] == ([id_of(second)], flags)
            assert detach(fd, None) is None
        assert attached(fd)[:2] == ([], 0)


def test_a_program_of_a_link_is_not_detached_by_name(kernel, group):
    """And the same program may be there both ways."""
    with opened(group) as fd, loaded(1) as (program,), create(fd, program):
        assert detach(fd, program) == "ENOENT"
        assert attach(fd, program) is None
        assert attached(fd)[0] == [id_of(program)] * 2
        assert detach(fd, program) is None
        assert attached(fd)[0] == [id_of(program)]


def test_groups_above_decide_what_those_below_may_do(kernel, group):
    """What was attached to be alone forbids others; what may be overridden does until then."""
    below = group / "below"
    below.mkdir()
    try:
        with opened(group) as above, opened(below) as under, loaded(2) as (first, second):
            for flags, expected, runs in (
                (0, "EPERM", [first]),
                (OVERRIDE, None, [second]),
                (MULTI, None, [second, first]),
            ):
                assert attach(above, first, flags) is None
                assert attached(under, effective=True)[0] == [id_of(first)]
                assert attach(under, second, flags) == expected
                assert attached(under, effective=True) == ([id_of(each) for each in runs], 0, 0)
                if expected is None:
                    assert detach(under, second) is None
                assert detach(above, first) is None
            assert attach(above, first, OVERRIDE) is None
            assert create(under, second).close() is None
            assert attach(under, second, 0) is None
            assert detach(under, second) is None
            assert detach(above, first) is None
    finally:
        below.rmdir()


def test_some_run_before_those_of_the_groups_below(kernel, group):
    """PREORDER: from above, in the order they were attached."""
    below = group / "below"
    below.mkdir()
    early = AttachFlag.PREORDER
    try:
        with (
            opened(group) as above,
            opened(below) as under,
            loaded(6) as programs,
            contextlib.ExitStack() as stack,
        ):
            for fd, program, flags in zip(
                (above, above, above, under, under, under),
                programs,
                (0, early, early, early, 0, early),
                strict=True,
            ):
                stack.enter_context(create(fd, program, flags))
            ids = [id_of(each) for each in programs]
            order = [ids[n] for n in (1, 2, 3, 5, 4, 0)]
            assert attached(under, effective=True)[0] == order
            assert attached(above)[0] == ids[:3]
    finally:
        below.rmdir()


def test_a_link_takes_a_place_beside_another(kernel, group):
    """First, last, beside a link; not beside a program, nor beside what is not there."""
    before, after, by_link, by_id = (
        AttachFlag.BEFORE,
        AttachFlag.AFTER,
        AttachFlag.LINK,
        AttachFlag.ID,
    )
    with opened(group) as fd, loaded(4) as programs, contextlib.ExitStack() as stack:
        one, two, three, four = programs
        ids = [id_of(each) for each in programs]
        middle = stack.enter_context(create(fd, one))
        first = stack.enter_context(create(fd, two, before))
        assert attached(fd)[0] == [ids[1], ids[0]]
        stack.enter_context(create(fd, three, before | by_link, middle.fileno()))
        assert attached(fd)[0] == [ids[1], ids[2], ids[0]]
        info = LinkInfoCgroup()
        bpf.obj_get_info_by_fd(first.fileno(), info)
        stack.enter_context(create(fd, four, after | by_link | by_id, info.id))
        expected = [ids[1], ids[3], ids[2], ids[0]], MULTI, 5
        assert attached(fd) == expected
        assert create(fd, one, before, two.fileno()) == "EINVAL"
        assert create(fd, one, by_link, middle.fileno()) == "EINVAL"
        assert create(fd, one, before | after) == "EINVAL"
        assert create(fd, one, before | by_link, one.fileno()) == "EINVAL"
        assert create(fd, one, before | by_link | by_id, 0x7FFFFFF0) == "ENOENT"
        assert create(fd, one, before | by_link | AttachFlag.PREORDER, middle.fileno()) == "EINVAL"
        assert create(fd, one, revision=2) == "ESTALE"
        assert attached(fd) == expected
        with create(fd, one, revision=5):
            assert attached(fd)[2] == 6


def test_a_program_takes_a_place_beside_another(kernel, group):
    """Not beside a link."""
    before, after, by_id = AttachFlag.BEFORE, AttachFlag.AFTER, AttachFlag.ID
    with opened(group) as fd, loaded(3) as (one, two, three), create(fd, three) as held:
        ids = [id_of(each) for each in (one, two, three)]
        assert attach(fd, one) is None
        assert attach(fd, two, MULTI | before, relative_fd=one.fileno()) is None
        assert attached(fd)[0] == [ids[2], ids[1], ids[0]]
        assert detach(fd, two) is None
        assert attach(fd, two, MULTI | after | by_id, relative_fd=ids[0]) is None
        assert attached(fd)[0] == [ids[2], ids[0], ids[1]]
        assert detach(fd, two, expected_revision=1) == "ESTALE"
        assert detach(fd, two, expected_revision=6) is None
        beside_link = MULTI | before | AttachFlag.LINK
        assert attach(fd, two, beside_link, relative_fd=held.fileno()) == "EINVAL"
        assert attach(fd, two, MULTI | before, relative_fd=three.fileno()) == "ENOENT"
        assert attach(fd, two, MULTI, relative_fd=one.fileno()) == "EINVAL"
        assert detach(fd, one) is None


def test_a_query_tells_what_there_is_room_for(kernel, group):
    """ENOSPC for more; nothing wanted, the number only."""
    with opened(group) as fd, loaded(2) as (one, two), create(fd, one), create(fd, two):
        assert attached(fd, room=1) == "ENOSPC"
        attr = ProgQuery(target_fd=fd, attach_type=INGRESS)
        assert outcome(lambda: bpf.prog_query(attr)) is None
        assert (attr.prog_cnt, attr.attach_flags, attr.revision) == (2, MULTI, 3)
        flags = array.array("I", bytes(16))
        attr = ProgQuery(
            target_fd=fd,
            attach_type=INGRESS,
            prog_ids=array.array("I", bytes(16)),
            prog_attach_flags=flags,
            prog_cnt=4,
        )
        bpf.prog_query(attr)
        assert list(flags) == [MULTI, MULTI, 0, 0]
        attr.query_flags = QueryFlag.QUERY_EFFECTIVE
        assert outcome(lambda: bpf.prog_query(attr)) == "EINVAL"


def test_what_is_attached_goes_with_the_group(kernel, group):
    """A link stays, attached to nothing; another group of that name knows nothing of it."""
    gone = group / "gone"
    gone.mkdir()
    with loaded(1) as (program,), opened(gone) as fd, create(fd, program) as made:
        gone.rmdir()
        assert create(fd, program) == "ENOENT"
        attr = LinkUpdate(link_fd=made.fileno(), new_prog_fd=program.fileno())
        for _ in range(5000):
            if outcome(lambda: bpf.link_update(attr)) == "ENOLINK":
                break
            os.sched_yield()
        assert outcome(lambda: bpf.link_update(attr)) == "ENOLINK"
    gone.mkdir()
    try:
        with opened(gone) as fd:
            assert attached(fd) == ([], 0, 1)
    finally:
        gone.rmdir()
