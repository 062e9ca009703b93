"""The words of `typing` that this library uses: for type checkers the real ones, else stand-ins.

Nothing of ours asks about types at run time, and a load should not pay for it: importing ``typing``
takes 4 ms, and each ``NamedTuple`` 0.1 ms, since it compiles every annotation. So classes of named
tuples are made here, as ``collections.namedtuple`` makes them; their constructors are compiled when
many objects are made. Every other word is `_Word`, or a base class without contents.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING or sys.version_info >= (3, 14):  # which nobody has tried the stand-ins with
    from typing import IO as IO
    from typing import Any as Any
    from typing import BinaryIO as BinaryIO
    from typing import ClassVar as ClassVar
    from typing import Generic as Generic
    from typing import Literal as Literal
    from typing import NamedTuple as NamedTuple
    from typing import NoReturn as NoReturn
    from typing import Protocol as Protocol
    from typing import TypeAlias as TypeAlias
    from typing import TypedDict as TypedDict
    from typing import TypeGuard as TypeGuard
    from typing import TypeVar as TypeVar
    from typing import cast as cast
    from typing import final as final
    from typing import overload as overload
else:
    from types import GenericAlias

    try:  # what namedtuple takes, if there is one: C reads fields faster
        from _collections import _tuplegetter as _getter
    except ImportError:
        from operator import itemgetter

        def _getter(index: int, doc: str) -> property:
            return property(itemgetter(index), doc=doc)

    class _Word:
        """Stands in annotations and aliases; whatever is said about it, it stays the same."""

        __slots__ = ()

        def __call__(self, *_: object, **__: object) -> _Word:
            return self

        def __getitem__(self, _: object) -> _Word:
            return self

        __or__ = __ror__ = __getitem__

    Any = object
    IO = BinaryIO = ClassVar = Literal = NoReturn = TypeAlias = TypeGuard = TypeVar = _Word()

    class Generic:
        """A base; classes keep what their parameters are given, as ``list[int]`` does."""

        __slots__ = ()
        __class_getitem__ = classmethod(GenericAlias)

    class Protocol(Generic):
        """A base without contents: nothing asks at run time whether an object has what it takes."""

        __slots__ = ()

    TypedDict = dict

    def cast(_: object, value: object) -> object:
        """Return *value*."""
        return value

    def final(decorated: object) -> object:
        """Return it as it is."""
        return decorated

    overload = final

    # How many tuples are made before a compiled constructor pays.
    _FEW = 64

    class _Signature:
        # Worked out when somebody asks: what the constructor takes.
        def __get__(self, _: object, cls: type) -> object:
            import inspect

            found = inspect.signature(_constructor(cls))
            return found.replace(parameters=list(found.parameters.values())[1:])

    class _Named(tuple):
        # What all the classes share.
        __slots__ = ()
        __signature__ = _Signature()

        @classmethod
        def _make(cls, values: object) -> _Named:
            made = tuple.__new__(cls, values)
            if len(made) != len(cls._fields):
                raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
            return made

        def _replace(self, /, **changes: object) -> _Named:
            made = self._make(map(changes.pop, self._fields, self))
            if changes:
                kind = TypeError if sys.version_info >= (3, 13) else ValueError  # as namedtuple
                raise kind(f"Got unexpected field names: {list(changes)!r}")
            return made

        __replace__ = _replace

        def _asdict(self) -> dict[str, object]:
            return dict(zip(self._fields, self))  # noqa: B905 - of one length

        def __getnewargs__(self) -> tuple[object, ...]:
            return tuple(self)

        def __repr__(self) -> str:
            shown = (f"{name}={value!r}" for name, value in zip(self._fields, self))  # noqa: B905
            return f"{self.__class__.__name__}({', '.join(shown)})"

    class _Body(type):
        # Sees the body of a class before there is the class: so it gets no room for a __dict__.
        def __new__(cls, name: str, _: object, body: dict[str, object]) -> type:
            fields = tuple(body.get("__annotations__", ()))
            defaults = {field: body[field] for field in fields if field in body}
            for index, field in enumerate(fields):
                body[field] = _getter(index, f"Alias for field number {index}")
            body.setdefault("__doc__", f"{name}({', '.join(fields)})")
            body.update(__slots__=(), _fields=fields, __match_args__=fields)
            body["_field_defaults"] = defaults
            left = _FEW

            def __new__(cls: type, /, *given: object, **named: object) -> _Named:
                nonlocal left
                left -= 1
                if left > 0 and not named and len(given) == len(fields):
                    return tuple.__new__(cls, given)
                # Says what is wrong, too.
                made.__new__ = staticmethod(_constructor(made))
                return made.__new__(cls, *given, **named)

            body["__new__"] = __new__
            made = type(name, (_Named,), body)
            return made

    def _constructor(cls: type) -> object:
        arguments = "".join(f"{field}, " for field in cls._fields)
        # Names of fields of a class in this library.
        made = eval(f"lambda _cls, {arguments}: _new(_cls, ({arguments}))", {"_new": tuple.__new__})
        made.__defaults__ = tuple(cls._field_defaults.values())
        made.__annotations__ = dict(cls.__annotations__)
        made.__name__ = "__new__"
        made.__qualname__ = f"{cls.__qualname__}.__new__"
        return made

    NamedTuple = type.__new__(_Body, "NamedTuple", (), {})
