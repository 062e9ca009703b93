"""Helpers about the program itself: loops, locks, traced arguments, return values."""

from __future__ import annotations

import errno

from pyebpf.errors import ExecutionError
from pyebpf.testing.interpreter.calls import Function, Generated
from pyebpf.testing.interpreter.run import Run
from pyebpf.uapi.helpers import FuncId

__all__ = ["HELPERS"]

MOST_LOOPS = 8 << 20  # BPF_MAX_LOOPS
MASK = (1 << 64) - 1


def loop(run: Run, count: int, callback: int, context: int, flags: int) -> Generated:
    """Call *callback* with 0, 1, … and *context* until it returns 1; return how often."""
    count &= 0xFFFF_FFFF
    if flags:
        return -errno.EINVAL
    if count > MOST_LOOPS:
        return -errno.E2BIG
    for index in range(count):
        if (yield callback, (index, context)):
            return index + 1
    return count


def spin_lock(run: Run, lock: int) -> int:
    """Take a lock; there may be one at a time."""
    run.memory.view(lock, 4, write=True)
    if run.scratch.get("lock") is not None:
        raise ExecutionError("a second spin lock is taken")
    run.scratch["lock"] = lock
    return 0


def spin_unlock(run: Run, lock: int) -> int:
    """Release the lock."""
    if run.scratch.get("lock") != lock:
        raise ExecutionError("a spin lock is released that was not taken")
    run.scratch["lock"] = None
    return 0


def kptr_xchg(run: Run, place: int, pointer: int) -> int:
    """Put a pointer into a map's value and return the one that was there."""
    before = run.load(place, 8)
    run.store(place, 8, pointer)
    return before


def get_func_arg(run: Run, context: int, number: int, place: int) -> int:
    """Copy an argument of the traced function."""
    arguments = run.context.traced_arguments
    if number & 0xFFFF_FFFF >= len(arguments):
        return -errno.EINVAL
    run.store(place, 8, arguments[number & 0xFFFF_FFFF])
    return 0


def get_func_arg_cnt(run: Run, context: int) -> int:
    """Return how many arguments the traced function has."""
    return len(run.context.traced_arguments)


def get_func_ret(run: Run, context: int, place: int) -> int:
    """Copy what the traced function returned, if it has."""
    if run.context.traced_return is None:
        return -errno.EOPNOTSUPP
    run.store(place, 8, run.context.traced_return)
    return 0


def get_func_ip(run: Run, context: int) -> int:
    """Return the address of the traced function."""
    return run.context.traced_address


def get_attach_cookie(run: Run, context: int) -> int:
    """Return the cookie that the attachment was given."""
    return run.context.cookie


def override_return(run: Run, context: int, value: int) -> int:
    """Let the traced function return *value* instead of running."""
    run.context.overridden_return = value
    return 0


def get_retval(run: Run) -> int:
    """Return the value that the system call will return."""
    return run.context.system_call_return


def set_retval(run: Run, value: int) -> int:
    """Set it; an error number or 0."""
    value = (value & 0xFFFF_FFFF ^ 0x8000_0000) - 0x8000_0000
    if value > 0 or value < -4095:
        return -errno.EINVAL
    run.context.system_call_return = value
    return 0


HELPERS: dict[int, Function] = {
    FuncId.loop: loop,
    FuncId.spin_lock: spin_lock,
    FuncId.spin_unlock: spin_unlock,
    FuncId.kptr_xchg: kptr_xchg,
    FuncId.get_func_arg: get_func_arg,
    FuncId.get_func_arg_cnt: get_func_arg_cnt,
    FuncId.get_func_ret: get_func_ret,
    FuncId.get_func_ip: get_func_ip,
    FuncId.get_attach_cookie: get_attach_cookie,
    FuncId.override_return: override_return,
    FuncId.get_retval: get_retval,
    FuncId.set_retval: set_retval,
}
