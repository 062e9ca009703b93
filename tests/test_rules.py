"""The rules of `conftest.py` hold: shown by tests that break them, in a pytest of their own."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# Test's body -> what the outcome must say.
UNPRIVILEGED = {
    "pass": r"1 passed",
    "import os; os.open('/etc/passwd', os.O_RDONLY)": r"left behind: descriptor \d+ \(/etc/",
    "import os; from pyebpf.sys.fd import FD; FD(os.dup(1)); import gc; gc.collect()": (
        r"ResourceWarning"
    ),
    "from pyebpf.errors import NotSupportedError; raise NotSupportedError('x', '99.1')": (
        r"1 skipped: .*x not supported by this kernel \(since Linux 99\.1\)"
    ),
    "from pyebpf.errors import NotSupportedError; raise NotSupportedError('x', '3.1')": r"1 failed",
    "from pyebpf.errors import PrivilegeError; raise PrivilegeError('bpf', 1, 'CAP_BPF')": (
        r"1 skipped: bpf: EPERM: CAP_BPF"
    ),
}

CREATE = """
    from pyebpf import Map, MapType
    with Map.create(type=MapType.ARRAY, key_size=4, value_size=8, max_entries=1) as numbers:
"""
PRIVILEGED = {
    f"{CREATE}        pass": r"1 passed",
    f"{CREATE}        numbers.pin(bpffs / 'kept')": r"pins left behind",
    f"{CREATE}        import os; os.dup(numbers.fileno())": (
        r"left behind: descriptor \d+ \(anon_inode:bpf-map\), map \d+"
    ),
}


def outcome(tmp_path: pathlib.Path, arguments: str, body: str, required: str = "0") -> str:
    path = tmp_path / "test_inner.py"
    path.write_text(f"def test_inner({arguments}):\n    {body.strip()}\n", "utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    command += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), str(path)]
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "PYEBPF_REQUIRE_KERNEL": required}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    return done.stdout


@pytest.mark.parametrize("body", UNPRIVILEGED)
def test_rules_that_need_no_kernel(body: str, tmp_path: pathlib.Path) -> None:
    """Leaked descriptors, forgotten owners and false excuses fail; true ones skip, by name."""
    assert re.search(UNPRIVILEGED[body], outcome(tmp_path, "", body))


@pytest.mark.parametrize("body", PRIVILEGED)
@pytest.mark.usefixtures("real_kernel")
def test_rules_about_kernel_objects(body: str, tmp_path: pathlib.Path) -> None:
    """A map or a pin that outlives its test fails it."""
    assert re.search(PRIVILEGED[body], outcome(tmp_path, "bpffs", body))


def test_a_missing_privilege_fails_where_it_is_required(tmp_path: pathlib.Path) -> None:
    """Continuous integration cannot pass by skipping."""
    body = "from pyebpf.errors import PrivilegeError; raise PrivilegeError('bpf', 1, 'CAP_BPF')"
    assert "1 failed" in outcome(tmp_path, "", body, required="1")
