"""Objects made by other compilers than the pinned one load and do the same."""

from __future__ import annotations

import pathlib

import pytest

import pyebpf
from tests.support import programs

PACKET = bytes(64)
ALIKE = ["subprogs", "globals", "count", "trace_exec", "count_syscalls", "xdp_drop", "maps", "core"]


@pytest.fixture(scope="module", params=programs.clang_versions(), ids=lambda each: f"clang-{each}")
def objects(request, tmp_path_factory) -> dict[str, pathlib.Path]:
    """All programs of bpf_src, compiled by one clang of this machine."""
    missing = programs.missing_build_tool()
    if missing is not None:
        pytest.skip(f"{missing} is not installed")
    directory = tmp_path_factory.mktemp("objects")
    names = programs.rebuild(directory, request.param)
    return {name: programs.built(name, directory=directory) for name in names}


@pytest.mark.parametrize("name", ALIKE)
def test_an_object_of_any_compiler_loads(objects, name):
    """Every program gets through the verifier, with its types."""
    with pyebpf.load(objects[name]) as bpf:
        assert all(each.info().btf_id for each in bpf.programs.values())


def test_an_object_of_any_compiler_does_the_same(objects):
    """Functions, variables and constants mean what the source says."""
    with pyebpf.load(objects["subprogs"]) as bpf:
        found = {name: program.run(PACKET).retval for name, program in bpf.programs.items()}
    assert found == {"first": 4321, "second": 5060, "alone": 7, "packets": 2}
    with pyebpf.load(programs.built("globals")) as pinned, pyebpf.load(objects["globals"]) as other:
        results = [each.programs["add_up"].run(PACKET).retval for each in (pinned, other)]
        values = [
            {name: variable.value for name, variable in each.variables.items()}
            for each in (pinned, other)
        ]
    assert results[0] == results[1]
    assert values[0] == values[1]
