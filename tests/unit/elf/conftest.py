"""A compiler for tests that need what no builder makes: real code with real BTF."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
from collections.abc import Callable

import pytest

from pyebpf.elf import load_spec
from pyebpf.spec import CollectionSpec
from tests.support import programs

Compile = Callable[..., CollectionSpec]


@pytest.fixture
def compile_c(tmp_path: pathlib.Path) -> Compile:
    """Return a function that compiles C to a spec; ``source`` goes behind the shared header."""
    missing = programs.missing_build_tool()
    if missing is not None:
        pytest.skip(f"{missing} is not installed")

    def compile_(
        source: str, *flags: str, byteorder: str = "little", clang: int = 19
    ) -> CollectionSpec:
        if shutil.which(f"clang-{clang}") is None:
            pytest.skip(f"clang-{clang} is not installed")
        path = tmp_path / "test.bpf.c"
        path.write_text(f'#include "bpf.h"\n{source}', "utf-8")
        target = "bpfel" if byteorder == "little" else "bpfeb"
        command = [f"clang-{clang}", "-target", target, "-O2", "-g", "-mcpu=v3", *flags]
        command += [f"-I{programs.SOURCES / 'include'}", "-c", str(path), "-o"]
        command.append(str(path.with_suffix(".o")))
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert not done.returncode, done.stderr
        return load_spec(path.with_suffix(".o"))

    return compile_
