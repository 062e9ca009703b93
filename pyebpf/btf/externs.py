"""What an object's BTF says about externs, and the same BTF as a kernel takes it.

Externs are listed in data sections that exist in BTF only. Compilers give them linkage "extern",
which no kernel accepts, and lay them out nowhere:

    in the object                              for the kernel
    DATASEC .kconfig, size 0                   with a size, entries in order
        VAR CONFIG_HZ, extern, offset 0            global, at its place
    DATASEC .ksyms, size 0                     4 bytes per entry
        VAR runqueues, extern                      global, an int
        FUNC bpf_task_acquire, extern              VAR dummy_ksym instead; the FUNC global

Values of ``.kconfig`` become one map. Variables lie in it as libbpf puts them: by alignment, the
strictest first, then by size, then by name.
"""

from __future__ import annotations

import struct

from pyebpf.btf.btf import Btf
from pyebpf.btf.sections import entries_of
from pyebpf.btf.types import Array, Datasec, Func, FuncProto, Int, Var
from pyebpf.errors import BtfError
from pyebpf.typed import NamedTuple
from pyebpf.uapi.btf import BtfIntEncoding, BtfKind, BtfVarLinkage

__all__ = ["KCONFIG", "KSYMS", "ConfigVariable", "config_variables", "without_externs"]

KCONFIG, KSYMS = ".kconfig", ".ksyms"
_DUMMY = b"dummy_ksym\0"
_INT_SIZE = 4
_FUNC_GLOBAL = 1


class ConfigVariable(NamedTuple):
    """A variable of ``.kconfig`` and its place.

    Attributes:
        name: As the kernel's configuration names it.
        type_id: Its type (not the ``VAR``).
        offset: Bytes from the start of the map's value.
        size: Bytes; 0 if its type has none.
    """

    name: str
    type_id: int
    offset: int
    size: int


def config_variables(btf: Btf) -> tuple[ConfigVariable, ...]:
    """Return the variables of ``.kconfig`` with their places.

    Raises:
        BtfError: The section lists something else.
    """
    found: dict[str, Var] = {}
    for type_id, entry in entries_of(btf, KCONFIG):
        if not isinstance(entry, Var):
            raise BtfError(f"{btf.describe(type_id)} is no variable", f'section "{KCONFIG}"')
        found.setdefault(entry.name, entry)
    sized = [(_alignment(btf, each.type), _size(btf, each.type), each) for each in found.values()]
    sized.sort(key=lambda row: (-row[0], row[1], row[2].name))
    variables = []
    end = 0
    for alignment, size, each in sized:
        start = -(-end // alignment) * alignment
        variables.append(ConfigVariable(each.name, each.type, start, size))
        end = start + size
    return tuple(variables)


def _size(btf: Btf, type_id: int) -> int:
    try:
        return btf.size_of(type_id)
    except BtfError:
        return 0


# Of the types that can hold a value: numbers, enumerations, arrays of char. Others take the most.
def _alignment(btf: Btf, type_id: int) -> int:
    found = btf.type(btf.strip(type_id))
    if isinstance(found, Array):
        found = btf.type(btf.strip(found.element))
    size = getattr(found, "size", 8)
    return size if size in (1, 2, 4, 8) else 8


def without_externs(btf: Btf) -> Btf:
    """Return *btf* as the kernel takes it: no extern linkage, sections laid out. Ids do not move.

    Returns:
        The same object if it has no externs.

    Raises:
        BtfError: Malformed types.
    """
    sections = [
        (name, type_id) for name in (KCONFIG, KSYMS) for type_id in btf.ids(name, BtfKind.DATASEC)
    ]
    return _Rewriter(btf).run(sections) if sections else btf


class _Rewriter:
    # Words of the type area are changed in place; an int and a variable may be added at the end.

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._order = "<" if btf.byteorder == "little" else ">"
        types, strings, self._layout = btf.areas
        self._types, self._strings = bytearray(types), bytearray(strings)
        self._start = btf.position(btf.first_id)
        self._count = len(btf)
        self._int = 0
        self._dummy = 0
        self._dummy_name = 0

    def run(self, sections: list[tuple[str, int]]) -> Btf:
        for name, type_id in sections:
            if name == KCONFIG:
                self._config(type_id)
            else:
                self._symbols(type_id)
        from pyebpf.btf.encode import assemble

        return Btf.decode(assemble(self._types, self._strings, self._layout, self._btf.byteorder))

    def _config(self, datasec_id: int) -> None:
        places = {each.name: each for each in config_variables(self._btf)}
        entries = []
        for entry in self._section(datasec_id).variables:
            place = places[self._btf.type(entry.type).name]
            entries.append((place.offset, entry.type, place.size))
            self._global_variable(entry.type)
        size = max((each.offset + each.size for each in places.values()), default=0)
        self._fill(datasec_id, sorted(entries), size)

    def _symbols(self, datasec_id: int) -> None:
        entries = []
        for number, entry in enumerate(self._section(datasec_id).variables):
            type_id = entry.type
            found = self._btf.type(type_id)
            if isinstance(found, Func):
                self._function(type_id, found)
                type_id = self._dummy_variable()
            elif isinstance(found, Var):
                self._global_variable(type_id)
                self._set(self._place(type_id) + 8, self._int_type())
            else:
                message = f"{self._btf.describe(type_id)} is neither a variable nor a function"
                raise BtfError(message, f'section "{KSYMS}"')
            entries.append((number * _INT_SIZE, type_id, _INT_SIZE))
        self._fill(datasec_id, entries, len(entries) * _INT_SIZE)

    def _section(self, datasec_id: int) -> Datasec:
        found = self._btf.type(datasec_id)
        assert isinstance(found, Datasec)  # asked for by kind
        return found

    def _fill(self, datasec_id: int, entries: list[tuple[int, int, int]], size: int) -> None:
        place = self._place(datasec_id)
        self._set(place + 8, size)
        for number, (offset, type_id, length) in enumerate(entries):
            words = (type_id, offset, length)
            struct.pack_into(self._order + "3I", self._types, place + 12 + number * 12, *words)

    def _global_variable(self, type_id: int) -> None:
        self._set(self._place(type_id) + 12, BtfVarLinkage.GLOBAL_ALLOCATED)

    # The kernel wants names for the parameters of functions that are not prototypes only.
    def _function(self, type_id: int, found: Func) -> None:
        self._set(self._place(type_id) + 4, BtfKind.FUNC << 24 | _FUNC_GLOBAL)
        prototype = self._btf.type(found.type)
        if not isinstance(prototype, FuncProto):
            raise BtfError(f"{found.name}() has no prototype", f"type {type_id}")
        place = self._place(found.type) + 12
        for number, parameter in enumerate(prototype.params):
            if parameter.type and not parameter.name:
                self._dummy_variable()
                self._set(place + number * 8, self._dummy_name)

    def _dummy_variable(self) -> int:
        if not self._dummy:
            self._dummy_name = len(self._strings)
            self._strings += _DUMMY
            words = (self._dummy_name, BtfKind.VAR << 24, self._int_type())
            self._dummy = self._add(*words, BtfVarLinkage.GLOBAL_ALLOCATED)
        return self._dummy

    def _int_type(self) -> int:
        if not self._int:
            for type_id in self._btf.ids("int", BtfKind.INT):
                found = self._btf.type(type_id)
                if isinstance(found, Int) and found.size == _INT_SIZE:
                    self._int = type_id
                    return type_id
            name = len(self._strings)
            self._strings += b"int\0"
            encoding = BtfIntEncoding.SIGNED << 24 | _INT_SIZE * 8
            self._int = self._add(name, BtfKind.INT << 24, _INT_SIZE, encoding)
        return self._int

    def _add(self, *words: int) -> int:
        self._types += struct.pack(f"{self._order}{len(words)}I", *words)
        self._count += 1
        return self._count - 1

    def _place(self, type_id: int) -> int:
        return self._btf.position(type_id) - self._start

    def _set(self, place: int, word: int) -> None:
        struct.pack_into(self._order + "I", self._types, place, word)
