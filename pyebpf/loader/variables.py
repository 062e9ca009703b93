"""Global variables of a loaded object: `Variable`, a typed window into its section's map."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Mapping

from pyebpf.errors import BtfError, ClosedError
from pyebpf.maps.map import Map
from pyebpf.spec import CollectionSpec, MapSpec, VariableSpec
from pyebpf.typed import TYPE_CHECKING, Any, Protocol
from pyebpf.uapi.bpf import MapFlag, MapType

if TYPE_CHECKING:
    from pyebpf.btf.codec import Codec
    from pyebpf.loader.arena import ArenaGlobals

__all__ = ["Memory", "SectionMemory", "Variable", "open_variables"]


class SectionMemory:
    """The bytes of a data section's map, shared with the running programs.

    Through memory where the kernel maps arrays (Linux 5.5); before that a write reads, changes and
    writes back the whole section, and may undo what a program wrote meanwhile.

    Args:
        section: The map; must stay open.
        frozen: It can only be read.
    """

    def __init__(self, section: Map[Any, Any], *, frozen: bool) -> None:
        self.name = section.name
        self.frozen = frozen
        self._section: Map[bytes, bytes] = section.raw
        self._memory: mmap.mmap | None = None
        if section.flags & MapFlag.MMAPABLE:
            try:
                self._memory = section.memory(writable=not frozen)
            except BaseException:
                self._section.close()
                raise

    def read(self, offset: int, size: int) -> bytes:
        """Return *size* bytes from *offset*."""
        if self._memory is not None:
            return self._memory[offset : offset + size]
        return self._section[bytes(4)][offset : offset + size]

    def write(self, offset: int, data: bytes) -> None:
        """Put *data* at *offset*."""
        if self._memory is not None:
            self._memory[offset : offset + len(data)] = data
            return
        whole = bytearray(self._section[bytes(4)])
        whole[offset : offset + len(data)] = data
        self._section[bytes(4)] = bytes(whole)

    def close(self) -> None:
        """Unmap; closing twice is fine."""
        try:
            if self._memory is not None:
                self._memory.close()
        finally:
            self._section.close()


class Memory(Protocol):
    """The bytes of a section, shared with the running programs."""

    name: str
    frozen: bool

    def read(self, offset: int, size: int) -> bytes:
        """Return *size* bytes from *offset*."""
        ...

    def write(self, offset: int, data: bytes) -> None:
        """Put *data* at *offset*."""
        ...


class Variable:
    """A global variable of a loaded object.

    Args:
        spec: Its place and type.
        memory: Its section.
    """

    def __init__(self, spec: VariableSpec, memory: Memory) -> None:
        self.spec = spec
        self._memory = memory

    @property
    def name(self) -> str:
        """The C name."""
        return self.spec.name

    @property
    def read_only(self) -> bool:
        """Whether it is a constant (``.rodata``): set it in the spec, before loading."""
        return self._memory.frozen

    @property
    def raw(self) -> bytes:
        """The current value as bytes."""
        try:
            return self._memory.read(self.spec.offset, self.spec.size)
        except ValueError:
            raise ClosedError(f'variable "{self.name}" of a closed collection') from None

    @raw.setter
    def raw(self, value: bytes | bytearray | memoryview) -> None:
        if self.read_only:
            raise TypeError(f'variable "{self.name}" is constant once loaded; set it in the spec')
        data = memoryview(value).tobytes()
        if len(data) != self.spec.size:
            raise ValueError(
                f'variable "{self.name}" takes {self.spec.size} bytes, not {len(data)}'
            )
        try:
            self._memory.write(self.spec.offset, data)
        except ValueError:
            raise ClosedError(f'variable "{self.name}" of a closed collection') from None

    @property
    def value(self) -> object:
        """The current value, typed by BTF: int, bool, enum, str, list or record."""
        return self._codec().decode(self.raw)

    @value.setter
    def value(self, value: object) -> None:
        self.raw = self._codec().encode(value)

    def _codec(self) -> Codec:
        btf = self.spec.map.btf
        if btf is None or not self.spec.type_id:
            raise BtfError(f'variable "{self.name}" has no type; use .raw')
        from pyebpf.btf.values import codec

        return codec(btf, self.spec.type_id)

    def __repr__(self) -> str:
        return f"<Variable {self.name!r} of {self._memory.name}>"


def open_variables(
    spec: CollectionSpec,
    loaded: Mapping[str, Map[Any, Any]],
    starts: Mapping[str, int],
    owned: contextlib.ExitStack,
) -> dict[str, Variable]:
    """Return the variables of a collection whose sections are loaded.

    Args:
        spec: Says where they are.
        loaded: Maps by name.
        starts: Where an arena's globals start in it, by its name.
        owned: Receives their memory, to be unmapped in the end.
    """
    names = {id(each): name for name, each in spec.maps.items()}
    sections: dict[str, SectionMemory | ArenaGlobals] = {}
    variables: dict[str, Variable] = {}
    for name, each in spec.variables.items():
        section = names.get(id(each.map))
        if section is None or section not in loaded:
            continue
        if section not in sections:
            memory = _memory(loaded[section], each.map, starts.get(section, 0))
            sections[section] = owned.enter_context(contextlib.closing(memory))
        variables[name] = Variable(each, sections[section])
    return variables


def _memory(section: Map[Any, Any], spec: MapSpec, start: int) -> SectionMemory | ArenaGlobals:
    if section.type == MapType.ARENA:
        from pyebpf.loader.arena import ArenaGlobals
        from pyebpf.maps.arena import Arena

        assert isinstance(section, Arena)
        return ArenaGlobals(section, start)
    return SectionMemory(section, frozen=spec.frozen)
