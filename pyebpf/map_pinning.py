"""`Pinning`: what a map definition says of its pin."""

from __future__ import annotations

import enum

__all__ = ["Pinning"]


class Pinning(enum.IntEnum):
    """How a map definition asks to be pinned: ``enum libbpf_pin_type``.

    Projects with loaders of their own number kinds of their own; they can be read, and are to be
    replaced before a load.
    """

    NONE = 0
    BY_NAME = 1

    @classmethod
    def _missing_(cls, value: object) -> Pinning | None:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = f"UNKNOWN_{value}"
        member._value_ = value
        return member

    # Python 3.11.0 to 3.11.3 would copy by name, which unknown kinds do not have.
    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        return type(self), (int(self),)
