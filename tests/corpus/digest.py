"""One line for each eBPF object in a directory: a digest of the spec it gives, or the error.

    python -m tests.corpus.digest DIR

The same file gives the same spec, always. So the output under one Python is, byte for byte, that
under another, as another user, or on another machine: compare them with diff. Each file is read
twice here, and where the specs differ the line says so and the exit status is 1.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import pathlib
import sys
import warnings

from pyebpf.btf.btf import Btf
from pyebpf.elf import load_spec
from pyebpf.errors import EbpfError
from pyebpf.spec import CollectionSpec
from tests.corpus.__main__ import objects


def plain(value: object, seen: set[int]) -> object:
    """Return *value* as what prints the same under every Python.

    Args:
        value: A spec or a part of one.
        seen: Identities of the objects that are being or have been looked at; specs share parts.
    """
    if isinstance(value, Btf):
        return hashlib.sha256(value.raw).hexdigest()
    if dataclasses.is_dataclass(value):
        if id(value) in seen:
            return f"{type(value).__name__} {getattr(value, 'name', '')}"
        seen.add(id(value))
        fields = dataclasses.fields(value)
        return [
            type(value).__name__,
            [[e.name, plain(getattr(value, e.name), seen)] for e in fields],
        ]
    if isinstance(value, dict):
        return [[plain(key, seen), plain(each, seen)] for key, each in value.items()]
    if isinstance(value, (list, tuple)):
        return [plain(each, seen) for each in value]
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, enum.Enum):
        return plain(value.value, seen)
    if isinstance(value, int):
        return int(value)
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"{type(value)} is not known here")


def read(path: pathlib.Path) -> tuple[CollectionSpec | None, str]:
    """Return the spec and its digest, or the error."""
    try:
        spec = load_spec(path)
    except EbpfError as error:
        return None, f"{type(error).__name__}: {error}"
    return spec, hashlib.sha256(repr(plain(spec, set())).encode()).hexdigest()


def main() -> int:
    """Print a line for each object."""
    directory = pathlib.Path(sys.argv[1])
    warnings.simplefilter("ignore")
    different = False
    for path in objects(directory):
        first, second = read(path), read(path)
        same = first == second
        different |= not same
        print(path.relative_to(directory), first[1] if same else "is read differently each time")
    return int(different)


if __name__ == "__main__":
    sys.exit(main())
