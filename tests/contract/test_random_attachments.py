"""Random attachments on both kernels at once: order, errnos and revisions are alike."""

from __future__ import annotations

import array
import contextlib
import os
import pathlib
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyebpf.sys import bpf
from pyebpf.sys import kernel as seam
from pyebpf.sys.fd import FD
from pyebpf.testing import FakeKernel
from pyebpf.uapi.attrs import LinkCreateTcx, LinkDetach, LinkUpdate, ProgAttach, ProgQuery
from pyebpf.uapi.bpf import AttachFlag, AttachType, ProgType, QueryFlag
from pyebpf.uapi.info import LinkInfo, ProgInfo
from tests.support.amount import amount
from tests.support.contract import load, outcome

pytestmark = pytest.mark.usefixtures("newest", "like_this_kernel")

RETURN_ONE = bytes([0xB7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])
PROGRAMS = 4
NOBODY = 0x7FFFFFF0
PLACES = [0, AttachFlag.BEFORE, AttachFlag.AFTER, AttachFlag.BEFORE | AttachFlag.AFTER]
SHARING = [
    AttachFlag.ALLOW_MULTI,
    AttachFlag.ALLOW_MULTI,
    AttachFlag.ALLOW_MULTI,
    0,
    AttachFlag.ALLOW_OVERRIDE,
]


class Step(NamedTuple):
    """One call.

    Attributes:
        what: ``"attach"``, ``"link"``, ``"detach"``, ``"close"``, ``"update"``, ``"off"``.
        program: Which; ``None``: none.
        place: ``BEFORE`` and ``AFTER``.
        beside: ``"fd"`` or ``"id"`` of a program, ``"link fd"`` or ``"link id"``, and its number.
        replaced: The program to be replaced.
        sharing: Of a control group.
        early: With ``PREORDER``.
        revision: Since the beginning, or ``None``.
        level: Of two control groups, which.
    """

    what: str
    program: int | None
    place: int
    beside: tuple[str, int] | None
    replaced: int | None
    sharing: int
    early: bool
    revision: int | None
    level: int


NUMBERS = st.integers(0, PROGRAMS - 1)
STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(["attach", "attach", "link", "link", "detach", "close", "update", "off"]),
        st.one_of(NUMBERS, NUMBERS, NUMBERS, st.none()),
        st.sampled_from(PLACES),
        st.one_of(
            st.none(),
            st.none(),
            st.tuples(st.sampled_from(["fd", "id", "link fd", "link id"]), st.integers(0, 5)),
        ),
        st.one_of(st.none(), st.none(), st.none(), NUMBERS),
        st.sampled_from(SHARING),
        st.sampled_from([False, False, False, True]),
        st.one_of(st.none(), st.none(), st.none(), st.integers(0, 6)),
        st.integers(0, 1),
    ),
    max_size=14,
)


class Stage:
    """Programs and places of one kernel.

    Args:
        groups: Descriptors of two control groups, one in the other; none: an interface instead.
    """

    def __init__(self, groups: list[int]) -> None:
        self.groups = groups
        self.kind = AttachType.CGROUP_INET_INGRESS if groups else AttachType.TCX_INGRESS
        self.links: list[FD] = []
        kind = ProgType.CGROUP_SKB if groups else ProgType.SCHED_CLS
        self.programs = [load(kind, RETURN_ONE) for _ in range(PROGRAMS)]
        self.ids = [self.id_of(each) for each in self.programs]
        self.first = [self.query(level)[-1] for level in self.levels]

    @property
    def levels(self) -> range:
        return range(len(self.groups) or 1)

    def id_of(self, program: FD) -> int:
        info = ProgInfo()
        bpf.obj_get_info_by_fd(program.fileno(), info)
        return int(info.id)

    def link_id(self, number: int) -> int:
        info = LinkInfo()
        bpf.obj_get_info_by_fd(self.links[number].fileno(), info)
        return int(info.id)

    def place(self, level: int) -> dict[str, int]:
        return {"target_fd": self.groups[level]} if self.groups else {"target_ifindex": 1}

    def query(self, level: int, *, effective: bool = False) -> tuple[Any, ...]:
        ids = array.array("I", bytes(4 * 64))
        attr = ProgQuery(**self.place(level), attach_type=self.kind, prog_ids=ids, prog_cnt=64)
        attr.query_flags = QueryFlag.QUERY_EFFECTIVE if effective else 0
        bpf.prog_query(attr)
        return list(ids[: attr.prog_cnt]), attr.attach_flags, attr.revision

    def seen(self) -> list[Any]:
        """Return everything that can be told, without numbers that are a kernel's own."""
        found: list[Any] = []
        for level in self.levels:
            ids, flags, revision = self.query(level)
            numbers = [self.ids.index(each) for each in ids]
            found.append((numbers, flags, revision - self.first[level]))
            if self.groups:
                ids, _, _ = self.query(level, effective=True)
                found.append([self.ids.index(each) for each in ids])
        return found

    def run(self, step: Step) -> Any:
        level = step.level if self.groups else 0
        if step.what in ("close", "update", "off"):
            return self._change(step)
        flags, beside = step.place, 0
        if step.beside is not None:
            how, number = step.beside
            beside, more = self._anchor(how, number)
            flags |= more
        if self.groups:
            flags |= AttachFlag.PREORDER if step.early else 0
            flags |= step.sharing if step.what == "attach" else 0
        revision = 0 if step.revision is None else self.first[level] + step.revision
        fd = self.programs[step.program].fileno() if step.program is not None else 0
        if step.what == "link":
            attr = LinkCreateTcx(
                prog_fd=fd, attach_type=self.kind, flags=flags, relative_fd=beside,
                expected_revision=revision, **self.place(level),
            )  # fmt: skip
            result = outcome(lambda: bpf.link_create(attr))
            if isinstance(result, FD):
                self.links.append(result)
                return None
            return result
        given = ProgAttach(
            attach_bpf_fd=fd, attach_type=self.kind, attach_flags=flags, relative_fd=beside,
            expected_revision=revision, **self.place(level),
        )  # fmt: skip
        if step.what == "detach":
            if self.groups:
                given.attach_flags = given.relative_fd = 0
            return outcome(lambda: bpf.prog_detach(given))
        if step.replaced is not None:
            given.attach_flags |= AttachFlag.REPLACE
            given.replace_bpf_fd = self.programs[step.replaced].fileno()
        return outcome(lambda: bpf.prog_attach(given))

    def _anchor(self, how: str, number: int) -> tuple[int, int]:
        by_id = AttachFlag.ID if how.endswith("id") else AttachFlag(0)
        if how.startswith("link"):
            if number >= len(self.links):
                return NOBODY, AttachFlag.LINK | AttachFlag.ID
            there = self.link_id(number) if by_id else self.links[number].fileno()
            return there, AttachFlag.LINK | by_id
        if number >= PROGRAMS:
            return NOBODY, AttachFlag.ID
        return self.ids[number] if by_id else self.programs[number].fileno(), by_id

    def _change(self, step: Step) -> Any:
        if not self.links:
            return "nothing"
        number = step.level % len(self.links)
        fd = self.links[number].fileno()
        if step.what == "close":
            self.links.pop(number).close()
            return None
        if step.what == "off":
            return outcome(lambda: bpf.link_detach(LinkDetach(link_fd=fd)))
        attr = LinkUpdate(link_fd=fd, new_prog_fd=self.programs[step.program or 0].fileno())
        return outcome(lambda: bpf.link_update(attr))

    def close(self) -> None:
        """Take everything off."""
        for each in self.links:
            each.close()
        for level in self.levels:
            for program in self.programs:
                attr = ProgAttach(
                    attach_bpf_fd=program.fileno(), attach_type=self.kind, **self.place(level)
                )
                outcome(lambda attr=attr: bpf.prog_detach(attr))
        for program in self.programs:
            program.close()


def answers(groups: list[int], steps: list[Step]) -> list[Any]:
    with contextlib.closing(Stage(groups)) as stage:
        return [(stage.run(step), stage.seen()) for step in steps]


def compare(fake: FakeKernel, made_up: list[int], real: list[int]) -> None:
    @settings(
        max_examples=amount(60),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        database=None,
    )
    @given(STEPS)
    def alike(steps: list[Step]) -> None:
        with seam.use(fake):
            expected = answers(made_up, steps)
        assert expected == answers(real, steps)

    alike()


def test_programs_of_an_interface_are_ordered_alike(netns, age):
    """tcx, with links and without."""
    with contextlib.closing(FakeKernel("{}.{}".format(*age))) as fake:
        compare(fake, [], [])


def test_programs_of_control_groups_are_ordered_alike(cgroup, age):
    """Of two groups, one in the other; what runs in them, too."""
    below = cgroup / "below"
    below.mkdir()
    fake = FakeKernel("{}.{}".format(*age))
    with contextlib.ExitStack() as stack:
        stack.callback(below.rmdir)
        stack.callback(fake.close)
        fds = []
        for path in (fake.path("sys/fs/cgroup/a"), fake.path("sys/fs/cgroup/a/b")):
            pathlib.Path(path).mkdir()
            fds.append(path)
        opened = [
            stack.enter_context(FD(os.open(each, os.O_RDONLY | os.O_DIRECTORY))).fileno()
            for each in (*fds, cgroup, below)
        ]
        compare(fake, opened[:2], opened[2:])
