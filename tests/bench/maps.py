"""The suite of maps: what a look-up, an update, a delete and a copy of a whole map take.

    hot      1024 entries of 65536, all in the caches: what a single operation costs
    big      100000 entries, more than the caches of one CPU hold
    small    8000 entries, which they do hold
    percpu   1024 entries with a value for each CPU
    mapped   an array of 100000 entries that can be mapped

All peers work on the same maps, by descriptors they inherit. The works of libbpf named ``dump`` are
its loop of LOOKUP_BATCH, those of ``get_many16`` and ``lookup`` its loop over keys, that of
``memory_copy`` is memcpy.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pyebpf.maps.map import Map
from pyebpf.uapi.bpf import MapFlag, MapType
from tests.bench.harness import BUILD, Command

__all__ = ["UNITS", "subjects"]

HERE = Path(__file__).parent

UNITS = {
    "map.lookup": "ns",
    "map.lookup_threads": "ns",
    "map.update": "ns",
    "map.delete": "ns",
    "map.percpu_lookup": "ns",
    "map.get_many16": "ns/key",
    "map.dump_numpy": "ns/entry",
    "map.dump_dict": "ns/entry",
    "map.dump_dict_batch": "ns/entry",
    "map.bulk_dump": "ns/entry",
    "map.bulk_dump_small": "ns/entry",
    "map.memory_copy": "ns/entry",
    "map.memory_item": "ns",
}
ROOM = {"hot": 65536, "big": 131072, "small": 8192, "percpu": 1024, "mapped": 100_000}
ENTRIES = {"hot": 1024, "big": 100_000, "small": 8000, "percpu": 1024, "mapped": 100_000}
KINDS = {"percpu": MapType.PERCPU_HASH, "mapped": MapType.ARRAY}
FLAGS = {"mapped": MapFlag.MMAPABLE}


@contextmanager
def subjects(python: str) -> Iterator[tuple[list[Command], list[int]]]:
    """Make the maps, and say how the peers are started on them."""
    with ExitStack() as stack:
        made: dict[str, Map[int, object]] = {}
        for name, room in ROOM.items():
            made[name] = stack.enter_context(
                Map.create(
                    type=KINDS.get(name, MapType.HASH),
                    max_entries=room,
                    flags=FLAGS.get(name, 0),
                    key="I",
                    value="Q",
                    name=name,
                )
            )
        for name, table in made.items():
            values = [[5] * table.value_codec.cpus] if name == "percpu" else [7]
            table.update_batch(dict.fromkeys(range(ENTRIES[name]), values[0]))
        fds = [table.fileno() for table in made.values()]
        text = ",".join(f"{name}={table.fileno()}" for name, table in made.items())
        script = str(HERE / "map_subject.py")
        commands = [
            Command("libbpf", [str(BUILD / "maps"), text]),
            *(
                Command(peer, [python or sys.executable, script, peer, text])
                for peer in ("bcc", "pylibbpf", "pyebpf")
            ),
        ]
        yield commands, fds
