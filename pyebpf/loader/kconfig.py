"""Values of ``.kconfig``: what the kernel was built with, as bytes of the map that programs read.

    CONFIG_HZ=250           extern int CONFIG_HZ __kconfig;                       250
    CONFIG_BPF=y            extern bool CONFIG_BPF __kconfig;                     1
    CONFIG_VETH=m           extern enum libbpf_tristate CONFIG_VETH __kconfig;    2 (TRI_MODULE)
    CONFIG_VETH=m           extern char CONFIG_VETH __kconfig;                    'm'
    CONFIG_CC_VERSION="…"   extern char CONFIG_CC_VERSION[16] __kconfig;          "…", cut to 15

Three names are no part of the configuration: ``LINUX_KERNEL_VERSION``, ``LINUX_HAS_BPF_COOKIE`` and
``LINUX_HAS_SYSCALL_WRAPPER``. What is nowhere set is zero if the variable is weak, else an error.
"""

from __future__ import annotations

import enum
import os
import re
import warnings
from collections.abc import Callable, Mapping

from pyebpf import features
from pyebpf.btf.btf import Btf
from pyebpf.btf.externs import ConfigVariable, config_variables
from pyebpf.btf.types import Array, Enum64, Enumeration, Int
from pyebpf.errors import ExternError, naming
from pyebpf.spec import MapSpec
from pyebpf.typed import NamedTuple, TypeAlias
from pyebpf.uapi.btf import BtfIntEncoding

__all__ = ["Given", "fill"]

# What a user may pass: values by name, the text of a configuration, or a file with it.
Given: TypeAlias = Mapping[str, object] | str | os.PathLike[str]

_TRISTATE = "libbpf_tristate"
_LETTERS = {"n": 0, "y": 1, "m": 2}  # as enum libbpf_tristate has them
_OCTAL = re.compile(r"[+-]?0[0-7]+")


def _version() -> int:
    from pyebpf.host import version

    return version.code()


def _has_wrappers() -> int:
    from pyebpf.host import syscalls

    return int(syscalls.has_wrappers())


_VIRTUAL: dict[str, Callable[[], int]] = {
    "LINUX_KERNEL_VERSION": _version,
    "LINUX_HAS_BPF_COOKIE": lambda: int(features.attach_cookie.available()),
    "LINUX_HAS_SYSCALL_WRAPPER": _has_wrappers,
}


def fill(spec: MapSpec, weak: Mapping[str, bool], given: Given | None) -> None:
    """Write values into the contents of a ``.kconfig`` map.

    Args:
        spec: The map; its BTF says which variables it has.
        weak: The variables that programs use, and whether each may be missing. Others are filled in
            as far as they are known.
        given: What the user says; it goes before what the system says.

    Raises:
        ExternError: A variable has no value, or one that its type cannot hold.
        TypeError: *given* is of another type, or one of its values is.
        FormatError: A configuration is malformed.
    """
    if spec.btf is None or spec.contents is None:
        return
    variables = {each.name: each for each in config_variables(spec.btf)}
    values, places = _values(variables, spec.btf, given)
    for name, variable in variables.items():
        value = values.get(name)
        try:
            if value is None:
                data = _absent(name, weak.get(name, True), places)
            else:
                data = _encode(variable, _kind(spec.btf, variable), value, spec.btf)
        except ExternError:
            if name in weak:
                raise
            continue  # no program asks
        spec.contents[variable.offset : variable.offset + len(data)] = data


# Values by name, as a number or the text of a configuration; and where was looked.
def _values(
    variables: Mapping[str, ConfigVariable], btf: Btf, given: Given | None
) -> tuple[dict[str, int | str], str]:
    from pyebpf.host import kconfig

    values: dict[str, int | str] = {}
    unset: set[str] = set()
    if isinstance(given, Mapping):
        for name in variables.keys() & given.keys():
            if given[name] is None:
                unset.add(name)
            else:
                values[name] = _text_of(name, _kind(btf, variables[name]), given[name])
    elif isinstance(given, str):
        with naming("kconfig"):
            values.update(kconfig.parse(given, variables))
    elif isinstance(given, os.PathLike):
        values.update(kconfig.read_file(given, variables).values)
    elif given is not None:
        raise TypeError(f"kconfig is a mapping, text or a path, not {type(given).__name__}")
    for name in variables.keys() & _VIRTUAL.keys():
        if name not in values:
            values[name] = _VIRTUAL[name]()
    missing = {name for name in variables if name.startswith("CONFIG_")} - values.keys() - unset
    if not missing:
        return values, ""
    system = kconfig.read(missing)
    return system.values | values, system.source or "any file of this system"


def _absent(name: str, weak: bool, places: str) -> bytes:
    if weak:
        return b""
    if name.startswith("CONFIG_"):
        where = f"is not set in {places}" if places else "is not set"
        raise ExternError(
            name, f"{name} {where}; give it a value (kconfig=) or declare it __weak to read 0"
        )
    raise ExternError(name, f"{name} is none of {', '.join(_VIRTUAL)}, nor of CONFIG_…")


# ---- types ------------------------------------------------------------------------------------


class _Form(enum.Enum):
    BOOL = "bool"
    TRISTATE = "enum libbpf_tristate"
    CHAR = "char"
    INT = "int"
    TEXT = "char array"


class _Kind(NamedTuple):
    form: _Form | None  # None: a type no value has
    size: int
    signed: bool = False


def _kind(btf: Btf, variable: ConfigVariable) -> _Kind:
    found = btf.type(btf.strip(variable.type_id))
    if isinstance(found, Array):
        element = btf.type(btf.strip(found.element))
        is_text = _int_form(element) is _Form.CHAR and found.length
        return _Kind(_Form.TEXT if is_text else None, variable.size)
    if isinstance(found, Int):
        return _Kind(_int_form(found), found.size, found.signed)
    if isinstance(found, Enumeration) and found.name == _TRISTATE:
        right = isinstance(found, Enum64) or found.size == 4
        return _Kind(_Form.TRISTATE if right else None, found.size)
    return _Kind(None, variable.size)


def _int_form(found: object) -> _Form | None:
    if not isinstance(found, Int):
        return None
    if found.encoding & BtfIntEncoding.BOOL:
        return _Form.BOOL if found.size == 1 else None
    if found.size == 1:
        return _Form.CHAR
    return _Form.INT if found.size in (2, 4, 8) else None


# ---- values -----------------------------------------------------------------------------------


# A Python value as a configuration would have it.
def _text_of(name: str, kind: _Kind, value: object) -> int | str:
    if isinstance(value, bool):
        return "y" if value else "n"
    if isinstance(value, int):
        letters = "nym" if kind.form is _Form.TRISTATE else "ny" if kind.form is _Form.BOOL else ""
        return letters[value] if 0 <= value < len(letters) else int(value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        return f'"{value}"' if kind.form is _Form.TEXT else value
    raise TypeError(f"kconfig: {name} cannot be {type(value).__name__}")


def _encode(variable: ConfigVariable, kind: _Kind, value: int | str, btf: Btf) -> bytes:
    name = variable.name
    if kind.form is None:
        text = btf.describe(variable.type_id)
        raise ExternError(name, f"{name}: no value of a configuration is of type {text}")
    if isinstance(value, str) and value.startswith('"'):
        return _quoted(name, kind, value)
    if isinstance(value, str) and value in _LETTERS:
        return _letter(name, kind, value, btf)
    if isinstance(value, str):
        value = _number(name, value)
        fits = kind.form in (_Form.INT, _Form.CHAR)
    else:
        fits = kind.form in (_Form.INT, _Form.CHAR) or (kind.form is _Form.BOOL and value in (0, 1))
    if not fits:
        raise ExternError(name, f"{name} is {value}, which is no {kind.form.value}")
    return _sized(name, kind, value, btf)


def _letter(name: str, kind: _Kind, value: str, btf: Btf) -> bytes:
    if kind.form is _Form.CHAR:
        return value.encode()
    if kind.form is _Form.TRISTATE or (kind.form is _Form.BOOL and value != "m"):
        return _LETTERS[value].to_bytes(kind.size, btf.byteorder)
    wanted = kind.form.value if kind.form else ""
    raise ExternError(name, f"{name} is {value}, which is no {wanted}")


def _quoted(name: str, kind: _Kind, value: str) -> bytes:
    if kind.form is not _Form.TEXT:
        wanted = kind.form.value if kind.form else ""
        raise ExternError(name, f"{name} is {value}, which is no {wanted}")
    if len(value) < 2 or not value.endswith('"'):
        raise ExternError(name, f"{name} is {value}, text without its end")
    data = value[1:-1].encode("utf-8", "surrogateescape")
    if len(data) >= kind.size:
        warnings.warn(
            f"{name} has {len(data)} bytes, of which {kind.size - 1} fit its array",
            RuntimeWarning,
            stacklevel=2,
        )
    return data[: kind.size - 1].ljust(kind.size, b"\0")


# As C's strtoull with base 0.
def _number(name: str, text: str) -> int:
    try:
        return int(text, 8 if _OCTAL.fullmatch(text) else 0)
    except ValueError:
        raise ExternError(name, f"{name} is {text[:40]!r}, which is no number") from None


def _sized(name: str, kind: _Kind, value: int, btf: Btf) -> bytes:
    bits = kind.size * 8
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if kind.signed else (0, (1 << bits) - 1)
    if kind.size == 8:
        # What a configuration says has 64 bits, and whether one is a sign depends on who reads.
        low, high = -(1 << 63), (1 << 64) - 1
    if not low <= value <= high:
        raise ExternError(name, f"{name} is {value}, which does not fit {low} to {high}")
    return (value & (1 << bits) - 1).to_bytes(kind.size, btf.byteorder)
