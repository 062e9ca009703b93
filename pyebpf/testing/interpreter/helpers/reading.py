"""Helpers that read memory which may not be there: the kernel's and user space's.

What a test placed with ``machine.memory.map(address, data)`` can be read, and everything that the
program itself may reach. Elsewhere the answer is ``-EFAULT`` and the destination becomes zeros, as
in the kernel.
"""

from __future__ import annotations

import errno

from pyebpf.errors import MemoryAccessError
from pyebpf.testing.interpreter.calls import Function
from pyebpf.testing.interpreter.run import Run
from pyebpf.uapi.helpers import FuncId

__all__ = ["HELPERS"]

USER_SPACE_END = (1 << 47) - 4096  # TASK_SIZE_MAX with four levels of page tables


def probe_read(run: Run, place: int, size: int, source: int) -> int:
    """Copy *size* bytes from *source*; ``-EFAULT`` if it is not there."""
    return _read(run, place, size, source, -errno.EFAULT)


def probe_read_kernel(run: Run, place: int, size: int, source: int) -> int:
    """Copy from the kernel; ``-ERANGE`` if *source* is an address of user space."""
    return _read(run, place, size, source, _kernel_error(source))


def _read(run: Run, place: int, size: int, source: int, failure: int) -> int:
    size &= 0xFFFF_FFFF
    target = run.memory.view(place, size, write=True) if size else memoryview(bytearray())
    try:
        target[:] = run.memory.read(source, size)
    except MemoryAccessError:
        target[:] = bytes(size)
        return failure
    return 0


# copy_from_kernel_nofault_allowed() of x86: user space, and the page behind it.
def _kernel_error(address: int) -> int:
    return -errno.ERANGE if address < USER_SPACE_END + 4096 else -errno.EFAULT


def copy_from_user(run: Run, place: int, size: int, source: int) -> int:
    """Copy from user space; as `probe_read`."""
    return probe_read(run, place, size, source)


def copy_from_user_task(run: Run, place: int, size: int, source: int, task: int, flags: int) -> int:
    """Copy from another task's user space; there is one for all."""
    if flags:
        return -errno.EINVAL
    return probe_read(run, place, size, source)


def probe_read_str(run: Run, place: int, size: int, source: int) -> int:
    """Copy a string, cut to *size* bytes with its NUL, and return its length with the NUL."""
    return _read_string(run, place, size, source, -errno.EFAULT)


def probe_read_kernel_str(run: Run, place: int, size: int, source: int) -> int:
    """Copy a string of the kernel."""
    return _read_string(run, place, size, source, _kernel_error(source))


def _read_string(run: Run, place: int, size: int, source: int, failure: int) -> int:
    size &= 0xFFFF_FFFF
    if not size:
        return 0
    target = run.memory.view(place, size, write=True)
    try:
        text = run.memory.text(source, size)
        # Without a NUL before the end of memory, the next byte would have been read, too.
        if len(text) < size:
            run.memory.view(source + len(text), 1)
    except MemoryAccessError:
        target[:] = bytes(size)
        return failure
    text = text[: size - 1] + b"\0"
    target[: len(text)] = text
    return len(text)


def probe_write_user(run: Run, place: int, source: int, size: int) -> int:
    """Write to user space."""
    data = run.memory.read(source, size & 0xFFFF_FFFF)
    try:
        run.memory.write(place, data)
    except MemoryAccessError:
        return -errno.EPERM
    return 0


HELPERS: dict[int, Function] = {
    FuncId.probe_read: probe_read,
    FuncId.probe_read_user: probe_read,
    FuncId.probe_read_kernel: probe_read_kernel,
    FuncId.probe_read_str: probe_read_str,
    FuncId.probe_read_user_str: probe_read_str,
    FuncId.probe_read_kernel_str: probe_read_kernel_str,
    FuncId.probe_write_user: probe_write_user,
    FuncId.copy_from_user: copy_from_user,
    FuncId.copy_from_user_task: copy_from_user_task,
}
