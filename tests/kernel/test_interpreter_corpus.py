"""Every compiled program of ours that the kernel can test-run: the interpreter does the same.

The code is what the library gave to the kernel, with descriptors in it, so relocations, constants
and externs are those of this machine. Compared are return value, packet, context and maps.
"""

from __future__ import annotations

import contextlib
import sys
from collections import defaultdict

import pytest

import pyebpf
from pyebpf.elf import load_spec
from pyebpf.errors import EbpfError, NotModelledError, UnreferencedSymbolError
from pyebpf.maps.arena import Arena
from pyebpf.spec import CollectionSpec, MapSpec, ProgramSpec, ReferenceKind
from pyebpf.sys import bpf
from pyebpf.testing.interpreter import Machine, Map, Program, make_map
from pyebpf.testing.interpreter.arena import ArenaMap
from pyebpf.testing.interpreter.map_kinds import ArrayMap, HashMap, MapOfMaps, ProgramArray
from pyebpf.testing.interpreter.prog_test_run import prog_test_run
from pyebpf.uapi.bpf import MapType, ProgType
from tests.support import externs, kernel
from tests.support.programs import built, names, only

PACKET = bytes(range(12)) + b"\x08\x00" + bytes(range(200))
ARGUMENTS = bytes(range(96))
CONTEXT_ONLY = (ProgType.RAW_TRACEPOINT, ProgType.SYSCALL)
RUNNABLE = {
    ProgType.SOCKET_FILTER, ProgType.XDP, ProgType.SCHED_CLS, ProgType.SCHED_ACT, *CONTEXT_ONLY,
}  # fmt: skip

# Made to be refused, by this kernel or by all.
REFUSED = ("refused", "externs_ksyms", "externs_kconfig", "jump_tables", "core_missing", "sections")
# Programs that others call by way of a map.
ALONG = {"map_contents": ("target",)}
NO_SIZES = {"key_size": 4, "value_size": 4, "max_entries": 1}
ZEROS: dict[str, int] = defaultdict(int)

# What cannot be the same, and why.
KERNEL_MEMORY = "it reads the kernel's own memory, whose addresses only the kernel knows"
DIFFERENT = {
    "core.fields": KERNEL_MEMORY,
    "core.types": KERNEL_MEMORY,
    "externs_ksyms.variable": KERNEL_MEMORY,
    "externs_ksyms.module_function": KERNEL_MEMORY,
}
# Programs that read values of the kernel's configuration.
CONFIGURED = {"externs.kconfig"}
# Objects, or programs, of what younger kernels know.
SINCE = {"exceptions": "6.7", "isa_v4": "6.6", "isa_v4.loop": "6.9"}
# Objects whose programs are about things that only a kernel has.
ELSEWHERE = {
    "map_kinds": "devices, processors, tasks, cgroups, stacks",
    "user_ring": "user ring buffers, which the interpreter does not model",
    "streams": "streams, likewise",
}


def candidates() -> list[str]:
    return [
        f"{name}.{program.name}"
        for name in names()
        if name not in ELSEWHERE
        for program in load_spec(built(name)).programs.values()
        if program.type in RUNNABLE
    ]


@pytest.fixture
def loaded_code(monkeypatch):
    """The code of each program that is loaded meanwhile, by its descriptor."""
    codes: dict[int, bytes] = {}
    load = bpf.prog_load

    def recording(attr, **rest):
        fd = load(attr, **rest)
        codes[fd.fileno()] = bytes(attr.insns)
        return fd

    monkeypatch.setattr(bpf, "prog_load", recording)
    return codes


@pytest.mark.parametrize("which", candidates())
def test_a_compiled_program_does_the_same(which, loaded_code):
    """Return value, packet, context and maps are equal after a run."""
    if which in DIFFERENT:
        pytest.skip(f"cannot be compared: {DIFFERENT[which]}")
    if which in CONFIGURED and externs.configuration() is None:
        pytest.skip("this system does not keep its kernel's configuration")
    name, _, program_name = which.partition(".")
    for each in (name, which):
        if each in SINCE:
            kernel.needs(SINCE[each], each)
    spec = only(name, program_name, *ALONG.get(name, ()))
    settle(spec, name)
    try:
        bpf_objects = pyebpf.load(spec)
    except EbpfError:
        if name in REFUSED:
            return
        raise
    with bpf_objects as collection:
        program = collection.programs[program_name]
        ours = mirrored(collection, loaded_code)
        mine = Program(
            loaded_code[program.fileno()],
            name=which,
            type=program.type,
            maps=ours,
            **settings(spec.programs[program_name]),
        )
        data = b"" if program.type in CONTEXT_ONLY else PACKET
        context = ARGUMENTS if program.type in CONTEXT_ONLY else b""
        real = program.run(data, ctx=context or None)
        found = prog_test_run(Machine(), mine, data, context)
        assert (real.retval, real.data) == (found.retval, found.data)
        for name, kernel_map in collection.maps.items():
            mirror = ours[kernel_map.fileno()]
            if isinstance(kernel_map, Arena):
                assert kernel_map.memory() == mirror.memory.data, name
                continue
            with kernel_map.raw as raw:
                assert contents(raw) == interpreted(mirror), name


# What the loader was told, of a program that the kernel was told otherwise.
def settings(spec: ProgramSpec) -> dict[str, object]:
    made = Program.from_spec(spec, defaultdict(lambda: Map("", MapType.ARRAY, **NO_SIZES)), ZEROS)
    tables = {
        slot: (spec.jump_tables[each.symbol], each.offset)
        for slot, each in spec.references.items()
        if each.kind is ReferenceKind.JUMP_TABLE
    }
    return {
        "exception_callback": made.exception_callback,
        "kfunc_slots": made.kfunc_slots,
        "jump_tables": tables,
    }


# Constants and configuration that an object leaves to whoever loads it.
def settle(spec: CollectionSpec, name: str) -> None:
    if name == "constants":
        for program in spec.programs.values():
            for symbol, value in (("SUMMAND", 70000), ("SCALE", 3), ("INDEX", 1)):
                with contextlib.suppress(UnreferencedSymbolError):
                    program.rewrite_constant(symbol, value)


def like(spec: MapSpec) -> Map:
    try:
        return make_map(spec, sys.byteorder)
    except NotModelledError:  # nothing that runs here uses it
        sizes = {"key_size": spec.key_size, "value_size": spec.value_size}
        return Map(spec.name, spec.type, **sizes, max_entries=spec.max_entries)


# The interpreter's maps by descriptor, with what the kernel's hold now.
def mirrored(collection, codes) -> dict[int, Map]:
    ours = {each.fileno(): like(each.spec) for each in collection.maps.values()}
    programs = {
        each.id: Program(codes[each.fileno()], type=each.type, maps=ours)
        for each in collection.programs.values()
    }
    by_id = {each.info().id: ours[each.fileno()] for each in collection.maps.values()}
    for each in collection.maps.values():
        mine = ours[each.fileno()]
        if isinstance(mine, ArenaMap):
            # Pointers in it count from where this process sees it.
            mine.user_base = each.address
            mine.memory.view(0, each.size, write=True)[:] = each.memory()
            continue
        with each.raw as raw:
            if isinstance(mine, MapOfMaps):
                mine.inner = {
                    index.to_bytes(4, sys.byteorder): by_id[inner] for index, inner in each.items()
                }
            elif isinstance(mine, ProgramArray):
                mine.programs = {index: programs[target] for index, target in each.items()}
            elif isinstance(mine, ArrayMap | HashMap):
                for key, value in raw.items():
                    value = value[0] if isinstance(value, list) else value
                    region = mine.lookup(key, 0)
                    if region is None:
                        mine.update(key, value, 0, 0)
                    elif mine.writable:
                        region.view(0, len(value), write=True)[:] = value
    return ours


def contents(raw) -> dict[bytes, set[bytes]]:
    """What the kernel's map holds; of per-CPU values, the different ones but zeros."""
    if raw.type in (MapType.ARRAY, MapType.HASH, MapType.LRU_HASH):
        return {key: {value} for key, value in raw.items()}
    if raw.type in (MapType.PERCPU_ARRAY, MapType.PERCPU_HASH):
        return {key: {value for value in values if any(value)} for key, values in raw.items()}
    return {}


def interpreted(found) -> dict[bytes, set[bytes]]:
    if not isinstance(found, ArrayMap | HashMap):
        return {}
    per_cpu = found.type in (MapType.PERCPU_ARRAY, MapType.PERCPU_HASH)
    values = {key: bytes(found.lookup(key, 0).data) for key in found.keys()}  # noqa: SIM118
    return {key: {value} if any(value) or not per_cpu else set() for key, value in values.items()}
