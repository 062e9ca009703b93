"""CO-RE by hand-made types: the choice among candidates, what is refused, and every instruction."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.btf.patch import POISON
from pyebpf.btf.relocate import Relocated, relocate
from pyebpf.errors import BtfError
from pyebpf.uapi.btf import CoreReloKind as Kind
from tests.support import btf_builder as wire
from tests.support.btf_builder import BtfBuilder


class Note(NamedTuple):
    slot: int
    type_id: int
    access: str
    kind: int


def insn(opcode: int, offset: int = 0, immediate: int = 0, registers: int = 0x10) -> bytes:
    return struct.pack("<BBhi", opcode, registers, offset, immediate)


def local(*members: tuple, size: int = 64, name: str = "task") -> Btf:
    """Make types: 1 int, 2 the struct, 3 u64, 4 u16, 5 a pointer, 6 an enum."""
    builder = BtfBuilder()
    builder.int("int", 4, wire.SIGNED)
    builder.struct(name, size, *members)
    builder.int("u64", 8)
    builder.int("u16", 2)
    builder.ptr(1)
    builder.enum("e", {"A": 1, "B": 2})
    builder.enum64("wide", {"A": 1 << 40})
    builder.typedef("alias", 2)
    builder.array(1, 4)
    return Btf.decode(builder.build())


TASK = local(("pid", 1, 32), ("flags", 3, 64), ("parent", 5, 128))


def run(code: bytes, *notes: Note, target: Btf | list[Btf], ours: Btf = TASK) -> Relocated:
    targets = target if isinstance(target, list) else [target]
    return relocate(code, notes, ours, targets, "little")


LOAD = insn(0x61, 4)  # r0 = *(u32 *)(r1 + 4)
PID = Note(0, 2, "0:0", Kind.FIELD_BYTE_OFFSET)


def test_a_load_gets_the_target_s_offset() -> None:
    """The one thing everything else is about."""
    done = run(LOAD, PID, target=local(("x", 3, 0), ("pid", 1, 96)))
    assert done == Relocated(insn(0x61, 12), {})


def test_instructions_without_a_note_stay() -> None:
    """Only the slots of notes are touched."""
    code = insn(0xB7, 0, 1) + LOAD + insn(0x95)
    done = run(code, PID._replace(slot=1), target=local(("pid", 1, 96)))
    assert done.code == insn(0xB7, 0, 1) + insn(0x61, 12) + insn(0x95)


CLASSES = {
    "ldx": (0x61, "offset"),
    "stx": (0x63, "offset"),
    "st": (0x62, "offset"),
    "mov": (0xB7, "immediate"),
    "mov32": (0xB4, "immediate"),
    "add": (0x07, "immediate"),
}


@pytest.mark.parametrize(("opcode", "place"), CLASSES.values(), ids=CLASSES)
def test_each_class_of_instruction_has_its_place(opcode: int, place: str) -> None:
    """Loads and stores in the offset, arithmetic in the immediate."""
    target = local(("pid", 1, 96))
    assert run(insn(opcode, **{place: 4}), PID, target=target).code == insn(opcode, **{place: 12})


def test_a_64_bit_load_gets_both_halves() -> None:
    """Low half first."""
    builder = BtfBuilder()
    builder.enum64("wide", {"A": 0x123456789ABCDEF0})
    target = Btf.decode(builder.build())
    code = insn(0x18, 0, 0, 1) + insn(0, 0, 1 << 8, 0)
    note = Note(0, 7, "0", Kind.ENUMVAL_VALUE)
    done = run(code, note, target=target)
    assert done.code == insn(0x18, 0, -0x65432110, 1) + insn(0, 0, 0x12345678, 0)


SIGNS = {
    "as the code has it": (-1, True, -4, False, -4),
    "as the code has it, of an old compiler": (-1, False, -4, False, -4),
    "as the kernel has it": (-1, True, -4, True, -4),
    "small": (-1, True, 4, False, 4),
    "none": (0x80000001, False, 0x80000002, False, 0x80000002),
    "none where the code cannot tell": (1, True, 0x80000002, False, 0x80000002),
}


@pytest.mark.parametrize("row", SIGNS.values(), ids=SIGNS)
def test_enumerators_keep_the_sign_their_code_gives_them(row: tuple) -> None:
    """BTF of kernels before 6.0 knows none, so that -4 is 0xfffffffc there."""
    value, signed, after, flag, expected = row
    both = []
    for number, has_sign in ((value, signed), (after, flag)):
        builder = BtfBuilder()
        builder.enum("e", {"A": number}, signed=has_sign)
        both.append(Btf.decode(builder.build()))

    def load(number: int) -> bytes:
        low, high = struct.unpack("<2i", struct.pack("<Q", number & (1 << 64) - 1))
        return insn(0x18, 0, low, 1) + insn(0, 0, high, 0)

    note = Note(0, 1, "0", Kind.ENUMVAL_VALUE)
    assert run(load(value), note, ours=both[0], target=both[0]).code == load(value)
    assert run(load(value), note, ours=both[0], target=both[1]).code == load(expected)


REFUSED = {
    "register arithmetic": (insn(0xBF, 0, 4), PID, "opcode 0xbf"),
    "exit": (insn(0x95), PID, "opcode 0x95"),
    "map load": (insn(0x18, 0, 4, 0x11) + insn(0, registers=0), PID, "not of a number"),
    "half a load": (insn(0x18, 0, 4, 1), PID, "no slot 1"),
    "broken load": (insn(0x18, 0, 4, 1) + LOAD, PID, "without its second half"),
    "another offset": (insn(0x61, 8), PID, "holds 8, the local type says 4"),
    "another value": (insn(0xB7, 0, 5), PID, "holds 5, the local type says 4"),
    "no such slot": (LOAD, PID._replace(slot=1), "no slot 1"),
    "negative slot": (LOAD, PID._replace(slot=-1), "no slot -1"),
    "half a slot": (LOAD + b"\0", PID, "not whole instructions"),
    "no such type": (LOAD, PID._replace(type_id=99), "no type 99"),
    "no such member": (LOAD, PID._replace(access="0:9"), "has no member 9"),
    "no indices": (LOAD, PID._replace(access=""), "not indices"),
    "not numbers": (LOAD, PID._replace(access="0:x"), "not indices"),
    "foreign digits": (LOAD, PID._replace(access="0:٣"), "not indices"),
    "negative index": (LOAD, PID._replace(access="0:-1"), "not indices"),
    "endless index": (LOAD, PID._replace(access="0:" + "1" * 5000), "not indices"),
    "too many indices": (LOAD, PID._replace(access=":".join("0" * 65)), "more than 64"),
    "beyond an array": (LOAD, PID._replace(type_id=9, access="0:4"), "has no element 4"),
    "into an int": (LOAD, PID._replace(access="0:0:0"), "has no parts"),
    "type access with a path": (LOAD, Note(0, 2, "0:0", Kind.TYPE_SIZE), 'not "0"'),
    "not an enum": (LOAD, Note(0, 2, "0", Kind.ENUMVAL_VALUE), "not an enumerator"),
    "no such enumerator": (LOAD, Note(0, 6, "7", Kind.ENUMVAL_VALUE), "only 2 enumerators"),
    "unknown kind": (LOAD, PID._replace(kind=13), "unknown kind 13"),
    "anonymous root": (LOAD, Note(0, 5, "0", Kind.TYPE_EXISTS), "anonymous"),
    "sign of an element": (LOAD, Note(0, 2, "0", Kind.FIELD_SIGNED), "array element"),
}


@pytest.mark.parametrize(("code", "note", "text"), REFUSED.values(), ids=REFUSED)
def test_notes_that_fit_nothing_are_btf_errors(code: bytes, note: Note, text: str) -> None:
    """A wrong program is never made quietly."""
    with pytest.raises(BtfError, match=text):
        run(code, note, target=local(("pid", 1, 96)))


def test_errors_name_the_access() -> None:
    """The chain says which field of which type."""
    with pytest.raises(BtfError, match=r"CO-RE relocation of struct task\.pid: slot 0: "):
        run(insn(0x61, 8), PID, target=local(("pid", 1, 96)))


# ---- width of loads and stores ----------------------------------------------------------------

FLAGS = Note(0, 2, "0:1", Kind.FIELD_BYTE_OFFSET)
PARENT = Note(0, 2, "0:2", Kind.FIELD_BYTE_OFFSET)
WIDTHS = {
    "unsigned shrinks": (insn(0x79, 8), FLAGS, ("flags", 4, 16), insn(0x69, 2)),
    "unsigned stays": (insn(0x79, 8), FLAGS, ("flags", 3, 64), insn(0x79, 8)),
    "store shrinks": (insn(0x7B, 8), FLAGS, ("flags", 4, 16), insn(0x6B, 2)),
    "signed stays": (insn(0x61, 4), PID, ("pid", 1, 64), insn(0x61, 8)),
    "pointer": (insn(0x79, 16), PARENT, ("parent", 5, 0), insn(0x79, 0)),
    "arithmetic does not care": (insn(0xB7, 0, 8), FLAGS, ("flags", 1, 16), insn(0xB7, 0, 2)),
}


@pytest.mark.parametrize(("code", "note", "member", "expected"), WIDTHS.values(), ids=WIDTHS)
def test_loads_follow_the_size_of_unsigned_fields(
    code: bytes, note: Note, member: tuple, expected: bytes
) -> None:
    """Numbers without sign read the same from fewer bytes."""
    done = run(code, note, target=local(member))
    assert done == Relocated(expected, {})


UNREADABLE = {
    "signed": (insn(0x61, 4), PID, ("pid", 3, 16), "struct task.pid"),
    "became signed": (insn(0x79, 8), FLAGS, ("flags", 1, 16), "struct task.flags"),
}


@pytest.mark.parametrize(("code", "note", "member", "name"), UNREADABLE.values(), ids=UNREADABLE)
def test_fields_that_would_read_wrong_are_poison(
    code: bytes, note: Note, member: tuple, name: str
) -> None:
    """Rather no number than a wrong one."""
    done = run(code, note, target=local(member))
    assert done.code == insn(0x85, 0, POISON, 0)
    assert done.poisoned[0].startswith(f"{name} of ")


def test_pointers_of_32_bits_are_read_as_such() -> None:
    """A program's pointers have 64 bits, a small kernel's 32."""
    builder = BtfBuilder()
    builder.int("long", 4, wire.SIGNED)
    builder.ptr(1)
    builder.struct("task", 8, ("parent", 2, 32))
    done = run(insn(0x79, 16), PARENT, target=Btf.decode(builder.build()))
    assert done == Relocated(insn(0x61, 4), {})


def test_a_load_narrower_than_its_field_is_refused() -> None:
    """It reads a part of the field; which, nobody knows."""
    with pytest.raises(BtfError, match="not 8 bytes wide"):
        run(insn(0x61, 8), FLAGS, target=local(("flags", 4, 16)))


def test_a_field_of_an_odd_width_is_poison() -> None:
    """No load has sixteen bytes."""
    builder = BtfBuilder()
    builder.int("unsigned __int128", 16)
    builder.struct("task", 64, ("flags", 1, 128))
    done = run(insn(0x79, 8), FLAGS, target=Btf.decode(builder.build()))
    assert done.poisoned == {0: "struct task.flags of 8 bytes (it has 16)"}


def test_values_beyond_an_immediate_are_poison() -> None:
    """32 bits, with or without sign."""
    ours = local()
    wide = Note(0, 7, "0", Kind.ENUMVAL_VALUE)
    with pytest.raises(BtfError, match="holds 0, the local type says 1099511627776"):
        run(insn(0xB7, 0, 0), wide, ours=ours, target=ours)
    builder = BtfBuilder()
    builder.enum64("e", {"A": 1 << 32})
    target = Btf.decode(builder.build())
    done = run(insn(0xB7, 0, 1), wide._replace(type_id=6), target=target)
    assert done.poisoned[0].endswith(" as 4294967296, which does not fit 32 bits")


ARRAYS = {
    "longer": (1, 16, insn(0x61, 12)),
    "without a length": (1, 0, insn(0x61, 12)),
    "of wider elements": (2, 4, insn(0x85, 0, POISON, 0)),
}


def with_arrays(element: int, length: int, place: int) -> Btf:
    builder = BtfBuilder()
    builder.int("unsigned", 4)
    builder.int("u64", 8)
    row = builder.array(element, length)
    builder.struct("task", 512, ("row", row, place), ("rows", builder.array(row, 1), place))
    return Btf.decode(builder.build())


@pytest.mark.parametrize(("element", "length", "expected"), ARRAYS.values(), ids=ARRAYS)
@pytest.mark.parametrize("access", ["0:0", "0:1", "0:1:0"])
def test_a_load_from_an_array_reads_an_element(
    element: int, length: int, expected: bytes, access: str
) -> None:
    """How many the target has does not matter; those of another width are never read."""
    note = Note(0, 5, access, Kind.FIELD_BYTE_OFFSET)
    target = with_arrays(element, length, 96)
    assert run(LOAD, note, ours=with_arrays(1, 4, 32), target=target).code == expected


BIT_FIELDS = {
    "of a type without size": ("pid", 2, 0, 3),
    "across 64 bits": ("pid", 1, 60, 8),
}


@pytest.mark.parametrize("member", BIT_FIELDS.values(), ids=BIT_FIELDS)
def test_bit_fields_no_load_can_read_are_refused(member: tuple) -> None:
    """Malformed, or packed by a compiler without mercy."""
    builder = BtfBuilder()
    builder.int("int", 4, wire.SIGNED)
    builder.int("nothing", 0)
    builder.struct("task", 64, member)
    with pytest.raises(BtfError, match=r"struct task\.pid: bit-field"):
        run(LOAD, PID, target=Btf.decode(builder.build()))


def test_offsets_beyond_an_instruction_are_poison() -> None:
    """16 bits, signed; the BTF of a broken module may say so, and breaks nothing by that."""
    done = run(LOAD, PID, target=local(("pid", 1, 32768 * 8), size=65536))
    assert done.code == insn(0x85, 0, POISON, 0)
    assert done.poisoned == {0: "struct task.pid at offset 32768"}


# ---- choosing ---------------------------------------------------------------------------------


def flavoured(*variants: tuple[tuple, ...]) -> Btf:
    """Make a target that has struct task several times."""
    builder = BtfBuilder()
    builder.int("int", 4, wire.SIGNED)
    builder.int("u64", 8)
    for members in variants:
        builder.struct("task", 64, *members)
    return Btf.decode(builder.build())


BOTH = (PID, FLAGS._replace(slot=1))
CODE = LOAD + insn(0x79, 8)


def test_the_candidate_that_has_more_is_taken() -> None:
    """All fields of a program are read from one type."""
    target = flavoured((("pid", 1, 8 * 8),), (("pid", 1, 9 * 8), ("flags", 2, 24 * 8)))
    assert run(CODE, *BOTH, target=target).code == insn(0x61, 9) + insn(0x79, 24)


def test_a_note_counts_as_often_as_it_is_made() -> None:
    """Equal notes are answered once, at all their slots, and weigh as much as they are many."""
    target = flavoured((("pid", 1, 8 * 8),), (("flags", 2, 24 * 8),))
    notes = [PID, FLAGS._replace(slot=1), FLAGS._replace(slot=2)]
    done = run(CODE + insn(0x79, 8), *notes, target=target)
    assert done.code[8:] == insn(0x79, 24) * 2
    assert done.poisoned == {0: "struct task.pid"}
    other = run(LOAD * 2 + insn(0x79, 8), PID, PID._replace(slot=1), notes[2], target=target)
    assert other.code[:16] == insn(0x61, 8) * 2
    assert other.poisoned == {2: "struct task.flags"}


def test_candidates_that_agree_are_no_trouble() -> None:
    """Where they differ nobody looked."""
    target = flavoured((("pid", 1, 64),), (("pid", 1, 64), ("flags", 2, 128)))
    assert run(LOAD, PID, target=target).code == insn(0x61, 8)


def test_candidates_may_differ_in_width() -> None:
    """Most notes are about addresses; and where they are not, the first is taken, as by libbpf."""
    target = flavoured((("pid", 1, 64),), (("pid", 2, 64),))
    assert run(LOAD, PID, target=target).code == insn(0x61, 8)


def test_candidates_that_disagree_are_an_error() -> None:
    """Equally good, and different: nobody can tell."""
    target = flavoured((("pid", 1, 64),), (("pid", 1, 128),))
    with pytest.raises(
        BtfError, match=r"ambiguous: struct task\.pid is 8 or 16 by type 3 and type"
    ):
        run(LOAD, PID, target=target)


def test_another_kind_of_the_name_is_no_candidate() -> None:
    """A union, or a typedef of the struct."""
    builder = BtfBuilder()
    builder.int("int", 4, wire.SIGNED)
    builder.union("task", 64, ("pid", 1, 0))
    builder.typedef("task", 2)
    done = run(LOAD, PID, target=Btf.decode(builder.build()))
    assert done.poisoned == {0: "struct task.pid"}


def test_a_broken_module_counts_as_having_nothing() -> None:
    """Its types may be of another kernel; the next module is asked."""
    base = local(("pid", 1, 96), name="unrelated")
    modules = []
    # A member of a type that is not there, names outside the strings, and one that is well.
    for member in (("pid", 999, 96), ("pid", 1, 96)):
        builder = BtfBuilder(ids=len(base), strings=base.strings_length)
        builder.struct("task", 64, member)
        modules.append(builder.build())
    nameless = BtfBuilder(ids=len(base), strings=base.strings_length)
    nameless.add(wire.STRUCT, "task")
    nameless.add(wire.STRUCT, 1 << 20)
    nameless.add(wire.STRUCT, "task", 64, 1 << 20, 1, 96, vlen=1)
    targets = [base, *(Btf.decode(each, base=base) for each in (*modules[:1], nameless.build()))]
    assert run(LOAD, PID, target=targets).poisoned == {0: "struct task.pid"}
    targets.append(Btf.decode(modules[1], base=base))
    assert run(LOAD, PID, target=targets) == Relocated(insn(0x61, 12), {})


def test_a_broken_kernel_is_an_error() -> None:
    """Its types are what everything is fitted to."""
    builder = BtfBuilder()
    builder.int("int", 4, wire.SIGNED)
    builder.add(wire.STRUCT, "task", 64, 1 << 20, 1, 96, vlen=1)
    with pytest.raises(BtfError, match=r"CO-RE relocation of struct task: .*is outside"):
        run(LOAD, PID, target=Btf.decode(builder.build()))


def test_types_of_modules_are_not_looked_for_in_vain() -> None:
    """Listing modules takes time; a kernel that has the type is enough."""

    def targets() -> Iterator[Btf]:
        yield local(("pid", 1, 96))
        pytest.fail("asked for modules")

    class Targets:
        def __iter__(self) -> Iterator[Btf]:
            return targets()

    done = relocate(LOAD, [PID], TASK, Targets(), "little")
    assert done == Relocated(insn(0x61, 12), {})


def test_modules_are_asked_only_for_what_the_kernel_has_not() -> None:
    """And then all of them."""
    base = flavoured((("pid", 1, 64),))
    modules = []
    for name, place in (("task", 128), ("other", 128)):
        builder = BtfBuilder(ids=len(base), strings=base.strings_length)
        builder.struct(name, 64, ("pid", 1, place), ("flags", 2, 256))
        modules.append(Btf.decode(builder.build(), base=base))
    assert run(CODE, *BOTH, target=[base, *modules]).poisoned == {1: "struct task.flags"}
    other = local(("pid", 1, 32), ("flags", 3, 64), name="other___mine")
    assert run(CODE, *BOTH, target=[base, *modules], ours=other).code == (
        insn(0x61, 16) + insn(0x79, 32)
    )


def test_no_target_at_all_is_poison_and_no() -> None:
    """As on a kernel without any type of the name."""
    code = LOAD + insn(0xB7, 0, 1)
    done = run(code, PID, Note(1, 2, "0:0", Kind.FIELD_EXISTS), target=[])
    assert done.code == insn(0x85, 0, POISON, 0) + insn(0xB7, 0, 0)
    assert done.poisoned == {0: "struct task.pid"}


def test_an_element_beyond_the_target_s_array_is_missing() -> None:
    """As is an element of what is no array any more, and an enumeration that became a struct."""
    ours = local(("many", 9, 0))
    note = Note(0, 2, "0:0:3", Kind.FIELD_BYTE_OFFSET)
    for length in (2, 4):
        builder = BtfBuilder()
        builder.int("int", 4, wire.SIGNED)
        builder.struct("task", 64, ("many", builder.array(1, length), 0))
        done = run(insn(0x61, 12), note, ours=ours, target=Btf.decode(builder.build()))
        assert done.poisoned == ({} if length == 4 else {0: "struct task.many[3]"})


def test_an_enumerator_of_what_is_no_enumeration_any_more_is_missing() -> None:
    """Two typedefs may share a name and nothing else."""
    builder = BtfBuilder()
    builder.int("int", 4, wire.SIGNED)
    builder.typedef("alias", builder.enum("e", {"A": 1}))
    ours = Btf.decode(builder.build())
    note = Note(0, 3, "0", Kind.ENUMVAL_EXISTS)
    assert run(insn(0xB7, 0, 1), note, ours=ours, target=ours).code == insn(0xB7, 0, 1)
    assert run(insn(0xB7, 0, 1), note, ours=ours, target=TASK).code == insn(0xB7, 0, 0)


def test_an_enumerator_the_target_lost_is_missing() -> None:
    """Its enumeration is still there."""
    builder = BtfBuilder()
    builder.enum("e", {"B": 2})
    target = Btf.decode(builder.build())
    note = Note(0, 6, "0", Kind.ENUMVAL_VALUE)
    assert run(insn(0xB7, 0, 1), note, target=target).poisoned == {0: "enum e.A"}


def test_an_element_of_what_is_no_array_any_more_is_missing() -> None:
    """The same with an array."""
    builder = BtfBuilder()
    builder.int("int", 4, wire.SIGNED)
    builder.typedef("alias", builder.array(1, 4))
    ours = Btf.decode(builder.build())
    note = Note(0, 3, "0:2", Kind.FIELD_EXISTS)
    assert run(insn(0xB7, 0, 1), note, ours=ours, target=ours).code == insn(0xB7, 0, 1)
    assert run(insn(0xB7, 0, 1), note, ours=ours, target=TASK).code == insn(0xB7, 0, 0)


INCOMPATIBLE = {
    "int became a struct": ("pid", 4, 64),
    "int became a pointer": ("pid", 5, 64),
    "int became an array": ("pid", 6, 64),
    "int is an old bit-field": ("pid", 7, 64),
}


@pytest.mark.parametrize("member", INCOMPATIBLE.values(), ids=INCOMPATIBLE)
def test_a_field_of_another_kind_is_missing(member: tuple) -> None:
    """The name alone is not enough."""
    builder = BtfBuilder()
    builder.int("int", 4, wire.SIGNED)
    builder.struct("task", 64, member)
    builder.int("u64", 8)
    builder.struct("other", 4)
    builder.ptr(1)
    builder.array(1, 1)
    builder.int("int", 4, wire.SIGNED, 3, 2)
    done = run(LOAD, PID, target=Btf.decode(builder.build()))
    assert done.poisoned == {0: "struct task.pid"}


def test_the_local_id_may_have_moved() -> None:
    """Linking renumbers types, so what the instruction holds does not matter."""
    note = Note(0, 2, "0", Kind.TYPE_ID_LOCAL)
    assert run(insn(0xB7, 0, 77), note, target=[]).code == insn(0xB7, 0, 2)


def test_a_typedef_root_is_looked_for_as_a_typedef() -> None:
    """Kinds are compared before anything is stripped."""
    note = Note(0, 8, "0", Kind.TYPE_SIZE)
    found = run(insn(0xB7, 0, 64), note, target=local(("pid", 1, 0), size=8))
    assert found.code == insn(0xB7, 0, 8)


def test_anonymous_structs_that_hold_themselves_end() -> None:
    """A malformed target is an error or a missing field, in no time."""
    builder = BtfBuilder()
    builder.int("int", 4, wire.SIGNED)
    builder.struct("task", 64, ("", 2, 0), ("", 3, 0))
    builder.struct("", 64, ("", 3, 0), ("", 2, 0))
    assert run(LOAD, PID, target=Btf.decode(builder.build())).poisoned == {0: "struct task.pid"}
    deep = BtfBuilder()
    deep.int("int", 4, wire.SIGNED)
    for number in range(2, 2000):
        deep.struct("task" if number == 2 else "", 64, ("", number + 1, 0))
    with pytest.raises(BtfError, match="more than 64 deep"):
        run(LOAD, PID, target=Btf.decode(deep.build()))


@pytest.mark.parametrize("anonymous", [62, 63])
def test_an_access_has_64_indices_at_most(anonymous: int) -> None:
    """As in libbpf, counting those that no name in the source stands for."""
    builder = BtfBuilder()
    builder.int("int", 4, wire.SIGNED)
    for number in range(anonymous):
        builder.struct("" if number else "task", 64, ("", number + 3, 0))
    builder.struct("", 64, ("pid", 1, 96), ("many", builder.next_id + 1, 0))
    builder.array(1, 4)
    target = Btf.decode(builder.build())
    element = Note(0, 2, "0:0:1", Kind.FIELD_BYTE_OFFSET)
    many = local(("many", 9, 0))
    if anonymous == 62:
        assert run(LOAD, PID, target=target) == Relocated(insn(0x61, 12), {})
        with pytest.raises(BtfError, match=r"struct task\.many\[1\]: .*more than 64 deep"):
            run(LOAD, element, ours=many, target=target)
    else:
        with pytest.raises(BtfError, match=r"struct task\.pid: .*more than 64 deep"):
            run(LOAD, PID, target=target)


def test_types_that_hold_themselves_can_be_compared() -> None:
    """Prototypes of prototypes of ... end too."""

    def endless(returns: int) -> Btf:
        builder = BtfBuilder()
        builder.int("int", 4, wire.SIGNED)
        builder.typedef("alias", 3)
        builder.func_proto(returns, ("f", 4), ("g", 4))
        builder.ptr(3)
        return Btf.decode(builder.build())

    note = Note(0, 2, "0", Kind.TYPE_EXISTS)
    code = insn(0xB7, 0, 1)
    assert run(code, note, ours=endless(4), target=endless(4)).code == code
    assert run(code, note, ours=endless(4), target=endless(1)).code == insn(0xB7, 0, 0)
