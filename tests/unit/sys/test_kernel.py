"""The seam itself: which kernel is in use, paths, and what needs no bpf(2)."""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib
import socket
import struct
import threading

import pytest

from pyebpf.errors import PrivilegeError, SyscallError
from pyebpf.sys import bpf, kernel
from pyebpf.sys.kernel import Kernel, LinuxKernel
from pyebpf.uapi.attrs import MapCreate
from pyebpf.uapi.bpf import Cmd


def test_another_kernel_is_in_use_inside_the_block_only() -> None:
    """In all threads, also those that run already; nested blocks and errors undo themselves."""
    real, other, third = kernel.current(), LinuxKernel(), LinuxKernel()
    seen: list[Kernel] = []
    ask, done = threading.Event(), threading.Event()

    def work() -> None:
        ask.wait()
        seen.append(kernel.current())
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    with kernel.use(other) as used:
        assert used is kernel.current() is other
        with pytest.raises(KeyError), kernel.use(third):
            raise KeyError
        ask.set()
        done.wait()
    thread.join()
    assert seen == [other]
    assert kernel.current() is real


def test_paths_are_under_the_root() -> None:
    """However the parts are written."""
    linux = LinuxKernel()
    assert linux.root == "/"
    assert linux.path("sys/fs", "bpf") == linux.path("/sys/", "fs/bpf") == "/sys/fs/bpf"


def test_an_opened_file_is_close_on_exec(tmp_path: pathlib.Path) -> None:
    """And failures name the file."""
    raw = kernel.current().open(str(tmp_path), os.O_RDONLY)
    assert fcntl.fcntl(raw, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    os.close(raw)
    with pytest.raises(SyscallError, match=r"open: ENOENT: .*missing") as caught:
        kernel.current().open(str(tmp_path / "missing"), os.O_RDONLY)
    assert caught.value.errno == errno.ENOENT


def test_a_socket_option_is_set() -> None:
    """Seen by getsockopt; an unknown one is a SyscallError that names it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        kernel.current().setsockopt(
            sock.fileno(), socket.SOL_SOCKET, socket.SO_PRIORITY, struct.pack("=i", 3)
        )
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 3
        with pytest.raises(SyscallError, match="option 99999"):
            kernel.current().setsockopt(sock.fileno(), socket.SOL_SOCKET, 99999, bytes(4))


def test_a_bad_ioctl_is_a_syscall_error() -> None:
    """With its request."""
    reader, writer = os.pipe()
    with pytest.raises(SyscallError, match=r"ioctl: ENOTTY: .*0x2400"):
        kernel.current().ioctl(reader, 0x2400)
    os.close(reader)
    os.close(writer)


def test_the_raw_call_checks_its_size() -> None:
    """A size beyond the bytes would send somebody else's memory."""
    with pytest.raises(ValueError, match="size 9 of 8"):
        bpf.bpf(Cmd.MAP_CREATE, bytes(8), 9)
    with pytest.raises(ValueError, match="bytes only"):
        bpf.bpf(Cmd.MAP_CREATE, MapCreate(), 8)


def test_a_pointer_that_is_no_buffer_is_refused() -> None:
    """Text in a pointer field never reaches the kernel."""
    attr = MapCreate(excl_prog_hash="text")
    with pytest.raises(TypeError):
        kernel.current().bpf(Cmd.MAP_CREATE, attr)


def test_errors_are_python_permission_errors_too() -> None:
    """PrivilegeError can be caught as what Python calls it."""
    assert issubclass(PrivilegeError, PermissionError)


def test_a_read_returns_what_is_there_and_names_the_descriptor_of_a_failure() -> None:
    """As read(2) does: at most the size asked for."""
    reading, writing = os.pipe()
    os.write(writing, b"abcdef")
    assert kernel.current().read(reading, 4) == b"abcd"
    assert kernel.current().read(reading, 4) == b"ef"
    os.close(writing)
    os.close(reading)
    with pytest.raises(SyscallError, match=rf"read: EBADF: .*descriptor {reading}"):
        kernel.current().read(reading, 4)


def test_the_name_of_an_open_file_says_what_it_is(tmp_path: pathlib.Path) -> None:
    """A path, or what Linux makes up for files that have none."""
    raw = kernel.current().open(str(tmp_path), os.O_RDONLY)
    assert kernel.current().file_name(raw) == str(tmp_path)
    os.close(raw)
    with pytest.raises(SyscallError, match="readlink: ENOENT"):
        kernel.current().file_name(raw)


def test_interfaces_are_found_by_their_names() -> None:
    """The loopback interface is everywhere; others have an error that names them."""
    assert kernel.current().interface_index("lo") == socket.if_nametoindex("lo")
    with pytest.raises(SyscallError, match=r"if_nametoindex: ENODEV: .*'nosuch0'"):
        kernel.current().interface_index("nosuch0")
