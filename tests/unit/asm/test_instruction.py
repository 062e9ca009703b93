"""Instructions to bytes and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.asm.instruction import Instruction, decode_all, encode_all
from pyebpf.asm.opcode import LOAD_IMMEDIATE_64
from pyebpf.errors import AsmError

_REGISTERS = st.integers(0, 15)


def _instructions(opcodes, bits):
    return st.builds(
        Instruction,
        opcode=opcodes,
        dst=_REGISTERS,
        src=_REGISTERS,
        offset=st.integers(-(1 << 15), (1 << 15) - 1),
        immediate=st.integers(-(1 << bits - 1), (1 << bits - 1) - 1),
    )


_ANY = st.lists(
    st.one_of(
        _instructions(st.integers(0, 255).filter(lambda code: code != LOAD_IMMEDIATE_64), 32),
        _instructions(st.just(LOAD_IMMEDIATE_64), 64),
    )
)
_ORDERS = st.sampled_from(["little", "big"])


@given(_ANY, _ORDERS)
def test_decoding_undoes_encoding(instructions, byteorder):
    """Any instructions survive the way to bytes and back, in both byte orders."""
    code = encode_all(instructions, byteorder)
    assert len(code) == 8 * sum(instruction.slots for instruction in instructions)
    assert decode_all(code, byteorder) == tuple(instructions)


@given(st.binary(max_size=80), _ORDERS)
def test_any_bytes_are_instructions_or_an_error(data, byteorder):
    """Malformed code raises AsmError and nothing else; the rest encodes back to itself."""
    try:
        instructions = decode_all(data, byteorder)
    except AsmError:
        return
    assert encode_all(instructions, byteorder) == data


@pytest.mark.parametrize(
    ("byteorder", "expected"),
    [("little", "85 10 00 00 ff ff ff ff"), ("big", "85 01 00 00 ff ff ff ff")],
)
def test_registers_swap_nibbles_with_the_byte_order(byteorder, expected):
    """The source register is the high nibble on little-endian machines, the low one on others."""
    assert encode_all([Instruction(0x85, 0, 1, 0, -1)], byteorder).hex(" ") == expected


def test_a_64_bit_load_is_one_instruction_of_two_slots():
    """The second slot carries the upper half of the immediate."""
    code = bytes.fromhex("18 11 00 00 78 56 34 12 00 00 00 00 f0 de bc 9a")
    (load,) = decode_all(code, "little")
    assert load == Instruction(LOAD_IMMEDIATE_64, 1, 1, 0, 0x9ABCDEF0_12345678 - (1 << 64))
    assert load.slots == 2


def test_unsigned_immediates_encode_as_signed_ones():
    """Masks may be written as they are read: without a sign."""
    unsigned = [
        Instruction(0xB4, 1, immediate=0xFFFFFFFF),
        Instruction(0x18, immediate=(1 << 64) - 1),
    ]
    signed = [Instruction(0xB4, 1, immediate=-1), Instruction(0x18, immediate=-1)]
    assert encode_all(unsigned, "little") == encode_all(signed, "little")


def test_symbols_are_put_on_instructions_by_slot():
    """Slots count 64-bit loads twice."""
    code = encode_all([Instruction(0x18), Instruction(0x85), Instruction(0x95)], "little")
    decoded = decode_all(code, "little", symbols={0: "map", 2: "function"})
    assert [instruction.symbol for instruction in decoded] == ["map", "function", None]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("b7", "code, offset 0x1: 1 bytes are not whole instructions"),
        (
            "18 00 00 00 00 00 00 00",
            "code, offset 0x0: 64-bit load without its second half",
        ),
        (
            "18 00 00 00 00 00 00 00 95 00 00 00 00 00 00 00",
            "code, offset 0x8: second half of a 64-bit load is not empty",
        ),
    ],
)
def test_malformed_code_is_an_error_with_its_place(code, message):
    """An error says what is wrong and where."""
    with pytest.raises(AsmError) as caught:
        decode_all(bytes.fromhex(code), "little")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "instruction",
    [
        Instruction(256),
        Instruction(0xB7, dst=16),
        Instruction(0xB7, src=-1),
        Instruction(0x05, offset=1 << 15),
        Instruction(0xB7, immediate=1 << 32),
        Instruction(0x18, immediate=1 << 64),
    ],
)
def test_a_field_that_does_not_fit_is_an_error(instruction):
    """Nothing is cut off silently."""
    with pytest.raises(AsmError, match=r"instruction 0: .* is not within"):
        encode_all([instruction], "little")
