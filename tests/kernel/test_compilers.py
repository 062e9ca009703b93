"""Objects of every clang of this machine load, however differently they are made."""

from __future__ import annotations

import pathlib
import sys

import pytest

import pyebpf
from tests.support import programs

# These are made to be refused, or hold what cannot be loaded yet.
REFUSED = {
    "core_missing",
    "externs",
    "legacy_goebpf",
    "legacy_iproute2",
    "map_contents",
    "refused",
    "sections",
}
ORDER = "el" if sys.byteorder == "little" else "eb"


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> dict[int, pathlib.Path]:
    """Fresh objects for this machine: clang's version -> directory."""
    missing = programs.missing_build_tool()
    if missing is not None:
        pytest.skip(f"{missing} is not installed")
    directories = {}
    for version in programs.clang_versions():
        directories[version] = tmp_path_factory.mktemp(f"clang-{version}")
        programs.rebuild(directories[version], version, ORDER)
    return directories


@pytest.mark.parametrize("name", sorted(set(programs.names()) - REFUSED))
def test_objects_of_every_clang_load(name: str, rebuilt: dict[int, pathlib.Path]) -> None:
    """The verifier takes what each compiler made of one source."""
    for version, directory in rebuilt.items():
        if version < programs.OLDEST_CLANG.get(name, 0):
            continue
        spec = pyebpf.load_spec(directory / f"{name}.{ORDER}.o")
        for each in spec.maps.values():
            each.pinning = type(each.pinning).NONE
        with pyebpf.load(spec) as bpf:
            assert set(bpf.programs) == set(spec.programs), f"clang-{version}"
