"""A process that has changed its root, and may not be root any more, goes on with what it has."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

from tests.support import kernel

ROOT = pathlib.Path(__file__).parents[3]
AFTER = """
import os, sys
import pyebpf

numbers = pyebpf.Map.create(type=pyebpf.MapType.HASH, max_entries=8, key="I", value="I")
events = pyebpf.Map.create(type=pyebpf.MapType.RINGBUF, max_entries=4096)
{before}
os.chroot(sys.argv[1])
os.chdir("/")
os.setgroups([])
os.setresuid(65534, 65534, 65534)
{after}
"""
USES = """
numbers[1] = 2
assert dict(numbers) == {1: 2}
with pyebpf.RingReader(events, record="<QQ") as reader:
    assert reader.poll(0) == []
"""
REFUSED = """
try:
    pyebpf.Map.create(type=pyebpf.MapType.LRU_HASH, max_entries=8, key_size=4, value_size=4)
except pyebpf.PrivilegeError as error:
    print(error)
"""
INVALID = """
try:
    pyebpf.Map.create(type=pyebpf.MapType.ARRAY, max_entries=0, key_size=4, value_size=4)
except pyebpf.SyscallError as error:
    print(error)
"""


def run(before: str, after: str, root: pathlib.Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", AFTER.format(before=before, after=after), root],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_works_once_all_is_imported(tmp_path):
    """Maps, readers, errors with their explanations."""
    kernel.needs("5.19", "maps for those who have a descriptor and no privilege")
    said = run("pyebpf.import_all()", USES + REFUSED + INVALID, tmp_path)
    assert "takes CAP_BPF" in said
    if kernel.version() >= (6, 5):  # before, whoever lacks the privilege is told nothing else
        assert "max_entries is 0" in said


def test_a_refusal_keeps_its_class_in_any_case(tmp_path):
    """Without an explanation, if nothing was imported before."""
    said = run("pyebpf.PrivilegeError", REFUSED, tmp_path)
    assert "EPERM" in said


def imported_late() -> set[str]:
    found = set()
    for path in (ROOT / "pyebpf").rglob("*.py"):
        if "testing" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for each in ast.walk(node):
                    if isinstance(each, ast.Import):
                        found |= {name.name for name in each.names}
                    elif isinstance(each, ast.ImportFrom) and each.module:
                        found.add(each.module)
    return found


def test_nothing_is_left_to_import():
    """Of all that functions import."""
    code = "import sys, pyebpf; pyebpf.import_all(); print(*sys.modules, sep=chr(10))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    left = imported_late() - set(done.stdout.split())
    assert left <= {"numpy"}, left
