"""Helpers on text: numbers out of strings, strings out of numbers, comparison, printing.

The rules of the format strings are those of bpf_bprintf_prepare in kernel/bpf/helpers.c.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from pyebpf.errors import MemoryAccessError
from pyebpf.testing.interpreter.calls import Function
from pyebpf.testing.interpreter.run import Run
from pyebpf.uapi.helpers import FuncId

__all__ = ["HELPERS"]

DIGITS = b"0123456789abcdef"
WHITE = b" \t\n\v\f\r"
LONGEST_NUMBER = 63  # the kernel copies so much into a buffer of 64 bytes
MOST_ARGUMENTS = 12  # MAX_BPRINTF_VARARGS
WIDEST = 1 << 16  # columns that a conversion is filled up to
MOST_PRINTED = 1023  # of trace_printk: MAX_BPRINTF_BUF less the NUL


class FormatInvalid(Exception):
    """The kernel would refuse the format string."""


def strtol(run: Run, text: int, length: int, flags: int, place: int) -> int:
    """Read a signed number and return how many bytes it took."""
    run.store(place, 8, 0)
    answer = _number(run.memory.read(text, length), flags)
    if isinstance(answer, int):
        return answer
    value, negative, used = answer
    if value > (1 << 63) - 1 + negative:
        return -errno.ERANGE
    run.store(place, 8, -value if negative else value)
    return used


def strtoul(run: Run, text: int, length: int, flags: int, place: int) -> int:
    """Read an unsigned number and return how many bytes it took."""
    run.store(place, 8, 0)
    answer = _number(run.memory.read(text, length), flags)
    if isinstance(answer, int):
        return answer
    value, negative, used = answer
    if negative:
        return -errno.EINVAL
    run.store(place, 8, value)
    return used


def strncmp(run: Run, text: int, length: int, other: int) -> int:
    """Compare the first bytes of two strings: -1, 0 or 1."""
    length &= 0xFFFF_FFFF
    left = run.memory.read(text, length).partition(b"\0")[0]
    right = run.memory.text(other, length)
    return (left > right) - (left < right)


def snprintf(run: Run, place: int, size: int, form: int, arguments: int, length: int) -> int:
    """Write formatted text; return its whole length with the NUL."""
    size, length = size & 0xFFFF_FFFF, length & 0xFFFF_FFFF
    target = run.memory.view(place, size, write=True) if size else None
    if length % 8 or length > 8 * MOST_ARGUMENTS or (length and not arguments):
        return -errno.EINVAL
    values = _values(run, arguments, length)
    try:
        text, length = _formatted(run, run.memory.text(form, 1 << 20), values, size)
    except FormatInvalid:
        return -errno.EINVAL
    if target is not None:
        cut = text[: size - 1] + b"\0"
        target[: len(cut)] = cut
    return length + 1


def trace_printk(run: Run, form: int, size: int, a: int = 0, b: int = 0, c: int = 0) -> int:
    """Print to the trace pipe (`World.printed`); return the length.

    Registers that no conversion uses need not be set.
    """
    return _print(run, form, size & 0xFFFF_FFFF, [a, b, c])


def trace_vprintk(run: Run, form: int, size: int, arguments: int, length: int) -> int:
    """Print with an array of arguments."""
    length &= 0xFFFF_FFFF
    if length % 8 or length > 8 * MOST_ARGUMENTS or (length and not arguments):
        return -errno.EINVAL
    return _print(run, form, size & 0xFFFF_FFFF, _values(run, arguments, length))


def _print(run: Run, form: int, size: int, values: list[int]) -> int:
    data = run.memory.read(form, size)
    if not data.endswith(b"\0"):
        return -errno.EINVAL
    try:
        text, _ = _formatted(run, data.partition(b"\0")[0], values, MOST_PRINTED + 1)
    except FormatInvalid:
        return -errno.EINVAL
    text = text[:MOST_PRINTED]
    run.world.printed.append(text.decode("latin-1").removesuffix("\n"))
    return len(text)


def _values(run: Run, address: int, length: int) -> list[int]:
    data = run.memory.read(address, length)
    return [int.from_bytes(data[at : at + 8], run.byteorder) for at in range(0, length, 8)]


# The value, whether it is negative, and the bytes it took; or a negative errno (__bpf_strtoull).
def _number(data: bytes, flags: int) -> tuple[int, bool, int] | int:
    base = flags & 0x1F
    if not data or base not in (0, 8, 10, 16) or flags & ~0x1F:
        return -errno.EINVAL
    rest = data.lstrip(WHITE)
    if not rest:
        return -errno.EINVAL
    negative = rest.startswith(b"-")
    rest = rest[negative:][:LONGEST_NUMBER].partition(b"\0")[0].lower()
    used = len(data) - len(data.lstrip(WHITE)) + negative
    hexadecimal = rest.startswith(b"0x")
    if base == 0:
        base = 10
        if rest.startswith(b"0"):
            base = 16 if hexadecimal and rest[2:3] and rest[2] in DIGITS else 8
    if base == 16 and hexadecimal:
        rest, used = rest[2:], used + 2
    digits = re.match(rb"[0-9a-f]*" if base == 16 else rb"[0-9]*", rest)
    assert digits is not None
    text = bytes(each for each in digits[0])
    if base == 8:
        text = re.sub(rb"[89].*", b"", text)
    if not text:
        return -errno.EINVAL
    value = int(text, base)
    return -errno.ERANGE if value >> 64 else (value, negative, used + len(text))


_CONVERSION = re.compile(
    rb"%(?:(?P<percent>%)|(?P<flags>[-+ 0#]*)(?P<width>\d*)"
    rb"(?:(?P<pointer>p(?:[kuxKBsS]s?|[iI][46])?)|(?P<length>l{0,2})(?P<kind>[diuxXcs])))"
)
ADDRESSES = (b"pi4", b"pI4", b"pi6", b"pI6")
_STRINGS = (b"s", b"pks", b"pus")


# The text, and the length that is reported: addresses that no longer fit do not count in it
# (bstr_printf in lib/vsprintf.c).
def _formatted(run: Run, form: bytes, values: list[int], room: int) -> tuple[bytes, int]:
    if any(each > 127 or (each < 32 and each not in WHITE) for each in form):
        raise FormatInvalid
    out, given, at = bytearray(), iter(values), 0
    while (start := form.find(b"%", at)) >= 0:
        match = _CONVERSION.match(form, start)
        if match is None:
            raise FormatInvalid
        out += form[at:start]
        piece = _conversion(run, match, given)
        if match["pointer"] not in ADDRESSES or len(out) < room:
            out += piece
        at = match.end()
    out += form[at:]
    return bytes(out), len(out)


def _conversion(run: Run, match: re.Match[bytes], given: Iterator[int]) -> bytes:
    if match["percent"]:
        return b"%"
    value = next(given, None)
    if value is None:
        raise FormatInvalid
    pointer, kind = match["pointer"], match["kind"]
    if pointer in _STRINGS or kind == b"s":
        return _string(run, value)
    if pointer is not None:
        return _pointer(run, pointer, value)
    if kind == b"c":
        width = min(int(match["width"] or b"0"), WIDEST)
        letter = bytes([value & 0xFF])
        return letter.ljust(width) if b"-" in match["flags"] else letter.rjust(width)
    bits = 64 if match["length"] else 32
    value &= (1 << bits) - 1
    if kind in b"di" and value >> bits - 1:
        value -= 1 << bits
    style = {b"x": "x", b"X": "X"}.get(kind, "d")
    flags = match["flags"].decode().replace("-", "")
    width = min(int(match["width"] or b"0"), WIDEST)
    text = f"%{flags}{width or ''}{style}" % value
    return (text.strip().ljust(len(text)) if b"-" in match["flags"] else text).encode()


def _pointer(run: Run, pointer: bytes, value: int) -> bytes:
    if pointer[1:2] in (b"i", b"I") and len(pointer) == 3:
        size = 4 if pointer[2:] == b"4" else 16
        try:
            data = run.memory.read(value, size)
        except MemoryAccessError:
            data = bytes(size)
        if pointer == b"pI6":
            return data.hex(":", 2).encode()
        if pointer == b"pi6":
            return data.hex().encode()
        return b".".join((b"%03d" if pointer == b"pi4" else b"%d") % each for each in data)
    return b"%016x" % value  # a test's addresses are no secret, so they are not hashed


def _string(run: Run, address: int) -> bytes:
    try:
        return run.memory.text(address, 512)
    except MemoryAccessError:
        return b""


HELPERS: dict[int, Function] = {
    FuncId.strtol: strtol,
    FuncId.strtoul: strtoul,
    FuncId.strncmp: strncmp,
    FuncId.snprintf: snprintf,
    FuncId.trace_printk: trace_printk,
    FuncId.trace_vprintk: trace_vprintk,
}
