"""Names of the functions behind system calls."""

from __future__ import annotations

import pathlib

import pytest

from pyebpf.host import syscalls


@pytest.mark.parametrize(
    ("machine", "prefix"), [("x86_64", "__x64_"), ("aarch64", "__arm64_"), ("ppc64le", "")]
)
def test_a_prefix_belongs_to_a_machine(machine: str, prefix: str) -> None:
    """Some never wrapped their system calls."""
    assert syscalls.wrapper_prefix(machine) == prefix


def test_wrappers_are_seen_in_the_kernels_symbols(tmp_path: pathlib.Path) -> None:
    """Also where addresses are hidden; without symbols there are none."""
    assert not syscalls.has_wrappers(str(tmp_path))
    (tmp_path / "proc").mkdir()
    listed = tmp_path / "proc/kallsyms"
    listed.write_text("0000000000000000 T sys_bpf\n")
    assert not syscalls.has_wrappers(str(tmp_path))
    listed.write_text(f"0000000000000000 T {syscalls.wrapper_prefix()}sys_bpf\n")
    assert syscalls.has_wrappers(str(tmp_path)) == bool(syscalls.wrapper_prefix())
