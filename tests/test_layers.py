"""Who may import whom: the table of the architecture, enforced on the source text."""

from __future__ import annotations

import ast
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "pyebpf"

# Low to high. A unit may import units of earlier lines, unless `LIMITED` says less.
ORDER = [
    ["typed"],
    ["uapi"],
    ["errors", "names", "plain"],
    ["asm"],
    ["btf"],
    ["sections", "references", "map_pinning"],
    ["program_text"],
    ["spec"],
    ["abi", "resolve", "gather", "editor"],
    ["linking"],
    ["elf"],
    ["sys"],
    ["host"],
    ["features"],
    ["pinning"],
    ["handle"],
    ["btf_object", "bpf_token"],
    ["maps"],
    ["programs"],
    ["link", "readers"],
    ["xsk"],
    ["loader"],
    ["daemon", "export"],
]

LIMITED = {
    "names": set(),
    "plain": set(),
    "map_pinning": set(),
    "sections": {"uapi", "errors"},
    "sys": {"uapi", "errors"},
    "host": {"sys", "btf", "uapi", "errors"},
    "features": {"sys", "host", "btf", "asm", "uapi", "errors", "plain"},
    "pinning": {"features", "sys", "host", "btf", "uapi", "errors"},
    "handle": {"pinning", "features", "sys", "host", "btf", "uapi", "errors"},
    "btf_object": {"handle", "pinning", "features", "sys", "host", "btf", "uapi", "errors"},
    "testing": {"asm", "btf", "spec", "sys", "host", "uapi", "errors"},
}

# These see everything below but not the parser of files: a map or a link has no use for an ELF.
WITHOUT_ELF = {"maps", "programs", "link", "readers", "xsk"}

# Other people's packages, and who may use them. ctypes is here because system calls belong to sys.
THIRD_PARTY = {
    "cffi": {"sys"},
    "_cffi_backend": {"sys"},
    "ctypes": {"sys"},
    "elftools": {"elf", "host"},
    "numpy": {"maps", "readers", "export", "testing"},
    "pyarrow": {"export"},
    "pytest": {"testing"},
}

# A cheap import must not pay for these: inside functions only.
HEAVY = {"elftools", "numpy", "pyarrow", "asyncio"}
# Nor a load for these.
SLOW = {"dataclasses", "inspect", "signal", "difflib", "typing"}
# Nor one that gets to none of what is `COLD`.
UNNEEDED = {"copy", "ctypes", "re", "threading", "weakref"}

# Of ours, what most loads never get to: each may be imported inside functions, so that loading and
# attaching a program do not wait for it, and for type checkers. Everything else stands on top.
COLD = {
    "pyebpf.abi": "maps and programs that nobody compares",
    "pyebpf.bpf_token": "loads by their own rights",
    "pyebpf.btf.addresses": "values that nobody looks at",
    "pyebpf.btf.codec": "values that nobody looks at",
    "pyebpf.btf.encode": "types that the kernel takes as they are",
    "pyebpf.btf.records": "values that nobody looks at",
    "pyebpf.btf.sanitize": "kernels that refuse an object's types",
    "pyebpf.btf.saved_index": "types that this process indexes itself",
    "pyebpf.btf.values": "values that nobody looks at",
    "pyebpf.elf.legacy_maps": "maps that BTF declares",
    "pyebpf.gather": "programs that bring types of their own",
    "pyebpf.host.traceable": "targets that are there",
    "pyebpf.host.tracefs": "targets that are there",
    "pyebpf.link.auto": "loads that attach nothing",
    "pyebpf.link.details": "loads that ask nothing",
    "pyebpf.link.group": "hooks that are one place",
    "pyebpf.link.info": "loads that ask nothing",
    "pyebpf.link.kinds": "loads that ask nothing",
    "pyebpf.link.raw_tracepoint": "other hooks",
    "pyebpf.link.struct_ops": "other hooks",
    "pyebpf.link.tracepoint": "other hooks",
    "pyebpf.link.tracing": "other hooks",
    "pyebpf.link.uprobe": "other hooks",
    "pyebpf.elf.exceptions": "programs that throw nothing",
    "pyebpf.loader.arena": "objects without arenas",
    "pyebpf.loader.jump_tables": "programs without indirect jumps",
    "pyebpf.loader.kconfig": "externs of the kernel",
    "pyebpf.loader.ksyms": "externs of the kernel",
    "pyebpf.loader.pins": "maps that are not pinned",
    "pyebpf.loader.struct_ops": "programs that implement nothing",
    "pyebpf.maps.arena": "objects without arenas",
    "pyebpf.maps.bulk": "programs made of instructions, for many keys at once",
    "pyebpf.maps.dtypes": "values that nobody looks at",
    "pyebpf.maps.info": "maps that nobody asks about",
    "pyebpf.maps.mapped": "values that nobody looks at",
    "pyebpf.maps.native": "values that nobody looks at",
    "pyebpf.maps.objects": "kinds that hold descriptors",
    "pyebpf.maps.own_types": "maps with types of their own",
    "pyebpf.maps.stack_format": "maps without stacks",
    "pyebpf.maps.struct_ops": "programs that implement nothing",
    "pyebpf.maps.user_codec": "values that nobody looks at",
    "pyebpf.pinning": "objects without names",
    "pyebpf.programs.benchmark": "programs that nobody measures",
    "pyebpf.programs.info": "programs that nobody asks about",
    "pyebpf.programs.jited": "programs whose code nobody looks at",
    "pyebpf.programs.refusal": "programs that the verifier refuses",
    "pyebpf.programs.silence": "programs that never get to the verifier",
    "pyebpf.programs.stats": "programs that nobody measures",
    "pyebpf.programs.xlated": "programs whose code nobody looks at",
    "pyebpf.readers.perf": "loads that read no events",
    "pyebpf.readers.ring": "loads that read no events",
    "pyebpf.sys.absence": "calls that the kernel knows",
    "pyebpf.sys.mapping": "objects without arenas",
    "pyebpf.sys.memlock": "calls that are allowed",
    "pyebpf.sys.mount": "file systems that are mounted",
    "pyebpf.sys.netlink": "hooks that are no interfaces",
    "pyebpf.sys.privileges": "calls that are allowed",
    "pyebpf.sys.slots": "maps that nobody looks into: it brings ctypes",
    "pyebpf.sys.test_run": "programs that only events run",
    "pyebpf.uapi.helpers": "two hundred names, of which nothing but text needs any",
    "pyebpf.uapi.if_xdp": "hooks that are no interfaces",
    "pyebpf.uapi.info": "loads that ask nothing",
    "pyebpf.uapi.per_hook": "enums of single hooks and commands",
    "pyebpf.uapi.perf_counters": "events that count nothing",
    "pyebpf.uapi.perf_records": "loads that read no events",
    "pyebpf.uapi.rtnetlink": "hooks that are no interfaces",
}


@dataclass(frozen=True)
class Import:
    """One import: in which unit and line, of what, and where it stands."""

    unit: str
    place: str
    name: str
    in_function: bool
    type_checking: bool

    @property
    def root(self) -> str:
        return self.name.split(".")[0]

    @property
    def target(self) -> str:
        """The unit of ours that is imported; ``""`` is the package itself."""
        return self.name.split(".")[1] if "." in self.name else ""


def unit_of(path: pathlib.Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports() -> Iterator[Import]:
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"), str(path))
        place = str(path.relative_to(PACKAGE.parent))
        yield from visit(tree, unit_of(path), place, in_function=False, type_checking=False)


def visit(
    node: ast.AST, unit: str, place: str, *, in_function: bool, type_checking: bool
) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inside = in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        checking = type_checking or (
            isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        )
        for name in imported_names(child):
            yield Import(unit, f"{place}:{child.lineno}", name, inside, checking)
        yield from visit(child, unit, place, in_function=inside, type_checking=checking)


def imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    if node.level:
        return ["." * node.level + (node.module or "")]
    module = node.module or ""
    # `from pyebpf import link` imports a unit, and `from pyebpf.btf import values` a module.
    names = [f"{module}.{alias.name}" for alias in node.names]
    files = [PACKAGE.parent.joinpath(*name.split(".")) for name in names]
    if module == "pyebpf" or all(path.with_suffix(".py").exists() for path in files):
        return names
    return [module]


def allowed(unit: str) -> set[str]:
    """Return the units a unit may import."""
    if unit in LIMITED:
        return LIMITED[unit] | {unit, "typed"}
    below = {unit}
    for line in ORDER:
        if unit in line:
            break
        below.update(line)
    return below - {"elf"} if unit in WITHOUT_ELF else below


IMPORTS = list(imports())
OURS = [found for found in IMPORTS if found.root == "pyebpf" and found.unit != "__init__"]


def test_no_unit_imports_from_a_layer_above_it() -> None:
    """Every import of ours points down the table."""
    known = {unit for line in ORDER for unit in line}
    wrong = [
        f"{found.place} imports {found.name}"
        for found in OURS
        if found.unit != "cli" and found.target in known | {"cli", "testing"}
        if found.target not in allowed(found.unit)
    ]
    assert wrong == []


def test_nothing_imports_the_package_itself() -> None:
    """Only the command line, our first user, goes through the public names."""
    wrong = [
        f"{found.place} imports {found.name}"
        for found in OURS
        if found.unit != "cli" and found.name == "pyebpf"
    ]
    assert wrong == []


def test_every_unit_stands_in_the_table() -> None:
    """A new file or package at the top level is given its layer before it is used."""
    known = {unit for line in ORDER for unit in line} | {"__init__", "testing", "cli", "__main__"}
    units = {unit_of(path) for path in PACKAGE.rglob("*.py")}
    assert units - known == set()


def test_cycles_are_not_hidden_from_the_interpreter() -> None:
    """Imports of ours stand on top, except `host`'s and what is `COLD`; and then point down, too.

    Packages that look their names up when they are used tell type checkers where they are. And
    the assembler: programs out of files do without it, and it lies too low to close a cycle.
    """
    lazily = {"host", "testing"}
    wrong = [
        f"{found.place} imports {found.name}"
        for found in OURS
        if found.in_function or found.type_checking
        if found.name not in COLD and found.target not in {"asm", "program_text"}
        if not (found.target in lazily and found.in_function)
        if not ("__init__.py" in found.place and found.type_checking)
    ]
    assert wrong == []


def test_what_is_cold_is_imported_by_nothing_that_is_not() -> None:
    """Importing the loader leaves it alone, and what is slow in the standard library, too."""
    code = "import pyebpf, sys; pyebpf.load; print(*sys.modules)"
    # Without what installed packages import when the interpreter starts.
    command = [sys.executable, "-S", "-c", code]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *sys.path])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "pyebpf.loader.collection" in loaded
    assert loaded & COLD.keys() == set()
    others = {"ipaddress", "pathlib", "socket", "urllib"}
    assert loaded & {*HEAVY, *SLOW, *UNNEEDED, *others} == set()


def test_imports_are_absolute() -> None:
    """A name says where it comes from."""
    assert [found.place for found in IMPORTS if found.name.startswith(".")] == []


@pytest.mark.parametrize("package", sorted(THIRD_PARTY))
def test_only_its_units_use_a_foreign_package(package: str) -> None:
    """System calls are made in sys alone, and ELF files read by elf and host alone."""
    wrong = [
        found.place
        for found in IMPORTS
        if found.root == package and found.unit not in THIRD_PARTY[package]
    ]
    assert wrong == []


def test_no_other_foreign_package_is_used() -> None:
    """What is neither ours, nor the standard library's, nor in the table is not a dependency."""
    known = set(sys.stdlib_module_names) | {"pyebpf", *THIRD_PARTY}
    # Type checkers bring typing_extensions along; at run time it is never imported.
    used = {found.root for found in IMPORTS if not found.type_checking}
    used |= {found.root for found in IMPORTS if found.type_checking} - {"typing_extensions"}
    assert used - known - {""} == set()


def test_heavy_packages_are_imported_inside_functions() -> None:
    """`import pyebpf` must not pay for what few callers use."""
    wrong = [
        found.place
        for found in IMPORTS
        if found.root in HEAVY or (found.root in SLOW and found.unit != "testing")
        if not (found.in_function or found.type_checking)
    ]
    assert wrong == []


def test_no_file_is_too_long() -> None:
    """Six hundred lines is where a file holds one idea too many."""
    # The kernel's enums, one after the other, and what a generator wrote are no ideas.
    generated = {"_libc.py", "_libc.pyi"}
    long = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if path.name not in generated
        if len(path.read_text("utf-8").splitlines()) > 600
    ]
    assert long == []
