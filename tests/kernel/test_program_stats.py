"""Runs are counted while the switch is on; benchmarks report what the kernel measured."""

from __future__ import annotations

import threading

import pytest

import pyebpf
from pyebpf import ProgType
from pyebpf.programs.benchmark import BenchmarkResult, by_statistics
from tests.support.bpftool import bpftool_json
from tests.support.programs import only

PACKET = bytes(64)


@pytest.fixture
def program(real_kernel):
    with pyebpf.load(only("xdp_drop", "xdp_drop")) as bpf:
        yield bpf.programs["xdp_drop"]


def assembled(code: str, section: str, kind: ProgType | None = None) -> pyebpf.CollectionSpec:
    made = pyebpf.ProgramSpec.assemble("p", code, section=section, license="GPL")
    if kind is not None:
        made.type = kind
    return pyebpf.CollectionSpec(programs={"p": made})


def test_runs_are_counted_only_while_the_switch_is_on(program):
    """Exactly those in between, and bpftool shows the same numbers."""
    program.run(PACKET, repeat=3)
    before = program.stats()
    with pyebpf.enable_stats():
        program.run(PACKET, repeat=100)
    program.run(PACKET, repeat=3)
    after = program.stats()
    assert after.run_count - before.run_count == 100
    assert after.run_time_ns > before.run_time_ns
    assert after.mean_ns == after.run_time_ns / after.run_count
    info = program.info()
    assert (info.run_count, info.run_time_ns) == (after.run_count, after.run_time_ns)
    theirs = bpftool_json("prog", "show", "id", str(program.id))
    assert (theirs["run_cnt"], theirs["run_time_ns"]) == (after.run_count, after.run_time_ns)


def test_a_program_that_never_ran_has_no_mean(program):
    """No division by zero."""
    assert program.stats() == pyebpf.ProgramStats(run_count=0, run_time_ns=0, recursion_misses=0)
    assert program.stats().mean_ns is None


def test_the_switch_is_on_as_long_as_anybody_holds_it(program):
    """Two holders, in two threads; a closed one counts no more."""
    with pyebpf.enable_stats() as outer:
        taken = []
        thread = threading.Thread(target=lambda: taken.append(pyebpf.enable_stats()))
        thread.start()
        thread.join()
        outer.close()
        program.run(PACKET, repeat=5)
        assert program.stats().run_count == 5
        taken[0].close()
    program.run(PACKET, repeat=5)
    assert program.stats().run_count == 5


def test_a_benchmark_reports_the_median_and_its_spread(program):
    """Kinds that the kernel repeats: a run a round, all of them counted."""
    with pyebpf.enable_stats():
        result = program.benchmark(PACKET, repeat=1000, rounds=5)
    assert program.stats().run_count == 5000
    assert result.retval == 2
    assert (result.repeat, len(result.rounds)) == (1000, 5)
    low, high = result.spread
    assert 0 < result.fastest <= low <= result.ns <= high <= max(result.rounds)
    assert str(result) == f"{result.ns:.1f} ns [{low:.1f}..{high:.1f}]"


@pytest.mark.parametrize("section", ["syscall", "raw_tp/sys_enter"])
def test_kinds_without_repeat_are_measured_by_statistics(section):
    """As many runs as asked for, each with the time the kernel counted."""
    with pyebpf.load(assembled("r0 = 3; exit", section)) as bpf:
        result = bpf.programs["p"].benchmark(repeat=20, rounds=3)
        stats = bpf.programs["p"].stats()
    assert result.retval == 3
    assert stats.run_count == 60
    assert sum(result.rounds) * 20 == pytest.approx(stats.run_time_ns)


def test_a_tracing_program_is_measured_where_it_is_attached():
    """Test runs call the function, whoever traces it: nothing is measured of who does not."""
    try:
        bpf = pyebpf.load(assembled("r0 = 0; exit", "fentry/bpf_fentry_test1"))
    except pyebpf.PrivilegeError as error:
        if "a policy of this kernel" not in str(error):
            raise
        pytest.skip("a policy of this kernel refuses programs that attach to functions")
    with bpf:
        program = bpf.programs["p"]
        with pytest.raises(ValueError, match=r"not one of 2 test runs .* attached"):
            program.benchmark(repeat=2, rounds=1)
        with pyebpf.attach(program):
            result = program.benchmark(repeat=20, rounds=3)
        stats = program.stats()
    assert stats.run_count == 60
    assert sum(result.rounds) * 20 == pytest.approx(stats.run_time_ns)
    assert result.ns > 0


def test_runs_of_others_are_not_measured():
    """Rather than to say that it takes no time."""
    silent = pyebpf.ProgramStats(run_count=7, run_time_ns=70, recursion_misses=0)
    with pytest.raises(ValueError, match="not one of 3 test runs"):
        by_statistics(lambda: 0, lambda: silent, 3)


def test_a_slower_program_takes_longer(real_kernel):
    """The same work a thousand times over."""
    loop = "r0 = 0; r1 = 0; again: r0 += r1; r1 += 1; if r1 < 1000 goto again; exit"
    spec = assembled("r0 = 0; exit", "xdp")
    spec.programs["loop"] = assembled(loop, "xdp").programs["p"]
    spec.programs["loop"].name = "loop"
    with pyebpf.load(spec) as bpf:
        short, long = (bpf.programs[name].benchmark(PACKET, repeat=500) for name in ("p", "loop"))
    assert long.fastest > short.fastest


@pytest.mark.parametrize("nothing", [{"repeat": 0}, {"rounds": 0}, {"repeat": -1}], ids=str)
def test_nothing_to_measure_is_refused(program, nothing):
    """A ValueError that says both numbers."""
    with pytest.raises(ValueError, match="at least one of one"):
        program.benchmark(PACKET, **nothing)


def test_a_kind_that_cannot_be_run_says_so(real_kernel):
    """The kernel's own error, with the program's name."""
    with (
        pyebpf.load(assembled("r0 = 0; exit", "tracepoint/sched/sched_switch")) as bpf,
        pytest.raises((pyebpf.SyscallError, pyebpf.NotSupportedError), match='run program "p"'),
    ):
        bpf.programs["p"].benchmark()


def test_quantiles_lie_between_rounds():
    """Of few rounds as of many."""
    one = BenchmarkResult(retval=0, repeat=1, rounds=(5.0,))
    assert (one.ns, one.spread, one.fastest) == (5.0, (5.0, 5.0), 5.0)
    four = BenchmarkResult(retval=0, repeat=1, rounds=(40.0, 10.0, 20.0, 30.0))
    assert (four.ns, four.spread, four.fastest) == (25.0, (17.5, 32.5), 10.0)
