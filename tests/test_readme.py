"""What the README shows is true."""

from __future__ import annotations

import builtins
import pathlib
import re
import signal
import subprocess
import sys

import pytest

import pyebpf
from pyebpf import errors

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
TREE = README.split("## Errors")[1].split("```")[1]
REFUSED = (
    r"--> refused\.bpf\.c:20:9\n +18 \| .*lookup.*\n +20 \| .*value;.*\n.*\^\ninstruction 7: .*\n"
)
ERROR_NAME = r"[A-Z]\w+(?:Error|Timeout|Aborted)"


def test_it_is_short() -> None:
    """Long pages are the guide's."""
    assert len(README.splitlines()) <= 300


def test_the_picture_is_the_packages() -> None:
    """The README and the package's docstring draw the same picture."""
    drawn = README.split("## The picture")[1].split("```")[1].strip("\n").splitlines()
    documented = {line.strip() for line in (pyebpf.__doc__ or "").splitlines()}
    assert len(drawn) > 5
    assert [line for line in drawn if line.strip() not in documented] == []


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_links_lead_somewhere(target: str) -> None:
    """Relative links name files of the repository."""
    assert (ROOT / target).exists()


def test_all_examples_are_listed() -> None:
    """A new example is shown."""
    for path in (ROOT / "examples").glob("*.py"):
        assert f"(examples/{path.name})" in README


@pytest.mark.parametrize("name", sorted(set(re.findall(ERROR_NAME, TREE))))
def test_errors_exist(name: str) -> None:
    """The tree shows classes that can be caught."""
    assert issubclass(getattr(errors, name, None) or getattr(builtins, name), Exception)


def test_make_targets_exist() -> None:
    """Commands shown for developers can be typed."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for line in re.findall(r"^    make ([a-z -]+)", README, re.MULTILINE):
        for target in line.split():
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.usefixtures("real_kernel")
@pytest.mark.parametrize(("number", "said"), [(1, r"\{\d+: \d+.*\}"), (2, REFUSED)])
def test_the_other_programs_run_as_they_stand(number: int, said: str) -> None:
    """What is shown can be typed, and prints what is said."""
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[number]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(said, done.stdout)


@pytest.mark.usefixtures("real_kernel")
def test_the_first_program_prints_events() -> None:
    """The program a newcomer sees first runs as it stands."""
    program = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert program is not None
    # What it cannot print itself: that it is attached.
    loop = "        for event"
    code = program[1].replace(loop, f"        print('ready')\n{loop}")
    command = [sys.executable, "-u", "-c", code]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with subprocess.Popen(["true"]) as child:
            pass
        lines = iter(process.stdout.readline, "")
        words = next(line.split() for line in lines if line.split()[0] == str(child.pid))
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert words[1] == "true"
