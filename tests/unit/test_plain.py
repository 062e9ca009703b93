"""Classes of plain data: as dataclasses would have made them."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from pyebpf import plain as plain_module
from pyebpf.plain import field, plain, replace


@plain()
class Mutable:
    """A doc string."""

    name: str
    size: int = 3
    tags: list[str] = field(default_factory=list)
    hidden: object = field(default=None, repr=False, compare=False)

    @property
    def double(self) -> int:
        return self.size * 2


@plain(frozen=True, kw_only=True)
class Frozen:
    first: int
    second: str = "b"
    third: int = field(default=0, compare=False)


@plain(eq=False)
class Itself:
    only: int


def twin(cls: type, **options: bool) -> Any:
    """Return what dataclasses make of the same fields."""
    body: dict[str, Any] = {"__annotations__": dict(cls.__annotations__)}
    for each in dataclasses.fields(cls):
        given = {"default": each.default, "default_factory": each.default_factory}
        known = {key: found for key, found in given.items() if found is not dataclasses.MISSING}
        body[each.name] = dataclasses.field(repr=each.repr, compare=each.compare, **known)
    return dataclasses.dataclass(slots=True, **options)(type(cls.__name__, (), body))


OPTIONS: dict[type, dict[str, bool]] = {
    Mutable: {},
    Frozen: {"frozen": True, "kw_only": True},
    Itself: {"eq": False},
}
ARGUMENTS: list[tuple[tuple, dict[str, object]]] = [
    ((), {}),
    (("a",), {}),
    (("a", 4), {}),
    (("a", 4, ["t"], 5), {}),
    (("a", 4, ["t"], 5, 6), {}),
    (("a",), {"name": "b"}),
    (("a",), {"size": 9}),
    ((), {"name": "b"}),
    ((), {"name": "b", "hidden": 1}),
    ((), {"nonsense": 1}),
    (("a",), {"nonsense": 1}),
    ((), {"first": 1}),
    ((), {"first": 1, "third": 2}),
    ((), {"only": 1}),
    ((1,), {"first": 1}),
]


def outcome(make: Callable[..., object], given: tuple, named: dict[str, object]) -> object:
    try:
        return repr(make(*given, **named)).rpartition(".")[2]
    except TypeError as error:
        return str(error).rpartition(".")[2]


@pytest.mark.parametrize("few", [1, 1000], ids=["compiled", "at first"])
@pytest.mark.parametrize("cls", OPTIONS)
def test_objects_are_made_as_dataclasses_make_them(
    monkeypatch: pytest.MonkeyPatch, cls: type, few: int
) -> None:
    """With the same arguments, defaults and complaints, by the compiled constructor or not."""
    expected = twin(cls, **OPTIONS[cls])
    for given, named in ARGUMENTS:
        monkeypatch.setattr(plain_module, "_FEW", few)
        body = {**vars(cls), "__annotations__": cls.__annotations__}
        for name in (*cls.__slots__, "__slots__", "__dataclass_fields__", "__signature__"):
            body.pop(name, None)
        for each in dataclasses.fields(cls):
            if each.default_factory is not dataclasses.MISSING:
                factory = each.default_factory
                body[each.name] = field(default_factory=factory, repr=each.repr)
            elif each.default is not dataclasses.MISSING:
                body[each.name] = field(default=each.default, repr=each.repr, compare=each.compare)
        again = plain(**OPTIONS[cls])(type(cls.__name__, (), body))
        assert outcome(again, given, named) == outcome(expected, given, named)


def test_the_compiled_constructor_takes_over() -> None:
    """What is made before, at that moment and after it is the same."""
    made = [Mutable("a", tags=["t"]) for _ in range(200)]
    assert all(each == made[0] for each in made)
    assert Mutable("a").tags is not Mutable("a").tags
    assert [Frozen(first=n).first for n in range(200)] == list(range(200))


def test_equality_and_hash_are_of_the_fields_that_count() -> None:
    """Only within one class; mutable objects have no hash."""
    assert Mutable("a", hidden=1) == Mutable("a", hidden=2) != Mutable("b")
    assert Frozen(first=1, third=1) == Frozen(first=1, third=2)
    assert hash(Frozen(first=1, third=1)) == hash(Frozen(first=1, third=2))
    assert Frozen(first=1) != Frozen(first=2)
    assert Frozen(first=1) != (1, "b", 0)
    assert Itself(1) != Itself(1)
    assert len({Itself(1), Itself(1)}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(Mutable("a"))


def test_frozen_objects_stay_as_they_are() -> None:
    """With the error that dataclasses raise."""
    frozen = Frozen(first=1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="'first'"):
        frozen.first = 2
    with pytest.raises(dataclasses.FrozenInstanceError, match="'other'"):
        frozen.other = 2
    with pytest.raises(dataclasses.FrozenInstanceError, match="'first'"):
        del frozen.first
    mutable = Mutable("a")
    mutable.size = 7
    assert mutable.double == 14
    with pytest.raises(AttributeError):
        mutable.other = 1


@pytest.mark.parametrize("made", [Mutable("a", 5, ["t"], 1), Frozen(first=1, third=9)])
def test_objects_can_be_copied_and_replaced(made: Any) -> None:
    """By copy, pickle, and the functions of dataclasses."""
    for again in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert again == made
        assert dataclasses.asdict(again) == dataclasses.asdict(made)
    name = next(iter(made.__slots__))
    for changed in (replace(made, **{name: 99}), dataclasses.replace(made, **{name: 99})):
        assert type(changed) is type(made)
        assert dataclasses.asdict(changed) == {**dataclasses.asdict(made), name: 99}
    with pytest.raises(TypeError, match="nonsense"):
        replace(made, nonsense=1)


@pytest.mark.parametrize("cls", OPTIONS)
def test_tools_see_what_they_see_of_dataclasses(cls: Any) -> None:
    """Fields, signature, names to match."""
    expected = twin(cls, **OPTIONS[cls])
    assert dataclasses.is_dataclass(cls)
    assert [each.name for each in dataclasses.fields(cls)] == [
        each.name for each in dataclasses.fields(expected)
    ]
    assert cls.__match_args__ == expected.__match_args__
    assert cls.__slots__ == expected.__slots__
    ours, theirs = inspect.signature(cls), inspect.signature(expected)
    assert [(each.name, each.kind) for each in ours.parameters.values()] == [
        (each.name, each.kind) for each in theirs.parameters.values()
    ]


def test_an_object_that_holds_itself_can_be_shown() -> None:
    """As lists can."""
    made = Mutable("a")
    made.tags.append(made)
    assert repr(made) == "Mutable(name='a', size=3, tags=[...])"


def test_objects_can_check_themselves() -> None:
    """Each that is made, whichever constructor makes it."""

    @plain(frozen=True)
    class Positive:
        number: int

        def __post_init__(self) -> None:
            if self.number < 0:
                raise ValueError(f"{self.number} is negative")

    for _ in range(200):
        assert Positive(1).number == 1
        with pytest.raises(ValueError, match="-1 is negative"):
            Positive(-1)


@plain(frozen=True, slots=False)
class Roomy:
    number: int

    @functools.cached_property
    def double(self) -> int:
        return self.number * 2


def test_there_may_be_room_for_cached_properties() -> None:
    """They are no part of what an object is."""
    made = Roomy(2)
    assert made.double == 4
    for again in (copy.copy(made), pickle.loads(pickle.dumps(made)), replace(made)):
        assert again == made
        assert again.double == 4
    assert replace(made, number=3).double == 6
    assert dataclasses.asdict(made) == {"number": 2}
