"""Every test here is asked of the made-up kernel and of the real one, and expects the same."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from pyebpf.testing import FakeKernel
from tests.support import kernel as machine

# The release whose answers are written down here; older ones give others here and there.
RELEASE = (6, 18)


@pytest.fixture
def like_this_kernel(real_kernel: None) -> None:
    """Skip where the running kernel is older than what the made-up one is like."""
    if machine.version() < RELEASE:
        pytest.skip(f"Linux {machine.version_text()}: answers are compared with Linux 6.18's")


@pytest.fixture(params=["fake", "real"])
def kernel(request: pytest.FixtureRequest) -> Iterator[FakeKernel | None]:
    """Use one kernel after the other; the made-up one is handed out, ``None`` is the real one."""
    if request.param == "real":
        request.getfixturevalue("like_this_kernel")
        yield None
        return
    with FakeKernel("6.18") as fake:
        yield fake


@pytest.fixture
def pins(request: pytest.FixtureRequest, kernel: FakeKernel | None) -> pathlib.Path:
    """A directory for pins: on a BPF file system of the test's own, or the made-up one."""
    if kernel is None:
        path: pathlib.Path = request.getfixturevalue("bpffs")
        return path
    return pathlib.Path("/sys/fs/bpf")
