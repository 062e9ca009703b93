"""What programs take from the kernel, as the system itself tells it: symbols, the configuration.

Read without the library, which they judge.
"""

from __future__ import annotations

import gzip
import pathlib
import re
from typing import NamedTuple

import pyebpf
from tests.support import kernel


class Symbol(NamedTuple):
    """A line of /proc/kallsyms; *module* is ``""`` for the kernel itself."""

    address: int
    module: str


def symbols(name: str) -> list[Symbol]:
    """Return the kernel's symbols of exactly this name."""
    found = []
    with pathlib.Path("/proc/kallsyms").open() as file:
        for line in file:
            if name in line:
                address, _, symbol, *module = line.split()
                if symbol == name:
                    found.append(Symbol(int(address, 16), "".join(module).strip("[]")))
    return found


def require_function(name: str, since: str) -> None:
    """Raise what the skip policy takes for a kernel that is too old, if it has no such function."""
    if not symbols(name):
        raise pyebpf.NotSupportedError(f"{name}()", since)


def configuration() -> dict[str, str] | None:
    """Return the running kernel's configuration as text, or ``None`` if the system keeps none."""
    plain = pathlib.Path("/boot", f"config-{kernel.version_text()}")
    packed = pathlib.Path("/proc/config.gz")
    if plain.exists():
        text = plain.read_text()
    elif packed.exists():
        text = gzip.decompress(packed.read_bytes()).decode()
    else:
        return None
    return dict(re.findall(r"^(CONFIG_\w+)=(.*)$", text, re.MULTILINE))
