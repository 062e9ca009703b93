"""Fixtures of all tests, and three rules that no test can forget.

Skips: what the kernel lacks skips only if the kernel is older than the feature; a missing
privilege skips with its name, and fails under PYEBPF_REQUIRE_KERNEL=1. Leaks: a test that leaves a
descriptor, a map, a program, a link or a pin fails. Root: tests in `tests/kernel` need it, no other
does.
"""

from __future__ import annotations

import collections
import os
import pathlib
import signal
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from pyebpf.errors import NotSupportedError, PrivilegeError
from tests.support import kernel, leaks
from tests.support.netns import Namespace, Veth, connect
from tests.support.outcomes import OUTCOMES, Outcomes

LAST = {"test_parity.py"}
KERNEL_TESTS = pathlib.Path(__file__).parent / "kernel"


# --- skip policy -------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C work: shells start background jobs with SIGINT ignored, children inherit that."""
    config.stash[OUTCOMES] = outcomes = Outcomes()
    config.pluginmanager.register(Recorder(outcomes))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Recorder:
    """Notes how tests end."""

    def __init__(self, outcomes: Outcomes) -> None:
        self._outcomes = outcomes

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest."""
        self._outcomes.add(report)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let every test in `tests/kernel` use `real_kernel`, first of all its fixtures.

    The tests of the guide come last: they look at how the others ended.
    """
    items.sort(key=lambda item: item.path.name in LAST)
    for item in items:
        if KERNEL_TESTS in item.path.parents and isinstance(item, pytest.Function):
            item.fixturenames.insert(0, "real_kernel")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _skip_what_cannot_run())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _skip_what_cannot_run())


def _skip_what_cannot_run() -> Generator[None, Any, Any]:
    try:
        return (yield)
    except NotSupportedError as error:
        if not _lacks(error):
            raise
        pytest.skip(f"Linux {kernel.version_text()}: {error}")
    except PrivilegeError as error:
        if kernel.required():
            raise
        pytest.skip(str(error))


def _lacks(error: NotSupportedError) -> bool:
    if error.since is not None and kernel.version() < kernel.parse_version(error.since):
        return True
    probe = kernel.LACKED_BY_CONFIGURATION.get(error.feature)
    return probe is not None and probe()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Count the skips by reason: what did not run must be seen at a glance."""
    reasons = collections.Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    )
    if reasons:
        terminalreporter.section("not run")
        for reason, count in reasons.most_common():
            terminalreporter.write_line(f"{count:5} skipped: {reason}")


# --- leaks -------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves anything behind: set up before its other fixtures, checked after."""
    objects = "real_kernel" in request.fixturenames and kernel.missing_privilege() is None
    before = leaks.snapshot(objects=objects)
    yield
    left = leaks.left_since(before, objects=objects)
    if left:
        pytest.fail(f"left behind: {', '.join(left)}")


# --- the machine -------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def real_kernel() -> None:
    """Skip, naming it, if a privilege that eBPF needs is missing."""
    missing = kernel.missing_privilege()
    if missing is not None:
        if kernel.required():
            pytest.fail(missing)
        pytest.skip(missing)


@pytest.fixture(scope="session")
def tracefs(real_kernel: None) -> Iterator[pathlib.Path]:
    """A mounted tracefs; mounted for the session where the machine has none."""
    points = kernel.mount_points("tracefs")
    if points:
        yield points[0]
        return
    path = pathlib.Path("/sys/kernel/tracing")
    kernel.mount("tracefs", path)
    yield path
    kernel.unmount(path)


@pytest.fixture
def bpffs(real_kernel: None, tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A private BPF file system; a pin left on it fails the test."""
    path = tmp_path / "bpffs"
    path.mkdir()
    kernel.mount("bpf", path)
    try:
        yield path
        preloaded = {"maps.debug", "progs.debug"}  # the kernel's own (CONFIG_BPF_PRELOAD)
        left = [str(pin.relative_to(path)) for pin in path.rglob("*") if pin.name not in preloaded]
    finally:
        kernel.unmount(path)
    assert left == [], "pins left behind"


@pytest.fixture
def cgroup(real_kernel: None) -> Iterator[pathlib.Path]:
    """An empty version-2 control group of the test's own."""
    points = kernel.mount_points("cgroup2")
    if not points:
        pytest.skip("no cgroup2 file system is mounted")
    path = points[0] / f"pyebpf-test-{os.getpid()}"
    path.mkdir()
    yield path
    path.rmdir()


@pytest.fixture
def netns(real_kernel: None) -> Iterator[Namespace]:
    """A private network namespace; the test's own thread is in it, and so are its sockets."""
    namespace = Namespace()
    try:
        with namespace.entered():
            yield namespace
    finally:
        namespace.close()


@pytest.fixture
def veth(netns: Namespace) -> Iterator[Veth]:
    """A cable from the private namespace to another one."""
    peer = Namespace()
    try:
        yield connect(netns, peer)
    finally:
        peer.close()
