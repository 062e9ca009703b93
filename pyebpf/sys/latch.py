"""`Latch`: keeps the readiness of descriptors whose poll forgets it.

In: perf event descriptors. Polling one takes its readiness away (perf_poll swaps it for 0), and
everything polls: epoll_ctl when it adds, epoll_wait before it reports, an outer epoll while it
looks into an inner one. So an event that comes between a reader's last look at its ring
and its registration in an event loop is never reported. Out: one descriptor that is readable from
the first event on until `Latch.rearm`, however often and by whomever it is polled.

    perf fd ──IOCB_CMD_POLL (one shot, in the kernel)──▶ eventfd ──▶ any event loop

Linux's asynchronous I/O waits for the descriptors; a finished poll adds to the eventfd. No thread,
nothing to do while nothing happens. Since Linux 4.19.

    struct iocb   0: data u64 | 8: key, flags | 16: opcode u16, priority | 20: fd u32 |
                  24: buf u64, here the events | 32: nbytes, offset | 56: flags | 60: resfd
    struct io_event   0: data | 8: iocb | 16: result, here the events that came | 24: 0
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from pyebpf.errors import NotSupportedError, SyscallError
from pyebpf.sys.fd import FD
from pyebpf.sys.libc import address_of, error_number, libc
from pyebpf.typed import NamedTuple, final

__all__ = ["Latch"]

_POLL = 5  # IOCB_CMD_POLL
_RESFD = 1  # IOCB_FLAG_RESFD
_IOCB = struct.Struct("=QQHhIQ24xII")
_IO_EVENT = struct.Struct("=QQqq")
_WORD = struct.Struct("L")
_BROKEN = select.EPOLLHUP | select.EPOLLERR


class _Calls(NamedTuple):
    setup: int
    destroy: int
    getevents: int
    submit: int


# Only x86-64 has run; the others are the kernel's tables.
_GENERIC = _Calls(0, 1, 4, 2)
_CALLS = {
    "x86_64": _Calls(206, 207, 208, 209),
    "aarch64": _GENERIC,
    "riscv64": _GENERIC,
    "loongarch64": _GENERIC,
    "ppc64le": _Calls(227, 228, 229, 230),
    "s390x": _Calls(243, 244, 245, 246),
}


@final
class Latch:
    """One readable descriptor for the readiness of many.

    One thread at a time may use it.

    Args:
        fds: Descriptors to watch; they must stay open until `close`.

    Raises:
        NotSupportedError: A kernel without asynchronous I/O, or an architecture we do not know.
        SyscallError: ``EAGAIN`` over the limit ``fs.aio-max-nr``.
    """

    def __init__(self, fds: Sequence[int]) -> None:
        calls = _CALLS.get(os.uname().machine)
        if calls is None or sys.maxsize < 1 << 32:
            raise NotSupportedError("IOCB_CMD_POLL")
        self._calls = calls
        self._fds = tuple(fds)
        self._events = bytearray(_IO_EVENT.size * len(self._fds))
        self._context = 0
        with ExitStack() as stack:
            self._eventfd = FD(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
            stack.callback(self._eventfd.close)
            context = bytearray(_WORD.size)
            self._call("io_setup", calls.setup, len(self._fds), context)
            (self._context,) = _WORD.unpack(context)
            stack.callback(self._destroy)
            self._arm(range(len(self._fds)))
            self._stack = stack.pop_all()

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._eventfd.fileno()

    def rearm(self) -> None:
        """Forget the readiness so far; what comes from now on counts.

        Look at the rings afterwards, not before, and nothing goes unnoticed.
        """
        try:
            os.eventfd_read(self._eventfd.fileno())
        except BlockingIOError:
            return
        self._arm(self._finished())

    def close(self) -> None:
        """Stop watching; the second time does nothing."""
        self._stack.close()

    def _destroy(self) -> None:
        with contextlib.suppress(SyscallError):  # EINVAL in a child of fork: it has none
            self._call("io_destroy", self._calls.destroy, self._context)

    # Out: indexes of the descriptors that were ready and can be again.
    def _finished(self) -> list[int]:
        limit = len(self._fds)
        count = self._call(
            "io_getevents", self._calls.getevents, self._context, 0, limit, self._events
        )
        finished = []
        for index, _, events, _ in _IO_EVENT.iter_unpack(self._events[: count * _IO_EVENT.size]):
            # A dead event stays "ready" for ever.
            if events & select.EPOLLIN or not events & _BROKEN:
                finished.append(index)
        return finished

    def _arm(self, indexes: Sequence[int]) -> None:
        if not indexes:
            return
        eventfd = self._eventfd.fileno()
        blocks = bytearray().join(
            _IOCB.pack(index, 0, _POLL, 0, self._fds[index], select.EPOLLIN, _RESFD, eventfd)
            for index in indexes
        )
        keeper, address = address_of(blocks)
        pointers = bytearray().join(
            _WORD.pack(address + number * _IOCB.size) for number in range(len(indexes))
        )
        done = self._call("io_submit", self._calls.submit, self._context, len(indexes), pointers)
        del keeper  # the kernel has its copy
        if done < len(indexes):
            # It stops at the first block it refuses; asked for that one alone, it says why.
            self._arm(indexes[done:])

    def _call(self, name: str, number: int, *arguments: int | bytearray) -> int:
        keepers = []
        words = [0] * 5
        for place, argument in enumerate(arguments):
            if isinstance(argument, int):
                words[place] = argument
            else:
                keeper, words[place] = address_of(argument)
                keepers.append(keeper)
        result = libc.syscall(number, *words)
        if result < 0:
            raise SyscallError(name, error_number())
        return result
