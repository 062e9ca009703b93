"""The works of maps, done in Python: ``map_subject.py PEER FDS``, in a process of its own.

PEER is pyebpf, bcc or pylibbpf; FDS says which descriptors are which maps: ``hot=3,big=4,…``. Says
what it can do, then for each line that names a work how many nanoseconds of CPU an operation took.
bcc and pylibbpf work on the same maps as everybody: their own objects get our descriptors.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import pathlib
import sys
import threading
import time
from collections.abc import Callable, Iterable

HOT = 1024
PASSES = 10
KEYS = 16
NUMPY = {"map.dump_numpy", "map.bulk_dump", "map.bulk_dump_small", "map.memory_copy"}

Work = Callable[[], float]
OBJECT = pathlib.Path(__file__).parents[2] / "build" / "bench" / "numbers.bpf.o"


def main() -> None:
    peer, text = sys.argv[1:]
    fds = {name: int(fd) for name, _, fd in (item.partition("=") for item in text.split(","))}
    try:
        works = {"pyebpf": pyebpf, "bcc": bcc, "pylibbpf": pylibbpf}[peer](fds)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return
    print(json.dumps({"works": list(works), "python": python()}), flush=True)
    for line in sys.stdin:
        print(json.dumps({"ns": works[line.strip()]()}), flush=True)


def python() -> str:
    """Say which interpreter it is: Debian's is optimised, one made by hand often is not."""
    return f"Python {sys.version.split()[0]} of {sys.base_prefix}"


# ---- who does it ------------------------------------------------------------------------------


def pyebpf(fds: dict[str, int]) -> dict[str, Work]:
    sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
    from pyebpf.errors import NotSupportedError
    from pyebpf.maps.map import Map

    def opened(name: str) -> Map:
        return Map.from_fd(fds[name], key="I", value="Q")

    hot, big, small, percpu = (opened(name) for name in ("hot", "big", "small", "percpu"))
    some = [list(range(first, first + KEYS)) for first in range(0, HOT, KEYS)]
    entries = len(big.to_dict(in_kernel=False))
    few = len(small.to_dict(in_kernel=False))
    mapped = opened("mapped")
    memory = memoryview(mapped.memory()).cast("Q")
    works = {
        **of_elements(hot, percpu, int, int),
        "map.lookup_threads": lambda: beside_another(lambda: lookups(hot, range(HOT)), PASSES),
        "map.dump_numpy": lambda: once(lambda: big.to_numpy(in_kernel=False), entries),
        "map.dump_dict": lambda: once(lambda: big.to_dict(), entries),
        "map.dump_dict_batch": lambda: once(lambda: big.to_dict(in_kernel=False), entries),
        "map.get_many16": lambda: passes(lambda: [hot.get_many(keys) for keys in some]),
        "map.memory_copy": lambda: once(lambda: copies(memory), len(memory) * PASSES),
        "map.memory_item": lambda: passes(lambda: lookups(memory, range(HOT))),
    }
    with contextlib.suppress(NotSupportedError):  # before Linux 5.14
        hot.get_many(some[0], in_kernel=True)  # makes the program
        works["map.bulk_dump"] = lambda: once(lambda: big.to_numpy(in_kernel=True), entries)
        works["map.bulk_dump_small"] = lambda: once(
            lambda: [small.to_numpy(in_kernel=True) for _ in range(PASSES)], few * PASSES
        )
    if importlib.util.find_spec("numpy") is None:
        works = {name: work for name, work in works.items() if name not in NUMPY}
    return works


def bcc(fds: dict[str, int]) -> dict[str, Work]:
    from bcc.table import HashTable, PerCpuHash

    def shared(kind: type, fd: int, leaf: type) -> HashTable:
        table = kind.__new__(kind)
        # What its constructor would ask a compiled module for.
        table.Key, table.Leaf, table.map_fd = ctypes.c_uint32, leaf, fd
        table.max_entries, table.flags, table.ttype = 131072, 0, 1
        table._cbs, table._name = {}, None
        return table

    hot, big = (shared(HashTable, fds[name], ctypes.c_uint64) for name in ("hot", "big"))
    percpu = shared(PerCpuHash, fds["percpu"], ctypes.c_uint64 * os.cpu_count())
    percpu.sLeaf, percpu.total_cpu = ctypes.c_uint64, os.cpu_count()
    percpu.reducer, percpu.alignment = None, 0
    entries = sum(1 for _ in big.items_lookup_batch())
    return {
        **of_elements(hot, percpu, ctypes.c_uint32, ctypes.c_uint64, plain=lambda leaf: leaf.value),
        "map.dump_dict": lambda: once(
            lambda: {key.value: leaf.value for key, leaf in big.items()}, entries
        ),
        "map.dump_dict_batch": lambda: once(
            lambda: {key: leaf for key, leaf in big.items_lookup_batch()},  # noqa: C416 -- as above
            entries,
        ),
    }


def pylibbpf(fds: dict[str, int]) -> dict[str, Work]:
    import pylibbpf

    if not OBJECT.exists():
        raise ImportError("it takes maps from objects, and no clang has made one")
    objects = [pylibbpf.BpfObject(str(OBJECT)) for _ in range(2)]
    for each in objects:
        each.load()
    hot, big = (each["numbers"] for each in objects)
    os.dup2(fds["hot"], hot.get_fd())
    os.dup2(fds["big"], big.get_fd())
    entries = len(big.items())
    return {
        **of_elements(hot, None, int, int),
        # An object takes its maps along when it goes.
        "map.dump_dict": lambda: once(lambda: objects and big.items(), entries),
    }


# ---- what is done -----------------------------------------------------------------------------


def of_elements(
    table: object,
    percpu: object,
    key_type: type,
    value_type: type,
    *,
    plain: Callable[[object], int] | None = None,
) -> dict[str, Work]:
    def update() -> None:
        if plain is None:
            for key in range(HOT):
                table[key] = key
        else:
            for key in range(HOT):
                table[key_type(key)] = value_type(key)

    def delete() -> float:
        spent = 0
        for _ in range(PASSES):
            start = time.thread_time_ns()
            if plain is None:
                for key in range(HOT):
                    del table[key]
            else:
                for key in range(HOT):
                    del table[key_type(key)]
            spent += time.thread_time_ns() - start
            update()
        return spent / (HOT * PASSES)

    def lookup() -> None:
        if plain is None:
            lookups(table, range(HOT))
        else:
            for key in range(HOT):
                table[key_type(key)].value  # noqa: B018 -- the number is what one wants

    def percpu_lookup() -> None:
        if plain is None:
            lookups(percpu, range(HOT))
        else:
            for key in range(HOT):
                percpu.getvalue(key_type(key))

    works = {
        "map.lookup": lambda: passes(lookup),
        "map.update": lambda: passes(update),
        "map.delete": delete,
        "map.percpu_lookup": lambda: passes(percpu_lookup),
    }
    if percpu is None:
        del works["map.percpu_lookup"]
    return works


def lookups(table: object, keys: Iterable[int]) -> None:
    for key in keys:
        table[key]


def copies(memory: memoryview) -> None:
    import numpy as np

    for _ in range(PASSES):
        np.frombuffer(memory, "u8").copy()


def passes(action: Callable[[], object]) -> float:
    """Return nanoseconds an operation takes, of an action that makes one with each hot key."""
    return once(lambda: [action() for _ in range(PASSES)], HOT * PASSES)


def once(action: Callable[[], object], number: int) -> float:
    start = time.thread_time_ns()
    action()
    return (time.thread_time_ns() - start) / number


def beside_another(action: Callable[[], object], count: int) -> float:
    """Return the same while a second thread does the same with the same map."""
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            action()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        return once(lambda: [action() for _ in range(count * 5)], HOT * count * 5)
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    main()
