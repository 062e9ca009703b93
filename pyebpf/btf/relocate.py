"""CO-RE ("compile once, run everywhere"): fit code to the types of the kernel it will run on.

clang notes, for instructions that depend on a type of the kernel, what they depend on: root type,
access and kind (`pyebpf.btf.access`). Each such note is answered twice, from the object's own types
and from the target's, and the instruction changed from one answer to the other
(`pyebpf.btf.patch`):

    kind             local answer          target's answer, from the best candidate
    field offset     16                    24                        r1 = *(u32 *)(r2 + 24)
    field exists     1                     0                         r1 = 0
    field offset     16                    no such field             call #0x0bad2310

Candidates are the target's types of the same name but for the flavour and of the same kind. Where
several fit, the one that answers most of the program's notes about a local type is taken, as
cilium/ebpf does; equally good ones must agree. A missing field is never an error here: the code may
be guarded by an existence check, and the verifier does not look at what cannot be reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyebpf.btf.access import FIELD_KINDS, Access, find_access, read_access
from pyebpf.btf.btf import Btf
from pyebpf.btf.compat import same_kind
from pyebpf.btf.decode import ByteOrder
from pyebpf.btf.names import essential_name
from pyebpf.btf.patch import POISON, Change, Patcher
from pyebpf.btf.types import Array, Composite, Enumeration, Int, Ptr
from pyebpf.errors import BtfError, naming
from pyebpf.typed import NamedTuple, Protocol, cast
from pyebpf.uapi.btf import CoreReloKind

__all__ = ["POISON", "Relocated", "Relocation", "relocate"]

_EXISTENCE = frozenset(
    {
        CoreReloKind.FIELD_EXISTS,
        CoreReloKind.TYPE_EXISTS,
        CoreReloKind.ENUMVAL_EXISTS,
        CoreReloKind.TYPE_MATCHES,
    }
)
# Missing types have id and size 0, as in libbpf; a missing field or enumerator has no value.
_ZERO_IF_MISSING = _EXISTENCE | {CoreReloKind.TYPE_SIZE, CoreReloKind.TYPE_ID_TARGET}

# What of a field is asked for, where it is not the field itself.
_ASKED: dict[int, str] = {
    CoreReloKind.FIELD_BYTE_SIZE: "size of ",
    CoreReloKind.FIELD_SIGNED: "sign of ",
    CoreReloKind.FIELD_LSHIFT_U64: "bits of ",
    CoreReloKind.FIELD_RSHIFT_U64: "bits of ",
}


class Relocation(Protocol):
    """A note of clang's, such as `pyebpf.spec.CoreRelocation`."""

    @property
    def slot(self) -> int:
        """The instruction."""
        ...

    @property
    def type_id(self) -> int:
        """The root type, in the object's BTF."""
        ...

    @property
    def access(self) -> str:
        """Indices with colons between."""
        ...

    @property
    def kind(self) -> int:
        """``enum bpf_core_relo_kind``."""
        ...


class Relocated(NamedTuple):
    """Code fitted to a target.

    Attributes:
        code: The instructions.
        poisoned: What could not be fitted, by slot: the verifier refuses to go there, and names
            `POISON`. For messages that it was not found: ``"struct task_struct.nope"``, ``"size of
            struct task_struct.nope"``, ``"struct task_struct.pid of 4 bytes (it has 8)"``.
    """

    code: bytes
    poisoned: dict[int, str]


class Answer(NamedTuple):
    """What a note's kind asks, answered from one set of types.

    Attributes:
        value: The number; ``None`` if there is none.
        exact: Whether compilers agree about it.
        width: Bytes that a load of an ordinary field whose offset it is reads, else 0; of an
            array, those of one element.
        kind: What such a field is, as far as its width may change: ``"pointer"``, ``"unsigned"``,
            or ``""``. Of enumerators of 32 bits whose sign nobody noted: ``"signless"``.
    """

    value: int | None
    exact: bool = True
    width: int = 0
    kind: str = ""


class _Note(NamedTuple):
    # What clang notes in the same words for all these slots: a macro that follows pointers through
    # a struct may do so thousands of times. The answer is that of the local type.
    kind: int
    access: Access
    answer: Answer
    slots: list[int]


class _Candidate(NamedTuple):
    btf: Btf
    type_id: int


def relocate(
    code: bytes,
    relocations: Sequence[Relocation],
    local: Btf,
    targets: Iterable[Btf],
    byteorder: ByteOrder,
) -> Relocated:
    """Fit *code* to the types of a kernel.

    Args:
        code: Instructions, 8 bytes a slot.
        relocations: Notes about them, in any order.
        local: The types of the object they come from.
        targets: The kernel's types, and behind them those of modules, which are asked only for
            types that the first has none of; iterated anew for each type. What is malformed in a
            module's counts as missing.
        byteorder: Of the code, which is the kernel's.

    Raises:
        BtfError: A note that does not fit the code or the types, or candidates that fit equally
            well and disagree.
    """
    patcher = Patcher(code, byteorder)
    poisoned: dict[int, str] = {}
    groups: dict[int, list[Relocation]] = {}
    for relocation in relocations:
        groups.setdefault(relocation.type_id, []).append(relocation)
    for type_id, group in groups.items():
        for note, after in _answers(group, local, type_id, targets):
            for slot in note.slots:
                try:
                    reason = _apply(patcher, slot, note.answer, after)
                except BtfError:
                    with naming(f"CO-RE relocation of {note.access.describe()}"):
                        raise
                if reason is not None:
                    what = _ASKED.get(note.kind, "") + note.access.describe()
                    poisoned[slot] = what + reason
    return Relocated(bytes(patcher.code), poisoned)


def _apply(patcher: Patcher, slot: int, before: Answer, after: Answer) -> str | None:
    # Why the slot was poisoned, if it was.
    if after.value is None or before.value is None:
        patcher.poison(slot)
        return ""
    same = before.width == after.width or (before.kind != "" and before.kind == after.kind)
    change = Change(
        before=before.value,
        after=after.value,
        exact=before.exact,
        width_before=before.width,
        width_after=after.width,
        resizable=same,
        signless=after.kind == "signless",
    )
    unreadable = patcher.apply(slot, change)
    if unreadable is None:
        return None
    patcher.poison(slot)
    return f" {unreadable}"


# ---- choosing among candidates ----------------------------------------------------------------


def _answers(
    group: Sequence[Relocation], local: Btf, type_id: int, targets: Iterable[Btf]
) -> Iterable[tuple[_Note, Answer]]:
    # The target's answers to all notes about one local type.
    own, asked = [], []
    for note in _notes(group, local):
        if note.kind == CoreReloKind.TYPE_ID_LOCAL:
            # Linking may have moved the id since the instruction was written.
            own.append((note._replace(answer=note.answer._replace(exact=False)), note.answer))
        else:
            asked.append(note)
    if not asked:
        return own
    with naming(f"CO-RE relocation of {local.describe(type_id)}"):
        best = _best(asked, _candidates(local, type_id, targets))
    return own + list(zip(asked, best, strict=True))


def _notes(group: Sequence[Relocation], local: Btf) -> Iterable[_Note]:
    notes: dict[tuple[str, int], _Note] = {}
    for relocation in group:
        key = (relocation.access, relocation.kind)
        note = notes.get(key)
        if note is None:
            with naming(f"CO-RE relocation in slot {relocation.slot}"):
                access = _read(local, relocation)
                answer = _answer(relocation.kind, access, local.byteorder)
            note = notes[key] = _Note(relocation.kind, access, answer, [])
        note.slots.append(relocation.slot)
    return notes.values()


def _read(local: Btf, relocation: Relocation) -> Access:
    if relocation.kind not in _KINDS:
        raise BtfError(f"unknown kind {relocation.kind}")
    return read_access(local, relocation.type_id, relocation.access, relocation.kind)


_KINDS = frozenset(CoreReloKind)


def _best(notes: Sequence[_Note], candidates: Sequence[_Candidate]) -> list[Answer]:
    best: list[Answer] | None = None
    best_candidate: _Candidate | None = None
    fewest = sum(len(note.slots) for note in notes)
    for candidate in candidates:
        answers = []
        missing = 0
        try:
            for note in notes:
                found = find_access(note.access, note.kind, *candidate)
                missing += len(note.slots) if found is None else 0
                answers.append(_answer(note.kind, found, candidate.btf.byteorder))
        except BtfError:
            if candidate.btf.base is None:
                with naming(note.access.describe()):
                    raise
            continue  # one broken module must not keep programs from loading
        if missing < fewest:
            best, best_candidate, fewest = answers, candidate, missing
        elif missing == fewest and best is not None and best_candidate is not None:
            _agree(notes, best, answers, (best_candidate, candidate))
    if best is None:
        return [_answer(note.kind, None, "little") for note in notes]
    return best


def _agree(
    notes: Sequence[_Note],
    first: Sequence[Answer],
    second: Sequence[Answer],
    candidates: tuple[_Candidate, _Candidate],
) -> None:
    for note, one, other in zip(notes, first, second, strict=True):
        # As in libbpf, not their widths: most notes are about addresses, and care for none.
        if one.value != other.value:
            ids = " and ".join(f"type {candidate.type_id}" for candidate in candidates)
            raise BtfError(
                f"ambiguous: {note.access.describe()} is {one.value} or {other.value} by {ids} of "
                f"the kernel (slot {note.slots[0]})"
            )


def _candidates(local: Btf, type_id: int, targets: Iterable[Btf]) -> list[_Candidate]:
    root = local.type(type_id)
    if not root.name:
        raise BtfError("anonymous types cannot be looked for in the kernel")
    name = essential_name(root.name)
    found: list[_Candidate] = []
    for number, target in enumerate(targets):
        try:
            found += [
                _Candidate(target, other)
                for other in _named(target, name)
                # Split BTF finds its base's types too, and those have been asked.
                if (not number or other >= target.first_id) and same_kind(root, target.type(other))
            ]
        except BtfError:
            if not number:
                raise
        if found and not number:
            break
    return found


def _named(target: Btf, name: str) -> list[int]:
    # Kept with the target: the next program will ask for the same.
    key = ("flavours", name)
    found = target.memo.get(key)
    if found is None:
        found = target.memo[key] = target.flavours(name)
    return cast("list[int]", found)


# ---- answers ----------------------------------------------------------------------------------


def _answer(kind: int, access: Access | None, byteorder: ByteOrder) -> Answer:
    if access is None:
        return Answer(0 if kind in _ZERO_IF_MISSING else None)
    if kind in _EXISTENCE:
        return Answer(1)
    if kind in FIELD_KINDS:
        return _field(kind, access, byteorder)
    if kind == CoreReloKind.ENUMVAL_VALUE:
        return _enumerator(access)
    if kind == CoreReloKind.TYPE_SIZE:
        return Answer(access.btf.size_of(access.root))
    # The id of a target type, as clang wrote it, is one of the object's.
    return Answer(access.root, exact=kind != CoreReloKind.TYPE_ID_TARGET)


def _enumerator(access: Access) -> Answer:
    step = access.steps[0]
    found = access.btf.type(step.type_id)
    assert isinstance(found, Enumeration)  # as finding the access made sure
    signless = found.size <= 4 and not found.signed
    return Answer(found.values[step.number].value, kind="signless" if signless else "")


def _field(kind: int, access: Access, byteorder: ByteOrder) -> Answer:
    btf, step = access.btf, access.steps[-1]
    if not step.name:
        return _element(kind, access)
    outer = btf.type(step.type_id)
    assert isinstance(outer, Composite)  # as finding the access made sure
    member = outer.members[step.number]
    inner = btf.strip(member.type)
    found = btf.type(inner)
    if kind == CoreReloKind.FIELD_SIGNED:
        return Answer(int(isinstance(found, (Int, Enumeration)) and found.signed))
    bit_offset, bit_size = access.bit_offset, member.bitfield_size
    if bit_size:
        start, width = _window(btf.size_of(inner), bit_offset, bit_size)
    else:
        start, width = bit_offset // 8, btf.size_of(inner)
        bit_size = width * 8
    # Which bytes to read for a bit-field is the compiler's choice, how many bits there are is not.
    exact = not member.bitfield_size
    if kind == CoreReloKind.FIELD_BYTE_OFFSET:
        return _offset(btf, inner, start) if exact else Answer(start, exact=False)
    if kind == CoreReloKind.FIELD_BYTE_SIZE:
        return Answer(width, exact)
    if kind == CoreReloKind.FIELD_RSHIFT_U64:
        return Answer(64 - bit_size)
    if byteorder == "little":
        return Answer(64 - (bit_offset + bit_size - start * 8), exact)
    return Answer((8 - width) * 8 + bit_offset - start * 8, exact)


def _window(width: int, bit_offset: int, bit_size: int) -> tuple[int, int]:
    # First byte and width of the smallest aligned read of at least the declared width that covers
    # a bit-field.
    if not width:
        raise BtfError("bit-field of a type without size")
    start = bit_offset // 8 // width * width
    while bit_offset + bit_size > (start + width) * 8:
        if width >= 8:
            raise BtfError("bit-field cannot be read with one 64-bit load")
        width *= 2
        start = bit_offset // 8 // width * width
    return start, width


def _element(kind: int, access: Access) -> Answer:
    # An element of an array, or the whole root type.
    inner = access.steps[-1].type_id
    if kind == CoreReloKind.FIELD_BYTE_OFFSET:
        return _offset(access.btf, inner, access.bit_offset // 8)
    if kind == CoreReloKind.FIELD_BYTE_SIZE:
        return Answer(access.btf.size_of(inner))
    raise BtfError(f"{CoreReloKind(kind)} of an array element")


def _offset(btf: Btf, inner: int, start: int) -> Answer:
    found = element = btf.type(inner)
    width = btf.size_of(inner)  # which no array has that holds itself
    # A load from an array is one of an element, however many there are.
    while isinstance(element, Array):
        inner = btf.strip(element.element)
        element, width = btf.type(inner), btf.size_of(inner)
    if isinstance(found, Ptr):
        return Answer(start, width=width, kind="pointer")
    unsigned = isinstance(found, Int) and not found.signed
    return Answer(start, width=width, kind="unsigned" if unsigned else "")
