"""From a log and a program to the error people read, without a kernel."""

from __future__ import annotations

import pathlib
import pickle

import pytest

from pyebpf.errors import ENOTSUPP, NotSupportedError, SourceLine, SyscallError, VerifierError
from pyebpf.programs import refusal
from pyebpf.programs.request import LoadRequest
from pyebpf.sys import kernel
from pyebpf.uapi.attrs import ProgLoad
from tests.support import refusals

GOLDEN = refusals.LOGS / "explained.golden"
SHOWN = [
    ("5.10", "unchecked_lookup"),
    ("6.1", "unreleased_record"),
    ("6.12", "unchecked_lookup"),
    ("6.12", "unreleased_record"),
    ("6.12", "endless_loop"),
    ("6.12", "deep_stack"),
    ("6.18", "in_function"),
    ("7.2", "unchecked_lookup"),
    ("7.2", "wrong_argument"),
]
STATISTICS = "processed 9 insns (limit 1000000) max_states_per_insn 0\n"


class Machine:
    """Where the files are that say what a process may do."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = str(root)


@pytest.fixture(autouse=True)
def machine(tmp_path: pathlib.Path):
    """A process with all capabilities, on a machine without lockdown."""
    write(tmp_path, "proc/self/status", "CapEff:\t000001ffffffffff\n")
    with kernel.use(Machine(tmp_path)):
        yield tmp_path


def write(root: pathlib.Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def request_of(name: str) -> LoadRequest:
    spec = refusals.spec_of(name).programs[name]
    return LoadRequest(
        attr=ProgLoad(prog_type=spec.type),
        code=spec.code,
        func_info=spec.func_info,
        line_info=spec.line_info,
        btf=spec.btf,
        byteorder=spec.byteorder,
    )


def error_of(release: str, name: str) -> VerifierError:
    number, log = next(
        (number, log) for each, number, log in refusals.logs(release) if each == name
    )
    error = SyscallError("BPF_PROG_LOAD", number)
    explained = refusal.explain(request_of(name), error, log, truncated=False)
    assert isinstance(explained, VerifierError)
    explained.context.insert(0, f'load program "{name}"')
    return explained


def explained(log: str, *, number: int = 13, truncated: bool = False, **request) -> Exception:
    request = {"attr": ProgLoad(), "code": bytes(16), **request}
    error = SyscallError("BPF_PROG_LOAD", number)
    return refusal.explain(LoadRequest(**request), error, log, truncated=truncated)


def test_what_is_shown_is_what_was_agreed():
    """The golden file holds explanations of several kernels' logs, word for word."""
    shown = [
        f"== {release} {name}\n{error_of(release, name).explain()}\n" for release, name in SHOWN
    ]
    assert "\n".join(shown) == GOLDEN.read_text("utf-8")


@pytest.mark.parametrize("release", refusals.kernels())
@pytest.mark.parametrize("name", refusals.PROGRAMS)
def test_the_cause_and_the_line_are_the_same_on_every_kernel(release, name):
    """However differently kernels put it."""
    known, error = refusals.PROGRAMS[name], error_of(release, name)
    if (release, name) == ("5.10", "wrong_argument"):
        return  # global functions take no such argument there, and that is what it says
    if (release, name) == ("5.10", "sleeping_helper"):
        assert "helper not allowed" in error.cause  # no program of the kind may sleep
    else:
        assert known.cause in error.cause
    if known.line:
        assert known.line in error.source.text
        assert f"(refused.bpf.c:{error.source.line}, " in str(error)
    else:
        assert error.source is None
    assert "\n" not in str(error)


def test_an_error_is_pickled_with_all_it_knows():
    """A worker process hands it to its parent, which shows the same."""
    error = error_of("6.12", "unreleased_record")
    copied = pickle.loads(pickle.dumps(error))
    assert copied.explain() == error.explain()
    assert vars(copied) == vars(error)
    assert copied.registers["R0"] == "1"
    assert copied.slot == 17
    assert [line.line for line in copied.nearby] == [74]


def test_what_was_relocated_to_nothing_is_named_by_its_slot():
    """A poisoned instruction, or a call of a function that does not exist."""
    log = "4: (85) call unknown#195896080\ninvalid func unknown#195896080\n" + STATISTICS
    error = explained(log, poisoned={4: 'field "x" of struct y'})
    assert 'CO-RE: field "x" of struct y not found in the kernel\'s types' in str(error)
    assert "bpf_core_field_exists" in error.help
    log = log.replace("195896080", "2002000000")
    error = explained(log, missing={4: 'kernel function "f" not found'})
    assert 'kernel function "f" not found' in str(error)


def test_a_helper_this_kernel_lacks_is_the_kernels_matter():
    """Not the program's: it says since when there is one."""
    log = "4: (85) call unknown#211\ninvalid func unknown#211\n" + STATISTICS
    error = explained(log)
    assert isinstance(error, NotSupportedError)
    assert error.since == "6.2"


def test_a_process_with_little_privilege_is_told():
    """The verifier is stricter to it, and the sentence does not say so."""
    log = "0: (95) exit\nR0 leaks addr as return value\n" + STATISTICS
    assert explained(log).notes == ()
    write(pathlib.Path(kernel.current().root), "proc/self/status", "CapEff:\t0\n")
    assert explained(log).notes == ("without CAP_BPF and CAP_PERFMON the verifier allows less",)
    assert "CAP_PERFMON" in explained(log).cause


def test_lockdown_is_named_where_it_takes_helpers_away(machine):
    """Helpers that read or write the kernel's memory; no others."""
    write(machine, "sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    log = "1: (85) call bpf_probe_write_user#36\nprogram of this type cannot use helper {}\n"
    assert explained(log.format("bpf_probe_write_user#36")).notes == (
        "kernel lockdown is at integrity",
    )
    assert explained(log.format("bpf_xdp_adjust_head#44")).notes == ()


@pytest.mark.parametrize(
    ("log", "number", "text"),
    [
        (STATISTICS, ENOTSUPP, "the JIT compiler cannot translate it"),
        (STATISTICS, 22, "invalid argument, after the verifier had accepted it"),
        ("0: (95) exit\n", 28, "no space left on device (1 line omitted"),
    ],
    ids=["JIT", "later", "cut"],
)
def test_a_log_without_a_reason(log, number, text):
    """The verifier was content, or its reason is not in what we have."""
    assert text in str(explained(log, number=number))


def test_an_unknown_reason_is_shown_as_it_stands():
    """With the end of the log where there is no instruction to show."""
    error = explained("something new\n" + STATISTICS, truncated=True)
    assert str(error) == "BPF_PROG_LOAD: EACCES: something new (1 line omitted, see .log)"
    assert error.explain().splitlines()[1:] == [
        "note: the kernel had more log than it could hand over",
        "  something new",
        f"  {STATISTICS.strip()}",
    ]


def test_the_caret_stands_under_the_column():
    """Also behind a tab; without a column there is none."""
    line = SourceLine("a.c", 9, 9, "\treturn *value;")
    error = VerifierError("BPF_PROG_LOAD", 13, "R2 !read_ok", source=line)
    lines = error.explain().splitlines()
    assert lines[:2] == ["BPF_PROG_LOAD: EACCES: R2 !read_ok", "--> a.c:9:9"]
    assert lines[2] == "     9 |         return *value;"
    assert lines[3].index("^") == lines[2].index("*")
    error = VerifierError("BPF_PROG_LOAD", 13, source=line._replace(column=0))
    assert error.explain().splitlines()[1:] == ["--> a.c:9", lines[2]]


def test_what_the_instruction_uses_comes_first_and_the_rest_is_short():
    """What it only writes is no news, nor is the frame pointer."""
    registers = {"R0": "1", "R1": "ctx()", "R6": "2", "R10": "fp0"}
    registers |= {f"fp-{8 * number}": "mmmmmmmm" for number in range(1, 40)}
    error = VerifierError(
        "BPF_PROG_LOAD",
        13,
        "R6 min value is negative",
        slot=3,
        instruction="r0 = *(u8 *)(r1 +3)",
        registers=registers,
    )
    lines = error.explain().splitlines()[1:]
    assert lines[:3] == ["instruction 3: r0 = *(u8 *)(r1 +3)", "    R1 = ctx()", "    R6 = 2"]
    assert lines[3].startswith("others: R0=1 fp-8=mmmmmmmm ")
    assert lines[-1].endswith("and 24 more")
    assert len(lines) == 6
