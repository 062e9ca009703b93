"""What the library makes of verifier logs: real ones of five kernels, cut ones, and nonsense."""

from __future__ import annotations

import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.btf.btf import Btf
from pyebpf.errors import SourceLine
from pyebpf.programs.verifier_log import Refusal, lines_around, parse, source_line
from tests.support import refusals

LOGS = {
    (kernel, name): log for kernel in refusals.kernels() for name, _, log in refusals.logs(kernel)
}
SINCE_6_9 = [kernel for kernel in refusals.kernels() if kernel not in ("5.10", "6.1")]
WITH_REPORTS = [kernel for kernel in refusals.kernels() if int(kernel.split(".")[0]) >= 7]

BROKEN = """\
0: R1=ctx() R10=fp0
0: (b7) r6 = 0                        ; R6=0
1: (85) call bpf_get_prandom_u32#7    ; R0=scalar()
2: (15) if r0 == 0x0 goto pc+1 BPF program is too large. Processed 1000001 insn
processed 1000001 insns (limit 1000000) max_states_per_insn 4 total_states 111 peak_states 67
"""
FRAMES = """\
11: (85) call pc+3
caller:
 R6=0 R7=ctx() R10=fp0 fp-8=0000????
callee:
 frame1: R1=map_value(map=hash,ks=4,vs=8) R2=scalar(umax=15,var_off=(0x0; 0xf)) R10=fp0
15: frame1: R1=map_value(map=hash,ks=4,vs=8) R2=scalar(umax=15,var_off=(0x0; 0xf)) R10=fp0
15: (67) r2 <<= 3                     ; frame1: R2=scalar(umax=120,var_off=(0x0; 0x78))
16: (85) call bpf_get_prandom_u32#7   ; frame1: R0=scalar() refs=1
17: (79) r0 = *(u64 *)(r1 +0)
R1 !read_ok
processed 12 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""


@pytest.mark.parametrize(("kernel", "name"), list(LOGS))
def test_every_kernels_log_names_the_refused_instruction(kernel, name):
    """The instruction and its reason are found in whatever form the kernel has for them."""
    refusal, known = parse(LOGS[kernel, name]), refusals.PROGRAMS[name]
    if name == "wrong_argument" and kernel == "5.10":
        assert "not supported yet" in refusal.reason
        return
    assert refusal.instruction == known.instruction
    assert refusal.reason
    assert "\n" not in refusal.reason
    assert refusal.processed is not None
    assert refusal.complete


@pytest.mark.parametrize("kernel", [each for each in refusals.kernels() if each != "5.10"])
def test_registers_are_put_together_from_their_changes(kernel):
    """Since Linux 5.18 every change is in the log; a call takes what R1 to R5 held."""
    known = parse(LOGS[kernel, "unchecked_lookup"]).registers
    assert list(known) == ["R0", "R10", "fp-8"]
    assert known["R0"].startswith("map_value_or_null(id=1,")
    known = parse(LOGS[kernel, "in_function"]).registers
    assert list(known) == ["R1", "R2", "R10"]
    assert known["R1"].startswith("map_value(")


def test_registers_of_the_older_form_are_those_right_before():
    """Before Linux 5.18 the log has them at branches only, and says less rather than wrong."""
    log = LOGS["5.10", "unchecked_lookup"]
    assert parse(log).registers == {}
    state = "from 4 to 7: R0_w=map_value_or_null(id=1,off=0) R1_rw=invP(id=0) R10=fp0 fp-8_w=mm"
    assert parse(log.replace("7: (79)", f"{state}\n7: (79)")).registers == {
        "R0": "map_value_or_null(id=1,off=0)",
        "R1": "invP(id=0)",
        "R10": "fp0",
        "fp-8": "mm",
    }


def test_registers_are_those_of_the_function_that_was_refused():
    """What the caller had is not shown as if it were the callee's."""
    refusal = parse(FRAMES)
    assert refusal.registers == {"R0": "scalar()", "R10": "fp0"}
    assert (refusal.slot, refusal.reason) == (17, "R1 !read_ok")


@pytest.mark.parametrize("kernel", SINCE_6_9)
def test_the_log_itself_names_the_line_of_c(kernel):
    """Since Linux 6.9, for programs whose line information we do not have."""
    source = parse(LOGS[kernel, "unchecked_lookup"]).source
    line = refusals.line_of("return *value;")
    assert source == SourceLine("refused.bpf.c", line, 0, "return *value; /* refused here */")
    assert parse(LOGS["6.1", "unchecked_lookup"]).source is None


@pytest.mark.parametrize("kernel", [each for each in refusals.kernels() if each != "5.10"])
def test_where_a_pointer_comes_from_is_found(kernel):
    """The call that returned what may be NULL; the one that acquired what was not released."""
    assert parse(LOGS[kernel, "unchecked_lookup"]).origin == 6
    assert parse(LOGS[kernel, "unreleased_record"]).origin == 5
    assert parse(LOGS[kernel, "number_as_pointer"]).origin is None


@pytest.mark.parametrize("kernel", WITH_REPORTS)
def test_the_reports_of_newer_kernels_are_told_from_the_log(kernel):
    """Linux 7.2 explains itself: the reason stays what it was, the explanation goes beside it."""
    assert WITH_REPORTS
    refusal = parse(LOGS[kernel, "unchecked_lookup"])
    assert refusal.reason == "R0 invalid mem access 'map_value_or_null'"
    assert refusal.words.startswith("R0 may be NULL here")
    assert refusal.suggestion.startswith("Add a NULL check")
    assert parse(LOGS["6.12", "unchecked_lookup"]).words == ""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", Refusal("", 0)),
        (b"\0garbage", Refusal("", 0)),
        ("one line", Refusal("one line", 0)),
        ("processed 0 insns (limit 1000000) max\n\n", Refusal("", 2, processed=0, complete=True)),
        (
            "unreachable insn 2\nprocessed 0 insns (limit 1000000) max_states\n",
            Refusal("unreachable insn 2", 1, 2, processed=0, complete=True),
        ),
        (
            "0: (95) exit\nlast insn is not an exit or jmp\n",
            Refusal("last insn is not an exit or jmp", 1),
        ),
        (
            "3: (85) call bpf_tail_call#12\nexpected prog array map for tail callprocessed 3 insns "
            "(limit 1000000) max_states_per_insn 0\n",
            Refusal(
                "expected prog array map for tail call",
                1,
                3,
                "call bpf_tail_call#12",
                processed=3,
                complete=True,
            ),
        ),
        (
            BROKEN,
            Refusal(
                "BPF program is too large. Processed 1000001 insn",
                4,
                2,
                "if r0 == 0x0 goto pc+1",
                {"R0": "scalar()", "R6": "0", "R10": "fp0"},
                processed=1000001,
                complete=True,
            ),
        ),
        (
            "7: (79) r1 = *(u64 *)(r1 +8)\nfunc 'x' doesn't have 7-th argument\n"
            "invalid bpf_context access off=8 size=8\n",
            Refusal(
                "func 'x' doesn't have 7-th argument; invalid bpf_context access off=8 size=8",
                1,
                7,
                "r1 = *(u64 *)(r1 +8)",
            ),
        ),
    ],
    ids=[
        "empty",
        "bytes",
        "one line",
        "statistics only",
        "before the walk",
        "about no instruction",
        "statistics glued to the reason",
        "reason glued to the instruction",
        "two sentences",
    ],
)
def test_odd_logs(log, expected):
    """Statistics never hide the reason, what is left out is counted, and nothing is made up."""
    assert parse(log) == expected


@pytest.mark.parametrize("kernel", refusals.kernels())
def test_a_log_without_its_end_or_beginning_is_read_as_far_as_it_goes(kernel):
    """Older kernels keep the beginning of a log that is too long, newer ones the end."""
    log = LOGS[kernel, "in_function"]
    whole = parse(log)
    for at in range(0, len(log), 7):
        head, tail = parse(log[:at]), parse(log[at:])
        assert not head.complete or at > log.index("processed ")
        assert tail.complete == ("processed " in log[at:])
        if whole.reason in log[at:] and f"\n{whole.slot}: (" in log[at:]:
            assert (tail.reason, tail.slot) == (whole.reason, whole.slot)
            assert tail.registers.items() <= whole.registers.items()


@given(
    st.lists(
        st.sampled_from([line for log in LOGS.values() for line in log.splitlines()])
        | st.text(max_size=40),
        max_size=30,
    ),
    st.sampled_from(["\n", "", " ", "\r\n"]),
)
def test_any_text_has_an_answer(lines, end):
    """Lines in any order, and lines that are none."""
    log = end.join(lines)
    refusal = parse(log)
    assert refusal == parse(log.replace("\0", "")) or "\0" in log
    assert (refusal.slot is not None) or not refusal.registers


@given(st.binary(max_size=300))
def test_any_bytes_have_an_answer(data):
    """Also those that are not text."""
    assert isinstance(parse(data), Refusal)


@pytest.mark.parametrize(
    "line",
    [
        "7: (ad) if r2 < r1 goto pc-3          ; R0=0x74693fe02 R1=scalar(umax=0xffffffff)\n",
        " " * 200 + "\n",
        "R0=" * 70 + "\n",
        "7: (85) call x R0=" + "a" * 100 + "\n",
        "from 1 to 2: " + "R1=a " * 30 + "\n",
        "x" * 1000,
        "\n",
    ],
    ids=["loop", "spaces", "states", "calls", "branches", "one line", "empty lines"],
)
def test_a_long_log_takes_no_time(line):
    """A hundred megabytes: only the end is looked at, and the lines are counted."""
    log = line * (100_000_000 // len(line)) + "R1 !read_ok\n"
    start = time.process_time()
    refusal = parse(log)
    assert refusal.reason.endswith("R1 !read_ok") or len(refusal.reason) == 1024
    assert time.process_time() - start < 1


# --- lines of C --------------------------------------------------------------------------------


def btf_with_strings(*texts: str) -> tuple[Btf, list[int]]:
    strings, offsets = b"\0", []
    for text in texts:
        offsets.append(len(strings))
        strings += text.encode() + b"\0"
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, len(strings))
    return Btf.decode(header + strings), offsets


def test_an_instruction_has_the_source_line_at_or_before_it():
    """Records cover from their slot up to the next record; the file loses its directories."""
    btf, (file, first, second) = btf_with_strings("/src/a.c", "int x;", "\treturn x;")
    records = struct.pack("<4I", 2, file, first, 7 << 10 | 5)
    records += struct.pack("<4I", 4, file, second, 9 << 10 | 2)

    def line(slot: int) -> SourceLine | None:
        return source_line(slot, records, btf, "little")

    assert line(1) is None
    assert line(2) == line(3) == SourceLine("a.c", 7, 5, "int x;")
    assert line(99) == SourceLine("a.c", 9, 2, "\treturn x;")


def test_a_source_line_that_names_no_string_is_no_source_line():
    """Explaining an error never raises another one."""
    btf, _ = btf_with_strings("a.c")
    records = struct.pack("<4I", 0, 5000, 1, 7 << 10)
    assert source_line(0, records, btf, "little") is None
    assert lines_around(SourceLine("a.c", 8, 1, ""), range(9), records, btf, "little") == ()


def test_lines_around_are_of_the_same_function_and_file():
    """Near in the file, in its order, each once; other functions and headers are left out."""
    btf, (file, header, text) = btf_with_strings("/src/a.c", "/src/a.h", "x")
    records = b"".join(
        struct.pack("<4I", slot, name, text, number << 10 | 1)
        for slot, name, number in [
            (0, file, 4),
            (1, file, 12),
            (2, file, 9),
            (3, header, 10),
            (4, file, 10),
            (5, file, 9),
            (6, file, 13),
            (7, file, 11),
        ]
    )
    around = lines_around(SourceLine("a.c", 10, 1, ""), range(7), records, btf, "little")
    assert [line.line for line in around] == [9, 12]
