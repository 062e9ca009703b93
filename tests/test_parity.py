"""The table of features in the guide: every yes has a test, which runs where the machine can."""

from __future__ import annotations

import ast
import functools
import os
import pathlib
import platform
import re
import shutil
from collections.abc import Callable
from typing import NamedTuple

import pytest

from pyebpf import features
from pyebpf.features import Answer
from pyebpf.host import kconfig
from pyebpf.uapi.bpf import AttachType, LinkType
from tests.support import kernel
from tests.support.outcomes import OUTCOMES, Outcomes
from tests.support.programs import clang_versions

ROOT = pathlib.Path(__file__).parents[1]
GUIDE = ROOT / "pyebpf" / "guide" / "parity.md"
BTF = pathlib.Path("/sys/kernel/btf/vmlinux")
README = (ROOT / "README.md").read_text("utf-8")
COLUMNS = ["feature", "pyebpf", "since", "module", "tests"]
RELEASE = r"\d+\.\d+"
ANY = "\N{EN DASH}"


class Row(NamedTuple):
    """One line of a table."""

    feature: str
    answer: str
    since: str
    modules: tuple[str, ...]
    tests: tuple[str, ...]


def rows() -> list[Row]:
    found = []
    for line in GUIDE.read_text("utf-8").splitlines():
        cells = [each.strip() for each in line.strip("|").split("|")]
        if not line.startswith("|") or cells == COLUMNS or set(line) <= set("|- "):
            continue
        feature, answer, since, modules, tests = cells
        named = [tuple(re.findall(r"`([^`]+)`", each)) for each in (modules, tests)]
        found.append(Row(feature, answer, since, *named))
    return found


ROWS = rows()
NAMED = sorted({test for row in ROWS for test in row.tests})


@functools.cache
def functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / path).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_table_is_there() -> None:
    """Each part of it, and no feature twice in one."""
    assert len(ROWS) > 150
    parts = GUIDE.read_text("utf-8").split("\n## ")[1:]
    assert len(parts) >= 8
    for part in parts:
        names = re.findall(r"^\| ([^|]+) \|", part, re.MULTILINE)
        assert len(set(names)) == len(names), part.splitlines()[0]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.feature[:40])
def test_a_yes_has_tests_and_a_no_has_none(row: Row) -> None:
    """What is said is said with its release, its module, and what is missing."""
    assert row.answer in ("yes", "no") or row.answer.startswith("partly: ")
    assert row.since == ANY or re.match(RELEASE, row.since)
    assert bool(row.tests) == bool(row.modules) == (row.answer != "no")
    for module in row.modules:
        path = ROOT / "pyebpf" / module.replace(".", "/")
        assert path.is_dir() or path.with_name(f"{path.name}.py").is_file(), module


@pytest.mark.parametrize("test", NAMED)
def test_named_tests_exist(test: str) -> None:
    """A file below `tests`, and a function in it."""
    path, _, name = test.partition("::")
    assert name in functions(path)


def test_the_readme_counts_them() -> None:
    """Its summary is that of the table, and leads there."""
    counts = {"yes": 0, "partly": 0, "no": 0}
    for row in ROWS:
        counts[row.answer.partition(":")[0]] += 1
    summary = ", ".join(f"{number} {answer}" for answer, number in counts.items())
    assert f"{len(ROWS)} features: {summary}" in README
    assert "(pyebpf/guide/parity.md)" in README


# --- what did not run ----------------------------------------------------------------------------


def lacks_counters_of_groups() -> bool:
    points = kernel.mount_points("cgroup2")
    return not any("perf_event" in (each / "cgroup.controllers").read_text() for each in points)


def lacks_bpf_lsm() -> bool:
    path = pathlib.Path("/sys/kernel/security/lsm")
    return not path.exists() or "bpf" not in path.read_text().split(",")


def lacks_compiler(oldest: int = 0) -> bool:
    return max(clang_versions(), default=0) < oldest or not shutil.which("gcc")


# Why a test may be skipped although the kernel is new enough: the reason it gives -> a probe of the
# machine that is true where that is so. A kernel too old, and what it lacks by its configuration,
# is probed where it is skipped (see conftest); and of some reasons the test itself is the probe.
EXCUSES: dict[str, Callable[[], bool]] = {
    r"Linux \S+: |the programs use instructions that came with Linux": lambda: True,
    r"CAP_\w+ is missing|bpf\(2\) is refused": lambda: kernel.missing_privilege() is not None,
    r"a policy of this kernel refuses programs": lambda: (
        features.attach_type(AttachType.TRACE_FENTRY).finding().answer is Answer.UNKNOWN
    ),
    r"this kernel has no netkit": lambda: not features.link_type(LinkType.NETKIT).available(),
    r"this kernel has no security hooks of paths": lambda: kernel.lacks_function(
        "security_path_mkdir"
    ),
    r"two virtio_net cards": lambda: "PYEBPF_MACHINE_IS_OURS" not in os.environ,
    r"bpf is not among the active security modules": lacks_bpf_lsm,
    r"the perf_event controller is not in the cgroup2 hierarchy": lacks_counters_of_groups,
    r"no cgroup2 file system is mounted": lambda: not kernel.mount_points("cgroup2"),
    r"kernel with CONFIG_DEBUG_INFO_BTF": lambda: not BTF.exists(),
    r"this kernel interprets programs, or hides their code": lambda: (
        pathlib.Path("/proc/sys/net/core/bpf_jit_enable").read_text() == "0\n"
    ),
    r"this system does not keep its kernel's configuration": lambda: not kconfig.read([]).source,
    r".*x86-64": lambda: platform.machine() != "x86_64" or lacks_compiler(),
    r"clang 1[45]|gcc": lambda: lacks_compiler(15),
    r"a kernel that has memory for streams": lambda: True,
    r"this bpftool |another process is reading|a machine that is quick enough": lambda: True,
}
TOOL = re.compile(r"([\w.-]+)( \(.*\))? is not installed|(bpftool)$")


def excused(reason: str) -> bool:
    tool = TOOL.match(reason)
    if tool is not None:
        return shutil.which(tool[1] or tool[3], path=f"{os.environ['PATH']}:/usr/sbin") is None
    return any(probe() for pattern, probe in EXCUSES.items() if re.match(pattern, reason))


def test_an_excuse_holds_where_it_is_true() -> None:
    """And nowhere else."""
    assert excused("no-such-tool-of-ours (Debian: nothing) is not installed")
    assert not excused("sh is not installed")
    assert not excused("it did not feel like it")
    assert excused("the programs name x86-64's functions") == (platform.machine() != "x86_64")


def unexcused(outcomes: Outcomes) -> list[str]:
    """Return what was skipped with all its parameters, for reasons that do not hold."""
    wrong = []
    for test in NAMED:
        found = outcomes.of(f"tests/{test}")
        if found and all(each.name == "skipped" for each in found):
            wrong += [f"{test}: {each.reason}" for each in found if not excused(each.reason)]
    return wrong


def test_a_test_that_is_skipped_for_nothing_is_seen() -> None:
    """Unless another set of parameters passed."""
    outcomes, node = Outcomes(), f"tests/{NAMED[0]}"
    skipped = ("test.py", 1, "Skipped: it did not feel like it")
    for outcome, longrepr in (("skipped", skipped), ("passed", None)):
        report = pytest.TestReport(f"{node}[{outcome}]", ("", 0, ""), {}, outcome, longrepr, "call")
        outcomes.add(report)
        expected = [f"{NAMED[0]}: it did not feel like it"] if outcome == "skipped" else []
        assert unexcused(outcomes) == expected


def test_named_tests_run_where_the_machine_can(request: pytest.FixtureRequest) -> None:
    """Of those in this run: each passed with one set of parameters at least, or is excused."""
    assert unexcused(request.config.stash[OUTCOMES]) == []
