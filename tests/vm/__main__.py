"""Run the tests that need a kernel under other kernels; the last lines say how each went.

    python -m tests.vm 5.10 6.1 [--skipped-in RESULTS] [-- ARGUMENTS OF PYTEST]

All tests in tests/kernel and of the examples, if the arguments name no files. Each run leaves
``build/vm/VERSION.xml`` (JUnit's form), of which `table.py` makes the guide's page. With
``--skipped-in``, only those tests run that another run, with such results, could not do: what this
machine's own kernel lacks. A kernel that cannot run here is skipped, with the reason.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from tests.support import programs
from tests.vm import guest
from tests.vm.kernels import UnavailableError, cache, cached, numbers

RESULTS = pathlib.Path("build", "vm")
TESTS = ("tests/kernel", "tests/test_examples.py")
NEWEST_CACHED = "(the newest in the cache)"
TIMEOUT = 2 * 60 * 60


def skipped(results: pathlib.Path) -> list[str]:
    """Return the tests of `TESTS` that a run skipped, as pytest's arguments."""
    names = []
    for case in ET.parse(results).iter("testcase"):
        if case.find("skipped") is None:
            continue
        # tests.kernel.test_x, or tests.kernel.test_x.TestClass
        path = pathlib.Path(*case.get("classname", "").split(".")).with_suffix(".py")
        if path.is_relative_to(TESTS[0]) or str(path) in TESTS:
            names.append(f"{path}::{case.get('name')}")
    return names


def tests_of(results: pathlib.Path | None, arguments: Sequence[str]) -> Sequence[str]:
    """Return the tests to run: those a run skipped, those the arguments name, or all."""
    if results is not None:
        return skipped(results)
    named = [each for each in arguments if pathlib.Path(each.split("::")[0]).exists()]
    return [] if named else TESTS


def newest_cached() -> str:
    """Return the cached version whose kernel is the newest."""
    releases = {version: guest.Kernel(cache() / version).release for version in cached()}
    if not releases:
        raise UnavailableError("no kernel is in the cache")
    return max(releases, key=lambda version: numbers(releases[version]))


def prepare(directory: pathlib.Path) -> list[str]:
    """Do here what compilers do, of C and of Python; return the environment that tells tests.

    Emulated, the bytecode of all modules alone, which pytest rewrites, takes minutes.
    """
    objects, bytecode = directory / "objects", directory / "bytecode"
    objects.mkdir()
    programs.main(objects)
    settings = {"PYTHONPYCACHEPREFIX": str(bytecode), "PYTHONDONTWRITEBYTECODE": ""}
    for module in (
        ("pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.vm.imports", "--co", *TESTS),
        ("compileall", "-q", "pyebpf", "tests", "examples"),  # for processes beside pytest's own
    ):
        command = [sys.executable, "-m", *module]
        subprocess.run(
            command, env={**os.environ, **settings}, stdout=subprocess.DEVNULL, check=False
        )
    return [f"{programs.PREBUILT}={objects}", f"PYTHONPYCACHEPREFIX={bytecode}"]


def run_tests(
    version: str, tests: Sequence[str], arguments: Sequence[str], settings: Sequence[str]
) -> int:
    """Run tests under a kernel, in this environment; return pytest's status."""
    with tempfile.TemporaryDirectory(prefix="shared-") as name:
        results = pathlib.Path(name, "results.xml")
        command = [
            *("env", "PYEBPF_REQUIRE_KERNEL=1", *settings),
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={results}"),
            *(*tests, *arguments),
        ]
        status = guest.run(version, command, share=results.parent, timeout=TIMEOUT)
        if results.exists():
            RESULTS.mkdir(parents=True, exist_ok=True)
            shutil.copy(results, RESULTS / f"{version}.xml")
        return status


def main(command_line: list[str]) -> int:
    """Run what the command line says; fail if tests did, not if a kernel cannot run here."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("versions", nargs="*", help="without any, the newest in the cache")
    parser.add_argument("--skipped-in", type=pathlib.Path, metavar="RESULTS")
    # argparse knows no end of the one list and start of the other.
    end = command_line.index("--") if "--" in command_line else len(command_line)
    options = parser.parse_args(command_line[:end])
    arguments = command_line[end + 1 :]
    tests = tests_of(options.skipped_in, arguments)
    if options.skipped_in and not tests:
        print("vm: no test was skipped")
        return 0
    failed = False
    with tempfile.TemporaryDirectory(prefix="prepared-") as name:
        settings = prepare(pathlib.Path(name))
        for version in options.versions or [NEWEST_CACHED]:
            print(f"== Linux {version}", flush=True)
            try:
                kernel = newest_cached() if version == NEWEST_CACHED else version
                failed |= run_tests(kernel, tests, arguments, settings) != 0
            except UnavailableError as error:
                print(f"== SKIPPED: Linux {version} cannot run here: {error}")
    return int(failed)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no guest stays
    sys.exit(main(sys.argv[1:]))
