"""`XskSocket`: packets of one queue of an interface, received and sent past the network stack.

    with XskSocket("eth0", 0) as xsk:                 a program of ours redirects all packets here
        for packet in xsk.receive(timeout=1): ...     bytes; `lease` for views
        xsk.send([packet, ...])                       `reserve` to write in place

Several queues: one `XskRedirect`, and ``map=redirect.map`` for each. A program of your own: its
xskmap is ``map=``. Your own event loop: ``loop.add_reader(xsk, ...)`` and ``receive(timeout=0)``.
"""

from __future__ import annotations

import contextlib
import errno
import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType

from pyebpf.errors import ClosedError, FormatError, ReaderTimeout, SyscallError, naming
from pyebpf.link.interface import interface_index
from pyebpf.maps.map import Map
from pyebpf.sys import xdp_socket
from pyebpf.sys.poller import Poller
from pyebpf.typed import Any, TypeAlias, final
from pyebpf.xsk.binding import Sizes, bind
from pyebpf.xsk.channel import Descriptor
from pyebpf.xsk.lease import Lease, release
from pyebpf.xsk.redirect import XskRedirect
from pyebpf.xsk.statistics import XskStatistics
from pyebpf.xsk.umem import Umem

__all__ = ["XskSocket"]

Packet: TypeAlias = bytes | bytearray | memoryview

# The kernel tells nobody when frames come back, and a socket that has lost its interface not even
# that: look now and then.
_PAUSE = 0.001
_LONGEST_SLEEP = 1.0
_AGAIN = frozenset({0, errno.EAGAIN, errno.EBUSY, errno.ENOBUFS})
_MOST_PARTS = 17  # MAX_SKB_FRAGS: what the kernel takes in copy mode


@final
class XskSocket:
    """An AF_XDP socket on one queue of a network interface.

    May be shared between threads; one that receives and one that sends do not wait for each other's
    sleep. After fork(2) it is the parent's: in the child only `close` does anything.

    Args:
        interface: Name or index in the caller's network namespace.
        queue: Number of the queue.
        umem: Memory for packets, which sockets may share; by default one of its own, with 4096
            frames of 2048 bytes. It also says whether packets are copied.
        map: An xskmap that a program of yours redirects through. By default a program is attached
            that redirects everything (`XskRedirect`); False leaves it to you: ``map[key] = xsk``.
        key: Where in *map*; by default the queue's number. A program must redirect packets to
            sockets of the very queue they came in by: the kernel drops others.
        rx_size: Entries of the RX ring, a power of two; 0 for a socket that only sends.
        tx_size: Entries of the TX ring; 0 for one that only receives.
        fill_size: Frames to receive into; they come out of *umem* and go round. The rest is there
            to send. That of the queue's first socket holds.
        completion_size: Entries of the completion ring; likewise.
        busy_poll: Microseconds for which calls that wait drive the device themselves, if its
            interrupts are put off (``SO_PREFER_BUSY_POLL``, Linux 5.11).
        busy_poll_budget: How many packets they take at once.

    Raises:
        AttachError: No such interface.
        ValueError: Sizes that do not fit.
        PrivilegeError: Without ``CAP_NET_RAW``; for the program, ``CAP_BPF`` and ``CAP_NET_ADMIN``.
        NotSupportedError: The kernel has no AF_XDP.
        SyscallError: ``EINVAL``: no such queue. ``EBUSY``: it has another socket, or the interface
            another program. ``EOPNOTSUPP``: no zero-copy. ``ENOBUFS``: ``RLIMIT_MEMLOCK``.

    Attributes:
        interface: As given.
        queue: As given.
        umem: The memory.

    Since Linux 5.3; 4.18 with a map.
    """

    def __init__(
        self,
        interface: str | int,
        queue: int = 0,
        *,
        umem: Umem | None = None,
        map: Map[Any, Any] | bool = True,  # noqa: A002 - the kernel's word
        key: int | None = None,
        rx_size: int = 2048,
        tx_size: int = 2048,
        fill_size: int = 2048,
        completion_size: int = 2048,
        busy_poll: int | None = None,
        busy_poll_budget: int = 64,
    ) -> None:
        sizes = Sizes(rx_size, tx_size, fill_size, completion_size)
        sizes.check()
        index = interface_index(interface)
        self.interface, self.queue = interface, queue
        self._closing = False
        self._final: XskStatistics | None = None
        self._refused = 0
        self._busy = busy_poll is not None
        self._sleeping = threading.RLock()
        with ExitStack() as stack, naming(f"open AF_XDP socket on queue {queue} of {interface}"):
            self.umem = stack.enter_context(Umem()) if umem is None else umem
            if self.umem.closed:
                raise ClosedError("memory used after close")
            with self.umem.turn.free(), self.umem.turn:
                self._fd, self._channel, self._key = bind(self.umem, interface, index, queue, sizes)
            stack.callback(self._depart)
            self._copies = not xdp_socket.zero_copy(self._fd.fileno())
            self._poller = Poller()
            stack.callback(self._poller.close)
            self._poller.add(self._fd.fileno())
            if busy_poll is not None:
                xdp_socket.busy_poll(self._fd.fileno(), busy_poll, busy_poll_budget)
            if map is True and rx_size:
                multi = self.umem.multi_buffer
                redirect = XskRedirect(interface, queues=queue + 1, multi_buffer=multi)
                map = stack.enter_context(redirect).map  # noqa: A001
            if not isinstance(map, bool):
                map[queue if key is None else key] = self
            self._stack = stack.pop_all()

    # --- receiving

    def receive(self, timeout: float | None = None, *, limit: int | None = None) -> list[bytes]:
        """Wait until there is a packet, then return all that are there, copied.

        Args:
            timeout: Seconds to wait; 0 does not wait, ``None`` waits for ever.
            limit: No more packets than this.

        Returns:
            Packets, each from its link-layer header on; none if the time is over.

        Raises:
            ClosedError: The socket is closed, also while it waits.
            FormatError: The kernel gave something that cannot be a packet; it is skipped.
            SyscallError: ``ENXIO``: the interface has gone.
        """
        deadline = _deadline(timeout)
        while True:
            with self.umem.turn.free(), self.umem.turn:
                self._check_open()
                taken = self._take(limit)
                if taken:
                    try:
                        return self._channel.copy(taken)
                    finally:
                        self._fill(self.umem.frames.numbers(taken))
            if not self._sleep(deadline):
                return []

    @contextlib.contextmanager
    def lease(self, timeout: float | None = None, *, limit: int | None = None) -> Iterator[Lease]:
        """Wait until there is a packet, then lend all that are there, in place.

        For use in a ``with`` block, at whose end the kernel gets the frames back; also if the
        socket was closed meanwhile. There may be several leases at a time, as long as there are
        frames left for the kernel to receive into.

        Args:
            timeout: Seconds to wait; 0 does not wait, ``None`` waits for ever.
            limit: No more packets than this.

        Yields:
            The packets, as views that can be used inside the block only; none if the time is over.

        Raises:
            ClosedError, FormatError, SyscallError: As for `receive`.
        """
        deadline = _deadline(timeout)
        while True:
            with self.umem.turn.free(), self.umem.turn:
                self._check_open()
                taken = self._take(limit)
            if taken or not self._sleep(deadline):
                break
        lent = Lease(self.umem.frames, taken)
        try:
            yield lent
        finally:
            lent.end()
            with self.umem.turn.free(), self.umem.turn:
                self._fill(lent.held)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is a packet; return whether there is.

        Args:
            timeout: Seconds; 0 does not wait, ``None`` waits for ever.

        Raises:
            ClosedError, FormatError, SyscallError: As for `receive`.
        """
        deadline = _deadline(timeout)
        while True:
            with self.umem.turn.free(), self.umem.turn:
                self._check_open()
                if self._channel.rx is not None and self._channel.rx.available():
                    return True
                self._pull()
            if not self._sleep(deadline):
                return False

    # --- sending

    def send(self, packets: Packet | Sequence[Packet], *, timeout: float | None = None) -> int:
        """Send packets: one, or many, which is much faster.

        Args:
            packets: Each from its link-layer header on.
            timeout: Seconds to wait for room; 0 does not wait, ``None`` waits for ever.

        Returns:
            How many of them the kernel has; fewer than there are if the time is over. In copy mode
            they are on the interface by then, or dropped by it: `statistics` tells.

        Raises:
            ValueError: A packet is empty, or longer than a frame; nothing was sent.
            ClosedError: The socket is closed, also while it waits.
            SyscallError: ``ENETDOWN``: the interface is down; ``ENXIO``: it has gone.
                ``completed`` is what would have been returned.
        """
        if isinstance(packets, (bytes, bytearray, memoryview)):
            packets = [packets]
        octets = [each if isinstance(each, bytes) else _octets(each) for each in packets]
        self._check_lengths([len(each) for each in octets])
        deadline = _deadline(timeout)
        batch = self._tx_size()
        done = 0
        while True:
            with self.umem.turn.free(), self.umem.turn:
                self._check_open()
                written = self._channel.write(octets[done : done + batch])
                done += written
                moved = self._push(done)
            if done == len(octets) and moved:
                return done
            if not (written and moved) and not self._pause(deadline):
                return done

    @contextlib.contextmanager
    def reserve(
        self, length: int, *, count: int = 1, timeout: float | None = None
    ) -> Iterator[list[memoryview[int]]]:
        """Write packets in place, in a ``with`` block whose end sends them.

        An exception gives them up: nothing is sent.

        Args:
            length: Bytes of each.
            count: How many packets.
            timeout: Seconds to wait for room; 0 does not wait, ``None`` waits for ever.

        Yields:
            The memory of each, with anything in it; not to be used after the block.

        Raises:
            ReaderTimeout: There was no room in time.
            ValueError: They can never fit.
            ClosedError: The socket is closed, also while it waits or before the block's end.
            SyscallError: As for `send`.
        """
        self._check_lengths([length], parts=False)
        if not 1 <= count <= self._tx_size():
            raise ValueError(f"count must be 1 to tx_size, {self._tx_size()}: {count}")
        frames = self._reserve(count, _deadline(timeout), timeout)
        memory, shift = self.umem.frames.view, self.umem.frames.shift
        places = [(frame << shift, length, 0) for frame in frames]
        views = [memory[at : at + length] for at, _, _ in places]
        try:
            yield views
        except BaseException:
            self._cancel(frames, views)
            raise
        release(views)
        with self.umem.turn.free(), self.umem.turn:
            if self._closing:
                self._channel.cancel(frames)
                raise self._closed_error()
            self._channel.submit(places)
            self._push(count)

    def forward(
        self, lease: Lease, numbers: Iterable[int] | None = None, *, timeout: float | None = None
    ) -> int:
        """Send leased packets on from where they lie, without copying them.

        Their views are of no use afterwards; a free frame takes the place of each.

        Args:
            lease: Of a socket with the same memory, such as this one, inside its block.
            numbers: Which of its packets; by default all.
            timeout: Seconds to wait for room; 0 does not wait, ``None`` waits for ever.

        Returns:
            How many of them the kernel has, the first ones; the others still are the lease's.

        Raises:
            ValueError: Other memory; a packet was forwarded before; the lease has ended; or packets
                may have several buffers (``multi_buffer``).
            IndexError: There is no such packet.
            ClosedError, SyscallError: As for `send`.
        """
        if lease.frames is not self.umem.frames or self.umem.multi_buffer:
            raise ValueError("only packets of the same memory and in one buffer can be forwarded")
        self._tx_size()
        wanted = list(range(len(lease)) if numbers is None else numbers)
        deadline = _deadline(timeout)
        done = 0
        while True:
            with self.umem.turn.free(), self.umem.turn:
                self._check_open()
                left = wanted[done:]
                instead = self._channel.exchange(lease.to_forward(left))
                lease.forwarded(left[: len(instead)], instead)
                done += len(instead)
                moved = self._push(done)
            if done == len(wanted) and moved:
                return done
            if not (instead and moved) and not self._pause(deadline):
                return done

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the kernel has sent all packets of this queue; return whether it has.

        Args:
            timeout: Seconds; 0 does not wait, ``None`` waits for ever.

        Raises:
            ClosedError, SyscallError: As for `send`.
        """
        deadline = _deadline(timeout)
        while True:
            with self.umem.turn.free(), self.umem.turn:
                self._check_open()
                self._push(None)
                self._channel.queue.collect()
                if not self._channel.queue.sending:
                    return True
            if not self._pause(deadline):
                return False

    # --- the rest

    def statistics(self) -> XskStatistics:
        """Return the totals so far; those at the end once the socket is closed."""
        if self._final is not None:
            return self._final
        with self.umem.turn.free(), self.umem.turn:
            self._check_open()
            return self._totals(xdp_socket.statistics(self._fd.fileno()))

    @property
    def zero_copy(self) -> bool:
        """Whether packets are not copied between the device and the memory."""
        return not self._copies

    def fileno(self) -> int:
        """Return the descriptor: readable while packets wait, for event loops and xskmaps.

        Raises:
            ClosedError: The socket is closed.
        """
        return self._fd.fileno()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closing

    def close(self) -> None:
        """Close the socket and take its frames back; the second time does nothing.

        From any thread: one that waits gets `ClosedError`. Packets that wait are lost (`receive`
        before, if they matter), and so are those that the kernel has not looked at (`flush`). The
        memory may be used on by other sockets; but frames that the kernel may still touch (all it
        has without copying, and packets it has not reported as sent) are retired. Take the
        descriptor from no one else: who has a duplicate keeps the kernel at it.
        """
        if self._closing:
            return
        self._closing = True
        if self.umem.turn.foreign:
            self._stack.close()
            return
        self._poller.raise_flag()
        with self._sleeping:  # nobody sleeps on descriptors that are closed
            self._stack.close()

    def __enter__(self) -> XskSocket:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closing else "open"
        return f"<XskSocket on queue {self.queue} of {self.interface}, {state}>"

    # --- in a turn

    def _take(self, limit: int | None) -> list[Descriptor]:
        rx = self._channel.rx
        if rx is None:
            raise ValueError("a socket without an RX ring does not receive")
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be 1 or more: {limit}")
        if self._busy:
            xdp_socket.pull(self._fd.fileno())
        taken = self._channel.take(rx.size if limit is None else limit)
        if not taken:
            self._pull()
        return taken

    def _fill(self, frames: Sequence[int]) -> None:
        self._channel.queue.fill(frames)
        if not self._closing:
            self._pull()

    def _pull(self) -> None:
        if self._channel.queue.needs_wakeup():
            xdp_socket.pull(self._fd.fileno())

    # Lets the kernel send; returns whether it is at it, or has to be asked again later.
    def _push(self, completed: int | None) -> bool:
        tx = self._channel.tx
        if tx is None or not tx.needs_wakeup():
            return True
        left = tx.waiting()
        while left:
            failed = xdp_socket.push(self._fd.fileno())
            if failed not in _AGAIN:
                raise self._failed(failed, completed)
            self._refused += failed == errno.EBUSY and self._copies
            if not self._copies:
                return True
            self._channel.queue.collect()  # or its ring may be full
            before, left = left, tx.waiting()
            if left == before:
                return False
        return True

    def _failed(self, failed: int, completed: int | None) -> SyscallError:
        reasons = {errno.ENXIO: "has gone", errno.ENETDOWN: "is down"}
        detail = f"{self.interface} {reasons[failed]}" if failed in reasons else ""
        error = SyscallError("sendto", failed, detail)
        error.completed = completed
        error.context.append(f"queue {self.queue} of {self.interface}")
        return error

    def _totals(self, kernels: Mapping[str, int | None]) -> XskStatistics:
        channel = self._channel
        return XskStatistics(
            received=channel.received,
            sent=channel.sent,
            refused=self._refused,
            unsent=channel.unsent,
            **kernels,
        )

    # --- waiting

    # False if the time is over.
    def _sleep(self, deadline: float) -> bool:
        rest = min(deadline - time.monotonic(), _LONGEST_SLEEP)
        if rest <= 0:
            return False
        if not self._sleeping.acquire(timeout=rest):
            return True
        ready = True
        try:
            if not self._closing:
                ready = self._poller.wait(rest)
        except (OSError, ValueError):
            if not self._closing:  # by a signal handler, while this thread slept
                raise
        finally:
            self._sleeping.release()
        if not ready:
            self._check_interface()
        return True

    def _pause(self, deadline: float) -> bool:
        rest = min(deadline - time.monotonic(), _PAUSE)
        if rest <= 0:
            return False
        time.sleep(rest)
        return True

    # A socket that has lost its interface is never readable again.
    def _check_interface(self) -> None:
        with self.umem.turn.free(), self.umem.turn:
            self._check_open()
            failed = xdp_socket.push(self._fd.fileno())
            if failed == errno.ENXIO:
                raise self._failed(failed, None)

    def _reserve(self, count: int, deadline: float, timeout: float | None) -> list[int]:
        frames: list[int] = []
        try:
            while True:
                with self.umem.turn.free(), self.umem.turn:
                    self._check_open()
                    frames += self._channel.reserve(count - len(frames))
                    if len(frames) == count:
                        return frames
                    self._push(0)
                if not self._pause(deadline):
                    raise ReaderTimeout(f"{self!r}: no room for {count} packets in {timeout} s")
        except BaseException:
            self._cancel(frames, [])
            raise

    def _cancel(self, frames: list[int], views: list[memoryview[int]]) -> None:
        release(views)
        with self.umem.turn.free(), self.umem.turn:
            self._channel.cancel(frames)

    # --- the end

    def _depart(self) -> None:
        if self.umem.turn.foreign:
            self._fd.close()
            self._channel.unmap()
        else:
            self.umem.turn.when_idle(self._leave)

    def _leave(self) -> None:
        queue = self._channel.queue
        kernels = xdp_socket.statistics(self._fd.fileno())
        queue.users.remove(self._fd.fileno())
        self._fd.close()
        self._channel.close()
        if not queue.users:
            with contextlib.suppress(FormatError):
                queue.collect()
            del self.umem.queues[self._key]
            queue.close(copies=self._copies)
        self._final = self._totals(kernels)
        self.umem.release_unused()

    def _check_open(self) -> None:
        if self._closing:
            raise self._closed_error()

    def _closed_error(self) -> ClosedError:
        return ClosedError(f"{self!r} used after close")

    # --- what may be sent

    def _tx_size(self) -> int:
        if self._channel.tx is None:
            raise ValueError("a socket without a TX ring does not send")
        return self._channel.tx.size

    def _check_lengths(self, lengths: Sequence[int], *, parts: bool = True) -> None:
        size = self.umem.frame_size
        if parts and self.umem.multi_buffer:
            size *= min(_MOST_PARTS, self._tx_size())
        if lengths and not 1 <= min(lengths) <= max(lengths) <= size:
            number, length = next(
                (number, length) for number, length in enumerate(lengths) if not 1 <= length <= size
            )
            raise ValueError(f"packet {number} has {length} bytes; it must have 1 to {size}")


def _octets(packet: Packet) -> memoryview[int]:
    return memoryview(packet).cast("B")


def _deadline(timeout: float | None) -> float:
    if timeout is None:
        return math.inf
    if not timeout >= 0:  # NaN too
        raise ValueError(f"timeout must be seconds, 0 or more, or None: {timeout}")
    return time.monotonic() + timeout if timeout else -math.inf
