"""Kernel functions by name, for programs that call them."""

from __future__ import annotations

import errno

from pyebpf.testing.interpreter import arena, dynptrs
from pyebpf.testing.interpreter.calls import Function
from pyebpf.testing.interpreter.run import Run

__all__ = ["KFUNCS", "Thrown"]


MOST_LOOPS = 8 << 20  # BPF_MAX_LOOPS
SECTIONS = (
    "bpf_rcu_read_lock",
    "bpf_rcu_read_unlock",
    "bpf_preempt_disable",
    "bpf_preempt_enable",
)


class Thrown(Exception):
    """A program threw: ``bpf_throw`` unwinds all of its functions at once."""

    def __init__(self, cookie: int) -> None:
        super().__init__(cookie)
        self.cookie = cookie

    def value(self, run: Run) -> int:
        """Return what the program returns then: what its exception callback makes of the cookie.

        The callback is that of the program that was started, whatever tail calls did since.
        """
        callback = run.started.program.exception_callback
        if callback is None:
            return self.cookie
        run.depth = run.floor = 0
        return run.started.call(run, callback, [self.cookie])


def bpf_throw(run: Run, cookie: int) -> int:
    """Leave the program at once; its return value is *cookie*."""
    raise Thrown(cookie)


def nothing(run: Run) -> int:
    """Do nothing: sections that nobody could interrupt anyway."""
    return 0


def bpf_rdonly_cast(run: Run, pointer: int, type_id: int) -> int:
    """Return the pointer, seen as another type."""
    return pointer


def bpf_iter_num_new(run: Run, iterator: int, start: int, end: int) -> int:
    """Begin to count from *start* to below *end*: ``bpf_for``."""
    start, end = _signed(start), _signed(end)
    problem = -errno.EINVAL if start > end else -errno.E2BIG if end - start > MOST_LOOPS else 0
    run.store(iterator, 4, 0 if problem else start - 1)
    run.store(iterator + 4, 4, 0 if problem else end)
    return problem


def bpf_iter_num_next(run: Run, iterator: int) -> int:
    """Return the address of the next number, 0 after the last."""
    following = _signed(run.load(iterator, 4)) + 1
    if following >= _signed(run.load(iterator + 4, 4)):
        run.store(iterator, 8, 0)
        return 0
    run.store(iterator, 4, following)
    return iterator


def bpf_iter_num_destroy(run: Run, iterator: int) -> int:
    """End counting."""
    run.store(iterator, 8, 0)
    return 0


def _signed(value: int) -> int:
    return (value & 0xFFFF_FFFF ^ 0x8000_0000) - 0x8000_0000


KFUNCS: dict[str, Function] = {
    "bpf_throw": bpf_throw,
    "bpf_rdonly_cast": bpf_rdonly_cast,
    "bpf_iter_num_new": bpf_iter_num_new,
    "bpf_iter_num_next": bpf_iter_num_next,
    "bpf_iter_num_destroy": bpf_iter_num_destroy,
    **arena.KFUNCS,
    **dynptrs.KFUNCS,
    **dict.fromkeys(SECTIONS, nothing),
}
