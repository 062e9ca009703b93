"""What cannot be loaded: the error says what and where, and nothing stays behind.

That nothing stays is checked after every test: see ``no_leaks`` in conftest.
"""

from __future__ import annotations

import os
import pickle

import pytest

import pyebpf
from pyebpf.spec import Pinning
from tests.support.programs import SOURCES, built


def spec_with_only(name: str, program: str) -> pyebpf.CollectionSpec:
    spec = pyebpf.load_spec(built(name))
    for each in spec.programs.values():
        each.autoload = each.name == program
    return spec


def line_of(name: str, text: str) -> int:
    source = (SOURCES / f"{name}.bpf.c").read_text().splitlines()
    return next(number for number, line in enumerate(source, 1) if text in line)


def test_a_refused_program_names_its_line_of_c():
    """The error has the verifier's reason, the C line and the whole log."""
    with pytest.raises(pyebpf.VerifierError) as caught:
        pyebpf.load(spec_with_only("refused", "unchecked_lookup"))
    error = caught.value
    assert 'load program "unchecked_lookup": BPF_PROG_LOAD: EACCES: ' in str(error)
    assert "map_value_or_null" in str(error)
    assert f"(refused.bpf.c:{line_of('refused', 'return *value')}, " in str(error)
    assert error.source is not None
    assert "return *value" in error.source.text
    assert error.log.count("\n") > 5
    assert not error.truncated
    assert "-->" in error.explain()


def test_errors_survive_pickling():
    """A worker process can hand them to its parent."""
    with pytest.raises(pyebpf.VerifierError) as caught:
        pyebpf.load(spec_with_only("refused", "unchecked_packet"))
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (type(copied), copied.errno, copied.cmd) == (
        pyebpf.VerifierError,
        caught.value.errno,
        "BPF_PROG_LOAD",
    )


def test_a_field_no_kernel_has_is_named():
    """The verifier only sees a poisoned instruction; the error names what it was."""
    with pytest.raises(pyebpf.VerifierError, match=r"CO-RE: .*task_struct.*no_such_member"):
        pyebpf.load(spec_with_only("core_missing", "used"))


def test_an_unknown_section_is_refused_until_a_type_is_set():
    """The section is named; a type set by the user makes it an ordinary program."""
    spec = pyebpf.load_spec(built("sections"))
    with pytest.raises(pyebpf.LoadError, match='section "mystery/of/life"'):
        pyebpf.load(spec)
    spec.programs["unknown"].type = pyebpf.ProgType.SOCKET_FILTER
    with pyebpf.load(spec) as bpf:
        assert bpf.programs["unknown"].run(bytes(64)).retval == 0


def test_an_impossible_map_is_explained():
    """EINVAL says nothing; the error does."""
    spec = pyebpf.load_spec(built("count_syscalls"))
    spec.maps["counts"].max_entries = 0
    with pytest.raises(pyebpf.SyscallError, match=r'create map "counts".*max_entries is 0'):
        pyebpf.load(spec)


def test_pinning_of_an_unknown_kind_is_refused_until_one_is_set():
    """Whoever numbers kinds of their own knows what they mean."""
    spec = pyebpf.CollectionSpec()
    spec.maps["cache"] = pyebpf.MapSpec(
        name="cache", type=pyebpf.MapType.ARRAY, key_size=4, value_size=4, max_entries=1
    )
    spec.maps["cache"].pinning = Pinning(100)
    with pytest.raises(pyebpf.LoadError, match='map "cache": pinning 100 is another loader\'s own'):
        pyebpf.load(spec)
    spec.maps["cache"].pinning = Pinning.NONE
    pyebpf.load(spec).close()


def test_a_missing_tracepoint_is_named():
    """A target the kernel does not have fails at attach, with its name."""
    spec = spec_with_only("probes", "on_tracepoint")
    spec.programs["on_tracepoint"].attach_to = "syscalls/sys_enter_nothing"
    with pyebpf.load(spec) as bpf, pytest.raises(pyebpf.EbpfError, match="sys_enter_nothing"):
        bpf.attach()


def test_a_missing_btf_target_is_named():
    """A tp_btf program needs its target when it is loaded."""
    spec = spec_with_only("probes", "on_tp_btf")
    spec.programs["on_tp_btf"].attach_to = "no_such_tracepoint"
    with pytest.raises(pyebpf.LoadError, match="no_such_tracepoint"):
        pyebpf.load(spec)


def test_a_failure_half_way_leaves_no_pin(bpffs):
    """Maps pinned by a load that fails later are unpinned again."""
    spec = pyebpf.load_spec(built("maps"))
    spec.programs["bad"] = pyebpf.load_spec(built("refused")).programs["unchecked_packet"]
    with pytest.raises(pyebpf.VerifierError):
        pyebpf.load(spec, pin_dir=bpffs)
    assert not (bpffs / "pinned").exists()


def test_a_failure_half_way_leaves_nothing_attached():
    """attach() of several programs is all or nothing."""
    spec = pyebpf.load_spec(built("probes"))
    for each in spec.programs.values():
        each.autoload = each.name in ("on_tracepoint", "on_raw_tracepoint")
    spec.programs["on_raw_tracepoint"].attach_to = "no_such_tracepoint"
    spec.variables["target_pid"].value = os.getpid()
    with pyebpf.load(spec) as bpf:
        with pytest.raises(pyebpf.SyscallError, match="no_such_tracepoint"):
            bpf.attach()
        os.getppid()
        assert bpf.variables["tracepoint_hits"].value == 0
        assert bpf.links == {}


def test_programs_that_need_more_than_a_name_say_so():
    """XDP needs an interface, a socket filter a socket."""
    with pyebpf.load(built("probes")) as bpf:
        with pytest.raises(pyebpf.LoadError, match="attach_xdp"):
            pyebpf.attach(bpf.programs["on_xdp"])
        with pytest.raises(pyebpf.LoadError, match="attach_socket"):
            bpf.attach("on_socket")
        with pytest.raises(pyebpf.LoadError, match="names no target"):
            bpf.attach("on_uprobe")
    with pyebpf.load(built("xdp_drop")) as bpf, pytest.raises(pyebpf.LoadError):
        bpf.attach()
