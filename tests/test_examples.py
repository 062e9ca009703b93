"""Every example runs and prints what its header says."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
PATHS = sorted(EXAMPLES.glob("*.py"))
REQUIRE = "PYEBPF_REQUIRE_KERNEL"
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
def test_live_syscalls_shows_the_busiest_first() -> None:
    """One table; a process that makes system calls all the time is in it."""
    code = "import os\nprint(flush=True)\nwhile True: os.getppid()"
    with started("-c", code) as (busy, _):
        done = run("live_syscalls.py", "--once", "5000")
    assert (done.returncode, done.stderr) == (0, "")
    head, *rows, last = done.stdout.splitlines()
    assert head.split() == ["PID", "COMM", "CALLS/S"]
    rates = {int(row.split()[0]): int(row.split()[-1]) for row in rows}
    assert list(rates.values()) == sorted(rates.values(), reverse=True)
    assert rates[busy.pid] > 1000
    found = re.fullmatch(r"(\d+) system calls a second of (\d+) processes", last)
    assert found is not None, last
    assert int(found[2]) == len(rows)
    assert abs(int(found[1]) - sum(rates.values())) <= len(rows)  # each is rounded


@needs_root
@pytest.mark.parametrize("way", ["prometheus_client", "standard library"])
def test_export_metrics_answers_in_the_text_format(way: str) -> None:
    """Counters by number of the call, which grow; without the package too."""
    if way == "prometheus_client" and importlib.util.find_spec(way) is None:
        pytest.skip("prometheus_client is not installed")
    hide = "" if way == "prometheus_client" else "sys.modules['prometheus_client'] = None; "
    path = str(EXAMPLES / "export_metrics.py")
    code = f"import runpy, sys; {hide}runpy.run_path({path!r}, run_name='__main__')"
    with started("-c", code, "0") as (process, line):
        looks = [metrics(line.strip()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    assert looks[0].keys() <= looks[1].keys()
    assert all(looks[1][number] >= count for number, count in looks[0].items())
    assert sum(looks[1].values()) > sum(looks[0].values()) > 0


def metrics(url: str) -> dict[int, float]:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        lines = answer.read().decode().splitlines()
    assert lines[:2] == expected("export_metrics.py").splitlines()[:2]
    rows = [
        re.fullmatch(r'system_calls_total\{number="(\d+)"\} (\d+\.0)', one) for one in lines[2:]
    ]
    return {int(row[1]): float(row[2]) for row in rows if row} if all(rows) else {}


@needs_root
def test_flame_graph_says_where_a_process_sleeps() -> None:
    """In a system call that it makes from libc, for most of the time."""
    with started("-c", "import time\nprint(flush=True)\nwhile True: time.sleep(0.01)") as (
        asleep,
        _,
    ):
        done = run("flame_graph.py", str(asleep.pid), "0.5")
    assert (done.returncode, done.stderr) == (0, "")
    stack, microseconds = done.stdout.splitlines()[0].rsplit(" ", 1)
    assert re.search(r";-;.*nanosleep.*;schedule;", stack), stack
    assert 100_000 < int(microseconds) < PATIENCE * 1_000_000


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run Python with these arguments; give its first line, and end it afterwards."""
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            process.kill()


@needs_root
def test_xdp_drop_prints_its_header() -> None:
    """Real packets: those to the blocked port are dropped, the others pass."""
    done = run("xdp_drop.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip("\n") == expected("xdp_drop.py")


@needs_root
def test_echo_packets_prints_its_header() -> None:
    """Every packet comes back, and its frame is free again."""
    done = run("echo_packets.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip("\n") == expected("echo_packets.py")


@needs_root
def test_tc_egress_prints_its_header() -> None:
    """Exact bytes by port, and nothing left behind."""
    done = run("tc_egress.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip("\n") == expected("tc_egress.py")


@needs_root
def test_assemble_by_hand_prints_its_header() -> None:
    """The program as it is printed, and what it counted."""
    done = run("assemble_by_hand.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip("\n") == expected("assemble_by_hand.py")


def powerless(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command without any capability."""
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (util-linux) is not installed")
    as_root = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"] if not os.getuid() else []
    variables = {name: each for name, each in os.environ.items() if name != REQUIRE}
    return subprocess.run(
        [*as_root, *command],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=variables | environment,
    )


def test_the_demo_without_privileges_runs_on_a_made_up_kernel_and_says_so() -> None:
    """One line says what is missing; what follows is marked, and complete."""
    done = powerless(sys.executable, str(EXAMPLES / "trace_exec.py"), "--demo")
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert re.search(r"CAP_(BPF|SYS_ADMIN|PERFMON)", done.stderr)
    assert done.stderr.endswith("running on a made-up kernel instead\n")
    mark, head, *events, last = done.stdout.splitlines()
    assert mark.startswith("FAKE: ")
    assert head.split() == ["PID", "PPID", "UID", "COMM", "FILENAME"]
    assert [line.split()[3] for line in events] == ["true", "uname", "id", "date", "ls", "sh"]
    assert last == "received 6, lost 0"


def test_a_made_up_kernel_is_no_kernel_where_one_is_required() -> None:
    """PYEBPF_REQUIRE_KERNEL=1, which continuous integration sets: no events, exit status 1."""
    done = powerless(sys.executable, str(EXAMPLES / "trace_exec.py"), "--demo", **{REQUIRE: "1"})
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert re.search(r"CAP_(BPF|SYS_ADMIN|PERFMON)", done.stderr)


def unit_test(**environment: str) -> tuple[subprocess.CompletedProcess[str], str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin()]
    done = powerless(*command, str(EXAMPLES / "test_trace_exec.py"), **environment)
    return done, done.stdout


def plugin() -> list[str]:
    """Return what makes pytest load the fixtures, where the installed package does not say it."""
    names = {each.value for each in importlib.metadata.entry_points(group="pytest11")}
    return [] if "pyebpf.testing.plugin" in names else ["-p", "pyebpf.testing.plugin"]


def test_the_unit_test_needs_no_privileges() -> None:
    """It passes on the made-up kernel, and skips the other half, naming why."""
    done, text = unit_test()
    assert done.returncode == 0, text
    assert re.search(r"3 passed, 1 skipped", text)


def test_the_unit_test_asks_the_kernel_if_it_must() -> None:
    """Without privileges that is a failure."""
    done, text = unit_test(**{REQUIRE: "1"})
    assert done.returncode == 1
    assert "CAP_SYS_ADMIN" in text


@needs_root
def test_the_unit_test_runs_on_both_kernels() -> None:
    """The same file."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin()]
    command += [str(EXAMPLES / "test_trace_exec.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


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
