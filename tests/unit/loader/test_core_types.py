"""Whose types programs are relocated against: every row of the table."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.errors import BtfError, SyscallError
from pyebpf.host.kernel_btf import kernel_btf
from pyebpf.host.modules import Modules
from pyebpf.loader.core_types import CoreTypes
from pyebpf.sys import kernel
from pyebpf.uapi.btf import BtfKind
from tests.support.btf_builder import BtfBuilder
from tests.support.made_kernel import MadeKernel


def types(name: str, base: Btf | None = None) -> bytes:
    """BTF of one type, on top of another's."""
    if base is None:
        builder = BtfBuilder()
    else:
        builder = BtfBuilder(ids=len(base), strings=base.strings_length)
    builder.struct(name, 4)
    return builder.build()


RUNNING, GIVEN = types("running"), types("given")


@pytest.fixture
def files(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A kernel with one module and one whose types are broken."""
    directory = tmp_path / "sys/kernel/btf"
    directory.mkdir(parents=True)
    (directory / "vmlinux").write_bytes(RUNNING)
    (directory / "mod").write_bytes(types("running_module", Btf.decode(RUNNING)))
    (directory / "broken").write_bytes(b"nonsense")
    with kernel.use(MadeKernel(tmp_path)):
        yield tmp_path


def last_names(found: CoreTypes) -> list[str]:
    """The last type of each, which is its own."""
    return [btf.type(len(btf) - 1).name for btf in found]


@pytest.mark.parametrize(
    ("given", "modules", "expected"),
    [
        (None, None, ["running", "running_module"]),
        (None, {"m": "running"}, ["running", "m"]),
        (None, {}, ["running"]),
        (GIVEN, None, ["given"]),
        (GIVEN, {"m": "given", "n": "given"}, ["given", "m", "n"]),
    ],
    ids=["neither", "modules", "no modules", "kernel", "both"],
)
def test_who_is_asked(files, given, modules, expected):
    """What is given takes the place of what runs; a kernel that is given has no modules."""
    bases = {"running": Btf.decode(RUNNING), "given": Btf.decode(GIVEN)}
    named = modules and {name: types(name, bases[base]) for name, base in modules.items()}
    found = CoreTypes(given, modules if named is None else named, Modules(kernel_btf))
    assert last_names(found) == expected
    assert last_names(found) == expected, "and again"


def test_types_may_be_decoded_or_in_files(files, tmp_path):
    """A module's continue those of the kernel that was given."""
    kernel_path, module_path = tmp_path / "kernel.btf", tmp_path / "module.btf"
    kernel_path.write_bytes(GIVEN)
    module_path.write_bytes(types("m", Btf.decode(GIVEN)))
    running = Modules(kernel_btf)
    assert last_names(CoreTypes(kernel_path, {"m": module_path}, running)) == ["given", "m"]
    assert last_names(CoreTypes(str(kernel_path), {"m": str(module_path)}, running)) == [
        "given",
        "m",
    ]
    decoded = Btf.decode(GIVEN)
    assert next(iter(CoreTypes(decoded, None, running))) is decoded


def test_types_that_cannot_be_read_are_named(files, tmp_path):
    """The module, or the file; nothing is read before somebody asks."""
    running = Modules(kernel_btf)
    missing = CoreTypes(tmp_path / "none", None, running)
    with pytest.raises(SyscallError, match="none"):
        list(missing)
    broken = CoreTypes(None, {"mine": b"nonsense"}, running)
    with pytest.raises(BtfError, match='types of module "mine"'):
        list(broken)
    assert next(iter(broken)).find("running", BtfKind.STRUCT)
