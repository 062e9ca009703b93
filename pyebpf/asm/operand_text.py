"""Operands of assembler text: registers, numbers, sizes and places in memory, targets of jumps.

The tokens of a `Statement` come in, one operand after another goes out. A word that does not belong
is an `AsmError` with its line and column, and with what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pyebpf.asm.opcode import SIZES
from pyebpf.asm.operand import signed_32
from pyebpf.asm.tokens import Statement, Token, integer
from pyebpf.errors import AsmError
from pyebpf.typed import NamedTuple
from pyebpf.uapi import insn

__all__ = ["SIGNED", "Operands", "Register", "at", "limits", "looks_like_register"]

_REGISTER = re.compile("[rw][0-9]{1,2}")
_BITS = {"r": 64, "w": 32}
_UNSIGNED = {f"u{bits}": bits for bits in SIZES}
SIGNED = {f"s{bits}": bits for bits in SIZES if bits < 64}


class Register(NamedTuple):
    """A register as it is written.

    Attributes:
        bits: 64, or 32 for the lower half.
        number: 0 to 10.
        token: Where it stands.
    """

    bits: int
    number: int
    token: Token

    @property
    def of_class(self) -> int:
        """The class of arithmetic on it."""
        return insn.ALU64 if self.bits == 64 else insn.ALU


class Operands:
    """Reads operands of one statement.

    Args:
        statement: Its tokens.
        constants: Values of names.
        local_name: Tells which label a reference such as ``1f`` means.
    """

    def __init__(
        self,
        statement: Statement,
        constants: Mapping[str, int],
        local_name: Callable[[Token], str],
    ) -> None:
        self.statement = statement
        self.skip = statement.skip
        self.need = statement.need
        self.fail = statement.fail
        self._constants = constants
        self._local_name = local_name

    @property
    def next(self) -> Token:
        """The next token."""
        return self.statement.next

    def name(self, what: str) -> str:
        """Take a name; *what* says what it would be."""
        if self.next.kind != "name":
            self.fail(what)
        return self.statement.take().text

    def keyword(self, *names: str) -> str:
        """Take one of certain names."""
        if self.next.kind != "name" or self.next.text not in names:
            self.fail(" or ".join(f'"{name}"' for name in names))
        return self.statement.take().text

    # ---- registers ----------------------------------------------------------------------------

    def at_register(self) -> bool:
        """Whether a register follows, or what looks like one."""
        return looks_like_register(self.next)

    def register(self, bits: int | None = None) -> Register:
        """Take a register, of so many bits if that is given."""
        token = self.next
        if not looks_like_register(token):
            self.fail("a register")
        self.statement.take()
        register = Register(_BITS[token.text[0]], int(token.text[1:]), token)
        if register.number > 10:
            raise at(token, f"register {token.text} does not exist: r0 to r10 do")
        if bits is not None and register.bits != bits:
            wanted = "a whole register" if bits == 64 else "half a register"
            raise at(token, f"expected {wanted}, such as {_letter(bits)}{register.number}")
        return register

    def register_for(self, bits: int) -> Register:
        """Take a register that holds so much memory."""
        return self.register(64 if bits == 64 else None)

    def same(self, register: Register) -> None:
        """Take the register that was there before."""
        token = self.next
        if self.register(register.bits).number != register.number:
            raise at(token, f"expected {register.token.text} again, not {token}")

    # ---- numbers ------------------------------------------------------------------------------

    def at_number(self) -> bool:
        """Whether a number follows, or the name of a constant."""
        token = self.next
        if token.kind == "operator":
            return token.text in ("+", "-")
        return token.kind == "number" or (token.kind == "name" and token.text in self._constants)

    def number(self, lowest: int, highest: int) -> int:
        """Take a number within limits: terms with signs between them."""
        start = self.next
        total = self._term()
        while self.next.kind == "operator" and self.next.text in ("+", "-"):
            total += self._term()
        if not lowest <= total <= highest:
            shown = f"{total:#x} does not fit {limits(lowest, highest)}"
            raise at(start, shown)
        return total

    def immediate(self, bits: int) -> int:
        """Take an immediate for an operation on so many bits; to 64 it is extended with a sign."""
        return signed_32(self.number(-(1 << 31), (1 << (31 if bits == 64 else 32)) - 1))

    def offset(self) -> int:
        """Take an offset of 16 bits."""
        return self.number(-0x8000, 0x7FFF)

    def _term(self) -> int:
        sign = 1
        while self.next.kind == "operator" and self.next.text in ("+", "-"):
            sign = -sign if self.statement.take().text == "-" else sign
        token = self.next
        if token.kind == "name" and token.text in self._constants:
            self.statement.take()
            return sign * self._constants[token.text]
        if token.kind != "number":
            self.fail("a number")
        return sign * integer(self.statement.take())

    # ---- memory and jumps ---------------------------------------------------------------------

    def size(self, *, signed: bool = False) -> tuple[int, bool]:
        """Take ``(u32 *)``, or ``(s32 *)`` too; return the bits and whether they have a sign."""
        self.need("(")
        known = _UNSIGNED | SIGNED if signed else _UNSIGNED
        if self.next.text not in known:
            self.fail(f"a size: {', '.join(known)}")
        text = self.statement.take().text
        self.need("*")
        self.need(")")
        return known[text], text in SIGNED

    def place(self) -> tuple[int, int]:
        """Take ``(r1 + 8)``; return the register's number and the offset."""
        self.need("(")
        found = self.open_place()
        self.need(")")
        return found

    def open_place(self) -> tuple[int, int]:
        """Take the same without parentheses."""
        base = self.register(64)
        if self.next.kind == "operator" and self.next.text in ("+", "-"):
            return base.number, self.offset()
        return base.number, 0

    def target(self, bits: int) -> tuple[int, str | None]:
        """Take where a jump goes: a distance of so many bits, or a label.

        The kernel writes ``pc`` before distances.
        """
        token, following = self.statement.peek(2)
        if token.text == "pc" and following.text in ("+", "-"):
            self.statement.take()
            token = following
        if token.kind == "local":
            return 0, self._local_name(self.statement.take())
        if token.kind == "name":
            return 0, self.statement.take().text
        if not self.at_number():
            self.fail("a label or a distance")
        distance = self.number(-(1 << bits - 1), (1 << bits - 1) - 1)
        if self.next.kind == "angular":
            self.statement.take()
        return distance, None


def looks_like_register(token: Token) -> bool:
    """Whether it is a register, even one that does not exist."""
    return token.kind == "name" and _REGISTER.fullmatch(token.text) is not None


def limits(lowest: int, highest: int) -> str:
    """Say what fits between two limits."""
    signed = " with a sign" if highest + 1 == -lowest else ""
    return f"{highest.bit_length() + bool(signed)} bits{signed}"


def at(token: Token, message: str) -> AsmError:
    """Return an error about a token."""
    return AsmError(message, where=str(token.place))


def _letter(bits: int) -> str:
    return "r" if bits == 64 else "w"
