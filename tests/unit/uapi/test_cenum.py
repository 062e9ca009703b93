"""The bases of enums: names as the kernel's, unknown values kept."""

from __future__ import annotations

import copy
import inspect
import pickle
import types
from enum import IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.uapi.bpf import AttachType, Cmd, MapFlag, MapType, UpdateFlag
from pyebpf.uapi.cenum import CEnum, CFlag
from pyebpf.uapi.perf import PerfSw
from pyebpf.uapi.perf_records import CallchainContext
from tests.unit.uapi import declared


@pytest.mark.parametrize(
    ("member", "text"),
    [
        (MapType.HASH, "BPF_MAP_TYPE_HASH"),
        (Cmd.PROG_RUN, "BPF_PROG_TEST_RUN"),
        (AttachType.TRACE_FENTRY, "BPF_TRACE_FENTRY"),
        (PerfSw.BPF_OUTPUT, "PERF_COUNT_SW_BPF_OUTPUT"),
        (UpdateFlag.LOCK, "BPF_F_LOCK"),
        (UpdateFlag.ANY, "BPF_ANY"),
        (MapFlag.RDONLY | MapFlag.MMAPABLE, "BPF_F_RDONLY|BPF_F_MMAPABLE"),
        (MapFlag(1 << 30 | 1), "BPF_F_NO_PREALLOC|0x40000000"),
        (MapFlag(1 << 30), "0x40000000"),
        (MapFlag(0), "0"),
    ],
)
def test_text_is_the_c_name(member: CEnum | CFlag, text: str) -> None:
    """Text and format are the kernel's names on every Python."""
    assert (str(member), f"{member}", f"{member:>40}") == (text, text, text.rjust(40))


def test_a_number_format_formats_the_number() -> None:
    """``:d`` and ``:x`` give the value."""
    assert (f"{MapType.RINGBUF:d}", f"{MapFlag.LINK:#x}", f"{MapType.HASH:03}") == (
        "27",
        "0x2000",
        "BPF_MAP_TYPE_HASH",
    )


@given(st.integers(36, 1 << 32))
def test_a_value_of_a_newer_kernel_is_kept(value: int) -> None:
    """It becomes a member that says so, equal to the number, and copies and pickles."""
    member = MapType(value)
    assert isinstance(member, MapType)
    assert (member, member.name, member.value) == (value, f"UNKNOWN_{value}", value)
    assert (str(member), member.since) == (f"BPF_MAP_TYPE_UNKNOWN_{value}", None)
    assert copy.deepcopy(member) == member == pickle.loads(pickle.dumps(member))
    assert MapType(value) == member
    assert value not in MapType.__members__.values()


def test_what_is_no_number_is_no_member() -> None:
    """Only integers can be unknown members."""
    with pytest.raises(ValueError, match="is not a valid MapType"):
        MapType("HASH")


def test_since_is_the_release_of_a_member() -> None:
    """Members that all kernels have, combinations and unknown ones have none."""
    assert (MapType.RINGBUF.since, MapType.HASH.since) == ("5.8", None)
    assert (MapFlag.MMAPABLE.since, MapFlag(3).since) == ("5.5", None)


@pytest.mark.parametrize("enum_class", declared.enums(), ids=lambda cls: cls.__name__)
def test_declarations_name_existing_members(enum_class: declared.EnumClass) -> None:
    """Releases and C names belong to members, and releases are numbers newer than 4.18."""
    assert enum_class.SINCE.keys() <= enum_class.__members__.keys()
    assert enum_class.C_NAMES.keys() <= enum_class.__members__.keys()
    assert all(declared.parse(since) > (4, 18) for since in enum_class.SINCE.values())
    assert enum_class.__doc__


@pytest.mark.parametrize(
    "enum_class",
    # Not CallchainContext: its numbers are negative, with gaps that are filled later.
    [cls for cls in declared.enums() if issubclass(cls, CEnum) and cls is not CallchainContext],
    ids=lambda cls: cls.__name__,
)
def test_members_get_newer_with_their_numbers(enum_class: declared.EnumClass) -> None:
    """The kernel appends: a higher number is not of an older release (second names may be)."""
    members = sorted(enum_class, key=int)  # without second names
    releases = [declared.parse(member.since or "0.0") for member in members]
    assert releases == sorted(releases)


class Shape(CEnum):
    """A doc string."""

    ROUND = 1
    SQUARE = 4
    CIRCULAR = 1

    @property
    def corners(self) -> int:
        return 4 if self is Shape.SQUARE else 0

    @classmethod
    def usual(cls) -> Shape:
        return cls.ROUND


class Twin(IntEnum):
    """A doc string."""

    ROUND = 1
    SQUARE = 4
    CIRCULAR = 1


USES = {
    "members": lambda cls: [(name, each.name) for name, each in cls.__members__.items()],
    "in order": lambda cls: [(each.name, each.value, int(each)) for each in cls],
    "backwards": lambda cls: [each.name for each in reversed(cls)],
    "number": len,
    "by name": lambda cls: cls["CIRCULAR"] is cls.ROUND,
    "by value": lambda cls: cls(4) is cls.SQUARE,
    "by attribute": lambda cls: [cls.ROUND.name, cls.SQUARE.name, cls.CIRCULAR.name],
    "contains": lambda cls: cls.ROUND in cls,
    "repr": lambda cls: repr(cls.SQUARE).replace("Twin", "Shape"),
    "hash": lambda cls: hash(cls.SQUARE),
    "pickle": lambda cls: pickle.loads(pickle.dumps(cls.SQUARE)) is cls.SQUARE,
    "copy": lambda cls: copy.deepcopy(cls.ROUND) is cls.ROUND,
    "doc": inspect.getdoc,
    "dir": lambda cls: {"ROUND", "SQUARE", "CIRCULAR"} <= {*dir(cls)},
    "of the class": lambda cls: isinstance(cls.ROUND, cls) and cls.ROUND.__objclass__ is cls,
}


@pytest.mark.parametrize("use", USES)
def test_choices_are_like_those_of_the_standard_library(use: str) -> None:
    """Though they are made another way, for speed."""
    assert USES[use](Twin) == USES[use](Shape)


@pytest.mark.parametrize(
    "change",
    [
        lambda cls: setattr(cls, "ROUND", 2),
        lambda cls: delattr(cls, "ROUND"),
        lambda cls: types.new_class("More", (cls,)),
        lambda cls: cls["OVAL"],
        lambda cls: setattr(cls.ROUND, "value", 2),
    ],
)
def test_choices_are_as_fixed_as_those_of_the_standard_library(change) -> None:
    """Nothing can be added or changed."""
    with pytest.raises((AttributeError, TypeError, KeyError)) as theirs:
        change(Twin)
    with pytest.raises(type(theirs.value)):
        change(Shape)


def test_choices_may_have_methods() -> None:
    """Whatever is no number is what the class has besides its members."""
    assert (Shape.SQUARE.corners, Shape.usual().corners) == (4, 0)
