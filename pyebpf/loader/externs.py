"""Externs: what the programs of a load take from the kernel, found once, written into their code.

    reference                 instruction afterwards
    KCONFIG  CONFIG_HZ        load 64: src 2, descriptor of .kconfig | place of the variable
    KSYM     without type     load 64: src 0, the address
    KSYM     with a type      load 64: src 3, id in BTF | the module's descriptor, 0 for the kernel
    KSYM     a function       the same; before Linux 6.4 as without a type
    KSYM     missing, weak    load 64: src 0, 0
    KFUNC                     call: src 2, id in BTF; offset: place of the module in fd_array
    KFUNC    missing, weak    call: src 0, a helper that does not exist

A missing function may stay in code that is never reached, such as behind ``bpf_ksym_exists()``: the
verifier refuses the program only if it gets there. Numbers of such calls and the order of fd_array
are libbpf's, so that both make the same code of one object.
"""

from __future__ import annotations

import array
import struct
import sys
from collections.abc import Iterable, Mapping
from types import TracebackType

from pyebpf import features
from pyebpf.btf.externs import KCONFIG, config_variables
from pyebpf.btf.names import essential_name
from pyebpf.btf.types import Func
from pyebpf.errors import ExternError, naming
from pyebpf.host.kernel_btf import kernel_btf
from pyebpf.host.modules import ModuleBtf, Modules
from pyebpf.loader.patch import load_64
from pyebpf.spec import CollectionSpec, ProgramSpec, Reference, ReferenceKind, VariableSpec
from pyebpf.typed import TYPE_CHECKING, Protocol
from pyebpf.uapi.insn import CALL, JMP, PSEUDO_BTF_ID, PSEUDO_KFUNC_CALL, PSEUDO_MAP_VALUE

if TYPE_CHECKING:
    from pyebpf.loader import kconfig, ksyms

__all__ = ["EXTERNS", "Externs"]

#: The kinds of references that are resolved here.
EXTERNS = frozenset({ReferenceKind.KCONFIG, ReferenceKind.KSYM, ReferenceKind.KFUNC})

_SLOT = 8
_INSN = struct.Struct("=BBhi")
# libbpf's POISON_CALL_KFUNC_BASE; the extern's number is added.
_MISSING = 2002000000
_MAX_MODULES = (1 << 15) - 1  # what fits a call's offset


class HasFileno(Protocol):
    """A loaded map."""

    def fileno(self) -> int:
        """Return the descriptor's number."""
        ...


class Externs:
    """What the programs of one load take from the kernel.

    Closing it closes the descriptors of modules, which the kernel needs until all are loaded.

    Attributes:
        fd_array: Descriptors that calls refer to, as ``int``s; empty if there are none.
    """

    def __init__(self, modules: Modules) -> None:
        self.fd_array = b""
        self._modules = modules
        self._places: dict[str, int] = {}
        self._symbols: dict[str, ksyms.Resolved | None] = {}
        self._numbers: dict[str, int] = {}
        self._in_array: dict[str, int] = {}

    @classmethod
    def resolve(
        cls,
        spec: CollectionSpec,
        programs: Iterable[ProgramSpec],
        modules: Modules,
        given: kconfig.Given | None,
    ) -> Externs:
        """Find everything that *programs* refer to.

        Args:
            spec: The collection, about to be loaded: its ``.kconfig`` is filled, and variables of
                it are added.
            programs: Those that will be loaded.
            modules: Types of modules; closed with the result.
            given: Values of the configuration that the user gave.

        Raises:
            ExternError: Something is missing, ambiguous or of another type.
            NotSupportedError: The kernel has no BTF, or something it needs for a function.
            PrivilegeError: What is needed is not shown to this process.
        """
        chosen = list(programs)
        externs = cls(modules)
        externs._number(spec)
        externs._resolve_config(spec, chosen, given)
        externs._resolve_symbols(spec, chosen)
        return externs

    def patch(
        self, code: bytearray, slot: int, reference: Reference, maps: Mapping[str, HasFileno]
    ) -> str | None:
        """Write what a reference stands for into an instruction.

        Args:
            code: The program; changed in place.
            slot: The instruction.
            reference: Of a kind in `EXTERNS`.
            maps: Loaded maps by name.

        Returns:
            Why the program must not get there, if it must not.

        Raises:
            ExternError: An offset into what has no address until the program is loaded.
        """
        name = reference.symbol
        if reference.kind is ReferenceKind.KCONFIG:
            place = self._places[name] + reference.offset
            load_64(code, slot, PSEUDO_MAP_VALUE, maps[KCONFIG].fileno(), place)
            return None
        found = self._symbols[name]
        if reference.kind is ReferenceKind.KFUNC:
            return self._call(code, slot, name, found)
        if found is None:
            load_64(code, slot, 0, 0, 0)
        elif found.address or not found.type_id:
            address = found.address + reference.offset
            load_64(code, slot, 0, address, address >> 32)
        elif reference.offset:
            raise ExternError(name, f'extern "{name}": a place inside a typed symbol')
        else:
            fd = found.module.fileno() if found.module is not None else 0
            load_64(code, slot, PSEUDO_BTF_ID, found.type_id, fd)
        return None

    def close(self) -> None:
        """Close the descriptors of modules; closing twice is fine."""
        self._modules.close()

    def __enter__(self) -> Externs:  # noqa: PYI034 - typing.Self is Python 3.11's
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ---- finding ------------------------------------------------------------------------------

    # As libbpf counts: values of the configuration first, by their places, then symbols by name.
    def _number(self, spec: CollectionSpec) -> None:
        if spec.btf is not None:
            self._places = {each.name: each.offset for each in config_variables(spec.btf)}
        symbols = {
            reference.symbol
            for program in spec.programs.values()
            for reference in program.references.values()
            if reference.kind in EXTERNS and reference.kind is not ReferenceKind.KCONFIG
        }
        names = [*self._places, *sorted(symbols)]
        self._numbers = {name: number for number, name in enumerate(names)}

    def _resolve_config(
        self, spec: CollectionSpec, programs: list[ProgramSpec], given: kconfig.Given | None
    ) -> None:
        config = spec.maps.get(KCONFIG)
        weak = {
            name: all(each.weak for each in uses)
            for name, uses in _uses(programs, {ReferenceKind.KCONFIG}).items()
        }
        for name in weak:
            if name not in self._places or config is None:
                raise ExternError(name, f'extern "{name}" is not declared in {KCONFIG}')
        if config is None or config.btf is None or not config.autocreate:
            return
        from pyebpf.loader import kconfig

        kconfig.fill(config, weak, given)
        variables = dict(spec.variables)
        for each in config_variables(config.btf):
            variables.setdefault(
                each.name,
                VariableSpec(
                    name=each.name,
                    map=config,
                    offset=each.offset,
                    size=each.size,
                    type_id=each.type_id,
                ),
            )
        spec.variables = variables

    def _resolve_symbols(self, spec: CollectionSpec, programs: list[ProgramSpec]) -> None:
        used = _uses(programs, {ReferenceKind.KSYM, ReferenceKind.KFUNC})
        if not used:
            return
        from pyebpf.loader import ksyms

        uses = {
            name: ksyms.Use(
                weak=all(each.weak for each in references),
                called=any(each.kind is ReferenceKind.KFUNC for each in references),
            )
            for name, references in used.items()
        }
        self._symbols = ksyms.resolve(uses, spec.btf, self._modules)
        self._resolve_addresses(_uses(programs, {ReferenceKind.KSYM}))
        fds = array.array("i", [0])  # the place of the kernel itself, which needs none
        for name, found in self._symbols.items():
            if found is None or found.module is None or not uses[name].called:
                continue
            if found.module.name not in self._in_array:
                if len(fds) > _MAX_MODULES:
                    raise ExternError(name, f"functions of more than {_MAX_MODULES} modules")
                with naming(f'extern "{name}"'):
                    fds.append(found.module.fileno())
                self._in_array[found.module.name] = len(fds) - 1
        if len(fds) > 1:
            self.fd_array = fds.tobytes()

    # Programs ask by its address whether a function is there. Kernels that cannot look it up by its
    # type while they load a program (before 6.4) are told it.
    def _resolve_addresses(self, loaded: Iterable[str]) -> None:
        functions = [name for name in loaded if _is_function(self._symbols[name])]
        if not functions or features.function_addresses.available():
            return
        from pyebpf.host import kallsyms

        symbols = kallsyms.find([essential_name(name) for name in functions])
        for name in functions:
            addresses = symbols.addresses(essential_name(name))
            if symbols.restricted or not addresses:
                with naming(f'extern "{name}"'):
                    features.function_addresses.require()
            found = self._symbols[name]
            assert found is not None
            self._symbols[name] = found._replace(address=addresses[0])

    # ---- writing ------------------------------------------------------------------------------

    def _call(
        self, code: bytearray, slot: int, name: str, found: ksyms.Resolved | None
    ) -> str | None:
        if found is None:
            number = _MISSING + self._numbers[name]
            _INSN.pack_into(code, slot * _SLOT, JMP | CALL, 0, 0, number)
            return (
                f"the kernel has no function {name}(); ask bpf_ksym_exists({name}) before calling"
            )
        index = self._index(found.module)
        registers = PSEUDO_KFUNC_CALL << 4 if sys.byteorder == "little" else PSEUDO_KFUNC_CALL
        _INSN.pack_into(code, slot * _SLOT, JMP | CALL, registers, index, found.type_id)
        return None

    def _index(self, module: ModuleBtf | None) -> int:
        return self._in_array[module.name] if module is not None else 0


def _is_function(found: ksyms.Resolved | None) -> bool:
    if found is None or not found.type_id:
        return False
    types = found.module.types if found.module is not None else kernel_btf()
    return isinstance(types.type(found.type_id), Func)


def _uses(programs: Iterable[ProgramSpec], kinds: set[ReferenceKind]) -> dict[str, list[Reference]]:
    found: dict[str, list[Reference]] = {}
    for program in programs:
        for reference in program.references.values():
            if reference.kind in kinds:
                found.setdefault(reference.symbol, []).append(reference)
    return found
