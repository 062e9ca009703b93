"""Every section name of libbpf's table either attaches by itself or says what it needs."""

from __future__ import annotations

import ast
import importlib
import pathlib
import pkgutil

import pytest

from pyebpf import link
from pyebpf.link import auto
from pyebpf.link.lazily import found
from pyebpf.programs.program import Program
from pyebpf.sections import SECTIONS, Section
from pyebpf.spec import ProgramSpec
from pyebpf.uapi.bpf import ProgType

# What libbpf attaches by its name; struct_ops by their maps. Tracing of many functions by BTF is
# newer than any kernel that this library attaches to that way.
BY_NAME = {
    "kprobe", "kretprobe", "uprobe", "uprobe.s", "uretprobe", "uretprobe.s", "kprobe.multi",
    "kretprobe.multi", "kprobe.session", "uprobe.multi", "uprobe.multi.s", "uretprobe.multi",
    "uretprobe.multi.s", "uprobe.session", "uprobe.session.s", "ksyscall", "kretsyscall", "usdt",
    "usdt.s", "tracepoint", "tp", "tracepoint.s", "tp.s", "raw_tracepoint", "raw_tp",
    "raw_tracepoint.s", "raw_tp.s", "raw_tracepoint.w", "raw_tp.w", "tp_btf", "tp_btf.s", "fentry",
    "fentry.s", "fexit", "fexit.s", "fmod_ret", "fmod_ret.s", "fsession", "fsession.s", "freplace",
    "lsm", "lsm.s", "iter", "iter.s", "fentry.multi", "fexit.multi", "fsession.multi",
    "fentry.multi.s", "fexit.multi.s", "fsession.multi.s",
}  # fmt: skip


class Named(Program):
    """A program that was never loaded."""

    def __init__(self, section: str, kind: ProgType, attach_to: str) -> None:
        self.name, self.type = "program", kind
        self.spec = ProgramSpec(name="program", section=section, type=kind, attach_to=attach_to)


def test_what_type_checkers_see_is_what_there_is():
    """Their block and the lazy names of `pyebpf.link` say the same; no name is a module's."""
    source = pathlib.Path(link.__file__).read_text("utf-8")
    seen = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            seen |= {each.asname: (node.module, each.name) for each in node.names}
    assert set(seen) == set(link.__all__)
    for name, (module, attribute) in seen.items():
        assert getattr(link, name) is getattr(importlib.import_module(module), attribute), name
    modules = {each.name for each in pkgutil.iter_modules(link.__path__)}
    assert modules & set(link.__all__) == set()


def test_every_way_is_a_function():
    """Of the module that the table names."""
    for module, function in set(auto.WAYS.values()):
        assert callable(found(module, function))


@pytest.mark.parametrize("row", SECTIONS, ids=lambda row: row.pattern)
def test_a_section_attaches_or_says_what_it_needs(row: Section):
    """As libbpf does, and in words where it does not."""
    name = row.pattern.removesuffix("+")
    by_name = name in BY_NAME
    assert (name in auto.WAYS) == by_name
    if by_name:
        target = "/bin/x:provider:name" if name.startswith("u") else "some/thing"
        assert auto.names_its_target(Named(f"{name}/{target}", row.type, target))
        assert not auto.names_its_target(Named(name, row.type, ""))
        assert "names no target" in auto._needs(Named(name, row.type, ""))
    else:
        assert " needs " in auto._needs(Named(name, row.type, ""))


def test_part_of_a_target_is_none():
    """SEC("uprobe/path") is attached by hand, as in libbpf."""
    for section, target in (("uprobe", "/bin/x"), ("usdt", "/bin/x"), ("tp", "sched")):
        assert not auto.names_its_target(Named(f"{section}/{target}", ProgType.KPROBE, target))
