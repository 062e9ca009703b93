"""The committed objects are what `bpf_src` gives, with any compiler and for both byte orders."""

from __future__ import annotations

import hashlib
import pathlib
from typing import Any

import pytest

from pyebpf.elf import load_spec
from pyebpf.spec import CollectionSpec, MapSpec, ProgramSpec
from tests.support import programs

PINNED = 19
NAMES = programs.names()
# Objects into which a header of libbpf, not only ours, puts code.
WITH_CODE_OF_LIBBPF = {"hooks_usdt"}


def is_header_of_debian_12() -> bool:
    """Whether libbpf's header for USDT is that of 1.1, as of the committed objects."""
    text = pathlib.Path("/usr/include/bpf/usdt.bpf.h").read_bytes()
    return hashlib.sha256(text).hexdigest().startswith("13b913cb8e8e0e98")


def meaning(spec: CollectionSpec) -> dict[str, Any]:
    """Return what the C source fixes: names, kinds, sizes, types, values. Not code or places."""
    return {
        "license": spec.license,
        "maps": {name: meaning_of_map(each) for name, each in spec.maps.items()},
        "programs": {name: meaning_of_program(each) for name, each in spec.programs.items()},
        "variables": {
            name: (each.map.name, each.size, describe(each.map, each.type_id), value(each))
            for name, each in spec.variables.items()
        },
    }


def meaning_of_map(spec: MapSpec) -> dict[str, Any]:
    plain = ["name", "type", "key_size", "value_size", "max_entries", "flags", "map_extra"]
    plain += ["numa_node", "pinning", "entries", "extra", "tags", "frozen", "section"]
    found: dict[str, Any] = {name: getattr(spec, name) for name in plain}
    found["key"] = describe(spec, spec.key_type_id)
    found["value"] = describe(spec, spec.value_type_id)
    found["inner"] = meaning_of_map(spec.inner) if spec.inner is not None else None
    return found


def meaning_of_program(spec: ProgramSpec) -> dict[str, Any]:
    plain = ("name", "type", "attach_type", "attach_to", "section", "flags", "license", "autoload")
    found: dict[str, Any] = {name: getattr(spec, name) for name in plain}
    # The order of callees is the compiler's.
    found["functions"] = sorted(name for _, name in spec.functions)
    found["uses"] = sorted({each.symbol for each in spec.references.values()})
    found["relocations"] = sorted({each.kind for each in spec.relocations})
    return found


def describe(spec: MapSpec, type_id: int) -> str:
    return spec.btf.describe(type_id) if spec.btf is not None and type_id else ""


def value(variable: Any) -> str:
    return repr(variable.value) if variable.type_id else variable.raw.hex()


def exact(spec: CollectionSpec) -> dict[str, Any]:
    """Return everything, for objects of one compiler."""
    code = {
        name: (each.code, each.references, each.relocations, each.functions, each.func_info)
        for name, each in spec.programs.items()
    }
    lines = {name: each.line_info for name, each in spec.programs.items()}
    types = bytes(spec.btf.raw) if spec.btf is not None else b""
    return {"meaning": meaning(spec), "code": code, "lines": lines, "types": types}


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> dict[int, pathlib.Path]:
    """Fresh objects of every clang of this machine: version -> directory."""
    missing = programs.missing_build_tool()
    if missing is not None:
        pytest.skip(f"{missing} is not installed")
    directories = {}
    for version in programs.clang_versions():
        directories[version] = tmp_path_factory.mktemp(f"clang-{version}")
        programs.rebuild(directories[version], version)
    return directories


@pytest.mark.parametrize("name", NAMES)
def test_both_byte_orders_mean_the_same(name: str) -> None:
    """The little- and the big-endian object of one source differ in their byte order alone."""
    little = load_spec(programs.built(name, "little"))
    big = load_spec(programs.built(name, "big"))
    assert (little.byteorder, big.byteorder) == ("little", "big")
    assert meaning(little) == meaning(big)


@pytest.mark.parametrize("byteorder", ["little", "big"])
@pytest.mark.parametrize("name", NAMES)
def test_the_committed_object_is_what_the_source_gives(
    name: str, byteorder: str, rebuilt: dict[int, pathlib.Path]
) -> None:
    """A rebuild with the pinned clang changes nothing: nobody forgot `make bpf`."""
    if PINNED not in rebuilt:
        pytest.skip(f"clang-{PINNED} is not installed")
    committed = programs.built(name, byteorder)
    fresh = rebuilt[PINNED] / committed.name
    if name in WITH_CODE_OF_LIBBPF and not is_header_of_debian_12():
        assert meaning(load_spec(committed))["maps"].keys() <= load_spec(fresh).maps.keys()
        return  # another release of libbpf's headers has other code in them
    assert exact(load_spec(committed)) == exact(load_spec(fresh))


@pytest.mark.parametrize("name", NAMES)
def test_every_clang_gives_the_same_spec(name: str, rebuilt: dict[int, pathlib.Path]) -> None:
    """Compilers change code and places, never what the source says."""
    committed = meaning(load_spec(programs.built(name, "little")))
    for version, directory in rebuilt.items():
        path = directory / f"{name}.el.o"
        if version >= programs.OLDEST_CLANG.get(name, 0):
            assert meaning(load_spec(path)) == committed, f"clang-{version}"


@pytest.mark.parametrize("path", sorted(programs.DATA.glob("*.o")), ids=lambda path: path.name)
def test_objects_name_no_machine(path: pathlib.Path) -> None:
    """Line information holds paths from the top of the repository on, nothing of who built it."""
    data = path.read_bytes()
    assert b"/home/" not in data
    assert str(programs.ROOT).encode() not in data
    assert b".debug_info" not in data


def test_every_source_has_its_objects_and_every_object_its_source() -> None:
    """Nothing in `tests/data` came from elsewhere."""
    expected = {programs.built(name, order).name for name in NAMES for order in ("little", "big")}
    assert {path.name for path in programs.DATA.glob("*.o")} == expected
