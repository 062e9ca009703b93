"""Types as objects: equal by kind and fields, and readable."""

from __future__ import annotations

from pyebpf.btf.types import Const, Int, Struct, Union, Volatile


def test_types_are_equal_by_kind_and_fields() -> None:
    """Another kind with the same fields is another type."""
    assert Int("int", 4, 1) == Int("int", 4, 1, 32, 0)
    assert Int("int", 4, 1) != Int("int", 4)
    assert Const(1) != Volatile(1)
    assert Struct("s", 0, ()) != Union("s", 0, ())
    assert Const(1) != 1
    assert len({Int("a", 4), Int("a", 4), Int("b", 4)}) == 2


def test_repr_shows_every_field() -> None:
    """As one would construct it."""
    assert repr(Const(3)) == "Const(type=3)"
    assert repr(Int("int", 4, 1)) == "Int(name='int', size=4, encoding=1, bits=32, offset=0)"
