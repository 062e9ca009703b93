"""The wheel: pure Python, complete, and importable where nothing else of the repository is."""

from __future__ import annotations

import importlib.metadata
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A wheel built from a copy of the sources, without network."""
    version = importlib.metadata.version("setuptools")
    if int(version.split(".")[0]) < 77:
        pytest.skip(f"setuptools {version} does not know PEP 639; 77 does")
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "pyebpf", copy / "pyebpf", ignore=shutil.ignore_patterns("__pycache__"))
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(out), str(copy)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return next(out.glob("*.whl"))


def test_the_wheel_is_pure(wheel: pathlib.Path) -> None:
    """One wheel for every machine."""
    assert wheel.name.startswith("pyebpf_linux-")
    assert wheel.name.endswith("-py3-none-any.whl")


def test_the_wheel_has_every_module_and_nothing_else(wheel: pathlib.Path) -> None:
    """Modules, type marker and guide; no tests, no objects."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = [*ROOT.glob("pyebpf/**/*.py"), *ROOT.glob("pyebpf/guide/*.md")]
    wanted += [ROOT / "pyebpf" / "py.typed"]
    # A package without __init__.py would be left out, and so be missed here.
    assert packed - {name for name in packed if name.endswith(".pyi")} == {
        str(path.relative_to(ROOT)) for path in wanted
    }


def test_the_wheel_works_on_its_own(wheel: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Unpacked elsewhere, with only its dependencies, it reads an object."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    path = ROOT / "tests" / "data" / "trace_exec.el.o"
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import pyebpf
assert pyebpf.__file__.startswith({str(tmp_path)!r}), pyebpf.__file__
print(*pyebpf.load_spec({str(path)!r}).programs)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "on_exec\n"


def test_dependencies_are_the_two_and_no_more() -> None:
    """Cffi and pyelftools; numpy is a choice."""
    requirements = importlib.metadata.requires("pyebpf-linux") or []
    needed = {each.split(">")[0] for each in requirements if "extra ==" not in each}
    chosen = {each.split(">")[0] for each in requirements if "extra ==" in each}
    assert (needed, chosen) == ({"cffi", "pyelftools"}, {"numpy"})
