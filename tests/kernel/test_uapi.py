"""All declared enums and structs against the running kernel's own types (its BTF).

What the kernel lacks must be newer than it; what it has in these types and we lack is a gap in the
data, unless the kernel is newer than what the data was completed to.
"""

from __future__ import annotations

import functools
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.btf.types import Composite, Enumeration
from pyebpf.uapi.btf import BtfKind
from pyebpf.uapi.cstruct import CStruct
from tests.support import kernel
from tests.unit.uapi import declared

# Leaves of the kernel's structs that are not declared under this path: C path -> why.
_NOT_DECLARED = {
    "bpf_attr.link_create.target_btf_id": "the same bytes as link_create.tracing.target_btf_id",
    "nlmsgerr.msg": "a whole NlMsgHdr",
    **{f"nlmsgerr.msg.nlmsg_{name}": "the same" for name in ("len", "type", "flags", "seq", "pid")},
    "perf_event_query_bpf.ids": "the array behind it",
    "tcmsg.tcm__pad1": "padding",
    "tcmsg.tcm__pad2": "padding",
    "perf_event_attr.aux_start_paused": "a bit of aux_action",
    "perf_event_attr.aux_pause": "a bit of aux_action",
    "perf_event_attr.aux_resume": "a bit of aux_action",
    "perf_event_mmap_page.cap_bit0": "a bit of capabilities",
    "perf_event_mmap_page.cap_bit0_is_deprecated": "a bit of capabilities",
    "perf_event_mmap_page.cap_user_rdpmc": "a bit of capabilities",
    "perf_event_mmap_page.cap_user_time": "a bit of capabilities",
    "perf_event_mmap_page.cap_user_time_zero": "a bit of capabilities",
    "perf_event_mmap_page.cap_user_time_short": "a bit of capabilities",
}

# Enumerators that stand beside declared ones: ends of lists, masks, and what is not of use here.
_END = re.compile(r"__|MAX_BPF_|.*_MAX$")
_NOT_OF_USE = {
    "BPF_RINGBUF_HDR_SZ",
    "BPF_SOCK_OPS_ALL_CB_FLAGS",
    "SK_BPF_CB_MASK",
    "BTF_KIND_MAX",
    "NR_BTF_KINDS",
    "BPF_SK_STORAGE_GET_F_CREATE",
    "BPF_SKB_TSTAMP_UNSPEC",
    "BPF_SKB_TSTAMP_DELIVERY_MONO",
    "BPF_MAP_TYPE_CGROUP_STORAGE_DEPRECATED",
    "BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE_DEPRECATED",
    "BPF_COMMON_ATTRS",
    "BPF_TCP_MAX_STATES",
    "NETDEV_XDP_ACT_MASK",
}
# Anonymous enums of which only a few are declared.
_PARTLY = ("RTM_", "IFLA_", "TCA_", "NLMSGERR_ATTR_", "HW_BREAKPOINT_")

# Types of what kernels may be built without, or have as a module.
_OPTIONAL = {"tc_act_bpf"}


class Place(NamedTuple):
    """Where a member of a kernel struct lies."""

    offset: int
    size: int
    bit_size: int = 0


@pytest.fixture(scope="module")
def btf() -> Btf:
    return Btf.decode(pathlib.Path("/sys/kernel/btf/vmlinux").read_bytes())


class Enumerators:
    """All enumerators of the kernel that we might name: name -> its enum and value."""

    def __init__(self, btf: Btf) -> None:
        self.found: dict[str, tuple[Enumeration, int]] = {}
        wanted = {number.c_name for cls in declared.enums() for number in declared.numbers(cls)}
        for kind in (BtfKind.ENUM, BtfKind.ENUM64):
            for type_id in btf.of_kind(kind):
                enumeration = btf.type(type_id)
                assert isinstance(enumeration, Enumeration)
                for name, value in enumeration.values:
                    if name in wanted:
                        self.found[name] = (enumeration, value)


@pytest.fixture(scope="module")
def enumerators(btf: Btf) -> Enumerators:
    return Enumerators(btf)


def _up_to_date() -> bool:
    return kernel.version() <= declared.COMPLETE_UP_TO


@pytest.mark.parametrize("enum_class", declared.enums(), ids=lambda cls: cls.__name__)
def test_every_member_has_the_value_of_the_kernel(
    enum_class: declared.EnumClass, enumerators: Enumerators
) -> None:
    """Values are the kernel's; what it lacks of an enum it has is newer than it is."""
    numbers = declared.numbers(enum_class)
    known = any(number.c_name in enumerators.found for number in numbers)
    for number in numbers:
        entry = enumerators.found.get(number.c_name)
        if entry is not None:
            enumeration, value = entry
            # Kinds of 32 bits cut longer values off; kernels before ENUM64 know no other.
            width = 4 if enumeration.kind == BtfKind.ENUM else enumeration.size
            mask = (1 << width * 8) - 1
            assert (number.c_name, value & mask) == (number.c_name, number.value & mask)
            assert declared.allowed_in(number.c_name, number.since, kernel.version())
        elif known and not enum_class.MACROS:
            # The compiler leaves enums out that no code uses, but never single members.
            assert not declared.expected_in(number.since, kernel.version()), number.c_name


@pytest.mark.parametrize(
    "enum_class", [cls for cls in declared.enums() if not cls.MACROS], ids=lambda cls: cls.__name__
)
def test_every_enumerator_of_the_kernel_is_declared(
    enum_class: declared.EnumClass, enumerators: Enumerators
) -> None:
    """An enum that has one of our members has no other ones, lists' ends left aside."""
    if not _up_to_date() or enum_class.PREFIX.startswith(_PARTLY):
        return
    ours = {number.c_name for cls in declared.enums() for number in declared.numbers(cls)}
    for number in declared.numbers(enum_class):
        enumeration, _ = enumerators.found.get(number.c_name, (None, 0))
        for name, _ in enumeration.values if enumeration is not None else ():
            if name not in ours and name not in _NOT_OF_USE:
                assert _END.match(name), name


@pytest.mark.parametrize("struct_class", declared.structs(), ids=lambda cls: cls.__name__)
def test_every_field_lies_where_the_kernel_has_it(struct_class: type[CStruct], btf: Btf) -> None:
    """Offsets, sizes and bits are the kernel's; what it lacks is newer than it is."""
    leaves = _leaves(btf, struct_class.C_NAME)
    if leaves is None:
        optional = struct_class.C_NAME in _OPTIONAL
        assert optional or not declared.expected_in(struct_class.SINCE, kernel.version())
        return
    for member in declared.members(struct_class):
        field, place = member.field, leaves.get(member.field.path)
        if place is None:
            assert not declared.expected_in(member.since, kernel.version()), member.c_name
            continue
        assert declared.allowed_in(member.c_name, member.since, kernel.version()), member.c_name
        if not declared.expected_in(member.narrowed, kernel.version()):
            continue
        bits = field.offset * 8 + field.bit_offset if field.kind == "bits" else field.offset * 8
        expected = Place(bits, field.size, field.bit_size)
        assert (member.c_name, place) == (member.c_name, expected)


@pytest.mark.parametrize("c_name", sorted({cls.C_NAME for cls in declared.structs()}))
def test_every_member_of_the_kernel_is_declared(c_name: str, btf: Btf) -> None:
    """All named members of a declared C type are fields of one of its classes; sizes agree."""
    leaves = _leaves(btf, c_name)
    classes = [cls for cls in declared.structs() if c_name == cls.C_NAME]
    if leaves is None or not _up_to_date():
        return
    ours = {member.field.path for cls in classes for member in declared.members(cls)}
    gaps = {
        path
        for path in leaves.keys() - ours
        if f"{c_name}.{path}" not in _NOT_DECLARED
        and not path.startswith("__")
        and not any(path.startswith(f"{field}.") for field in ours)
        and not any(path in other and other.startswith(f"{path}.") for other in ours)
        and not path.startswith("cap_____res")
    }
    assert gaps == set()
    size = btf.size_of(_type_id(btf, c_name) or 0)
    for cls in classes:
        assert size == cls.SIZE if ours <= leaves.keys() else size <= cls.SIZE


def test_what_the_kernel_lacks_is_counted(btf: Btf, enumerators: Enumerators) -> None:
    """Says how much of the data this kernel could not confirm (shown by pytest -rP)."""
    names = {
        number.c_name
        for cls in declared.enums()
        if not cls.MACROS
        for number in declared.numbers(cls)
    }
    lacking = names - enumerators.found.keys()
    fields = [member for cls in declared.structs() for member in declared.members(cls)]
    lacking_fields = {
        member.c_name
        for member in fields
        if member.field.path not in (_leaves(btf, member.owner.C_NAME) or ())
    }
    print(f"Linux {kernel.version_text()}: {len(enumerators.found)} enumerators and")
    print(f"{len(fields) - len(lacking_fields)} fields confirmed; not in its BTF:")
    print("\n".join(sorted(lacking | lacking_fields)))
    assert len(enumerators.found) > 400


def _type_id(btf: Btf, c_name: str) -> int | None:
    for kind in (BtfKind.STRUCT, BtfKind.UNION):
        found = btf.ids(c_name, kind)
        if found:
            return found[0]
    return None


@functools.cache
def _leaves(btf: Btf, c_name: str) -> dict[str, Place] | None:
    type_id = _type_id(btf, c_name)
    return None if type_id is None else dict(_walk(btf, type_id, "", 0, 0))


# Path and place of every named member, members of unnamed structs and unions under the name of
# what holds these, as C reaches them; places in bits.
def _walk(
    btf: Btf, type_id: int, prefix: str, offset: int, depth: int
) -> Iterator[tuple[str, Place]]:
    composite = btf.type(btf.strip(type_id))
    assert isinstance(composite, Composite)
    assert depth < 16
    for member in composite.members:
        stripped = btf.strip(member.type)
        at = offset + member.bit_offset
        path = prefix + member.name
        inner = btf.kind(stripped) in (BtfKind.STRUCT, BtfKind.UNION)
        if member.name:
            yield path, Place(at, btf.size_of(member.type), member.bitfield_size)
        if inner:
            dotted = f"{path}." if member.name else prefix
            yield from _walk(btf, stripped, dotted, at, depth + 1)
