"""Who has which frame: the law of AF_XDP's shared memory.

The memory is cut into frames of one size, which are numbered. At any time a frame is in exactly one
of these places, and every move is from one to another, so none is lost or used by two:

    free ◀──────────── lent ◀────────── the RX ring
     │                  ▲ │                 ▲
     └───── take ───────┘ ├── fill ──▶ Queue.filled      the kernel receives into it
     ▲                    └── send ──▶ Queue.sending     the kernel reads it
     └──────────────────── collect ────────┘
                                            retired      see `Queue.close`

*Lent* are the frames that this process works on: copies into or out of, or has lent to the user.
What the kernel gives back must be what it was given: everything else is a `FormatError`.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Collection, Iterable, Sequence

from pyebpf.errors import FormatError
from pyebpf.sys.xdp_rings import ConsumerRing, ProducerRing
from pyebpf.typed import final

__all__ = ["Frames", "Queue"]


@final
class Frames:
    """Memory, cut into frames.

    Args:
        memory: All of it.
        size: Bytes of a frame, a power of two.

    Attributes:
        memory: As given; ``memory[a:b]`` copies.
        view: The same, writable, without copying.
        size: As given.
        shift: A frame's number is an address shifted by so much.
        lent: Numbers of frames that this process works on.
        retired: Numbers of frames that will never be used again.
    """

    def __init__(self, memory: mmap.mmap, size: int) -> None:
        self.memory = memory
        self.view = memoryview(memory)
        self.size = size
        self.shift = size.bit_length() - 1
        # The frame given back last is taken first: it may still be in the CPU's caches.
        self._free = list(range((len(memory) >> self.shift) - 1, -1, -1))
        self.lent: set[int] = set()
        self.retired: set[int] = set()

    @property
    def free(self) -> int:
        """How many frames are free."""
        return len(self._free)

    def take(self, count: int) -> list[int]:
        """Take at most so many frames: free to lent."""
        rest = max(0, len(self._free) - max(0, count))
        taken = self._free[rest:]
        del self._free[rest:]
        self.lent.update(taken)
        return taken

    def give_back(self, frames: Collection[int]) -> None:
        """Give frames back: lent to free."""
        self.lent.difference_update(frames)
        self._free.extend(frames)

    def numbers(self, descriptors: Iterable[tuple[int, int, int]]) -> list[int]:
        """Return the frames in which packets lie."""
        shift = self.shift
        return [address >> shift for address, _, _ in descriptors]


@final
class Queue:
    """The frames that the kernel has for one queue of an interface; all its sockets share them.

    Args:
        frames: Of which they are.
        fill: Through which the kernel gets frames to receive into.
        completion: Through which it gives back what it has sent.
        name: For messages.

    Attributes:
        filled: Numbers of frames the kernel has to receive into, or has received into.
        sending: Numbers of frames it has to send.
        receives: Whether it has been given frames to receive into.
        users: Descriptors of the sockets that share it.
    """

    def __init__(
        self, frames: Frames, fill: ProducerRing, completion: ConsumerRing, *, name: str
    ) -> None:
        self.frames = frames
        self.filled: set[int] = set()
        self.sending: set[int] = set()
        self.receives = False
        self.users: list[int] = []
        self.name = name
        self._fill = fill
        self._completion = completion
        self._open = True

    @property
    def capacity(self) -> int:
        """How many frames go round: as many as the fill ring has entries."""
        return self._fill.size

    def fill(self, frames: Sequence[int]) -> None:
        """Let the kernel receive into frames: lent to filled, or to free once it is closed.

        There always is room: no more than `capacity` frames go round.
        """
        if not self._open:
            self.frames.give_back(frames)
            return
        shift = self.frames.shift
        self.frames.lent.difference_update(frames)
        self.filled.update(frames)
        self._fill.put(array("Q", [frame << shift for frame in frames]).tobytes())

    def needs_wakeup(self) -> bool:
        """Return whether the driver has to be told that there are frames to receive into."""
        return self._fill.needs_wakeup()

    def collect(self) -> None:
        """Take back what the kernel has sent: sending to free.

        Raises:
            FormatError: It gave back what it did not have; the others are taken back.
        """
        count = self._completion.available()
        if not count:
            return
        shift = self.frames.shift
        addresses = memoryview(self._completion.peek(count)).cast("Q")
        done = [address >> shift for address in addresses]
        known = self.sending.intersection(done)
        self.sending -= known
        self._completion.advance(count)
        self.frames.give_back(known)
        if len(known) != count:
            wrong = count - len(known)
            text = f"{wrong} of {count} frames given back that were not there to be sent"
            raise FormatError(text, f"completion ring of {self.name}")

    def close(self, *, copies: bool) -> None:
        """Take frames back from the kernel, which has no socket of this queue any more.

        Where packets are copied, it has stopped receiving by then, but packets that it has not
        reported as sent may still be on their way, in some drivers without a copy. Without copies,
        the device may write for a while into what it was given. Nobody will tell when that is over,
        so such frames are retired: unused until all of the memory goes.
        """
        if copies:
            self.frames.give_back(self.filled)
        else:
            self.frames.retired |= self.filled
        self.frames.retired |= self.sending
        self.filled, self.sending = set(), set()
        self._open = False
        self._fill.close()
        self._completion.close()
