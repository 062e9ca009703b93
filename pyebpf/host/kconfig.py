"""The configuration the running kernel was built with.

    CONFIG_HZ=250                  values as they stand there: 250, y, m, 0x10, "text"
    CONFIG_DEFAULT_HOSTNAME="box"
    # CONFIG_KALLSYMS_ALL is not set

In: the names wanted. Out: their values as text, from ``/boot/config-RELEASE``, else
``/proc/config.gz``, else where distributions without files in ``/boot`` keep it.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Collection
from pathlib import Path

from pyebpf.errors import FormatError, SyscallError, naming
from pyebpf.host import version
from pyebpf.sys import kernel
from pyebpf.typed import NamedTuple

__all__ = ["Configuration", "parse", "read", "read_file"]

_PLACES = ("boot/config-{release}", "proc/config.gz", "lib/modules/{release}/config")
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP = 16 + zlib.MAX_WBITS  # a gzip header is expected
_MAX_SIZE = 16 << 20  # a kernel's has about 300 KB


class Configuration(NamedTuple):
    """What was found.

    Attributes:
        values: Of the wanted names that are set, as text.
        source: The file, or ``""`` if the system has none.
    """

    values: dict[str, str]
    source: str


def read(names: Collection[str], root: str | None = None) -> Configuration:
    """Look up values in the running kernel's configuration.

    Args:
        names: Those wanted, with ``CONFIG_``.
        root: The directory that stands for ``/``.

    Returns:
        The values; none and no source if the system does not keep its configuration.

    Raises:
        FormatError: The file is malformed.
    """
    top = Path(root or kernel.current().root)
    release = version.running(root)
    for place in _PLACES:
        path = top / place.format(release=release)
        try:
            text = _text(path)
        except OSError:
            continue
        with naming(str(path)):
            return Configuration(parse(text, names), str(path))
    return Configuration({}, "")


def read_file(path: str | os.PathLike[str], names: Collection[str]) -> Configuration:
    """Look up values in a file, plain or compressed with gzip.

    Raises:
        SyscallError: It cannot be read.
        FormatError: It is malformed.
    """
    try:
        text = _text(Path(path))
    except OSError as error:
        raise SyscallError("open", error.errno or 0, os.fspath(path)) from None
    with naming(os.fspath(path)):
        return Configuration(parse(text, names), os.fspath(path))


def parse(text: str, names: Collection[str]) -> dict[str, str]:
    """Return the values of *names*; the first line about a name counts.

    Raises:
        FormatError: A line that sets a name has no value.
    """
    wanted = frozenset(names)
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, equals, value = line.strip().partition("=")
        if not name.startswith("CONFIG_"):
            continue
        if not equals or not value:
            raise FormatError(f"{line[:80]!r} sets no value", f"line {number}")
        if name in wanted:
            values.setdefault(name, value)
    return values


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(_MAX_SIZE + 1)
    if data.startswith(_GZIP_MAGIC):
        inflate = zlib.decompressobj(_GZIP)
        try:
            data = inflate.decompress(data, _MAX_SIZE + 1)
        except zlib.error as error:
            raise FormatError(f"not gzip: {error}", str(path)) from None
        if not inflate.eof and len(data) <= _MAX_SIZE:
            raise FormatError("not gzip: cut short", str(path))
    if len(data) > _MAX_SIZE:
        raise FormatError(f"more than {_MAX_SIZE >> 20} MiB", str(path))
    return data.decode(errors="surrogateescape")
