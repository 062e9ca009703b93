"""Asks the running kernel what it can do: one entry of `pyebpf.testing.ages_table`.

    python -m tests.support.ages                  prints the entry of this kernel (root)
    python -m tests.support.ages --write FILE...  puts what such runs printed into the table

``make ages KERNEL="5.10 6.1"`` does both, in virtual machines.
"""

from __future__ import annotations

import pathlib
import re
import sys

import pyebpf
from pyebpf import features
from pyebpf.errors import EbpfError, NotSupportedError
from pyebpf.features.btf import _KINDS
from pyebpf.features.feature import Feature
from pyebpf.sys import kernel
from pyebpf.uapi.bpf import Cmd, MapFlag, MapType, ProgType
from tests.support.kernel import parse_version, version

TABLE = pathlib.Path(pyebpf.__file__ or "").parent / "testing" / "ages_table.py"

HEAD = '''"""What kernels answered when they were asked: made by ``make ages``.

By release: map types, creation flags of maps, program types, commands of bpf(2), and the names of
features with underscores for blanks. Read by `pyebpf.testing.ages`.
"""

from __future__ import annotations

__all__ = ["AGES"]

AGES = {
'''

# Kinds of maps with which a flag is tried need more than a flag: descriptors, types.
NEEDING_MORE = {MapFlag.PATH_FD, MapFlag.TOKEN_FD, MapFlag.VTYPE_BTF_OBJ_FD, MapFlag.CLONE}

ABILITIES = [
    features.attach_cookie,
    features.dotted_names,
    features.expected_attach_type,
    features.far_map_values,
    features.function_addresses,
    features.function_pointers,
    features.function_types,
    features.mmapable_arrays,
    features.object_names,
    features.probe_read_kernel,
    *_KINDS.values(),
]


def has(feature: Feature) -> bool:
    """Whether the kernel has it; what it will not tell counts as yes."""
    try:
        return feature.available()
    except EbpfError:
        return True


def has_flag(flag: MapFlag) -> bool:
    """Whether the kernel takes a flag of maps."""
    return has(features.map_flag(flag))


def reached(flag: MapFlag) -> bool:
    """Whether the kernel is as new as a flag that cannot be tried alone."""
    return flag.since is None or version() >= parse_version(flag.since)


def has_command(cmd: Cmd) -> bool:
    """Whether the kernel has a command."""
    linux = kernel.LinuxKernel()
    return not linux._lacks(cmd)


def answers() -> list[str]:
    """Return the five columns."""
    columns = [
        [each.name for each in MapType if each and has(features.map_type(each))],
        # Kernels have always had those without a release; some kinds refuse them.
        [
            each.name or ""
            for each in MapFlag
            if (reached(each) if each in NEEDING_MORE or not each.since else has_flag(each))
        ],
        [each.name for each in ProgType if each and has(features.program_type(each))],
        [each.name for each in Cmd if has_command(each)],
        [each.name.replace(" ", "_") for each in ABILITIES if has(each)],
    ]
    return [" ".join(column) for column in columns]


def entry() -> str:
    """Return the entry of the running kernel."""
    lines = [f'    "{".".join(map(str, version()))}": (']
    for column in answers():
        words, line = column.split(), ""
        parts = []
        for word in words:
            if len(line) + len(word) > 80:
                parts.append(line)
                line = ""
            line += f"{word} "
        parts.append(line.rstrip())
        if len(parts) == 1:
            lines.append(f'        "{parts[0]}",')
        else:
            lines += [f'        "{part}"' for part in parts[:-1]] + [f'        "{parts[-1]}",']
    return "\n".join([*lines, "    ),"])


ENTRY = re.compile(r'^    "(\d+)\.(\d+)": \(\n.*?^    \),$', re.MULTILINE | re.DOTALL)


def write(paths: list[str]) -> None:
    """Put what runs on several kernels printed into the table, in the place of what was there."""
    entries = {}
    for path in [TABLE, *map(pathlib.Path, paths)]:
        found = {(int(each[1]), int(each[2])): each[0] for each in ENTRY.finditer(path.read_text())}
        if not found:
            sys.exit(f"{path}: no entry")
        entries |= found
    TABLE.write_text(HEAD + "\n".join(entries[each] for each in sorted(entries)) + "\n}\n")


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["--write"]:
            write(sys.argv[2:])
        else:
            print(entry())
    except NotSupportedError as error:
        sys.exit(str(error))
