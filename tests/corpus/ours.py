"""What this library makes of one object file, in the lines `oracle.c` prints (see its header).

    python -m tests.corpus.ours FILE open|prepare|load [TYPES]

Programs are made and loaded each on its own, as the oracle does it. What goes to the kernel is seen
at the seam to it, so that "code" is what the verifier gets, byte for byte. Anything that is not an
`EbpfError` leaves this process as a traceback: it is a bug, and the caller counts it as one.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence

from pyebpf.btf.btf import Btf
from pyebpf.elf import load_spec
from pyebpf.errors import EbpfError, SyscallError
from pyebpf.host.kernel_btf import read_btf
from pyebpf.loader.collection import load
from pyebpf.names import kernel_name
from pyebpf.spec import CollectionSpec, MapSpec, Pinning, ProgramSpec
from pyebpf.sys import kernel
from pyebpf.uapi.attrs import CommonAttr, MapCreate, ProgLoad
from pyebpf.uapi.bpf import Cmd, MapType, ProgType

# Of the oracle's making: fields must not hold what separates fields and lines.
_SEPARATORS = str.maketrans("\t\n\r", "   ")
# An errno for what fails before the kernel is asked.
_NO_ERRNO = -1


_MANY = 1000
# Sizes that objects leave to those who load them; oracle.c does the same.
_CAPACITIES = {
    MapType.RINGBUF: 4096,
    MapType.HASH: 1,
    MapType.ARRAY: 1,
    MapType.PROG_ARRAY: 1,
    MapType.PERCPU_HASH: 1,
    MapType.PERCPU_ARRAY: 1,
    MapType.LRU_HASH: 1,
    MapType.LRU_PERCPU_HASH: 1,
    MapType.LPM_TRIE: 1,
    MapType.STACK_TRACE: 1,
    MapType.ARRAY_OF_MAPS: 1,
    MapType.HASH_OF_MAPS: 1,
}
# What the kernel makes all elements of in advance, and no verdict depends on the capacity of.
_HASHES = (MapType.HASH, MapType.PERCPU_HASH, MapType.LRU_HASH, MapType.LRU_PERCPU_HASH)
_MOST_ENTRIES = 1024
_INNER = MapSpec(name="inner", type=MapType.HASH, key_size=4, value_size=4, max_entries=1)
_MAPS_OF_MAPS = (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS)


class Held(Exception):
    """Raised instead of loading a program that was only to be made."""


class Watched(kernel.LinuxKernel):
    """The running kernel, with one program's way into it watched.

    Args:
        program: Whose code to keep.
        held: Stop there, with `Held`.

    Attributes:
        code: What the program became, or ``None`` as long as it did not get that far.
        maps: Names of maps, as the kernel knows them, by descriptor.
    """

    def __init__(self, program: ProgramSpec, *, held: bool) -> None:
        super().__init__()
        self._name = kernel_name(program.name)
        self._size = len(program.code)
        self._held = held
        self.code: bytes | None = None
        self.maps: dict[int, str] = {}

    def bpf(self, cmd: Cmd, attr: kernel.Attr, *, common: CommonAttr | None = None) -> int:
        """Make the call, keeping code and names."""
        # Probes of features load programs too, under other names or other sizes.
        if isinstance(attr, ProgLoad) and bytes(attr.prog_name).rstrip(b"\0") == self._name:
            code = bytes(attr.insns)  # type: ignore[arg-type] # a buffer: the loader's own
            if len(code) == self._size:
                self.code = code
                if self._held:
                    raise Held
        result = super().bpf(cmd, attr, common=common)
        if isinstance(attr, MapCreate):
            self.maps[result] = bytes(attr.map_name).rstrip(b"\0").decode()
        return result


def put(*fields: object) -> None:
    """Print one line of fields."""
    print(*(str(field).translate(_SEPARATORS) for field in fields), sep="\t", flush=True)


def put_spec(spec: CollectionSpec) -> None:
    """Print the maps and programs of *spec*."""
    for each in spec.maps.values():
        numbers = (each.type, each.key_size, each.value_size, each.max_entries, each.flags)
        put("map", each.name, *(int(number) for number in numbers))
    for one in spec.programs.values():
        numbers = (one.type, one.attach_type or 0, one.flags, one.autoload)
        put("program", one.name, one.section, *(int(number) for number in numbers))


def try_program(spec: CollectionSpec, name: str, *, held: bool, types: Btf | None) -> None:
    """Make, and unless *held* load, the program called *name* without the others."""
    alone = _with_less(spec, name).copy()
    for each in alone.programs.values():
        each.autoload = each.name == name
        # What objects leave to the user; report.py has the oracle do the same.
        each.type = each.type or ProgType.SCHED_CLS
    for one in alone.maps.values():
        one.pinning = Pinning.NONE
        _set_sizes(one)
        # The programs that are left out; oracle.c overlooks that they are missing.
        if one.type == MapType.PROG_ARRAY:
            one.entries = tuple(entry for entry in one.entries if entry[1] == name)
    watched = Watched(alone.programs[name], held=held)
    start = time.monotonic()
    error: EbpfError | None = None
    try:
        with kernel.use(watched), load(alone, kernel_btf=types):
            pass
    except Held:
        pass
    except EbpfError as caught:
        error = caught
    seconds = f"{time.monotonic() - start:.6f}"
    number = (error.errno or _NO_ERRNO) if isinstance(error, SyscallError) else _NO_ERRNO
    text = "" if error is None else f"{type(error).__name__}: {error}"
    if watched.code is None:
        put("made", name, number, seconds, text)
        return
    put("made", name, 0, seconds, "")
    for fd, map_name in watched.maps.items():
        put("fd", name, map_name, fd)
    put("code", name, watched.code.hex())
    if not held:
        put("loaded", name, 0 if error is None else number, seconds, text)


def _set_sizes(one: MapSpec) -> None:
    if one.type == MapType.STACK_TRACE:
        one.value_size = one.value_size or 8
    if one.type in _MAPS_OF_MAPS and one.inner is None:
        one.inner = _INNER.copy()
    elif one.inner is not None:
        _set_sizes(one.inner)
    one.max_entries = one.max_entries or _CAPACITIES.get(one.type, 0)
    if one.type in _HASHES:
        one.max_entries = min(one.max_entries, _MOST_ENTRIES)


# Copying thousands of programs for each of thousands would take longer than loading them; maps may
# name programs, though, and externs are numbered over all of them.
def _with_less(spec: CollectionSpec, name: str) -> CollectionSpec:
    if len(spec.programs) < _MANY or any(each.entries for each in spec.maps.values()):
        return spec
    return dataclasses.replace(spec, programs={name: spec.programs[name]})


def main(arguments: Sequence[str]) -> None:
    """Print everything about the file that *arguments* name."""
    path, stage, *rest = arguments
    sys.stdout.reconfigure(errors="surrogateescape")  # names need not be text
    types = read_btf(rest[0]) if rest else None
    try:
        spec = load_spec(path)
    except EbpfError as error:
        put("open", _NO_ERRNO, f"{type(error).__name__}: {error}")
        return
    put("open", 0, "")
    put_spec(spec)
    if stage != "open":
        for name in spec.programs:
            try_program(spec, name, held=stage == "prepare", types=types)


if __name__ == "__main__":
    main(sys.argv[1:])
