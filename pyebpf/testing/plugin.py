"""Fixtures for pytest; found by itself where this package is installed.

def test_it(fake_kernel):                       a kernel that is made up, in use
    with pyebpf.load("prog.bpf.o") as bpf: …

@pytest.mark.fake_kernel(version="5.10")        with arguments of `FakeKernel`
def test_on_an_old_one(fake_kernel): …

def test_on_both(any_kernel):                   twice: made up, and, as root, the real one
    …
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pyebpf.errors import EbpfError, PrivilegeError
from pyebpf.sys import bpf

__all__ = ["any_kernel", "fake_kernel"]


def pytest_configure(config: pytest.Config) -> None:
    """Announce the marker."""
    config.addinivalue_line(
        "markers", "fake_kernel(**options): what the fake_kernel fixture gives to FakeKernel"
    )


@pytest.fixture
def fake_kernel(request: pytest.FixtureRequest) -> Iterator[object]:
    """A `FakeKernel`, which the library uses as long as the test runs."""
    # Not before it is wanted: every run of pytest imports this file.
    from pyebpf.testing.fake_kernel import FakeKernel

    marker = request.node.get_closest_marker("fake_kernel")
    with FakeKernel(**(marker.kwargs if marker is not None else {})) as kernel:
        yield kernel


@pytest.fixture(params=["fake", "real"])
def any_kernel(request: pytest.FixtureRequest) -> object:
    """A kernel that is made up, then the real one (``None``), which needs privileges.

    Without them that half is skipped; with ``PYEBPF_REQUIRE_KERNEL=1`` in the environment it fails.
    """
    if request.param == "fake":
        fake: object = request.getfixturevalue("fake_kernel")
        return fake
    missing = _missing()
    if missing is not None:
        if os.environ.get("PYEBPF_REQUIRE_KERNEL") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return None


def _missing() -> str | None:
    try:
        bpf.map_get_next_id()
    except PrivilegeError as error:
        return str(error)
    except EbpfError as error:
        return f"bpf(2) cannot be used here: {error}"
    return None
