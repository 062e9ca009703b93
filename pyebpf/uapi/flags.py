"""Flags of the commands of bpf(2); users import them from ``bpf``."""

from __future__ import annotations

from pyebpf.uapi.cenum import CFlag, c_flags

__all__ = [
    "UpdateFlag",
    "MapFlag",
    "OpenFlag",
    "ProgFlag",
]


@c_flags(
    "",
    prefix="BPF_",
    since={"LOCK": "5.1", "CPU": "7.0", "ALL_CPUS": "7.0"},
    names={"LOCK": "BPF_F_LOCK", "CPU": "BPF_F_CPU", "ALL_CPUS": "BPF_F_ALL_CPUS"},
)
class UpdateFlag(CFlag):
    """Flags of map element commands; ``CPU`` wants the CPU's number in the upper 32 bits."""

    ANY = 0
    NOEXIST = 1 << 0
    EXIST = 1 << 1
    LOCK = 1 << 2
    CPU = 1 << 3
    ALL_CPUS = 1 << 4


@c_flags(
    "",
    prefix="BPF_F_",
    since={
        "ZERO_SEED": "5.0",
        "RDONLY_PROG": "5.2",
        "WRONLY_PROG": "5.2",
        "CLONE": "5.4",
        "MMAPABLE": "5.5",
        "PRESERVE_ELEMS": "5.10",
        "INNER_MAP": "5.10",
        "LINK": "6.4",
        "PATH_FD": "6.5",
        "VTYPE_BTF_OBJ_FD": "6.9",
        "TOKEN_FD": "6.9",
        "SEGV_ON_FAULT": "6.9",
        "NO_USER_CONV": "6.9",
        "RB_OVERWRITE": "6.19",
    },
)
class MapFlag(CFlag):
    """Flags of ``MAP_CREATE``; some also go with other commands (see `OpenFlag`)."""

    NO_PREALLOC = 1 << 0
    NO_COMMON_LRU = 1 << 1
    NUMA_NODE = 1 << 2
    RDONLY = 1 << 3
    WRONLY = 1 << 4
    STACK_BUILD_ID = 1 << 5
    ZERO_SEED = 1 << 6
    RDONLY_PROG = 1 << 7
    WRONLY_PROG = 1 << 8
    CLONE = 1 << 9
    MMAPABLE = 1 << 10
    PRESERVE_ELEMS = 1 << 11
    INNER_MAP = 1 << 12
    LINK = 1 << 13
    PATH_FD = 1 << 14
    VTYPE_BTF_OBJ_FD = 1 << 15
    TOKEN_FD = 1 << 16
    SEGV_ON_FAULT = 1 << 17
    NO_USER_CONV = 1 << 18
    RB_OVERWRITE = 1 << 19


@c_flags("", prefix="BPF_F_", since={"PATH_FD": "6.5", "TOKEN_FD": "6.9"})
class OpenFlag(CFlag):
    """Flags of ``OBJ_PIN``, ``OBJ_GET``, the ``*_GET_FD_BY_ID`` commands and ``BTF_LOAD``."""

    RDONLY = 1 << 3
    WRONLY = 1 << 4
    PATH_FD = 1 << 14
    TOKEN_FD = 1 << 16


@c_flags(
    "",
    prefix="BPF_F_",
    since={
        "ANY_ALIGNMENT": "5.0",
        "TEST_RND_HI32": "5.3",
        "TEST_STATE_FREQ": "5.4",
        "SLEEPABLE": "5.10",
        "XDP_HAS_FRAGS": "5.18",
        "XDP_DEV_BOUND_ONLY": "6.3",
        "TEST_REG_INVARIANTS": "6.8",
        "TOKEN_FD": "6.9",
    },
    macros=True,
)
class ProgFlag(CFlag):
    """Flags of ``PROG_LOAD``."""

    STRICT_ALIGNMENT = 1 << 0
    ANY_ALIGNMENT = 1 << 1
    TEST_RND_HI32 = 1 << 2
    TEST_STATE_FREQ = 1 << 3
    SLEEPABLE = 1 << 4
    XDP_HAS_FRAGS = 1 << 5
    XDP_DEV_BOUND_ONLY = 1 << 6
    TEST_REG_INVARIANTS = 1 << 7
    TOKEN_FD = 1 << 16
