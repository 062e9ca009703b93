"""Assembler text cut into statements of tokens, each with its place.

Text comes in, `Statement` after `Statement` goes out:

    name:  if r1 == 0 goto out; exit    # a comment     ──▶   [name :] [if r1 == 0 goto out] [exit]

Comments begin with ``#`` or ``//``, or stand between ``/*`` and ``*/``. A line that begins with
``;`` is one too, as disassemblers print lines of source; elsewhere ``;`` ends a statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pyebpf.errors import AsmError
from pyebpf.typed import NamedTuple, NoReturn

__all__ = ["Place", "Statement", "Token", "integer", "statements"]


class Place(NamedTuple):
    """Where something stands, counted from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


class Token(NamedTuple):
    """One word.

    Attributes:
        kind: ``"name"``, ``"number"``, ``"local"`` (``1b``, ``1f``), ``"operator"``, ``"bytes"``,
            ``"address"`` of a name, ``"angular"`` (``<name+0x8>``), ``"separator"`` or ``"end"``.
        text: As written; of names in quotes, in ``<>`` and in ``%[]`` without those.
        place: Where it begins.
    """

    kind: str
    text: str
    place: Place

    def __str__(self) -> str:
        return f'"{self.text}"' if self.kind != "end" else "the end of the statement"


_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\f\v]+)
    | (?P<comment>\#|//)
    | (?P<block>/\*)
    | (?P<bytes>[0-9a-f]{2}(?:\ [0-9a-f]{2}){7}(?:(?:\ [0-9a-f]{2}){8})?)(?=\t)
    | (?P<address>[0-9a-f]{16})(?=\ <)
    | (?P<local>[0-9]+[bf](?![0-9A-Za-z_]))
    | (?P<number>(?:0[xX][0-9a-fA-F]+|0[bB][01]+|[0-9]+)(?![0-9A-Za-z_]))
    | (?P<signed>s(?:>>=|/=|%=|>=|<=|>|<))
    | "(?P<quoted>[^"]*)"
    | %\[(?P<placeholder>[A-Za-z_][A-Za-z0-9_]*)\]
    | (?P<name>[A-Za-z_.$@][A-Za-z0-9_.$@]*)
    | <(?P<angular>[^<>=\s]+)>
    | (?P<operator><<=|>>=|[-+*/|&%^=!<>]=|[-+*/&|=<>()\[\],:])
    | (?P<separator>;)
    """,
    re.VERBOSE,
)
_NAMES = {"quoted": "name", "placeholder": "name", "signed": "operator"}


class Statement:
    """The tokens of one statement, taken one by one.

    Args:
        tokens: In order, the last one of kind ``"end"``.
    """

    __slots__ = ("_position", "_tokens")

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._position = 0

    @property
    def next(self) -> Token:
        """The token that is to be taken next."""
        return self._tokens[self._position]

    @property
    def ended(self) -> bool:
        """Whether nothing is left."""
        return self.next.kind == "end"

    def peek(self, count: int) -> list[Token]:
        """Return the next tokens; behind the end, ends."""
        found = self._tokens[self._position : self._position + count]
        return found + [self._tokens[-1]] * (count - len(found))

    def take(self) -> Token:
        """Take the next token; the end stays."""
        token = self.next
        self._position += token.kind != "end"
        return token

    def skip(self, *texts: str) -> bool:
        """Take tokens if they are the next ones, all of them; quoted names are none of them."""
        following = self._tokens[self._position : self._position + len(texts)]
        if [token.text for token in following] != list(texts):
            return False
        self._position += len(texts)
        return True

    def need(self, text: str) -> None:
        """Take a token that has to follow.

        Raises:
            AsmError: Another one does.
        """
        if not self.skip(text):
            self.fail(f'"{text}"')

    def drop(self) -> None:
        """Leave out what is left."""
        self._position = len(self._tokens) - 1

    def fail(self, expected: str) -> NoReturn:
        """Say what should stand where the next token is.

        Raises:
            AsmError: Always.
        """
        raise AsmError(f"expected {expected}, not {self.next}", where=str(self.next.place))


def statements(text: str) -> Iterator[Statement]:
    """Cut text into statements; empty ones are left out.

    Raises:
        AsmError: A character that begins no token, or a comment that does not end.
    """
    block: Place | None = None
    for number, line in enumerate(text.split("\n"), 1):
        start = 0
        if block is not None:
            start = line.find("*/") + 2
            if start < 2:
                continue
        elif line.lstrip().startswith(";"):
            continue
        found: list[Token] = []
        block = _cut(line, number, start, found)
        end = Token("end", "", Place(number, len(line) + 1))
        tokens: list[Token] = []
        for token in [*found, end]:
            if token.kind not in ("separator", "end"):
                tokens.append(token)
            elif tokens:
                yield Statement([*tokens, Token("end", "", token.place)])
                tokens = []
    if block is not None:
        raise AsmError('comment without "*/"', where=str(block))


# Cuts one line; returns where a comment begins that goes on in the next one.
def _cut(line: str, number: int, position: int, found: list[Token]) -> Place | None:
    while position < len(line):
        place = Place(number, position + 1)
        match = _TOKEN.match(line, position)
        if match is None:
            raise AsmError(f"unexpected {line[position]!r}", where=str(place))
        position, kind = match.end(), match.lastgroup or ""
        if kind == "comment":
            return None
        if kind == "block":
            position = line.find("*/", position) + 2
            if position < 2:
                return place
        elif kind != "space":
            found.append(Token(_NAMES.get(kind, kind), match[kind], place))
    return None


def integer(token: Token) -> int:
    """Return the value of a number.

    Raises:
        AsmError: It has too many digits, or an 8 or 9 behind a leading 0.
    """
    text = token.text.lower()
    if len(text) > 70:  # the longest that means anything are 64 binary digits
        raise AsmError(f"a number of {len(text)} digits", where=str(token.place))
    if text.startswith("0") and text.isdigit():  # octal, as in C
        if set(text) & set("89"):
            raise AsmError(f'"{text}" is no octal number', where=str(token.place))
        return int(text, 8)
    return int(text, 0)
