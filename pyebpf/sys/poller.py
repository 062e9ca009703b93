"""`Poller`: sleep until a descriptor is ready or another thread says so.

    epoll ──┬── the descriptors added, or for those that forget their readiness, once `hold` was
            │   called, a `Latch` that remembers it
            └── an eventfd, the *flag*: readable while it is raised

With both, `Poller.fileno` is as well-behaved as a socket inside somebody else's event loop.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
from contextlib import ExitStack

from pyebpf.errors import NotSupportedError, SyscallError
from pyebpf.sys import kernel
from pyebpf.sys.fd import FD
from pyebpf.sys.latch import Latch
from pyebpf.typed import final

__all__ = ["Poller"]

# epoll_wait(2) takes an int of milliseconds; longer sleeps are several sleeps.
_LONGEST_SLEEP = 1_000_000.0
_BROKEN = select.EPOLLHUP | select.EPOLLERR


@final
class Poller:
    """Waits for descriptors and for its own flag.

    One thread waits; any thread may raise the flag. Not to be used after `close`, except `close`.

    Args:
        longest: Seconds after which a sleep ends anyway, for those who have to look around.
    """

    def __init__(self, longest: float = _LONGEST_SLEEP) -> None:
        self._longest = longest
        with ExitStack() as stack:
            try:
                self._flag = FD(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
                stack.callback(self._flag.close)
                self._epoll = select.epoll()
                self._epoll.register(self._flag.fileno(), select.EPOLLIN)
            except OSError as error:
                raise SyscallError("epoll", error.errno or errno.EINVAL) from None
            stack.pop_all()
        self._kernel = kernel.current()
        self._watched: list[int] = []
        self._forgetful: list[int] = []
        self._latch: Latch | None = None
        self._alone = select.poll()
        self._alone.register(self._flag.fileno(), select.POLLIN)

    def add(self, fd: int, *, forgetful: bool = False) -> None:
        """Wait for *fd* too.

        Args:
            fd: Must stay open until `close`.
            forgetful: Polling it takes its readiness away, as with perf events: what came before
                goes unnoticed, so look yourself once; after `hold` at all of them.

        Raises:
            SyscallError: ``EPERM``, *fd* cannot be polled.
        """
        self._watched.append(fd)
        if forgetful:
            self._forgetful.append(fd)
        try:
            self._epoll.register(fd, select.EPOLLIN)
        except OSError as error:
            raise SyscallError("epoll_ctl", error.errno or errno.EINVAL) from None
        if forgetful and self._latch is not None:
            self._latch.close()
            self._latch = None
            self.hold()

    def wait(self, timeout: float | None) -> bool:
        """Sleep until something is ready or the flag is raised.

        Signal handlers run meanwhile; what they raise ends the sleep, otherwise it goes on for the
        rest of the time.

        Args:
            timeout: Seconds, or ``None`` for as long as it takes.

        Returns:
            Whether something was ready; false may come before the time is over.
        """
        seconds = self._longest if timeout is None else min(timeout, self._longest)
        ready = self._epoll.poll(seconds)
        if not ready:
            return False
        for fd, events in ready:
            if events & _BROKEN and not events & select.EPOLLIN:
                # The event behind it is gone for good (its PMU, in newer kernels); it would be
                # reported again and again. (Another thread's `hold` may have taken it out.)
                with contextlib.suppress(FileNotFoundError):
                    self._epoll.unregister(fd)
        return True

    def wait_for_flag(self, timeout: float) -> None:
        """Sleep for *timeout* seconds, or until the flag is raised; descriptors do not count."""
        self._alone.poll(timeout * 1000)

    def hold(self) -> bool:
        """From now on keep readiness until `rearm`, whoever polls `fileno` and how often.

        Returns:
            Whether that works. Without the kernel's asynchronous I/O, readiness of forgetful
            descriptors goes to whoever polls first, once.
        """
        if self._latch is not None or not self._forgetful:
            return True
        try:
            latch = Latch(self._forgetful)
        except (NotSupportedError, SyscallError):
            return False
        self._epoll.register(latch.fileno(), select.EPOLLIN)
        for fd in self._forgetful:
            # One that broke is out already.
            with contextlib.suppress(FileNotFoundError):
                self._epoll.unregister(fd)
        self._latch = latch
        return True

    def rearm(self) -> None:
        """Forget readiness that is held; look for what there is to read after this, not before."""
        self._kernel.settle(self._watched)
        if self._latch is not None:
            self._latch.rearm()

    def raise_flag(self) -> None:
        """Make `wait` return and `fileno` readable until `lower_flag`; from any thread."""
        # EAGAIN cannot be: the counter would have to be at its limit of 2^64.
        os.eventfd_write(self._flag.fileno(), 1)

    def lower_flag(self) -> None:
        """Undo all `raise_flag` so far."""
        try:
            os.eventfd_read(self._flag.fileno())
        except BlockingIOError:
            return

    def fileno(self) -> int:
        """Return the descriptor of the epoll, readable while anything is ready."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Close the epoll and the flag, not the descriptors added; the second time does nothing."""
        if self._latch is not None:
            self._latch.close()
        self._epoll.close()
        self._flag.close()
