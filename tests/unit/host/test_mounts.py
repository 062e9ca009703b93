"""Mountinfo lines, well-formed and not."""

from __future__ import annotations

import os
import pathlib

import pytest

from pyebpf.errors import SyscallError
from pyebpf.host import mounts
from pyebpf.host.mounts import Mount

TEXT = r"""22 1 98:0 / / rw,relatime shared:1 - ext4 /dev/root rw,errors=continue
36 22 0:30 / /sys/fs/bpf rw,nosuid - bpf none rw,mode=700
37 22 0:31 /inner /mnt/with\040blank\134and\011tab rw master:1 propagate_from:2 - tracefs tracefs rw
38 22 0:32 / /mnt/caf\303\251 rw - bpf none rw
"""


def test_each_line_is_a_mount() -> None:
    """Optional fields are skipped, escaped characters restored."""
    assert mounts.parse(TEXT) == [
        Mount("/", "ext4", "/", "rw,errors=continue"),
        Mount("/sys/fs/bpf", "bpf", "/", "rw,mode=700"),
        Mount("/mnt/with blank\\and\ttab", "tracefs", "/inner", "rw"),
        Mount("/mnt/café", "bpf", "/", "rw"),
    ]


@pytest.mark.parametrize("line", ["", "a b c", "1 2 3 4 5 6", "1 2 3 4 5 6 - bpf", " - ", "\\777"])
def test_other_lines_are_left_out(line: str) -> None:
    """A future kernel's text must not stop anybody."""
    assert mounts.parse(line) == []


def test_mounts_of_a_type_are_found(tmp_path: pathlib.Path) -> None:
    """In a made /proc; without one it is an error."""
    path = tmp_path / "proc/self/mountinfo"
    path.parent.mkdir(parents=True)
    path.write_text(TEXT)
    assert mounts.of_type("bpf", str(tmp_path)) == ["/sys/fs/bpf", "/mnt/café"]
    path.unlink()
    with pytest.raises(SyscallError, match="mountinfo"):
        mounts.mounts(str(tmp_path))


def test_this_systems_mount_points_exist() -> None:
    """Every directory that is a mount point for the kernel is in the list."""
    points = {mount.point for mount in mounts.mounts()}
    assert "/proc" in points
    assert all(point in points for point in ("/sys", "/dev") if os.path.ismount(point))
