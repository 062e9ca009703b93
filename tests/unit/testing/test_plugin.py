"""The fixtures, in a pytest of their own, with and without privileges."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

TEST = """
import pytest, pyebpf
from pyebpf.sys import kernel

def test_plain(fake_kernel):
    assert kernel.current() is fake_kernel

@pytest.mark.fake_kernel(cpus=7)
def test_marked(fake_kernel):
    from pyebpf.host import cpus
    assert cpus.possible() == 7

def test_both(any_kernel):
    with pyebpf.Map.create(type=pyebpf.MapType.HASH, key_size=4, value_size=4, max_entries=4) as m:
        m[bytes(4)] = bytes(4)
        assert len(m) == 1
"""


def run(tmp_path: pathlib.Path, **environment: str) -> str:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (util-linux) is not installed")
    path = tmp_path / "test_inner.py"
    path.write_text(TEST, "utf-8")
    names = {each.value for each in importlib.metadata.entry_points(group="pytest11")}
    plugin = [] if "pyebpf.testing.plugin" in names else ["-p", "pyebpf.testing.plugin"]
    command = [] if os.getuid() else ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]
    command += [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers"]
    command += ["-c", os.devnull, "--rootdir", str(tmp_path), *plugin, str(path)]
    variables = {name: each for name, each in os.environ.items() if name != "PYEBPF_REQUIRE_KERNEL"}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=pathlib.Path(__file__).parents[3],
        env=variables | environment,
    )
    return done.stdout


def test_without_privileges_the_real_half_is_skipped(tmp_path: pathlib.Path) -> None:
    """The rest passes."""
    assert "3 passed, 1 skipped" in run(tmp_path)


def test_where_a_kernel_is_required_it_fails(tmp_path: pathlib.Path) -> None:
    """A made-up kernel must not make continuous integration pass."""
    assert "3 passed, 1 error" in run(tmp_path, PYEBPF_REQUIRE_KERNEL="1")
