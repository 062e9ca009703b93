"""What an object file says, as plain data: a `CollectionSpec` of maps, programs and variables.

Comes in from ``elf`` (or from a user who fills it by hand), may be edited freely, goes out to
``loader``. Nothing here asks the running system: the same file gives the same spec everywhere.

Code stays bytes: a program's code is its raw instructions plus tables keyed by *slot* (an index of
8-byte units; a 64-bit immediate load takes two). References are by name, never by fd:

    code         |entry function .......|callee|callee ..|     calls between them already resolved
    references   {slot: Reference}                             maps and variables, filled in at load
    jump_tables  {name: (slot, ...)}                           where indirect jumps go
    relocations  (CoreRelocation, ...)                         fields and types, resolved at load
    func_info    struct bpf_func_info[], insn_off in slots     line_info likewise
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping

from pyebpf.asm.slots import Slots
from pyebpf.btf.btf import Btf
from pyebpf.btf.types import FuncProto, Member, Ptr, Struct
from pyebpf.errors import BtfError, LoadError, UnreferencedSymbolError
from pyebpf.map_pinning import Pinning
from pyebpf.plain import field, plain, replace
from pyebpf.references import CoreRelocation, Reference, ReferenceKind
from pyebpf.sections import match
from pyebpf.typed import TYPE_CHECKING, Literal, Protocol
from pyebpf.uapi.bpf import AttachType, MapType, ProgType

if TYPE_CHECKING:  # what most programs, which come out of files, do without
    from pyebpf.asm.assemble import Item
    from pyebpf.asm.cfg import Graph
    from pyebpf.asm.instruction import Instruction
    from pyebpf.btf.codec import Codec

__all__ = [
    "CollectionSpec",
    "CoreRelocation",
    "Descriptor",
    "MapSpec",
    "Pinning",
    "ProgramSpec",
    "Reference",
    "ReferenceKind",
    "VariableSpec",
]

ByteOrder = Literal["little", "big"]


class Descriptor(Protocol):
    """Anything in the kernel that has a descriptor, such as a loaded program."""

    def fileno(self) -> int:
        """Return the descriptor's number."""
        ...


@plain(kw_only=True)
class MapSpec:
    """One map, as it will be created.

    Attributes:
        name: Its name in the object; the kernel's copy is cut to 15 bytes.
        type: ``enum bpf_map_type``.
        key_size: Bytes of a key.
        value_size: Bytes of a value (of one CPU's, for per-CPU kinds).
        max_entries: Capacity; bytes of a ring buffer. 0 lets the loader choose where the kind
            allows it.
        flags: ``BPF_F_*`` creation flags.
        map_extra: Kind-specific (Linux 5.16).
        numa_node: Node to allocate on, or ``None``.
        pinning: Whether a load with a pin directory pins (or reuses) it by name.
        pin_path: The pin a legacy definition asks for by its own path (goebpf), or ``""``. A load
            with a pin directory pins (or reuses) it there, by the path's last part.
        key_type_id: The key's type in the object's BTF, 0 if only its size is known.
        value_type_id: The value's type likewise.
        btf: The object's BTF, or ``None``.
        contents: Initial bytes of a data section's only value, of an arena's globals, or of a
            struct_ops implementation as the object declares it; ``None`` for other maps.
        frozen: Freeze it against changes by system calls after filling (``.rodata``).
        inner: What a map-in-map holds, or ``None``.
        entries: Static contents: (key, name of a map or program), resolved at load. Of a data
            section or struct_ops, the offset of a pointer in its contents and what it points to.
        extra: Surplus bytes of a legacy definition; must be zero to load.
        tags: Its ``btf_decl_tag`` attributes.
        autocreate: False leaves it out of the load; programs that use it cannot load.
        section: The ELF section that defined it.
    """

    name: str
    type: MapType
    key_size: int = 0
    value_size: int = 0
    max_entries: int = 0
    flags: int = 0
    map_extra: int = 0
    numa_node: int | None = None
    pinning: Pinning = Pinning.NONE
    pin_path: str = ""
    key_type_id: int = 0
    value_type_id: int = 0
    btf: Btf | None = field(default=None, repr=False, compare=False)
    contents: bytearray | None = field(default=None, repr=False)
    frozen: bool = False
    inner: MapSpec | None = None
    entries: tuple[tuple[int, str], ...] = ()
    extra: bytes = b""
    tags: tuple[str, ...] = ()
    autocreate: bool = True
    section: str = ""

    def copy(self) -> MapSpec:
        """Return an independent copy; the immutable BTF is shared."""
        clone = replace(self)
        if self.contents is not None:
            clone.contents = bytearray(self.contents)
        if self.inner is not None:
            clone.inner = self.inner.copy()
        return clone

    @property
    def members(self) -> dict[str, VariableSpec]:
        """The members of an implementation (struct_ops) by name; set a ``value`` before loading.

        Those that are functions are in `functions`.

        Raises:
            TypeError: The map is no struct_ops implementation.
        """
        found = {}
        for member in self._structure().members:
            if member.name and not member.bitfield_size and not self._is_function(member):
                assert self.btf is not None
                found[member.name] = VariableSpec(
                    name=member.name,
                    map=self,
                    offset=member.bit_offset // 8,
                    size=self.btf.size_of(member.type),
                    type_id=member.type,
                )
        return found

    @property
    def functions(self) -> Functions:
        """The functions of an implementation (struct_ops): names of programs by member.

        Set one to the name of another program, or to ``None`` to leave it out.

        Raises:
            TypeError: The map is no struct_ops implementation.
        """
        members = filter(self._is_function, self._structure().members)
        return Functions(self, {each.name: each.bit_offset // 8 for each in members})

    def _structure(self) -> Struct:
        found = None
        if self.type == MapType.STRUCT_OPS and self.btf is not None:
            found = self.btf.type(self.btf.strip(self.value_type_id))
        if not isinstance(found, Struct):
            raise TypeError(f'map "{self.name}" ({self.type}) is no implementation of an interface')
        return found

    def _is_function(self, member: Member) -> bool:
        assert self.btf is not None
        pointer = self.btf.type(self.btf.strip(member.type))
        if not isinstance(pointer, Ptr):
            return False
        return isinstance(self.btf.type(self.btf.strip(pointer.type)), FuncProto)


class Functions(Mapping[str, str | None]):
    """Which program each function of an implementation is: a view of `MapSpec.entries`."""

    def __init__(self, spec: MapSpec, offsets: Mapping[str, int]) -> None:
        self._spec = spec
        self._offsets = offsets

    def __getitem__(self, name: str) -> str | None:
        return dict(self._spec.entries).get(self._offsets[name])

    def __setitem__(self, name: str, program: str | None) -> None:
        entries = dict(self._spec.entries)
        entries.pop(self._offsets[name], None)
        if program is not None:
            entries[self._offsets[name]] = program
        self._spec.entries = tuple(sorted(entries.items()))

    def __iter__(self) -> Iterator[str]:
        return iter(self._offsets)

    def __len__(self) -> int:
        return len(self._offsets)

    def __repr__(self) -> str:
        return f"Functions({dict(self)})"


@plain(kw_only=True)
class ProgramSpec:
    """One program: an entry function with everything it calls appended.

    Attributes:
        name: The entry function's symbol.
        type: ``enum bpf_prog_type``; ``UNSPEC`` if the section's name is not known, then it is
            refused at load unless set.
        code: Raw instructions, 8 bytes a slot, in *byteorder*.
        attach_type: ``expected_attach_type``, or ``None`` where the kind has none.
        attach_type_optional: Older kernels that cannot take it are given 0 instead.
        attach_to: What the section name says to attach to (``"sched/sched_switch"``), or ``""``.
            A function of a module may be given as ``"module:function"``.
        attach_target: The loaded program whose function *attach_to* is (``freplace``, ``fentry``
            and ``fexit`` of programs), or ``None`` for one of the kernel; must be open when this
            one is loaded.
        section: The ELF section, without a leading ``?``.
        flags: ``BPF_F_*`` program flags.
        license: The object's licence.
        kernel_version: ``LINUX_VERSION_CODE`` from a ``version`` section, or 0.
        byteorder: Of the code and its tables.
        autoload: False leaves it out of the load (``SEC("?...")``).
        references: Named references by slot.
        jump_tables: Targets of indirect jumps, as slots of the code, by the table's symbol.
        relocations: CO-RE relocations, by slot.
        functions: ``(slot, name)`` of each function in the code, the entry first.
        func_info: ``struct bpf_func_info`` records (8 bytes: slot, type id), or empty.
        line_info: ``struct bpf_line_info`` records (16 bytes: slot, file, line text, line and
            column), or empty.
        btf: The object's BTF, or ``None``.
        log_level: ``BPF_LOG_*`` bits: keep the verifier's log of this program, even of one that
            loads; ``None`` for what the whole load is given, 0 for none.
        log_size: Bytes of log buffer to start with, likewise.
    """

    name: str
    type: ProgType
    code: bytes = field(default=b"", repr=False)
    attach_type: AttachType | None = None
    attach_type_optional: bool = False
    attach_to: str = ""
    attach_target: Descriptor | None = field(default=None, repr=False, compare=False)
    section: str = ""
    flags: int = 0
    license: str = ""
    kernel_version: int = 0
    byteorder: ByteOrder = "little"
    autoload: bool = True
    references: dict[int, Reference] = field(default_factory=dict, repr=False)
    jump_tables: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)
    relocations: tuple[CoreRelocation, ...] = field(default=(), repr=False)
    functions: tuple[tuple[int, str], ...] = field(default=(), repr=False)
    func_info: bytes = field(default=b"", repr=False)
    line_info: bytes = field(default=b"", repr=False)
    btf: Btf | None = field(default=None, repr=False, compare=False)
    log_level: int | None = None
    log_size: int | None = None

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """The code as `Instruction` objects, made on each call.

        Raises:
            AsmError: The code is malformed.
        """
        from pyebpf.asm.instruction import decode_all

        symbols = {slot: reference.symbol for slot, reference in self.references.items()}
        return decode_all(self.code, self.byteorder, symbols=symbols)

    @classmethod
    def assemble(
        cls,
        name: str,
        source: str | Iterable[Item],
        *,
        section: str = "",
        type: ProgType = ProgType.UNSPEC,  # noqa: A002 - the kernel's word
        license: str = "",  # noqa: A002 - the field's name
        constants: Mapping[str, int] | None = None,
        byteorder: ByteOrder = sys.byteorder,
    ) -> ProgramSpec:
        """Make a program of assembler text, or of instructions and labels.

        Names of maps and variables that the collection has are found when it is loaded.

        Args:
            name: The program, and its entry function.
            source: What `pyebpf.asm.parse` reads, or what `pyebpf.asm.build` makes.
            section: What clang's ``SEC("...")`` would say; it gives the type and what to attach to.
            type: The type, where no section says it.
            license: ``"GPL"`` and the like may use all helpers.
            constants: Values of names in the text.
            byteorder: Of the code; only this machine's can be loaded here.

        Raises:
            AsmError: Something else is expected, or does not fit: with line and column of text.
        """
        # What most programs, which come out of files, do without.
        from pyebpf.program_text import assembled, references_of

        made, tables = assembled(name, source, byteorder, constants)
        found = match(section)
        return cls(
            name=name,
            type=found.type if type == ProgType.UNSPEC else type,
            code=made.code,
            attach_type=found.attach_type,
            attach_type_optional=found.attach_type_optional,
            attach_to=found.attach_to,
            section=section.removeprefix("?"),
            flags=found.flags,
            license=license,
            byteorder=byteorder,
            autoload=found.autoload,
            references=references_of(made),
            functions=((0, name), *(each for each in made.functions if each[0])),
            func_info=tables.func_info,
            line_info=tables.line_info,
            btf=tables.btf,
        )

    def disassemble(
        self,
        *,
        names: bool = True,
        sources: bool = False,
        addresses: bool = True,
        raw_bytes: bool = False,
        lossless: bool = False,
    ) -> str:
        """Return the code as assembler text, which `assemble` reads.

        Args:
            names: Print what instructions refer to; otherwise it is text as LLVM's.
            sources: Print the lines of source.
            addresses: Print the slot of each instruction.
            raw_bytes: Print its bytes too.
            lossless: Print as bytes what has no text that means exactly the same.

        Raises:
            AsmError: The code is malformed.
        """
        from pyebpf.asm.text import disassemble
        from pyebpf.program_text import lines_of, names_of

        functions = dict(self.functions)
        named = names_of(self.instructions, self.references, functions) if names else {}
        return disassemble(
            self.code,
            self.byteorder,
            labels=functions,
            names=named,
            lines=lines_of(self.line_info, self.btf, self.byteorder) if sources else {},
            addresses=addresses,
            raw_bytes=raw_bytes,
            lossless=lossless,
        )

    def graph(self) -> Graph:
        """Return the control flow: functions, blocks, what is never reached.

        Raises:
            AsmError: The code is malformed, or a jump leaves it.
        """
        from pyebpf.asm.cfg import graph_of

        tables = self.jump_tables.values()
        return graph_of(
            self.instructions,
            functions=dict(self.functions),
            indirect=(target for table in tables for target in table),
        )

    def rewrite_constant(self, name: str, value: int) -> None:
        """Set a named constant: a symbol that nothing defines and that the code loads.

        In C it is ``asm("%0 = LIMIT ll" : "=r"(limit))``. The verifier sees the value, so it can
        leave out what the value rules out. It may be set again; lines of C stay as they are.

        Args:
            name: The symbol.
            value: 64 bits, signed or not.

        Raises:
            UnreferencedSymbolError: The program does not use the symbol.
            LoadError: It uses it as something else, such as a map or a function.
            ValueError: The value takes more than 64 bits.
        """
        if not -(1 << 63) <= value < 1 << 64:
            raise ValueError(f'constant "{name}" cannot be {value}: it has 64 bits')
        slots = Slots(bytearray(self.code), self.byteorder)
        found = self._uses(name, _CONSTANTS, "a constant")
        for slot, reference in found.items():
            if not slots.is_load_64(slot):
                raise LoadError(name, f"{self._uses_text(name)} as a function (slot {slot})")
            slots.set_immediate(slot, value + reference.offset)
            slots.set_immediate(slot + 1, value + reference.offset >> 32)
        self.code = bytes(slots.code)
        for slot, reference in found.items():
            self.references[slot] = replace(reference, kind=ReferenceKind.CONSTANT)

    def rewrite_map(self, name: str, other: str) -> None:
        """Make the program use another map in the place of *name*.

        Args:
            name: The map it refers to now.
            other: The other one: of the collection's ``maps``, or of those that ``load`` is given
                in ``map_replacements``.

        Raises:
            UnreferencedSymbolError: The program does not use the map.
            LoadError: It uses something else of that name.
        """
        for slot, reference in self._uses(name, _MAPS, "a map").items():
            self.references[slot] = replace(reference, symbol=other)

    # The references to a symbol by slot; all must be of certain kinds.
    def _uses(
        self, name: str, kinds: frozenset[ReferenceKind], wanted: str
    ) -> dict[int, Reference]:
        found = {slot: each for slot, each in self.references.items() if each.symbol == name}
        if not found:
            raise UnreferencedSymbolError(name, f'program "{self.name}" does not use "{name}"')
        for slot, reference in found.items():
            if reference.kind not in kinds:
                use = f"{self._uses_text(name)} as {reference.kind.value}"
                raise LoadError(name, f"{use}, not {wanted} (slot {slot})")
        return found

    def _uses_text(self, name: str) -> str:
        return f'program "{self.name}" uses "{name}"'

    def copy(self) -> ProgramSpec:
        """Return an independent copy; the immutable BTF is shared."""
        clone = replace(self)
        clone.references = dict(self.references)
        clone.jump_tables = dict(self.jump_tables)
        return clone


_CONSTANTS = frozenset({ReferenceKind.UNDEFINED, ReferenceKind.CONSTANT})
_MAPS = frozenset({ReferenceKind.MAP, ReferenceKind.MAP_VALUE})


@plain(kw_only=True)
class VariableSpec:
    """A global variable: a typed window into the contents of its section's map.

    Attributes:
        name: The C name.
        map: The map of the section it lives in.
        offset: Bytes from the start of the section.
        size: Bytes.
        type_id: Its type in the object's BTF (the variable's type, not the ``VAR``), or 0.
        tags: Its ``btf_decl_tag`` attributes.
    """

    name: str
    map: MapSpec = field(repr=False)
    offset: int
    size: int
    type_id: int = 0
    tags: tuple[str, ...] = ()

    @property
    def raw(self) -> bytes:
        """The initial value as bytes.

        Raises:
            ValueError: The map has no contents there, or what is set has another size.
        """
        return bytes(self._contents()[self.offset : self.offset + self.size])

    @raw.setter
    def raw(self, value: bytes | bytearray | memoryview) -> None:
        value = bytes(value)
        if len(value) != self.size:
            raise ValueError(f'variable "{self.name}" takes {self.size} bytes, not {len(value)}')
        self._contents()[self.offset : self.offset + self.size] = value

    @property
    def value(self) -> object:
        """The initial value, typed by BTF: int, bool, enum, str, tuple or record.

        Raises:
            BtfError: It has no type in BTF, or one without values.
        """
        return self._codec().decode(self.raw)

    @value.setter
    def value(self, value: object) -> None:
        self.raw = self._codec().encode(value)

    def _contents(self) -> bytearray:
        contents = self.map.contents
        if contents is None or self.offset + self.size > len(contents):
            raise ValueError(
                f'variable "{self.name}" lies outside the contents of map "{self.map.name}"'
            )
        return contents

    def _codec(self) -> Codec:
        if self.map.btf is None or not self.type_id:
            raise BtfError(f'variable "{self.name}" has no type; use .raw')
        from pyebpf.btf.values import codec

        return codec(self.map.btf, self.type_id)


@plain(kw_only=True)
class CollectionSpec:
    """Everything one object file defines.

    Specs compare equal by what they say; their BTF objects are left out of the comparison.

    Attributes:
        maps: By name; data sections appear under their section's name (``".rodata"``).
        programs: By name, entry functions only.
        variables: Global variables of the data sections, by name.
        btf: The object's BTF, or ``None``.
        license: Text of the ``license`` section.
        kernel_version: Of the ``version`` section, or 0.
        byteorder: Of the file.
        name: The file's name without directories and suffixes, for messages and map names.
    """

    maps: dict[str, MapSpec] = field(default_factory=dict)
    programs: dict[str, ProgramSpec] = field(default_factory=dict)
    variables: Mapping[str, VariableSpec] = field(default_factory=dict)
    btf: Btf | None = field(default=None, repr=False, compare=False)
    license: str = ""
    kernel_version: int = 0
    byteorder: ByteOrder = "little"
    name: str = ""

    def rewrite_constant(self, name: str, value: int) -> None:
        """Set a named constant in every program that uses it: `ProgramSpec.rewrite_constant`.

        Raises:
            UnreferencedSymbolError: No program uses the symbol.
            LoadError: One uses it as something else; then none is changed.
            ValueError: The value takes more than 64 bits.
        """
        self._rewrite(name, lambda program: program.rewrite_constant(name, value))

    def rewrite_map(self, name: str, other: str) -> None:
        """Make every program use another map in the place of *name*: `ProgramSpec.rewrite_map`.

        The map itself stays; take it out of ``maps`` if nobody needs it any more.

        Raises:
            UnreferencedSymbolError: No program uses the map.
            LoadError: One uses something else of that name; then none is changed.
        """
        self._rewrite(name, lambda program: program.rewrite_map(name, other))

    def _rewrite(self, name: str, rewrite: Callable[[ProgramSpec], None]) -> None:
        changed = {}
        for key, program in self.programs.items():
            copied = program.copy()
            try:
                rewrite(copied)
            except UnreferencedSymbolError:
                continue
            changed[key] = copied
        if not changed:
            raise UnreferencedSymbolError(name, f'no program uses "{name}"')
        for key, copied in changed.items():
            program = self.programs[key]
            program.code, program.references = copied.code, copied.references

    def copy(self) -> CollectionSpec:
        """Return an independent copy; the immutable BTF is shared."""
        clone = replace(self)
        clone.maps = {name: spec.copy() for name, spec in self.maps.items()}
        clone.programs = {name: spec.copy() for name, spec in self.programs.items()}
        # Variables are windows into maps: into the copies now, by whatever name they go.
        copies = {id(spec): clone.maps[name] for name, spec in self.maps.items()}
        variables = {}
        for name, variable in self.variables.items():
            moved = replace(variable)
            if id(variable.map) not in copies:
                copies[id(variable.map)] = variable.map.copy()
            moved.map = copies[id(variable.map)]
            variables[name] = moved
        clone.variables = variables
        return clone
