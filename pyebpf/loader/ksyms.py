"""Symbols of ``.ksyms``: the kernel's variables and functions that a program names.

    extern const void bpf_prog_put __ksym;                      its address       /proc/kallsyms
    extern const struct rq runqueues __ksym;                    a typed VAR       the kernel's BTF
    struct task_struct *bpf_task_acquire(…) __ksym;             a FUNC            or a module's

The kernel's own BTF is asked first, then each module's. What is found must have the declared type,
compared as CO-RE does; a function may be declared several times under flavours of its name
(``bpf_dynptr_from_skb___old``), of which those that fit are taken. What is missing or does not fit
is ``None`` if it is weak, else an error. Assembled programs declare nothing; what they name is
taken as the kernel declares it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pyebpf.btf.btf import Btf
from pyebpf.btf.compat import types_compatible
from pyebpf.btf.externs import KSYMS
from pyebpf.btf.names import essential_name
from pyebpf.btf.sections import entries_of
from pyebpf.btf.types import Func, FuncProto, Fwd, Ptr, Var
from pyebpf.errors import BtfError, ExternError, NotSupportedError, naming
from pyebpf.host import kallsyms
from pyebpf.host.kernel_btf import kernel_btf
from pyebpf.host.modules import ModuleBtf, Modules
from pyebpf.typed import NamedTuple
from pyebpf.uapi.btf import BtfKind

__all__ = ["Resolved", "Use", "resolve"]


class Use(NamedTuple):
    """How programs use a symbol.

    Attributes:
        weak: It may be missing.
        called: At least once; otherwise only its address is taken.
    """

    weak: bool
    called: bool


class Resolved(NamedTuple):
    """What the kernel has for a symbol: an address, or a type in its BTF or a module's.

    Attributes:
        address: Of a symbol without a type, or of a function where the kernel must be told it.
        type_id: Of its ``VAR`` or ``FUNC``, or 0.
        module: Whose BTF that is in, ``None`` for the kernel's own.
    """

    address: int = 0
    type_id: int = 0
    module: ModuleBtf | None = None


def resolve(
    uses: Mapping[str, Use], local: Btf | None, modules: Modules
) -> dict[str, Resolved | None]:
    """Find symbols in the running kernel.

    Args:
        uses: The symbols.
        local: The object's BTF, which declares them.
        modules: Where to look besides the kernel itself.

    Returns:
        The symbols by name, in order; ``None`` for what is weak and missing.

    Raises:
        ExternError: Something is missing, ambiguous, of another type, or hidden.
        NotSupportedError: The kernel has no BTF.
    """
    declared = {found.name: found for _, found in entries_of(local, KSYMS)} if local else {}
    found: dict[str, Resolved | None] = {}
    untyped = []
    for name in sorted(uses):
        declaration = declared.get(name)
        with naming(f'extern "{name}"'):
            if isinstance(declaration, Func) and local is not None:
                found[name] = _function(declaration, uses[name], local, modules)
            elif declaration is None and uses[name].called:
                found[name] = _undeclared(name, BtfKind.FUNC, uses[name], modules)
            elif uses[name].called:
                raise ExternError(name, "called, but not declared as a function of the kernel")
            elif declaration is None and local is None and _is_variable(name):
                found[name] = _undeclared(name, BtfKind.VAR, uses[name], modules)
            elif isinstance(declaration, Var) and local and local.strip(declaration.type):
                found[name] = _variable(declaration, uses[name], local, modules)
            else:
                untyped.append(name)
    found.update(_addresses({name: uses[name] for name in untyped}))
    return {name: found[name] for name in sorted(found)}


# ---- without a type ---------------------------------------------------------------------------


def _addresses(uses: Mapping[str, Use]) -> dict[str, Resolved | None]:
    if not uses:
        return {}
    with naming(f'extern "{next(iter(uses))}"'):
        symbols = kallsyms.find(uses)
    return {name: _address(name, use, symbols) for name, use in uses.items()}


def _address(name: str, use: Use, symbols: kallsyms.Symbols) -> Resolved | None:
    addresses = symbols.addresses(name)
    if len(addresses) == 1 and not symbols.restricted:
        return Resolved(address=addresses[0])
    if use.weak and len(addresses) < 2:
        return None
    with naming(f'extern "{name}"'):
        if symbols.restricted:
            raise ExternError(
                name,
                "/proc/kallsyms shows no addresses to this process"
                " (sysctl kernel.kptr_restrict, CAP_SYSLOG)",
            )
        if not addresses:
            raise ExternError(
                name, "not in /proc/kallsyms, which lists variables with CONFIG_KALLSYMS_ALL only"
            )
        places = " and ".join(
            f"{each.address:#x}{f' of module {each.module}' if each.module else ''}"
            for each in symbols.by_name[name]
        )
        raise ExternError(name, f"ambiguous: the kernel has it at {places}")


# ---- with a type ------------------------------------------------------------------------------


def _variable(declared: Var, use: Use, local: Btf, modules: Modules) -> Resolved | None:
    name, wanted = declared.name, local.strip(declared.type)
    for types, type_id, module in _candidates(name, BtfKind.VAR, use, modules):
        found = types.type(type_id)
        assert isinstance(found, Var)  # asked for by kind
        # A weak variable of another type is an error too: reading it would be wrong.
        if not types_compatible(local, wanted, types, types.strip(found.type)):
            raise ExternError(
                name,
                f"declared as {local.describe(declared.type)},"
                f" but {_owner(module)} has {types.describe(found.type)}",
            )
        return Resolved(type_id=type_id, module=module)
    if use.weak:
        return None
    raise _missing(name, "variable", modules)


def _function(declared: Func, use: Use, local: Btf, modules: Modules) -> Resolved | None:
    name = essential_name(declared.name)
    other = ""
    for types, type_id, module in _candidates(name, BtfKind.FUNC, use, modules):
        found = types.type(type_id)
        assert isinstance(found, Func)  # asked for by kind
        if types_compatible(local, declared.type, types, found.type):
            return Resolved(type_id=type_id, module=module)
        other = other or (
            f"declared as {_prototype(local, declared)},"
            f" but {_owner(module)} has {_prototype(types, found)}{_announced(local, declared)}"
        )
    if use.weak:
        return None
    raise ExternError(declared.name, other) if other else _missing(name, "function", modules)


# Programs that were assembled declare nothing: the name has to do.
def _undeclared(name: str, kind: BtfKind, use: Use, modules: Modules) -> Resolved | None:
    for _, type_id, module in _candidates(name, kind, use, modules):
        return Resolved(type_id=type_id, module=module)
    if use.weak:
        return None
    raise _missing(name, "function", modules)


def _is_variable(name: str) -> bool:
    try:
        return bool(kernel_btf().ids(name, BtfKind.VAR))
    except NotSupportedError:
        return False


# The kernel's own types of that name, and if there are none the modules'.
def _candidates(
    name: str, kind: BtfKind, use: Use, modules: Modules
) -> Iterator[tuple[Btf, int, ModuleBtf | None]]:
    try:
        types = kernel_btf()
    except NotSupportedError:
        if use.weak:
            return
        raise
    own = types.ids(name, kind)
    for type_id in own:
        yield types, type_id, None
    if not own:
        for module, type_id in modules.find(name, kind):
            yield module.types, type_id, module


def _missing(name: str, what: str, modules: Modules) -> ExternError:
    message = f"no {what} of this name in the types of the kernel and its modules"
    return ExternError(name, message + modules.remark())


def _owner(module: ModuleBtf | None) -> str:
    return "the kernel" if module is None else f"module {module.name}"


def _prototype(types: Btf, function: Func) -> str:
    prototype = _prototype_of(types, function)
    parameters = [types.describe(each.type) if each.type else "..." for each in prototype.params]
    returns = types.describe(prototype.return_type)
    return f"{returns} {function.name}({', '.join(parameters) or 'void'})"


# A struct without its members is of another kind than the kernel's, though C writes them alike.
def _announced(local: Btf, function: Func) -> str:
    prototype = _prototype_of(local, function)
    ids = [prototype.return_type, *(each.type for each in prototype.params)]
    for type_id in ids:
        found = local.type(local.strip(type_id))
        while isinstance(found, Ptr):
            found = local.type(local.strip(found.type))
        if isinstance(found, Fwd):
            return f" (the object announces {found.name}, but does not define it)"
    return ""


def _prototype_of(types: Btf, function: Func) -> FuncProto:
    prototype = types.type(function.type)
    if not isinstance(prototype, FuncProto):
        raise BtfError(f"{function.name}() has no prototype", f"type {function.type}")
    return prototype
