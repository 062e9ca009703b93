"""Addresses of the kernel's symbols: ``/proc/kallsyms``.

    ffffffff814d58f0 T bpf_prog_put
    ffffffffc0a1b2c0 t nf_ct_get.llvm.4242	[nf_conntrack]

In: the names wanted. Out: where each stands; or the other way round. The file has 5 to 20 MB and is
never held whole: it is read a piece at a time, and one regular expression picks the lines that
matter (some 60 ms, most of them the kernel's).

Kernels built with clang and LTO give static symbols a suffix; such a symbol answers to its plain
name if no other has exactly that.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from pyebpf.errors import FormatError, SyscallError
from pyebpf.sys import kernel
from pyebpf.typed import NamedTuple

__all__ = ["KernelSymbol", "Symbols", "find", "names_at"]

_PIECE = 1 << 20
# KSYM_NAME_LEN is 512; address, type and module do not make a line this long.
_MAX_LINE = 1 << 12
_NOT_ZERO = re.compile(rb"^0*[1-9a-fA-F]", re.MULTILINE)
_LINE = re.compile(rb"([0-9a-fA-F]{1,16}) (\S) (\S+)(?:\s+\[(.+)\])?")


class KernelSymbol(NamedTuple):
    """One line.

    Attributes:
        address: 0 where addresses are hidden from this process.
        type: As ``nm`` prints it; lower case is static.
        name: Without a suffix of the compiler.
        module: The module it belongs to, ``""`` for the kernel itself.
    """

    address: int
    type: str
    name: str
    module: str


class Symbols(NamedTuple):
    """What was found.

    Attributes:
        by_name: Places of each wanted name that exists, in the file's order.
        restricted: All addresses are 0: ``kptr_restrict`` hides them from this process.
    """

    by_name: dict[str, tuple[KernelSymbol, ...]]
    restricted: bool

    def addresses(self, name: str) -> list[int]:
        """Return the different addresses of *name*, in the file's order."""
        return list(dict.fromkeys(each.address for each in self.by_name.get(name, ())))


def find(names: Collection[str], root: str | None = None) -> Symbols:
    """Look up symbols of the running kernel and its modules.

    Args:
        names: Those wanted; all are looked for in one pass.
        root: The directory that stands for ``/``.

    Raises:
        SyscallError: There is no such file (``CONFIG_KALLSYMS``), or it cannot be read.
        FormatError: It has no lines.
    """
    path = Path(root or kernel.current().root, "proc/kallsyms")
    wanted = b"|".join(re.escape(name.encode()) for name in sorted(set(names)))
    pattern = re.compile(rb" (?:" + wanted + rb")(?:\.llvm\.[0-9]+)?(?=\s|\Z)") if wanted else None
    plain: dict[str, list[KernelSymbol]] = {}
    suffixed: dict[str, list[KernelSymbol]] = {}
    restricted = True
    try:
        for piece in _pieces(path):
            restricted = restricted and not _NOT_ZERO.search(piece)
            for name, symbol in _matches(pattern, piece):
                (plain if name == symbol.name else suffixed).setdefault(symbol.name, []).append(
                    symbol
                )
    except OSError as error:
        raise SyscallError("open", error.errno or 0, str(path)) from None
    found = {name: tuple(symbols) for name, symbols in (suffixed | plain).items()}
    return Symbols(found, restricted)


def names_at(addresses: Collection[int], root: str | None = None) -> dict[int, str]:
    """Look up what stands at addresses of the running kernel.

    Args:
        addresses: Those wanted; of several names for one the first is taken.
        root: The directory that stands for ``/``.

    Returns:
        Names by address; those without one are left out.

    Raises:
        SyscallError: There is no such file (``CONFIG_KALLSYMS``), or it cannot be read.
        FormatError: It has no lines.
    """
    path = Path(root or kernel.current().root, "proc/kallsyms")
    found: dict[int, str] = {}
    if not addresses:
        return found
    wanted = b"|".join(b"%016x" % address for address in sorted(set(addresses)))
    pattern = re.compile(rb"^(" + wanted + rb") \S (\S+)", re.MULTILINE)
    try:
        for piece in _pieces(path):
            for address, name in pattern.findall(piece):
                plain = name.decode(errors="replace").partition(".llvm.")[0]
                found.setdefault(int(address, 16), plain)
    except OSError as error:
        raise SyscallError("open", error.errno or 0, str(path)) from None
    return found


# Whole lines, about a megabyte at a time.
def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        rest = b""
        while True:
            parts = [rest]
            size = 0
            # The kernel hands out a page per read.
            while size < _PIECE and (data := file.read(_PIECE)):
                parts.append(data)
                size += len(data)
            piece = b"".join(parts)
            if not size:
                if piece:
                    yield piece
                return
            end = piece.rfind(b"\n") + 1
            piece, rest = piece[:end], piece[end:]
            if len(rest) > _MAX_LINE:
                raise FormatError(f"a line of {len(rest)} bytes", str(path))
            yield piece


# The name as it stands there, and the symbol.
def _matches(pattern: re.Pattern[bytes] | None, piece: bytes) -> Iterator[tuple[str, KernelSymbol]]:
    if pattern is None:
        return
    for match in pattern.finditer(piece):
        start = piece.rfind(b"\n", 0, match.start()) + 1
        line = _LINE.match(piece, start)
        # A hit elsewhere in the line is no symbol's name.
        if line is None or line.start(3) != match.start() + 1:
            continue
        address, kind, name, module = line.groups(default=b"")
        text = name.decode(errors="replace")
        plain = text.partition(".llvm.")[0]
        symbol = KernelSymbol(
            int(address, 16), kind.decode(), plain, module.decode(errors="replace")
        )
        yield text, symbol
