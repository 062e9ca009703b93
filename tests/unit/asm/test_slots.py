"""Single instructions read and patched in place."""

from __future__ import annotations

import pytest

from pyebpf.asm.instruction import Instruction, decode_all, encode_all
from pyebpf.asm.slots import Slots

_CODE = [
    Instruction(0x18, 1, 2, 0, 0x1_0000_0002),
    Instruction(0x85, 0, 1, 0, -1),
    Instruction(0xB7, 3, 0, -2, 7),
]


@pytest.fixture(params=["little", "big"])
def byteorder(request):
    return request.param


def _slots(byteorder):
    return Slots(bytearray(encode_all(_CODE, byteorder)), byteorder)


def test_fields_read_as_decoded(byteorder):
    """Slots see what the decoder sees."""
    slots = _slots(byteorder)
    assert len(slots) == 4
    assert [slots.opcode(slot) for slot in range(4)] == [0x18, 0, 0x85, 0xB7]
    assert [slots.source(slot) for slot in range(4)] == [2, 0, 1, 0]
    assert [slots.immediate(slot) for slot in range(4)] == [2, 1, -1, 7]
    assert [slots.is_call(slot) for slot in range(4)] == [False, False, True, False]
    assert [slots.is_load_64(slot) for slot in range(4)] == [True, False, False, False]


def test_patching_changes_one_field_only(byteorder):
    """The destination register and all neighbours stay as they were."""
    slots = _slots(byteorder)
    slots.set_source(3, 15)
    slots.set_immediate(2, 0xFFFF_FFFE)
    slots.set_immediate(1, -3)
    assert decode_all(slots.code, byteorder) == (
        Instruction(0x18, 1, 2, 0, (-3 << 32) | 2),
        Instruction(0x85, 0, 1, 0, -2),
        Instruction(0xB7, 3, 15, -2, 7),
    )


def test_positions_are_found_at_instruction_starts_only(byteorder):
    """Opcode bytes inside immediates and offsets are no instructions."""
    code = [Instruction(0xB7, 5, 8, -0x7A7B, -0x7A7A7A7B), Instruction(0x85), Instruction(0x18)]
    slots = Slots(bytearray(encode_all(code, byteorder)), byteorder)
    assert slots.positions(0x85, 0x18) == [1, 2]
    assert slots.positions(0x85) == [1]


def test_half_a_load_is_no_load(byteorder):
    """The last slot, and a load whose second slot is an instruction, are not 64-bit loads."""
    code = encode_all([Instruction(0x18), Instruction(0x95)], byteorder)
    cut = Slots(bytearray(code[:8] + code[16:]), byteorder)
    assert not cut.is_load_64(0)
    assert not Slots(bytearray(code[:8]), byteorder).is_load_64(0)
