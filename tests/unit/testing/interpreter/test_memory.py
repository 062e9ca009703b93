"""Memory: regions at addresses, and no access outside of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.errors import MemoryAccessError
from pyebpf.testing.interpreter import Memory, Region

SIZES = (1, 2, 4, 8)


@given(
    st.binary(min_size=8, max_size=64), st.sampled_from(SIZES), st.data(),
    st.sampled_from(["little", "big"]),
)  # fmt: skip
def test_a_number_is_loaded_as_it_was_stored(data, size, draw, order) -> None:
    """In either byte order, cut to its size, and nothing around it changes."""
    memory, region = Memory(), Region(bytearray(data), "bytes")
    base = memory.place(region)
    offset = draw.draw(st.integers(0, len(data) - size))
    value = draw.draw(st.integers(0, (1 << 64) - 1))
    memory.store(base + offset, size, value, order)
    cut = value & (1 << 8 * size) - 1
    assert memory.load(base + offset, size, order) == cut
    expected = data[:offset] + cut.to_bytes(size, order) + data[offset + size :]
    assert expected == bytes(region.data)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("write", [False, True])
def test_every_byte_outside_is_refused(size, write) -> None:
    """One byte past the end and one before the start; the error says where and what."""
    memory, region = Memory(), Region(bytearray(16), "packet")
    memory.place(Region(bytearray(1 << 16), "neighbour"))
    base = memory.place(region)
    memory.place(Region(bytearray(1 << 16), "neighbour"))

    def access(address):
        if write:
            memory.store(address, size, 0, "little")
        else:
            memory.load(address, size, "little")

    access(base + 16 - size)
    for address in (base + 17 - size, base - 1, base - size, base + (1 << 31)):
        with pytest.raises(MemoryAccessError) as caught:
            access(address)
        assert (caught.value.address, caught.value.size) == (address, size)
        assert caught.value.write is write
    with pytest.raises(MemoryAccessError, match="offset 20 of packet, which has 16 bytes"):
        access(base + 20)


def test_what_is_read_only_is_not_written() -> None:
    """Neither by stores nor by helpers; reading is fine."""
    memory, region = Memory(), Region(b"constant", ".rodata", writable=False)
    base = memory.place(region)
    assert memory.read(base, 8) == b"constant"
    for write in (lambda: memory.store(base, 4, 1, "little"), lambda: memory.write(base, b"x")):
        with pytest.raises(MemoryAccessError, match=r"\.rodata is read-only"):
            write()


def test_null_is_named() -> None:
    """The commonest mistake is told by its name."""
    with pytest.raises(MemoryAccessError, match="8-byte read at 0x10: a null pointer"):
        Memory().load(0x10, 8, "little")


def test_a_test_places_memory_where_it_wants() -> None:
    """Several regions in one window; between them is nothing."""
    memory = Memory()
    memory.map(0x7FFF_0000_1000, b"first\0", name="string")
    memory.map(0x7FFF_0000_2000, bytearray(8))
    assert memory.text(0x7FFF_0000_1000, 100) == b"first"
    memory.store(0x7FFF_0000_2004, 4, 7, "little")
    assert memory.load(0x7FFF_0000_2004, 4, "little") == 7
    for address in (0x7FFF_0000_0FFF, 0x7FFF_0000_1006, 0x7FFF_0000_2008):
        with pytest.raises(MemoryAccessError):
            memory.read(address, 1)
    with pytest.raises(ValueError, match="belongs to string"):
        memory.map(0x7FFF_0000_1005, bytes(4))
    with pytest.raises(ValueError, match="do not fit"):
        memory.map(0x7FFF_FFFF_FFFF, bytes(4))


def test_what_was_placed_for_a_while_is_gone() -> None:
    """A stale address means nothing."""
    memory = Memory()
    with memory.temporary():
        base = memory.allocate(8, "record").base
        memory.read(base, 8)
    with pytest.raises(MemoryAccessError, match="no memory is there"):
        memory.read(base, 8)
