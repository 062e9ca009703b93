"""Every test here is asked of the made-up kernel and of the real one, and expects the same."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from pyebpf.testing import FakeKernel
from tests.support import kernel as machine

# What the made-up kernel is compared with where there is no real one, and the oldest it is like.
USUAL, OLDEST = (6, 18), (5, 10)


@pytest.fixture(scope="session")
def age() -> tuple[int, int]:
    """The release of both kernels: the running one's, if it can be asked."""
    running = machine.version()
    return running if machine.missing_privilege() is None and running >= OLDEST else USUAL


@pytest.fixture
def like_this_kernel(real_kernel: None) -> None:
    """Skip where the running kernel is older than any that the made-up one is like."""
    if machine.version() < OLDEST:
        pytest.skip(
            f"Linux {machine.version_text()}: the made-up kernel is like Linux 5.10 at least"
        )


@pytest.fixture
def newest(age: tuple[int, int]) -> None:
    """Skip on kernels whose order of programs and words of netlink are others than written down."""
    if age < USUAL:
        pytest.skip(
            f"Linux {age[0]}.{age[1]} answers otherwise than Linux 6.18, which is asked for"
        )


@pytest.fixture(params=["fake", "real"])
def kernel(request: pytest.FixtureRequest, age: tuple[int, int]) -> Iterator[FakeKernel | None]:
    """Use one kernel after the other; the made-up one is handed out, ``None`` is the real one."""
    if request.param == "real":
        request.getfixturevalue("like_this_kernel")
        yield None
        return
    with FakeKernel("{}.{}".format(*age), interfaces={"near": 1001}) as fake:
        yield fake


@pytest.fixture
def pins(request: pytest.FixtureRequest, kernel: FakeKernel | None) -> pathlib.Path:
    """A directory for pins: on a BPF file system of the test's own, or the made-up one."""
    if kernel is None:
        path: pathlib.Path = request.getfixturevalue("bpffs")
        return path
    return pathlib.Path("/sys/fs/bpf")
