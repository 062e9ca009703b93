"""`RingReader`: records of BPF ring buffers (``BPF_MAP_TYPE_RINGBUF``).

*Losses.* The kernel does not count what it drops when a ring is full; the program sees that its
``bpf_ringbuf_reserve`` gave NULL, and has to count it. Where it does, the reader reads the count:

    struct {                                        __u64 dropped;              /* .bss */
            __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
            __uint(max_entries, 1);                 if (!event) {
            __type(key, __u32);                             __sync_fetch_and_add(&dropped, 1);
            __type(value, __u64);                           return 0;
    } drops SEC(".maps");                           }

    RingReader(events, drops=bpf.maps["drops"])     drops=bpf.variables["dropped"]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pyebpf.errors import NotSupportedError, naming
from pyebpf.maps.map import Map
from pyebpf.readers.pace import Losses, Pace
from pyebpf.readers.reader import Reader
from pyebpf.readers.record import decoder
from pyebpf.readers.ring_maps import RingMaps
from pyebpf.readers.rings import Rings
from pyebpf.typed import Any, TypeVar, overload
from pyebpf.uapi.bpf import MapFlag, MapType

__all__ = ["RingReader"]

T = TypeVar("T")
Maps = Map[Any, Any] | Sequence[Map[Any, Any]]


class RingReader(Reader[T]):
    """Reads the records of BPF ring buffers, of each in the order in which programs reserved them.

    Discarded records are skipped. A program that commits with ``BPF_RB_NO_WAKEUP`` wakes nobody:
    use timeouts or an interval then, at whose end the ring is looked at.

    Args:
        map: The ring buffer, or several that are read as one. The reader holds duplicates, so the
            maps may be closed. A second reader of the same ring would take records away.
        record: What a record is: ``None`` for bytes, or as told in `pyebpf.readers.record`. For
            several maps also a mapping from their names to that.
        drops: Where the programs count records they could not put into the ring: a map of numbers
            (all its values are added up, those of all CPUs too), a variable of the collection, or
            a function that returns the count. The reader holds a duplicate of the map; with the
            collection its variables close. Then, and without *drops*, ``stats().lost`` is
            ``None``, which means that nobody knows; see the module's text.
        interval: Look at the rings once in so many seconds, instead of at each wake-up: fewer and
            larger batches for less of a CPU, at the price of that much delay.
        on_lost: Called with the number of records lost, when a reading call sees that more are,
            before that returns what it has read: so each batch has its count. It costs a look at
            *drops* each time. An exception it raises comes out of that call; nothing is lost by it.

    Raises:
        ValueError: A map is of another type, or there is none; *on_lost* without *drops*.
        BtfError: *record* names a type the map's BTF does not have.
        NotSupportedError: The ring overwrites its oldest records (``BPF_F_RB_OVERWRITE``).
        SyscallError: ``EPERM`` if a map may only be read.

    Since Linux 5.8.
    """

    @overload
    def __init__(
        self: RingReader[bytes],
        map: Maps,
        *,
        record: None = None,
        drops: object = None,
        interval: float | None = None,
        on_lost: Callable[[int], object] | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        map: Maps,
        *,
        record: Callable[[bytes], T],
        drops: object = None,
        interval: float | None = None,
        on_lost: Callable[[int], object] | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: RingReader[Any],
        map: Maps,
        *,
        record: object,
        drops: object = None,
        interval: float | None = None,
        on_lost: Callable[[int], object] | None = None,
    ) -> None: ...

    def __init__(
        self,
        map: Maps,  # noqa: A002 - the kernel's word
        *,
        record: object = None,
        drops: object = None,
        interval: float | None = None,
        on_lost: Callable[[int], object] | None = None,
    ) -> None:
        maps = list(map) if isinstance(map, Sequence) else [map]
        if not maps:
            raise ValueError("no map to read")
        if on_lost is not None and drops is None:
            raise ValueError("on_lost= needs drops=: the kernel does not count what rings lose")
        pace = Pace(interval)
        for each in maps:
            _check(each)
        names = ", ".join(each.name for each in maps)
        with naming(f'read map "{names}"'):
            decoders = [
                decoder(_record_of(each, record), btf=each.btf, name=each.name) for each in maps
            ]
            source = Rings(RingMaps(maps, drops))
            super().__init__(source, decoders, name=names, pace=pace, losses=Losses(on_lost))


def _check(map_: Map[Any, Any]) -> None:
    if map_.type != MapType.RINGBUF:
        raise ValueError(f'map "{map_.name}" is a {map_.type}, not a BPF_MAP_TYPE_RINGBUF')
    if map_.flags & MapFlag.RB_OVERWRITE:
        raise NotSupportedError(f'reading map "{map_.name}", which overwrites its oldest records')


def _record_of(map_: Map[Any, Any], record: object) -> object:
    if not isinstance(record, Mapping):
        return record
    if map_.name not in record:
        raise ValueError(f'record= says nothing of map "{map_.name}"')
    return record[map_.name]
