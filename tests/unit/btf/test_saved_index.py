"""An index that is kept for the next process: it finds what one made anew finds, or is refused."""

from __future__ import annotations

import struct

import pytest

from pyebpf.btf import saved_index
from pyebpf.btf.btf import Btf
from tests.support.btf_builder import BtfBuilder

NAMES = ("int", "pair", "pair___old", "pair___new", "twin", "nothing", "")


def blob(byteorder: str = "little", name: str = "pair") -> bytes:
    builder = BtfBuilder(byteorder)
    number = builder.int("int", 4, 1)
    builder.ptr(number)
    for struct_name in (name, f"{name}___old", f"{name}___new", "twin"):
        builder.struct(struct_name, 8, ("a", number, 0), ("b", number, 32))
    builder.typedef("twin", number)
    builder.struct("", 4, ("only", number, 0))
    return builder.build()


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_a_restored_index_finds_what_a_new_one_finds(byteorder: str) -> None:
    """Ids by name, flavours, anonymous types, and the types themselves are the same."""
    made, restored = Btf.decode(blob(byteorder)), Btf.decode(blob(byteorder))
    assert saved_index.restore(restored, saved_index.save(Btf.decode(blob(byteorder))))
    for name in NAMES:
        assert restored.ids(name) == made.ids(name)
        assert restored.flavours(name) == made.flavours(name)
    assert len(restored) == len(made)
    assert [restored.type(n) for n in range(len(made))] == [made.type(n) for n in range(len(made))]


def test_the_types_are_not_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What took the time is not done a second time."""
    data = saved_index.save(Btf.decode(blob()))
    restored = Btf.decode(blob())
    monkeypatch.setattr("pyebpf.btf.places.Places._walk", None)
    assert saved_index.restore(restored, data)
    assert restored.type(restored.flavours("pair")[1]).name == "pair___old"


def test_a_damaged_index_is_refused() -> None:
    """Whichever bit it is, and however much is missing or too much."""
    data = saved_index.save(Btf.decode(blob()))
    btf = Btf.decode(blob())
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        assert not saved_index.restore(btf, bytes(damaged))
    for length in range(len(data)):
        assert not saved_index.restore(btf, data[:length])
    assert not saved_index.restore(btf, data + bytes(4))


def test_an_index_of_other_types_is_refused() -> None:
    """Even of types of the same sizes and of names of the same length."""
    assert len(blob()) == len(blob(name="pear"))
    data = saved_index.save(Btf.decode(blob(name="pear")))
    assert not saved_index.restore(Btf.decode(blob()), data)


def test_an_index_of_another_version_is_refused() -> None:
    """What its numbers mean is not known."""
    data = saved_index.save(Btf.decode(blob()))
    version = struct.pack("=I", 3)
    assert not saved_index.restore(Btf.decode(blob()), data[:4] + version + data[8:])


def test_no_index_is_larger_than_said() -> None:
    """So that a larger file need not be read."""
    btf = Btf.decode(blob())
    assert len(saved_index.save(btf)) <= saved_index.largest(btf)


STAMPS = bytes(range(16)), bytes(range(1, 17))


def test_a_stamp_spares_the_look_at_every_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only if the index has that very one."""
    data = saved_index.save(Btf.decode(blob()), STAMPS[0])
    looked: list[int] = []
    checksum = saved_index._checksum

    def noted(data: bytes) -> int:
        looked.append(len(data))
        return checksum(data)

    monkeypatch.setattr(saved_index, "_checksum", noted)
    for stamp, expected in ((STAMPS[0], 0), (STAMPS[1], 1), (saved_index.NO_STAMP, 1)):
        looked.clear()
        assert saved_index.restore(Btf.decode(blob()), data, stamp)
        assert looked.count(len(blob())) == expected


@pytest.mark.parametrize("stamp", [STAMPS[1], saved_index.NO_STAMP])
def test_with_another_stamp_or_none_the_types_decide(stamp: bytes) -> None:
    """An index without a stamp is taken for one of no other types, too."""
    for of_index in (STAMPS[0], saved_index.NO_STAMP):
        data = saved_index.save(Btf.decode(blob(name="pear")), of_index)
        assert not saved_index.restore(Btf.decode(blob()), data, stamp)


def test_a_new_stamp_is_all_that_changes() -> None:
    """It is as if the index had been saved with it."""
    data = saved_index.save(Btf.decode(blob()), STAMPS[0])
    assert saved_index.stamped(data, STAMPS[0]) is None
    assert saved_index.stamped(data, STAMPS[1]) == saved_index.save(Btf.decode(blob()), STAMPS[1])
