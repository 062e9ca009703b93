"""What `import pyebpf` gives: its names, their documentation, and what it costs."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pathlib
import pkgutil
import subprocess
import sys

import pytest

import pyebpf

SOURCE = pathlib.Path(pyebpf.__file__ or "").read_text("utf-8")


def modules_after(statement: str) -> set[str]:
    """Return the modules that are loaded after *statement* in a fresh interpreter."""
    code = f"import sys; {statement}; import json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def names_for_type_checkers() -> dict[str, str]:
    """Return name -> module of the block that only type checkers read."""
    found: dict[str, str] = {}
    for node in ast.parse(SOURCE).body:
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            continue
        for statement in node.body:
            assert isinstance(statement, ast.ImportFrom), ast.unparse(statement)
            for alias in statement.names:
                found[alias.asname or alias.name] = statement.module or ""
    return found


def test_every_public_name_resolves() -> None:
    """Each name in `__all__` can be had, and `dir()` shows it."""
    for name in pyebpf.__all__:
        assert getattr(pyebpf, name) is not None
    assert set(pyebpf.__all__) <= set(dir(pyebpf))


def test_public_names_stand_once() -> None:
    """`__all__` has no doubles."""
    assert sorted(set(pyebpf.__all__)) == sorted(pyebpf.__all__)


@pytest.mark.parametrize("package", ["features", "link"])
def test_no_module_takes_the_place_of_a_name(package: str) -> None:
    """Importing a module binds its name in the package, whatever that was before."""
    module = importlib.import_module(f"pyebpf.{package}")
    modules = {each.name for each in pkgutil.iter_modules(module.__path__)}
    assert modules & set(module.__all__) == set()


def test_star_import_gives_exactly_the_public_names() -> None:
    """Lazy names are found by a star import too, and nothing else slips out."""
    namespace: dict[str, object] = {}
    exec("from pyebpf import *", namespace)
    assert sorted(set(namespace) - {"__builtins__"}) == sorted(pyebpf.__all__)


def test_type_checkers_see_the_same_names() -> None:
    """What is handed on lazily is declared to type checkers, each name from the module it is in."""
    declared = names_for_type_checkers()
    assert set(declared) <= set(pyebpf.__all__)
    for name, module in declared.items():
        value = getattr(pyebpf, name)
        owner = importlib.import_module(module)
        expected = getattr(owner, name, None) or importlib.import_module(f"{module}.{name}")
        assert value is expected, name
    undeclared = set(pyebpf.__all__) - set(declared)
    assert all(name.startswith("__") or name in vars(pyebpf) for name in undeclared)


@pytest.mark.parametrize("name", pyebpf.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    """Classes, functions and modules have a docstring of their own."""
    value = getattr(pyebpf, name)
    if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
        assert value.__doc__, name


def test_unknown_names_are_attribute_errors() -> None:
    """A lazy module still says what a usual one says."""
    with pytest.raises(AttributeError, match="no_such_name"):
        pyebpf.no_such_name  # noqa: B018


def test_the_import_is_cheap() -> None:
    """Importing the package loads none of its units and nothing that takes milliseconds."""
    heavy = {"elftools", "numpy", "asyncio", "ctypes", "cffi", "dataclasses", "inspect", "re"}
    bare = modules_after("pass")
    loaded = modules_after("import pyebpf") - bare
    assert loaded & heavy == set()
    assert {name for name in loaded if name.startswith("pyebpf.")} == set()


def test_reading_a_file_needs_no_system_call_layer() -> None:
    """The pure column stays pure: parsing an object loads nothing that talks to the kernel."""
    loaded = modules_after("import pyebpf; pyebpf.load_spec")
    assert loaded & {"pyebpf.sys", "pyebpf.host", "ctypes", "_cffi_backend", "numpy"} == set()


def test_numpy_and_asyncio_are_loaded_only_when_used() -> None:
    """Loading and reading objects needs neither."""
    loaded = modules_after("import pyebpf; pyebpf.load, pyebpf.PerfReader, pyebpf.RingReader")
    assert loaded & {"numpy", "asyncio", "elftools"} == set()
