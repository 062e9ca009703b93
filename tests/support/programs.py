"""Compiled eBPF objects of `bpf_src`, and compilers to make them anew.

Goes in: a program's name. Comes out: the path of its committed object (in this machine's byte order
unless told otherwise), or of a fresh one built by a given clang.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys

from pyebpf.elf import load_spec
from pyebpf.spec import CollectionSpec

ROOT = pathlib.Path(__file__).parents[2]
SOURCES = ROOT / "bpf_src"
DATA = ROOT / "tests" / "data"

# The variable that names a directory of what `rebuild` would make, for emulated machines: made on
# the host by `python -m tests.support.programs DIRECTORY`.
PREBUILT = "PYEBPF_PREBUILT_OBJECTS"

# What needs a newer clang than 14: BPF_TYPE_MATCHES, address spaces, may_goto.
OLDEST_CLANG = {"core_matches": 15, "arena": 19, "isa_v4": 19}


def names() -> list[str]:
    """Return the names of all programs in `bpf_src`."""
    return sorted(path.name.removesuffix(".bpf.c") for path in SOURCES.glob("*.bpf.c"))


def built(
    name: str, byteorder: str = sys.byteorder, *, directory: pathlib.Path = DATA
) -> pathlib.Path:
    """Return the committed object of a program, or the one in another directory."""
    return directory / f"{name}.{'el' if byteorder == 'little' else 'eb'}.o"


def only(name: str, *wanted: str) -> CollectionSpec:
    """Return the spec of a committed object of which just these programs will be loaded."""
    spec = load_spec(built(name))
    assert set(wanted) <= set(spec.programs)
    for program, each in spec.programs.items():
        each.autoload = program in wanted
    return spec


def only_used(name: str, *wanted: str) -> CollectionSpec:
    """As `only`, and without the maps that these programs do not use."""
    spec = only(name, *wanted)
    used = {each.symbol for one in wanted for each in spec.programs[one].references.values()}
    for other in set(spec.maps) - used:
        spec.maps[other].autocreate = False
    return spec


def clang_versions() -> list[int]:
    """Return the major versions of the clangs of this machine that make BPF objects with BTF."""
    versions = set()
    for directory in map(pathlib.Path, os.get_exec_path()):
        for path in directory.glob("clang-*"):
            match = re.fullmatch(r"clang-(\d+)", path.name)
            if match and int(match[1]) >= 14:
                versions.add(int(match[1]))
    return sorted(versions)


def missing_build_tool() -> str | None:
    """Return what a rebuild lacks on this machine, or ``None``."""
    if shutil.which("make") is None:
        return "make"
    if not pathlib.Path("/usr/include/bpf/bpf_helpers.h").exists():
        return "libbpf's headers (Debian: libbpf-dev)"
    return None if clang_versions() else "clang 14 or newer"


def rebuild(directory: pathlib.Path, version: int, orders: str = "el eb") -> list[str]:
    """Compile all programs that this clang can compile into *directory*; return their names."""
    able = [name for name in names() if OLDEST_CLANG.get(name, 0) <= version]
    if PREBUILT in os.environ:
        shutil.copytree(f"{os.environ[PREBUILT]}/clang-{version}", directory, dirs_exist_ok=True)
        return able
    # Stripping only removes DWARF, which no test reads; so a clang without its LLVM tools will do.
    command = ["make", "-s", "-C", str(SOURCES), f"CLANG=clang-{version}", "STRIP=true"]
    command += [f"OUT={directory}", f"NAMES={' '.join(able)}", f"ORDERS={orders}"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return able


def main(directory: pathlib.Path) -> None:
    """Make what tests would rebuild, once for many machines."""
    versions = [] if missing_build_tool() is not None else clang_versions()
    for version in versions:
        target = directory / f"clang-{version}"
        target.mkdir()
        rebuild(target, version)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
