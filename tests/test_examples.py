"""Every example runs and prints what its header says."""

from __future__ import annotations

import pathlib
import re
import shutil
import signal
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
PATHS = sorted(EXAMPLES.glob("*.py"))
PATIENCE = 600  # seconds; an emulated machine takes ten, a minute if it is busy besides

needs_root = pytest.mark.usefixtures("real_kernel")


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def header(path: pathlib.Path) -> str:
    return path.read_text("utf-8").split('"""')[1]


def expected(name: str) -> str:
    """Return the indented block at the end of an example's header."""
    block = header(EXAMPLES / name).split("Expected output")[1].split("\n", 1)[1]
    return re.sub(r"^    ", "", block, flags=re.MULTILINE).strip("\n")


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_header_says_what_a_reader_needs(path: pathlib.Path) -> None:
    """What it shows, what it needs, how to run it, what comes out; and it fits a screen or two."""
    for part in ("Shows", "Needs", "Run:", "Expected output"):
        assert part in header(path)
    assert len(path.read_text("utf-8").splitlines()) <= 80


def test_inspect_object_prints_its_header() -> None:
    """The spec of an object, without root."""
    done = run("inspect_object.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip("\n") == expected("inspect_object.py")


@needs_root
def test_trace_exec_sees_every_process_it_starts() -> None:
    """The demo ends with the count of events, none lost, and success."""
    done = run("trace_exec.py", "--demo")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["PID", "PPID", "UID", "COMM", "FILENAME"]
    last = re.fullmatch(r"received (\d+), lost 0", lines[-1])
    assert last is not None, lines[-1]
    assert int(last[1]) == len(lines) - 2
    assert {"true", "uname", "id", "date", "ls", "sh"} <= {line.split()[3] for line in lines[1:-1]}


@needs_root
def test_trace_exec_ends_cleanly_at_ctrl_c() -> None:
    """Interrupted, it still prints its totals and leaves no traceback."""
    command = [sys.executable, str(EXAMPLES / "trace_exec.py")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()  # the head of the table: it is attached
        subprocess.run(["true"], check=True)
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read().splitlines()
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert len(line.split()) == 5
    assert re.fullmatch(r"received \d+, lost 0", rest[-1])


@needs_root
def test_trace_exec_ring_counts_what_it_received() -> None:
    """It ends by itself after the number of events asked for."""
    command = [sys.executable, str(EXAMPLES / "trace_exec_ring.py"), "2"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        for _ in range(2):
            subprocess.run(["true"], check=True)
        out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")
    # Processes of others may be among those received.
    assert len(out.splitlines()) == 3
    assert re.fullmatch(r"received \d+, refused by a full buffer 0", out.splitlines()[-1])


@needs_root
def test_count_syscalls_counts_those_of_the_command() -> None:
    """The table adds up to the total of the last line."""
    done = run("count_syscalls.py", "true")
    assert (done.returncode, done.stderr) == (0, "")
    head, *rows, last = done.stdout.splitlines()
    assert head.split() == ["SYSCALL", "COUNT"]
    counts = [int(row.split()[1]) for row in rows]
    assert counts == sorted(counts, reverse=True)
    assert last == f"{sum(counts)} system calls of {len(counts)} kinds"
    assert sum(counts) > 10


@needs_root
def test_xdp_drop_prints_its_header() -> None:
    """Real packets: those to the blocked port are dropped, the others pass."""
    done = run("xdp_drop.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip("\n") == expected("xdp_drop.py")


@needs_root
def test_assemble_by_hand_prints_its_header() -> None:
    """The program as it is printed, and what it counted."""
    done = run("assemble_by_hand.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip("\n") == expected("assemble_by_hand.py")


@needs_root
def test_the_demo_without_privileges_says_in_one_line_what_is_missing() -> None:
    """No traceback, no events: the capability's name and exit status 1."""
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (util-linux) is not installed")
    powerless = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]
    command = [*powerless, sys.executable, str(EXAMPLES / "trace_exec.py"), "--demo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert re.search(r"CAP_(BPF|SYS_ADMIN|PERFMON)", done.stderr)


@needs_root
def test_pin_and_reopen_finds_its_map_again(bpffs: pathlib.Path) -> None:
    """Made, found, and replaced when it no longer fits."""
    lines = []
    for capacity in ("64", "64", "128"):
        done = run("pin_and_reopen.py", capacity, str(bpffs))
        assert (done.returncode, done.stderr) == (0, "")
        lines.append(done.stdout.strip())
    (bpffs / "example_counters").unlink()
    assert lines == expected("pin_and_reopen.py").splitlines()
