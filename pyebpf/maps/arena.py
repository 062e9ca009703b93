"""Memory shared by programs and processes: `Arena`, a map whose value is an address range.

Pages of the range appear when a program allocates them or a process touches them. Programs keep
pointers in it as the process sees them, so the range stands at one address in every process: the
one the map was created with (``map_extra``), or the one its first process was given. In a process
it is mapped once, for all who own a descriptor of the map:

    Arena ─┐
    clone ─┼─▶ Mapping ─▶ munmap when the last owner and the last view are gone
    loaded ┘
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
import weakref

from pyebpf.errors import ClosedError, SyscallError, naming
from pyebpf.maps.map import Map
from pyebpf.maps.user_codec import CodecLike
from pyebpf.spec import MapSpec
from pyebpf.sys import kernel
from pyebpf.sys.fd import FD
from pyebpf.sys.mapping import Mapping

__all__ = ["Arena"]

# Those with memory. The kernel does not hand that down to a child of fork, who would end by a
# SIGSEGV at the first touch.
_arenas: weakref.WeakSet[Arena] = weakref.WeakSet()


def _forked() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent's may have had it
    for each in list(_arenas):
        each._renew()


os.register_at_fork(after_in_child=_forked)

# What this process has mapped, by kernel and map id; owners keep it, this finds it.
_lock = threading.Lock()
_known: weakref.WeakKeyDictionary[kernel.Kernel, weakref.WeakValueDictionary[int, Mapping]]
_known = weakref.WeakKeyDictionary()


class Arena(Map[bytes, bytes]):
    """An arena: a map of type ``BPF_MAP_TYPE_ARENA``.

    Args:
        fd: Its descriptor; this object owns it from now on.
        spec: What it is; ``max_entries`` are pages.
        key: Unused: an arena has no elements.
        value: Likewise.

    Since Linux 6.9 (x86-64 and arm64).
    """

    def __init__(
        self, fd: FD, spec: MapSpec, *, key: CodecLike | None = None, value: CodecLike | None = None
    ) -> None:
        super().__init__(fd, spec, key=key, value=value)
        self._mapping: Mapping | None = None

    @property
    def size(self) -> int:
        """Bytes of its address range."""
        return self.max_entries * mmap.PAGESIZE

    @property
    def address(self) -> int:
        """Where it stands in this process: what pointers in it count from.

        Raises:
            SyscallError: As `memory`.
        """
        return self._mapped().address

    def memory(self, *, writable: bool = True) -> memoryview:  # type: ignore[override]
        """Return the whole range; touching a page makes it exist.

        Unlike that of an array this is a ``memoryview``: Python's ``mmap`` knows no addresses.
        It remains good when the map is closed, but then not in children of a fork.

        Args:
            writable: Or read-only.

        Raises:
            SyscallError: ``EEXIST`` if something else of this process is at its address;
                ``EINVAL`` if another process chose the address and ``map_extra`` does not say
                which.
        """
        view = self._mapped().view()
        return view if writable else view.toreadonly()

    def _mapped(self) -> Mapping:
        if self.closed:
            raise ClosedError(f"{self._label()} used after close")
        if self._mapping is None:
            with _lock, naming(f'map the memory of map "{self.name}"'):
                known = _known.setdefault(kernel.current(), weakref.WeakValueDictionary())
                number = self.id
                self._mapping = known.get(number) or self._map()
                known[number] = self._mapping
                _arenas.add(self)
        return self._mapping

    def _map(self) -> Mapping:
        wanted = self.spec.map_extra
        try:
            return kernel.current().mapping(self.fileno(), self.size, address=wanted)
        except SyscallError as error:
            if error.errno == errno.EEXIST:
                error.detail = f"something of this process is at {wanted:#x} already"
            elif error.errno == errno.EINVAL and not wanted:
                error.detail = "it stands where another process chose; create it with map_extra"
            raise

    def _renew(self) -> None:
        if self._mapping is not None and not self.closed:
            self._mapping.renew(self.fileno())

    def close(self) -> None:
        """Close the descriptor and let go of the memory, which lives on while views of it do."""
        self._mapping = None
        super().close()
