"""Mounts, file systems' magic numbers, and network namespaces."""

from __future__ import annotations

import pathlib
import socket
import threading

import pytest

from pyebpf.errors import SyscallError
from pyebpf.host import mounts
from pyebpf.sys.mount import BPF_FS_MAGIC, is_bpffs, magic, mount, unmount
from pyebpf.sys.namespaces import inside_netns
from tests.support import kernel


def test_a_mounted_bpffs_is_one(tmp_path: pathlib.Path) -> None:
    """Before, during and after; mountinfo agrees."""
    target = tmp_path / "with blank"
    target.mkdir()
    assert not is_bpffs(target)
    mount("bpf", target, source="here", options="mode=750")
    assert is_bpffs(target)
    assert magic(target) == BPF_FS_MAGIC
    found = [each for each in mounts.mounts() if each.point == str(target)]
    assert [(each.type, "mode=750" in each.options) for each in found] == [("bpf", True)]
    unmount(target)
    assert not is_bpffs(target)


def test_magic_numbers_are_the_kernels() -> None:
    """PROC_SUPER_MAGIC and SYSFS_MAGIC of linux/magic.h."""
    assert (magic("/proc"), magic("/sys")) == (0x9FA0, 0x62656572)


def test_failures_name_the_place(tmp_path: pathlib.Path) -> None:
    """A file system nobody has, a mount that is none, a path that is not there."""
    with pytest.raises(SyscallError, match=r"mount: ENODEV: .*nosuchfs at "):
        mount("nosuchfs", tmp_path)
    with pytest.raises(SyscallError, match="umount2: EINVAL"):
        unmount(tmp_path)
    with pytest.raises(SyscallError, match="statfs: ENOENT"):
        magic(tmp_path / "missing")
    assert not is_bpffs(tmp_path / "missing")


def interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def test_a_thread_is_in_another_network_for_a_block(tmp_path: pathlib.Path) -> None:
    """Only that thread, only for the block, also when it is left by an error."""
    release, ready = threading.Event(), threading.Event()
    path: list[str] = []

    def live_elsewhere() -> None:
        kernel.unshare(kernel.CLONE_NEWNET)
        path.append(f"/proc/self/task/{threading.get_native_id()}/ns/net")
        ready.set()
        release.wait()

    thread = threading.Thread(target=live_elsewhere)
    thread.start()
    ready.wait()
    before = pathlib.Path("/proc/thread-self/ns/net").readlink()
    try:
        with inside_netns(path[0]):
            assert interfaces() == ["lo"]
            assert pathlib.Path("/proc/thread-self/ns/net").readlink() != before
        with pytest.raises(KeyError), inside_netns(path[0]):
            raise KeyError
    finally:
        release.set()
        thread.join()
    assert pathlib.Path("/proc/thread-self/ns/net").readlink() == before
    with pytest.raises(SyscallError, match="setns: EINVAL"), inside_netns(tmp_path):
        pass
    with pytest.raises(SyscallError, match="open: ENOENT"), inside_netns(tmp_path / "missing"):
        pass
