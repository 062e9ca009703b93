"""What a program is started with: its context in r1, and what hangs on it.

A context places its memory when a run begins and tells afterwards what the program made of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyebpf.errors import ExecutionError
from pyebpf.testing.interpreter.maps import Map
from pyebpf.testing.interpreter.memory import ByteOrder, Memory, Region
from pyebpf.typed import NamedTuple

__all__ = [
    "BytesContext",
    "Context",
    "RawTracepointContext",
    "Redirect",
    "ValuesContext",
]


class Redirect(NamedTuple):
    """Where a packet is to go.

    Attributes:
        map: The map that names it, or ``None`` for an interface.
        key: The key in the map, or the interface's index.
        flags: As the program gave them.
    """

    map: Map | None
    key: int
    flags: int


class Context:
    """What all contexts have in common.

    Attributes:
        traced_arguments: Arguments of the traced function, for ``get_func_arg``.
        traced_return: What it returned, or ``None`` before that.
        traced_address: Where it is.
        cookie: Of the attachment.
        overridden_return: What ``override_return`` asked for, or ``None``.
        system_call_return: What the system call will return, for programs of control groups.
        group: The control group and the attach type, of programs attached to such groups.
        storages: Values of storage maps of groups for this context only, by the map, where there is
            no group.
        redirect: What ``redirect`` or ``redirect_map`` asked for last, or ``None``.
    """

    traced_arguments: Sequence[int] = ()
    traced_return: int | None = None
    traced_address: int = 0
    cookie: int = 0
    overridden_return: int | None = None
    system_call_return: int = 0
    group: tuple[int, int] | None = None
    storages: dict[Map, Region] | None = None
    redirect: Redirect | None = None

    def enter(self, memory: Memory, byteorder: ByteOrder) -> tuple[int, ...]:
        """Place the context and return the program's arguments, r1 first."""
        raise NotImplementedError

    def packet_bytes(self) -> bytes | None:
        """Return the packet, if there is one."""
        return None

    def load_packet(self, skb: int, offset: int, size: int) -> int | None:
        """Load from a packet as the instructions of classic BPF do; ``None`` outside of it.

        Raises:
            ExecutionError: There is no packet.
        """
        raise ExecutionError("loads from the packet need a socket buffer")


class ValuesContext(Context):
    """Numbers, straight into the registers from r1 on; for code without a program type."""

    def __init__(self, *values: int) -> None:
        self.values = values

    def enter(self, memory: Memory, byteorder: ByteOrder) -> tuple[int, ...]:
        """Return the numbers."""
        return tuple(value & 0xFFFF_FFFF_FFFF_FFFF for value in self.values)


class BytesContext(Context):
    """Bytes that r1 points to: tracepoint records, syscall programs' contexts and the like.

    Args:
        data: The bytes; copied.
        writable: Whether programs may write there, as those of syscall programs may.
    """

    def __init__(self, data: bytes | bytearray | memoryview, *, writable: bool = False) -> None:
        self.data = bytearray(data)
        self.writable = writable

    def enter(self, memory: Memory, byteorder: ByteOrder) -> tuple[int, ...]:
        """Place the bytes."""
        self.region = Region(self.data, "context", writable=self.writable)
        return (memory.place(self.region),)


class RawTracepointContext(BytesContext):
    """The arguments of a tracepoint as 64-bit numbers, as raw tracepoints and ``tp_btf`` have them.

    Args:
        arguments: Numbers, negative ones too, or addresses of memory that the test mapped.
        byteorder: Of the program.
    """

    def __init__(self, arguments: Sequence[int], byteorder: ByteOrder) -> None:
        data = b"".join((each & (1 << 64) - 1).to_bytes(8, byteorder) for each in arguments)
        super().__init__(data)
