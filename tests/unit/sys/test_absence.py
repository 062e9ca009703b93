"""What a kernel lacks, told from errnos; the kernels here are functions that answer like them."""

from __future__ import annotations

import errno
import struct

import pytest

from pyebpf.sys import absence
from pyebpf.uapi.attrs import MapCreate
from pyebpf.uapi.bpf import COMMON_ATTRS, Cmd


def old_kernel(*, commands: int, attr_size: int) -> absence.Call:
    """A kernel with the first so many commands and a union of so many bytes."""

    def call(cmd: int, attr: bytearray, common: tuple[int, int]) -> tuple[int, int]:
        if any(attr[attr_size:]):
            return -1, errno.E2BIG
        if cmd >= commands:
            return -1, errno.EINVAL
        if cmd == Cmd.ENABLE_STATS:
            return -1, errno.EPERM
        return -1, errno.EBADF

    return call


@pytest.mark.parametrize("cmd", [cmd for cmd in Cmd if cmd.since is not None], ids=str)
def test_a_command_is_missing_exactly_before_its_release(cmd: Cmd) -> None:
    """A kernel that knows one command less lacks it; one that knows it does not."""
    assert absence.lacks(old_kernel(commands=cmd, attr_size=168), cmd)
    assert not absence.lacks(old_kernel(commands=cmd + 1, attr_size=168), cmd)


def test_an_unknown_command_cannot_be_told() -> None:
    """Nothing is claimed about commands we know no probe for."""
    assert not absence.lacks(old_kernel(commands=30, attr_size=168), 77)


def test_the_five_argument_form_is_missing_on_old_kernels() -> None:
    """EINVAL says so; a kernel that looks at the address says EFAULT."""
    assert absence.lacks(old_kernel(commands=39, attr_size=168), COMMON_ATTRS)
    assert not absence.lacks(lambda *_: (-1, errno.EFAULT), COMMON_ATTRS)


@pytest.mark.parametrize(
    ("attr_size", "named"),
    [
        (44, ["map_ifindex", "btf_fd", r"map_extra (since Linux 5.16)"]),
        (64, [r"map_extra (since Linux 5.16)"]),
        (168, []),
    ],
)
def test_fields_beyond_the_kernels_union_are_named(attr_size: int, named: list[str]) -> None:
    """Those that are set and do not fit, and no others."""
    attr = MapCreate(map_type=1, map_ifindex=1, btf_fd=1, map_extra=1)
    buffer = attr.pack(lambda _: 0)
    text = absence.unknown_fields(old_kernel(commands=39, attr_size=attr_size), attr, buffer)
    assert text.count(",") == max(len(named) - 1, 0)
    assert all(name in text for name in named)
    assert bool(text) == bool(named)


def test_fields_of_bytes_are_unknown() -> None:
    """A raw attr has no names to give."""
    call = old_kernel(commands=39, attr_size=48)
    assert absence.unknown_fields(call, b"", bytearray(struct.pack("=60x I", 1))) == ""
