"""`plain`: classes of plain data, as `dataclasses.dataclass` makes them, at a tenth of the cost.

    @plain(frozen=True, kw_only=True)        __slots__, __init__, __eq__, __repr__, __match_args__;
    class Point:                             frozen: __hash__, no assignment
        x: int
        tags: list[str] = field(default_factory=list)

Importing ``dataclasses`` takes 6 ms, since it brings ``inspect``, and each class 0.7 ms, which is
a fifth of what importing a loader with twenty of them would take. Here a class takes 0.03 ms; its
``__init__`` is compiled when many objects are made. The functions of ``dataclasses`` work:
``replace``, ``fields``, ``asdict``. A ``__post_init__`` is called; there is no inheritance.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from reprlib import recursive_repr

from pyebpf.typed import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: object) -> Callable[[Any], Any]:
        """Return a decorator that changes nothing; type checkers know it."""
        return lambda function: function


__all__ = ["field", "plain", "replace"]

T = TypeVar("T")

_MISSING: Any = object()

# How many objects are made before the compiled ``__init__`` pays: compiling takes 0.2 ms, which is
# what it saves on a hundred.
_FEW = 64


class _Field:
    """A field's ways, where they are not the usual ones."""

    __slots__ = ("compared", "default", "default_factory", "shown")

    def __init__(
        self, default: object, default_factory: Callable[[], object], *, shown: bool, compared: bool
    ) -> None:
        self.default = default
        self.default_factory = default_factory
        self.shown = shown
        self.compared = compared


def field(
    *,
    default: Any = _MISSING,  # noqa: ANN401 - of the field's type
    default_factory: Callable[[], Any] = _MISSING,
    repr: bool = True,  # noqa: A002 - the name that dataclasses gave it
    compare: bool = True,
) -> Any:  # noqa: ANN401 - stands for a value of the field's type
    """Describe a field.

    Args:
        default: Its value if none is given.
        default_factory: Makes that value, for each object anew.
        repr: Whether ``repr()`` shows it.
        compare: Whether objects that differ in it alone are equal.
    """
    return _Field(default, default_factory, shown=repr, compared=compare)


@dataclass_transform(field_specifiers=(field,))
def plain(
    *, frozen: bool = False, kw_only: bool = False, eq: bool = True, slots: bool = True
) -> Callable[[type[T]], type[T]]:
    """Return a decorator for a class of plain data.

    Args:
        frozen: Fields cannot be assigned; objects can be hashed.
        kw_only: Objects are made with keyword arguments only.
        eq: Objects are equal if their fields are; otherwise each equals itself alone.
        slots: There is room for the fields and nothing else, such as cached properties.
    """

    def decorate(cls: type[T]) -> type[T]:
        body = dict(cls.__dict__)
        fields = {name: _as_field(body.pop(name, _MISSING)) for name in cls.__annotations__}
        for unwanted in ("__dict__", "__weakref__"):
            body.pop(unwanted, None)
        body["__annotations__"] = dict(cls.__annotations__)
        body["__slots__"] = tuple(fields) if slots else (*fields, "__dict__")
        body["__match_args__"] = () if kw_only else tuple(fields)
        body["__repr__"] = _repr([name for name, each in fields.items() if each.shown])
        body["__replace__"] = replace
        body["__dataclass_fields__"] = _OfClass(lambda made: _for_dataclasses(made, fields))
        body["__signature__"] = _OfClass(lambda _: _signature(make()))
        if eq:
            _add_comparison(body, [name for name, each in fields.items() if each.compared], frozen)
        if frozen:
            body.update(__setattr__=_refuse_to_set, __delattr__=_refuse_to_delete)
            body.update(__getstate__=_state, __setstate__=_set_state)

        def make() -> Callable[..., None]:
            return _init(cls, fields, frozen=frozen, kw_only=kw_only)

        left = _FEW

        def __init__(self: object, /, *given: object, **named: object) -> None:
            nonlocal left
            left -= 1
            # What is wrong is said by the real one.
            if not left or (given and kw_only) or not _fill(self, fields, given, named):
                result.__init__ = make()
                result.__init__(self, *given, **named)

        body["__init__"] = __init__
        metaclass: Any = type(cls)
        result: Any = metaclass(cls.__name__, cls.__bases__, body)
        return cast("type[T]", result)

    return decorate


def replace(object_: T, **changes: object) -> T:
    """Return an object like this one but for *changes*, as ``dataclasses.replace`` does."""
    return type(object_)(**{**_values(object_), **changes})


def _as_field(given: object) -> _Field:
    if isinstance(given, _Field):
        return given
    return _Field(given, _MISSING, shown=True, compared=True)


def _fill(
    made: object, fields: dict[str, _Field], given: tuple[object, ...], named: dict[str, object]
) -> bool:
    # Does what the compiled one does; false if the arguments do not fit.
    values = dict(zip(fields, given))  # noqa: B905 - too many are found below
    if len(values) != len(given) or not values.keys().isdisjoint(named):
        return False
    values.update(named)
    if len(values.keys() - fields.keys()):
        return False
    for name, each in fields.items():
        if name in values:
            found = values[name]
        elif each.default_factory is not _MISSING:
            found = each.default_factory()
        elif each.default is not _MISSING:
            found = each.default
        else:
            return False
        object.__setattr__(made, name, found)
    if hasattr(made, "__post_init__"):
        made.__post_init__()
    return True


def _init(
    cls: type, fields: dict[str, _Field], *, frozen: bool, kw_only: bool
) -> Callable[..., None]:
    # Compiles it: what Python does with a signature it does fastest.
    names: dict[str, object] = {"_set": object.__setattr__, "_missing": _MISSING}
    arguments, lines = [], []
    for name, each in fields.items():
        source = name
        if each.default_factory is not _MISSING:
            names[f"_make_{name}"] = each.default_factory
            arguments.append(f"{name}=_missing")
            source = f"_make_{name}() if {name} is _missing else {name}"
        elif each.default is not _MISSING:
            names[f"_default_{name}"] = each.default
            arguments.append(f"{name}=_default_{name}")
        else:
            arguments.append(name)
        lines.append(f" _set(self, {name!r}, {source})" if frozen else f" self.{name} = {source}")
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()")
    star = "*, " if kw_only else ""
    # Names and defaults are those of a class in this library.
    exec(f"def __init__(self, {star}{', '.join(arguments)}):\n" + "\n".join(lines), names)
    made: Any = names["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return cast("Callable[..., None]", made)


def _add_comparison(body: dict[str, Any], compared: list[str], frozen: bool) -> None:
    get = attrgetter(*compared)

    def __eq__(self: object, other: object) -> bool:
        if self.__class__ is not other.__class__:
            return NotImplemented
        equal: bool = get(self) == get(other)
        return equal

    def __hash__(self: object) -> int:
        return hash(get(self))

    body["__eq__"] = __eq__
    body["__hash__"] = __hash__ if frozen else None


def _repr(shown: list[str]) -> Callable[[object], str]:
    def __repr__(self: object) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{self.__class__.__qualname__}({values})"

    return recursive_repr()(__repr__)


def _values(self: Any) -> dict[str, object]:  # noqa: ANN401
    return {name: getattr(self, name) for name in self.__slots__ if name != "__dict__"}


def _state(self: object) -> list[object]:
    return list(_values(self).values())


def _set_state(self: Any, state: list[object]) -> None:  # noqa: ANN401
    for name, each in zip(self.__slots__, state):  # noqa: B905 - perhaps without __dict__
        object.__setattr__(self, name, each)


def _refuse_to_set(self: object, name: str, value: object) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot delete field {name!r}")


class _OfClass:
    """An attribute of a class, worked out when somebody asks."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[Any], object]) -> None:
        self._make = make

    def __get__(self, instance: object, owner: type) -> object:
        return self._make(owner)


def _signature(function: Callable[..., None]) -> object:
    import inspect

    found = inspect.signature(function)
    return found.replace(parameters=list(found.parameters.values())[1:])


def _for_dataclasses(cls: type, fields: dict[str, _Field]) -> dict[str, Any]:
    # What dataclasses would have put there: from a class of the same fields.
    import dataclasses

    body: dict[str, object] = {"__annotations__": cls.__annotations__, "__module__": cls.__module__}
    for name, each in fields.items():
        given = {"default": each.default, "default_factory": each.default_factory}
        known: Any = {key: found for key, found in given.items() if found is not _MISSING}
        body[name] = dataclasses.field(repr=each.shown, compare=each.compared, **known)
    twin: Any = dataclasses.dataclass(type(cls.__name__, (), body))
    found: dict[str, Any] = twin.__dataclass_fields__
    return found
