"""Implementations of kernel interfaces, fitted to the running kernel's own structs.

The specs of a load and the kernel's types come in, a `Plan` goes out. The object and the kernel
each have their own declaration of the interface; what joins them are the names of its members:

    object                            kernel: struct bpf_struct_ops_tcp_congestion_ops
    struct tcp_congestion_ops mine    | common ... | data: struct tcp_congestion_ops            |
      | ssthresh ─▶ program |               |  ... | ssthresh = descriptor | ... name ... | 0 0 |
      | name = "mine"       |               what is registered, zero where the object says nothing

A program is told when it is loaded which member of which struct it implements, so plans are made
before anything is loaded. Modules may have interfaces of their own (since Linux 6.9).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pyebpf.btf.btf import Btf
from pyebpf.btf.names import essential_name
from pyebpf.btf.types import FuncProto, Member, Ptr, Struct
from pyebpf.errors import LoadError, NotSupportedError, naming
from pyebpf.loader.plan import Fitted, ModuleTypes, Plan, Target
from pyebpf.plain import plain
from pyebpf.spec import CollectionSpec, MapSpec
from pyebpf.typed import Protocol
from pyebpf.uapi.bpf import MapType, ProgType
from pyebpf.uapi.btf import BtfKind

__all__ = ["Modules", "plan"]

_WRAPPER = "bpf_struct_ops_"


class Modules(Protocol):
    """Where interfaces are looked for that the kernel proper does not have."""

    def find(self, name: str, kind: BtfKind) -> Iterator[tuple[ModuleTypes, int]]:
        """Iterate the types of this name and kind."""
        ...


@plain(kw_only=True)
class _Interface:
    # Ids of the struct and of what wraps it; where the one lies in the other.
    types: Btf
    module: ModuleTypes | None
    struct_id: int
    wrapper_id: int
    offset: int
    struct: Struct


def plan(spec: CollectionSpec, kernel: Callable[[], Btf], modules: Modules) -> Plan:
    """Fit the implementations of a load to the kernel.

    Args:
        spec: The collection; left unchanged. Maps without ``autocreate`` are left out.
        kernel: Gives the kernel's types, asked only if there is something to fit.
        modules: The modules.

    Raises:
        NotSupportedError: The kernel has no such interface.
        LoadError: An implementation does not fit it, or names no program of its kind.
    """
    found = Plan()
    for name, each in spec.maps.items():
        if each.type != MapType.STRUCT_OPS or not each.autocreate:
            continue
        with naming(f'implementation "{name}"'):
            interface = _find(each, kernel(), modules)
            fitted = _Fitting(each, interface, spec, found.targets).fit()
        found.maps[name] = fitted
    return found


def _find(spec: MapSpec, kernel: Btf, modules: Modules) -> _Interface:
    assert spec.btf is not None
    local = spec.btf.type(spec.btf.strip(spec.value_type_id))
    name = essential_name(local.name)
    if not isinstance(local, Struct) or not name:
        raise LoadError(spec.name, f"{spec.btf.describe(spec.value_type_id)} is no named struct")
    for wrapper_id in kernel.ids(_WRAPPER + name, BtfKind.STRUCT):
        interface = _unwrap(kernel, None, wrapper_id, name)
        if interface is not None:
            return interface
    for module, wrapper_id in modules.find(_WRAPPER + name, BtfKind.STRUCT):
        interface = _unwrap(module.types, module, wrapper_id, name)
        if interface is not None:
            return interface
    raise NotSupportedError(
        f"struct_ops of type {name}",
        None,
        f"the kernel's types have no struct {_WRAPPER}{name}",
    )


def _unwrap(
    types: Btf, module: ModuleTypes | None, wrapper_id: int, name: str
) -> _Interface | None:
    wrapper = types.type(wrapper_id)
    assert isinstance(wrapper, Struct)
    for member in wrapper.members:
        struct_id = types.strip(member.type)
        struct = types.type(struct_id)
        if isinstance(struct, Struct) and struct.name == name:
            return _Interface(
                types=types,
                module=module,
                struct_id=struct_id,
                wrapper_id=wrapper_id,
                offset=member.bit_offset // 8,
                struct=struct,
            )
    return None


class _Fitting:
    # One implementation on its way into the kernel's struct.

    def __init__(
        self,
        spec: MapSpec,
        interface: _Interface,
        collection: CollectionSpec,
        targets: dict[str, Target],
    ) -> None:
        assert spec.btf is not None
        self._spec = spec
        self._btf = spec.btf
        self._kernel = interface
        self._collection = collection
        self._targets = targets
        self._programs = dict(spec.entries)
        self._functions: list[tuple[int, str]] = []
        self._value = bytearray(interface.types.size_of(interface.wrapper_id))

    def fit(self) -> Fitted:
        local = self._btf.type(self._btf.strip(self._spec.value_type_id))
        assert isinstance(local, Struct)
        names: dict[str, int] = {}
        for number, member in enumerate(self._kernel.struct.members):
            names.setdefault(member.name, number)
        for member in local.members:
            with naming(f"member {member.name}"):
                self._fit_member(member, names.get(member.name))
        if self._programs:
            at, program = min(self._programs.items())
            raise self._error(f'program "{program}" at offset {at}, where no member starts')
        return Fitted(
            spec=self._fitted_spec(), functions=tuple(self._functions), module=self._kernel.module
        )

    def _fitted_spec(self) -> MapSpec:
        spec = self._spec.copy()
        spec.value_size = len(self._value)
        spec.btf = self._kernel.types
        spec.value_type_id = self._kernel.wrapper_id
        spec.contents = self._value
        spec.entries = ()
        return spec

    def _fit_member(self, member: Member, number: int | None) -> None:
        start = member.bit_offset // 8
        size = self._btf.size_of(member.type)
        data = self._contents(start, size)
        inside = [at for at in self._programs if start <= at < start + size]
        if number is None:
            if inside or any(data):
                raise self._error("the kernel's struct has none of this name, so it must be zero")
            return
        theirs = self._kernel.struct.members[number]
        if member.bitfield_size or theirs.bitfield_size:
            raise self._error("bit-fields cannot be fitted")
        ours_id = self._btf.strip(member.type)
        theirs_id = self._kernel.types.strip(theirs.type)
        ours_type, their_type = self._btf.type(ours_id), self._kernel.types.type(theirs_id)
        if ours_type.kind != their_type.kind:
            raise self._error(f"is {self._described(member, theirs)}")
        place = self._kernel.offset + theirs.bit_offset // 8
        if isinstance(ours_type, Ptr) and isinstance(their_type, Ptr):
            program = self._programs.pop(start, None)
            self._fit_pointer(program, data, place, number, their_type)
            return
        if inside:
            program = self._programs[inside[0]]
            raise self._error(f'program "{program}" in something other than a function pointer')
        if size != self._kernel.types.size_of(theirs_id):
            raise self._error(f"is {self._described(member, theirs)}, which has another size")
        self._value[place : place + size] = data

    def _contents(self, start: int, size: int) -> bytes:
        contents = self._spec.contents
        if contents is None or start + size > len(contents):
            raise self._error("lies outside the implementation's contents")
        return bytes(contents[start : start + size])

    def _fit_pointer(
        self, program: str | None, data: bytes, place: int, number: int, pointer: Ptr
    ) -> None:
        if program is None:
            if any(data):
                raise self._error("only pointers to programs can be fitted")
            return
        types = self._kernel.types
        if not isinstance(types.type(types.strip(pointer.type)), FuncProto):
            raise self._error(f'program "{program}" where the kernel has no function pointer')
        member = self._kernel.struct.members[number]
        target = Target(
            type_id=self._kernel.struct_id,
            member=number,
            module=self._kernel.module,
            name=f"{self._kernel.struct.name}.{member.name}",
        )
        self._claim(program, target)
        self._functions.append((place, program))

    # A program can serve several implementations, but only as the same member.
    def _claim(self, program: str, target: Target) -> None:
        found = self._collection.programs.get(program)
        if found is None:
            raise self._error(f'there is no program "{program}"')
        if found.type != ProgType.STRUCT_OPS:
            raise self._error(f'program "{program}" is of type {found.type}, not STRUCT_OPS')
        known = self._targets.setdefault(program, target)
        if known != target:
            raise self._error(f'program "{program}" implements {known.name} already')

    def _described(self, member: Member, theirs: Member) -> str:
        ours = self._btf.describe(member.type)
        return f"{ours}, the kernel's {self._kernel.types.describe(theirs.type)}"

    def _error(self, message: str) -> LoadError:
        return LoadError(self._spec.name, message)
