"""Everything `pyebpf.uapi` declares, collected for the tests that compare it with the kernel."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from types import ModuleType
from typing import NamedTuple

import pyebpf.uapi
from pyebpf.uapi import elf, insn
from pyebpf.uapi.cenum import CEnum, CFlag
from pyebpf.uapi.cstruct import CStruct, Field

EnumClass = type[CEnum] | type[CFlag]

# Stable kernels got these earlier than the release that introduced them: C name -> the oldest
# series that has it. Fixes brought most, or prepared for one.
BACKPORTED = {
    "BPF_F_IPV6": "5.10",
    "BPF_F_PREORDER": "6.12",
    "BPF_F_TEST_SKB_CHECKSUM_COMPLETE": "6.1",
    "BPF_FIB_LOOKUP_SKIP_NEIGH": "6.1",
    "BPF_FIB_LOOKUP_TBID": "6.1",
    "BPF_FIB_LOOKUP_SRC": "6.1",
    "BPF_FIB_LKUP_RET_NO_SRC_ADDR": "6.1",
    "PERF_FORMAT_LOST": "5.10",
    "bpf_sk_lookup.cookie": "5.10",
    "bpf_attr.link_create.cgroup.relative_fd": "6.12",
    "bpf_attr.link_create.cgroup.relative_id": "6.12",
    "bpf_attr.link_create.cgroup.expected_revision": "6.12",
    "perf_event_attr.aux_action": "6.12",
}

# The newest kernel our data was compared with: one that is not newer has nothing we lack.
COMPLETE_UP_TO = (7, 3)

# Numbers without a class: module, what is put before a name to get C's, header, names left out.
_PLAIN = (
    ("insn", "BPF_", "linux/bpf.h", ()),
    ("bpf", "BPF_", "linux/bpf.h", ()),
    ("net", "", "linux/bpf.h", ()),
    ("helper_flags", "BPF_", "linux/bpf.h", ()),
    ("perf", "", "linux/perf_event.h", ()),
    ("elf", "", "elf.h", ("R_BPF_64_ABS64", "R_BPF_64_ABS32", "R_BPF_64_NODYLD32")),
    ("btf", "", "linux/btf.h", ()),
    ("rtnetlink", "", "linux/rtnetlink.h", ()),
    ("if_xdp", "", "linux/if_xdp.h", ("AF_XDP", "SOL_XDP")),
)
_RENAMED = {
    "BPF_RINGBUF_HEADER_SIZE": "BPF_RINGBUF_HDR_SZ",
    "SOL_NETLINK": "270",
    "NLA_TYPE_MASK": "NLA_TYPE_MASK & 0xffff",
}
_PLAIN_SINCE = {
    "BPF_COMMON_ATTRS": "7.2",
    "BPF_RINGBUF_HDR_SZ": "5.8",
    "BPF_ADJ_ROOM_ENCAP_L2_MASK": "5.2",
    "BPF_ADJ_ROOM_ENCAP_L2_SHIFT": "5.2",
    "XDP_RING_NEED_WAKEUP": "5.4",
    "XDP_OPTIONS_ZEROCOPY": "5.3",
    "XDP_PKT_CONTD": "6.6",
    "PERF_ATTR_SIZE_VER6": "5.5",
    "PERF_ATTR_SIZE_VER7": "5.13",
    "PERF_ATTR_SIZE_VER8": "6.3",
    "PERF_ATTR_SIZE_VER9": "6.19",
} | {f"BPF_{name}": since for name, since in insn.SINCE.items()}

# Fields that were wider in older kernels: their size is compared since this release.
NARROWED = {"bpf_sk_lookup.remote_port": "5.18"}


class Number(NamedTuple):
    """One number C has a name for."""

    c_name: str
    value: int
    since: str | None
    header: str


class Member(NamedTuple):
    """One field of a struct class, and the class."""

    owner: type[CStruct]
    field: Field

    @property
    def c_name(self) -> str:
        return f"{self.owner.C_NAME}.{self.field.path}"

    @property
    def narrowed(self) -> str | None:
        """The release that made it as narrow as it is, ``None`` if it always was."""
        return NARROWED.get(self.c_name)

    @property
    def since(self) -> str | None:
        """Of the field, or of the class that declares it (the base of an arm is older)."""
        if self.field.since is not None:
            return self.field.since
        for owner in reversed(self.owner.__mro__):
            if issubclass(owner, CStruct) and isinstance(vars(owner).get(self.field.name), Field):
                return owner.SINCE
        return None


@functools.cache
def modules() -> tuple[ModuleType, ...]:
    found = pkgutil.iter_modules(pyebpf.uapi.__path__)
    return tuple(importlib.import_module(f"pyebpf.uapi.{module.name}") for module in found)


def enums() -> list[EnumClass]:
    """Return all enum classes, each once."""
    return [
        value
        for module in modules()
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, (CEnum, CFlag))
        and value.__module__ == module.__name__
        and "C_NAME" in vars(value)
    ]


def structs() -> list[type[CStruct]]:
    """Return all struct classes, each once."""
    return [
        value
        for module in modules()
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, CStruct)
        and value.__module__ == module.__name__
        and value.C_NAME
    ]


def numbers(enum_class: EnumClass) -> list[Number]:
    """Return the members of an enum class, other names of one value included."""
    return [
        Number(
            enum_class.C_NAMES.get(name) or enum_class.PREFIX + name,
            int(member),
            enum_class.SINCE.get(name),
            enum_class.HEADER,
        )
        for name, member in enum_class.__members__.items()
    ]


def plain_numbers() -> list[Number]:
    """Return the module constants that stand for a C macro or enumerator."""
    found = []
    for name, prefix, header, left_out in _PLAIN:
        module = importlib.import_module(f"pyebpf.uapi.{name}")
        for constant, value in vars(module).items():
            if type(value) is int and constant.isupper() and constant not in left_out:
                c_name = prefix + constant
                c_name = _RENAMED.get(c_name, c_name)
                found.append(Number(c_name, value, _PLAIN_SINCE.get(c_name), header))
    assert len(found) > len(vars(insn)) / 2 > len(vars(elf)) / 4
    return found


def members(struct_class: type[CStruct]) -> list[Member]:
    """Return the fields of a struct class, those of its base included."""
    return [Member(struct_class, field) for field in struct_class.FIELDS]


def parse(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor)


def expected_in(since: str | None, version: tuple[int, int]) -> bool:
    """Say whether something of this *since* must be in a kernel or header of this version."""
    return since is None or parse(since) <= version


def allowed_in(c_name: str, since: str | None, version: tuple[int, int]) -> bool:
    """Say whether it may be there: it is due, or stable kernels got it early."""
    early = BACKPORTED.get(c_name)
    return expected_in(since, version) or (early is not None and parse(early) <= version)
