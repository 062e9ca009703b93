"""The bases of all enums of the kernel: `CEnum` for choices, `CFlag` for bits.

In: a class body with the kernel's numbers, and a decorator with the C name, the prefix its members
share and since when the newer ones exist. Out: ``IntEnum`` and ``IntFlag`` classes whose members
print as the kernel spells them, on every Python:

    @c_enum("bpf_map_type", prefix="BPF_MAP_TYPE_", since={"RINGBUF": "5.8"})
    class MapType(CEnum):
        HASH = 1

    str(MapType.HASH) == "BPF_MAP_TYPE_HASH"     MapType.RINGBUF.since == "5.8"
    MapType(99).name == "UNKNOWN_99"             a value of a newer kernel survives

A load brings 250 choices, and ``enum`` takes 5 us for each, more than for all else in its module. A
fifth of that is enough for what they are, numbers with names: see `_Quick`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from enum import EnumMeta, IntEnum, IntFlag

from pyebpf.typed import TYPE_CHECKING, ClassVar, TypeVar

__all__ = ["CEnum", "CFlag", "c_enum", "c_flags"]

# What a format specification of an integer may end with; any other one formats the name.
_INTEGER_FORMATS = "bcdnoxX"

_NOTHING: Mapping[str, str] = {}


if TYPE_CHECKING or sys.version_info >= (3, 14):  # which nobody has tried it with
    _Quick = EnumMeta
else:

    class _Quick(EnumMeta):
        # Makes a class without members, and then the members as `enum` would have made them.
        @classmethod
        def __prepare__(cls, name: str, bases: tuple[type, ...]) -> dict[str, object]:
            return {}

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
            numbers = {}
            rest = super().__prepare__(name, bases)
            for key, value in body.items():
                if type(value) is int and key[0] != "_":
                    numbers[key] = value
                else:
                    rest[key] = value
            made = super().__new__(cls, name, bases, rest)
            names, by_name = made._member_names_, made._member_map_
            by_value = made._value2member_map_
            for key, value in numbers.items():
                member = by_value.get(value)
                if member is None:
                    member = by_value[value] = int.__new__(made, value)
                    member._name_, member._value_, member.__objclass__ = key, value, made
                    names.append(key)
                by_name[key] = member
                type.__setattr__(made, key, member)
            return made


class CEnum(IntEnum, metaclass=_Quick):
    """One of several values; a value the kernel has and we do not becomes ``UNKNOWN_<value>``.

    Attributes:
        C_NAME: The C enum's name, or ``""`` if it has none or its members are macros.
        PREFIX: What the C names of the members start with.
        SINCE: The kernel release a member came with, by its name here; older ones have none.
        C_NAMES: The C names that are not prefix and name.
        HEADER: The header it stands in.
        MACROS: Its members are macros, which BTF does not know.
    """

    # Ours, not the kernel's: set by the decorator below.
    C_NAME: ClassVar[str]
    PREFIX: ClassVar[str]
    SINCE: ClassVar[Mapping[str, str]]
    C_NAMES: ClassVar[Mapping[str, str]]
    HEADER: ClassVar[str]
    MACROS: ClassVar[bool]

    @classmethod
    def _missing_(cls, value: object) -> CEnum | None:
        if not isinstance(value, int):
            return None
        # Not entered into the class: values come from outside, and the table must not grow.
        member = int.__new__(cls, value)
        member._name_ = f"UNKNOWN_{value}"
        member._value_ = value
        return member

    @property
    def c_name(self) -> str:
        """The name in C."""
        return self.C_NAMES.get(self._name_) or self.PREFIX + self._name_

    @property
    def since(self) -> str | None:
        """The first kernel release that has it, or ``None`` if it is older than we count."""
        return self.SINCE.get(self._name_)

    def __str__(self) -> str:
        return self.c_name

    def __format__(self, spec: str) -> str:
        return _formatted(self, spec)

    # Python 3.11.0 to 3.11.3 would copy and pickle by name, which unknown values do not have.
    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        return type(self), (int(self),)


class CFlag(IntFlag):
    """Bits that may be combined; bits we do not know are kept.

    The class data is that of `CEnum`.
    """

    C_NAME: ClassVar[str]
    PREFIX: ClassVar[str]
    SINCE: ClassVar[Mapping[str, str]]
    C_NAMES: ClassVar[Mapping[str, str]]
    HEADER: ClassVar[str]
    MACROS: ClassVar[bool]

    @property
    def c_name(self) -> str:
        """The names in C, joined by ``|``; unknown bits as a number."""
        known = type(self).__members__
        rest = int(self)
        names = []
        for name, member in known.items():
            bits = int(member)
            if bits == int(self):
                return self.C_NAMES.get(name) or self.PREFIX + name
            if bits and rest & bits == bits:
                names.append(self.C_NAMES.get(name) or self.PREFIX + name)
                rest &= ~bits
        if rest or not names:
            names.append(hex(rest) if rest else "0")
        return "|".join(names)

    @property
    def since(self) -> str | None:
        """The first kernel release that has this one flag, or ``None`` (also for combinations)."""
        return self.SINCE.get(self._name_ or "")

    def __str__(self) -> str:
        return self.c_name

    def __format__(self, spec: str) -> str:
        return _formatted(self, spec)

    # Python 3.11.0 to 3.11.3 would copy and pickle by name, which unknown values do not have.
    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        return type(self), (int(self),)


def _formatted(member: CEnum | CFlag, spec: str) -> str:
    # IntEnum's own answer to format() changed in Python 3.12.
    if spec and spec[-1] in _INTEGER_FORMATS:
        return int.__format__(member, spec)
    return format(member.c_name, spec)


_Enum = TypeVar("_Enum", bound="type[CEnum | CFlag]")


def c_enum(
    c_name: str,
    *,
    prefix: str = "",
    since: Mapping[str, str] = _NOTHING,
    names: Mapping[str, str] = _NOTHING,
    header: str = "linux/bpf.h",
    macros: bool = False,
) -> Callable[[_Enum], _Enum]:
    """Say which C enum a class stands for.

    Args:
        c_name: The C enum's name, ``""`` for anonymous enums and for macros.
        prefix: What the C names of the members start with.
        since: The kernel release by member, for members that are not in all kernels.
        names: The C names that are not prefix and member.
        header: Where it is declared.
        macros: The members are macros.

    Returns:
        The class decorator.
    """

    def declare(cls: _Enum) -> _Enum:
        cls.C_NAME = c_name
        cls.PREFIX = prefix
        cls.SINCE = since
        cls.C_NAMES = names
        cls.HEADER = header
        cls.MACROS = macros
        return cls

    return declare


# The same: the name says at the class what kind of numbers follow.
c_flags = c_enum
