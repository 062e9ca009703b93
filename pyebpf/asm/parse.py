"""Assembler text read: what `pyebpf.asm.text` and llvm-objdump print, and clang's inline assembler.

Text comes in, instructions and labels go out, for `pyebpf.asm.assemble`:

    r1 = *(u32 *)(r2 + 8)         lock *(u64 *)(r1 + 0) += r2       goto out
    w0 s>>= 3                     r2 = atomic_fetch_add((u64 *)(r1 + 0), r2)
    if r1 == 0 goto out           r0 = cmpxchg_64(r1 + 0, r0, r2)   out: exit
    r1 = 0x123456789 ll           call bpf_map_lookup_elem          1: goto 1b

Names of things outside the code:

    r1 = name ll               what it is, is decided later: a function, a map, a constant
    r1 = map[name] ll          a map
    r1 = map[name][0]+8 ll     a place in the only value of a map
    r1 = ksym[name] ll         a variable of the kernel, by its type
    call name                  a function; the kernel's (kfunc) if the text has none of that name
    r1 = LIMIT, call %[f]      constants that `parse` is given

Two forms are the kernel's, for what LLVM has no words: ``call pc+2`` calls the function that many
slots behind, and ``r1 = &(void __percpu *)(r2)`` adds the base of this CPU's variables. It writes
``goto pc+2``, too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pyebpf.asm.assemble import Item
from pyebpf.asm.grammar import instruction_of
from pyebpf.asm.instruction import ByteOrder, Instruction, decode_all
from pyebpf.asm.opcode import CALL
from pyebpf.asm.operand import Label
from pyebpf.asm.operand_text import Operands
from pyebpf.asm.tokens import Place, Statement, Token, statements
from pyebpf.errors import AsmError
from pyebpf.plain import replace
from pyebpf.typed import NamedTuple
from pyebpf.uapi import insn
from pyebpf.uapi.helpers import FuncId

__all__ = ["Parsed", "parse"]

# What compilers write around functions and what says nothing about the code.
_IGNORED = frozenset({".globl", ".global", ".weak", ".hidden", ".size", ".p2align", ".text"})


class Parsed(NamedTuple):
    """What text says.

    Attributes:
        items: Instructions and labels, in order.
        places: Where each of them stands.
    """

    items: tuple[Item, ...]
    places: tuple[Place, ...]


def parse(
    text: str,
    byteorder: ByteOrder,
    *,
    constants: Mapping[str, int] | None = None,
    labels: Collection[str] = (),
) -> Parsed:
    """Read assembler text.

    Args:
        text: Statements, one a line or parted by ``;``.
        byteorder: Of bytes that are given as such (``.byte``).
        constants: Values of names, written ``NAME`` or ``%[NAME]``.
        labels: Labels of code around this one, which it may call.

    Returns:
        What it says; hand its items to `pyebpf.asm.assemble`.

    Raises:
        AsmError: Something else is expected somewhere: with line and column.
    """
    reader = _Reader(byteorder, constants or {})
    for statement in statements(text):
        reader.read(statement)
    return reader.finish(labels)


class _Reader:
    # Reads one statement after another into items.

    def __init__(self, byteorder: ByteOrder, constants: Mapping[str, int]) -> None:
        self._byteorder = byteorder
        self._constants = constants
        self._items: list[Item] = []
        self._places: list[Place] = []
        self._functions: set[str] = set()
        # Local labels: how often each was defined so far, and those that are referred to.
        self._counts: dict[str, int] = {}
        self._local: dict[str, Token] = {}

    def read(self, statement: Statement) -> None:
        raw = b""
        while not statement.ended:
            token = statement.next
            name = self._label(statement)
            if name is not None:
                self._add(Label(name), token.place)
            elif token.kind == "bytes":
                raw = bytes.fromhex(statement.take().text)
            else:
                break
        if statement.ended:
            return
        if raw and token.kind == "angular":  # <unknown>
            statement.take()
            self._add_bytes(raw, token.place)
        elif token.kind == "name" and token.text.startswith("."):
            self._directive(statement)
        else:
            operands = Operands(statement, self._constants, self._local_name)
            self._add(instruction_of(operands), token.place)
        if not statement.ended:
            statement.fail("the end of the statement")

    def finish(self, outside: Collection[str]) -> Parsed:
        labels = {item.name for item in self._items if isinstance(item, Label)} | set(outside)
        for name, token in self._local.items():
            if name not in labels:
                raise AsmError(f'unknown label "{token.text}"', where=str(token.place))
        items: list[Item] = []
        places = []
        for item, place in zip(self._items, self._places, strict=True):
            if isinstance(item, Label):
                if ":" in item.name and item.name not in self._local:
                    continue  # the addresses of a listing
                items.append(replace(item, function=item.name in self._functions))
            elif item.opcode == CALL and item.symbol is not None and item.symbol not in labels:
                items.append(_outside(item, item.symbol))
            else:
                items.append(item)
            places.append(place)
        return Parsed(tuple(items), tuple(places))

    def _add(self, item: Item, place: Place) -> None:
        self._items.append(item)
        self._places.append(place)

    def _add_bytes(self, raw: bytes, place: Place) -> None:
        try:
            for instruction in decode_all(raw, self._byteorder):
                self._add(instruction, place)
        except AsmError as error:
            raise AsmError(str(error), where=str(place)) from error

    # A name with a colon behind it; in a listing its address stands before. Takes it.
    def _label(self, statement: Statement) -> str | None:
        token, following, third = statement.peek(3)
        if token.kind == "address" and following.kind == "angular" and third.text == ":":
            statement.take()
            token, following = following, third
        if following.text != ":" or token.kind not in ("name", "angular", "number"):
            return None
        statement.take()
        statement.take()
        if token.kind != "number":
            return token.text
        self._counts[token.text] = self._counts.get(token.text, 0) + 1
        return f"{token.text}:{self._counts[token.text]}"

    # The name of the local label that "1b" (the last one) or "1f" (the next one) means.
    def _local_name(self, token: Token) -> str:
        number, direction = token.text[:-1], token.text[-1]
        name = f"{number}:{self._counts.get(number, 0) + (direction == 'f')}"
        self._local.setdefault(name, token)
        return name

    def _directive(self, statement: Statement) -> None:
        token = statement.take()
        operands = Operands(statement, self._constants, self._local_name)
        if token.text == ".byte":
            raw = bytearray([operands.number(0, 255)])
            while statement.skip(","):
                raw.append(operands.number(0, 255))
            self._add_bytes(bytes(raw), token.place)
        elif token.text == ".type":
            name = operands.name("the name of a function")
            if statement.skip(",", "@function"):
                self._functions.add(name)
            statement.drop()
        elif token.text in _IGNORED:
            statement.drop()
        else:
            raise AsmError(f'unknown directive "{token.text}"', where=str(token.place))


# A helper, or the kernel's function of that name.
def _outside(call: Instruction, name: str) -> Instruction:
    number = FuncId.__members__.get(name.removeprefix("bpf_"))
    if name.startswith("bpf_") and number is not None:
        return Instruction(CALL, immediate=int(number))
    return replace(call, src=insn.PSEUDO_KFUNC_CALL)
