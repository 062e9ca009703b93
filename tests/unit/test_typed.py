"""The stand-ins for `typing`: named tuples as the standard library makes them, and words."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
import typing
from collections.abc import Callable
from typing import Any, Generic

import pytest

from pyebpf import typed


class Ours(typed.NamedTuple):
    """A doc string."""

    name: str
    size: int = 3
    tags: tuple[str, ...] = ()

    @property
    def double(self) -> int:
        return self.size * 2


class Theirs(typing.NamedTuple):
    """A doc string."""

    name: str
    size: int = 3
    tags: tuple[str, ...] = ()


class Undocumented(typed.NamedTuple):
    first: int


class Derived(Ours):
    __slots__ = ()

    def __new__(cls, name: str) -> Derived:  # noqa: PYI034 - typing.Self is Python 3.11's
        return super().__new__(cls, name.upper())


T = typed.TypeVar("T")


class Box(typed.Generic[T]):
    pass


class Told(Box[T], typed.Generic[T]):
    pass


SPELT = re.compile(r"ForwardRef\(|['\")]")  # how annotations are shown differs

USES: dict[str, Callable[[Any], object]] = {
    "repr": lambda cls: repr(cls("a", 2)).replace("Theirs", "Ours"),
    "fields": lambda cls: (cls._fields, cls.__match_args__, cls._field_defaults),
    "defaults": lambda cls: tuple(cls("a")),
    "keywords": lambda cls: tuple(cls(tags=("x",), name="a")),
    "equal": lambda cls: (cls("a") == ("a", 3, ()), hash(cls("a")) == hash(("a", 3, ()))),
    "replace": lambda cls: tuple(cls("a")._replace(size=9)),
    "make": lambda cls: tuple(cls._make(["a", 1, ()])),
    "asdict": lambda cls: cls("a")._asdict(),
    "pickle": lambda cls: type(pickle.loads(pickle.dumps(cls("a")))) is cls,
    "copy": lambda cls: type(copy.deepcopy(cls("a"))) is cls,
    "doc": lambda cls: cls.__doc__,
    "signature": lambda cls: SPELT.sub("", str(inspect.signature(cls))),
    "hints": typing.get_type_hints,
    "no dict": lambda cls: hasattr(cls("a"), "__dict__"),
}
WRONG: dict[str, Callable[[Any], object]] = {
    "missing": lambda cls: cls(),
    "too many": lambda cls: cls(1, 2, 3, 4),
    "unknown": lambda cls: cls("a", colour=1),
    "twice": lambda cls: cls("a", name="b"),
    "make": lambda cls: cls._make([1]),
    "replace": lambda cls: cls("a")._replace(colour=1),
    "assign": lambda cls: setattr(cls("a"), "name", "b"),
}


@pytest.mark.parametrize("use", USES)
def test_named_tuples_are_like_those_of_the_standard_library(use: str) -> None:
    """What can be seen of them is the same."""
    assert USES[use](Theirs) == USES[use](Ours)


@pytest.mark.parametrize("use", WRONG)
def test_wrong_uses_raise_what_the_standard_library_raises(use: str) -> None:
    """The same exceptions, whose text is about the constructor that was called."""
    with pytest.raises((TypeError, ValueError, AttributeError)) as theirs:
        WRONG[use](Theirs)
    with pytest.raises(type(theirs.value)):
        WRONG[use](Ours)


def test_many_are_like_few() -> None:
    """After some objects the constructor is compiled, which changes nothing else."""
    made = [Ours("a", number, ()) for number in range(200)]
    assert [("a", number, ()) for number in range(200)] == made
    assert {Ours} == {type(each) for each in made}
    assert made[7].double == 14


def test_classes_without_a_docstring_say_their_fields() -> None:
    """As `help` shows them."""
    assert Undocumented.__doc__ == "Undocumented(first)"


def test_named_tuples_can_be_derived_from() -> None:
    """A subclass has a constructor of its own."""
    for _ in range(100):
        made = Derived("a")
    assert (type(made), made.name) == (Derived, "A")


def test_generic_classes_keep_what_they_are_given() -> None:
    """Users write the types of maps; and derive from them with `typing`'s own words."""
    assert typing.get_args(Told[int]) == (int,)
    assert typing.get_origin(Told[int]) is Told
    assert isinstance(Told[int](), Box)
    assert typing.Optional[Told[int]] == Told[int] | None  # noqa: UP045 - the old spelling

    own = typing.TypeVar("own")

    class User(Told[own], Generic[own]):
        pass

    assert User.__mro__[1] is Told


def test_words_stay_words() -> None:
    """Aliases are built when a module is imported."""
    assert typed.Literal["all"] | int is typed.Literal
    assert bytes | typed.Literal["all"] is typed.Literal
    assert typed.cast("int", "3") == "3"
    assert typed.final(Box) is Box
