"""Programs that attach to functions: of other eBPF programs, of modules, of the kernel."""

from __future__ import annotations

import errno
import pathlib
import subprocess

import pytest

import pyebpf
from pyebpf.spec import CollectionSpec
from pyebpf.sys import bpf as calls
from pyebpf.uapi.attrs import ProgLoad
from pyebpf.uapi.bpf import AttachType
from tests.support import kernel
from tests.support.programs import built, only

PACKET = bytes(64)


def policy_refuses() -> bool:
    """Say whether this kernel refuses such programs whatever they are: here one of nothing."""
    attr = ProgLoad(
        prog_type=pyebpf.ProgType.TRACING,
        expected_attach_type=AttachType.TRACE_FENTRY,
        insns=bytes(8),
        insn_cnt=1,
        license=b"GPL\0",
    )
    try:
        calls.prog_load(attr).close()
    except pyebpf.SyscallError as error:
        return error.errno == errno.EPERM
    return False


@pytest.fixture
def allowed(real_kernel):
    """Skip where a policy stands in the way; what is said there is tested too."""
    if policy_refuses():
        pytest.skip("a policy of this kernel refuses programs that attach to functions")


@pytest.fixture
def target(real_kernel):
    """A loaded object with functions to attach to."""
    with pyebpf.load(built("subprogs")) as bpf:
        yield bpf


def aimed(program: str, target: pyebpf.Program) -> pyebpf.CollectionSpec:
    """A spec of one program that attaches to a function of *target*."""
    spec = only("attach_target", program)
    spec.programs[program].attach_target = target
    return spec


# ---- another program --------------------------------------------------------------------------


def test_the_entry_of_another_program_is_seen(allowed, target):
    """Once for each run, while attached."""
    alone = target.programs["alone"]
    with pyebpf.load(aimed("on_entry", alone)) as bpf:
        alone.run(PACKET)
        bpf.attach()
        alone.run(PACKET, repeat=3)
        assert bpf.variables["entries"].value == 3
        bpf.links["on_entry"].close()
        alone.run(PACKET)
        assert bpf.variables["entries"].value == 3


def test_what_another_program_returns_is_seen(allowed, target):
    """Also when the other collection has been closed but for this program."""
    alone = target.programs["alone"]
    with pyebpf.load(aimed("on_exit", alone)) as bpf, pyebpf.attach(bpf.programs["on_exit"]):
        assert alone.run(PACKET).retval == 7
        assert bpf.variables["returned"].value == 7


def test_a_function_inside_another_program_is_seen(allowed, target):
    """With what it is called with; other programs have copies of their own."""
    first = target.programs["first"]
    with pyebpf.load(aimed("on_call", first)) as bpf:
        bpf.attach()
        target.programs["second"].run(PACKET)
        assert bpf.variables["digit"].value == -1
        first.run(PACKET)
        assert bpf.variables["digit"].value == 3


def test_a_function_of_another_program_is_replaced(allowed, target):
    """In the program that was named, until the link closes."""
    first = target.programs["first"]
    assert first.run(PACKET).retval == 4321
    with pyebpf.load(aimed("nine_more", first)) as bpf:
        assert set(bpf.attach()) == {"nine_more"}
        assert first.run(PACKET).retval == 4321 + 9
        assert target.programs["second"].run(PACKET).retval == 5060
    assert first.run(PACKET).retval == 4321


def test_a_function_that_the_program_does_not_have_is_named(allowed, target):
    """Whether no function of the object has the name, or only another program's."""
    spec = aimed("on_entry", target.programs["first"])
    with pytest.raises(pyebpf.VerifierError, match=r'program "on_entry": .*alone'):
        pyebpf.load(spec)
    spec.programs["on_entry"].attach_to = "nobody"
    with pytest.raises(pyebpf.LoadError, match='program "first" has no function nobody'):
        pyebpf.load(spec)


def test_a_program_without_types_has_no_functions_to_find(real_kernel):
    """Said before the kernel is asked."""
    bare = pyebpf.load_spec(built("legacy_maps"))
    name = next(iter(bare.programs))
    for each in bare.programs.values():
        each.autoload = each.name == name
    with (
        pyebpf.load(bare) as bpf,
        pytest.raises(pyebpf.LoadError, match=f'program "{name}" was loaded without types'),
    ):
        pyebpf.load(aimed("on_entry", bpf.programs[name]))


def test_a_closed_target_is_said_to_be_closed(target):
    """And a replacement without a target says what it lacks."""
    spec = aimed("nine_more", target.programs["first"])
    target.close()
    with pytest.raises(pyebpf.ClosedError, match='load program "nine_more": program "first"'):
        pyebpf.load(spec)
    with pytest.raises(pyebpf.LoadError, match=r"replaces a function.*attach_target to that prog"):
        pyebpf.load(only("attach_target", "nine_more"))


@pytest.mark.parametrize("program", ["on_entry", "on_exit", "nine_more"])
def test_a_policy_that_refuses_is_called_one(target, program):
    """EPERM without a log has nothing to do with limits, and capabilities are all there."""
    spec = aimed(program, target.programs["alone" if program.startswith("on") else "first"])
    if not policy_refuses():
        pytest.skip("no policy of this kernel refuses programs that attach to functions")
    with pytest.raises(pyebpf.PrivilegeError) as caught:
        pyebpf.load(spec)
    message = str(caught.value)
    assert f'load program "{program}": BPF_PROG_LOAD: EPERM: ' in message
    assert "policy" in message
    assert not any(word in message for word in ("ulimit", "memlock", "MEMLOCK", "CAP_"))


# ---- the kernel and its modules ---------------------------------------------------------------


def test_a_function_of_a_module_is_seen(allowed, netns):
    """``module:function``, and the function alone: the modules are looked through."""
    if not pathlib.Path("/sys/kernel/btf/veth").exists():
        pytest.skip("veth is no module with types here")
    for name in ("veth:veth_open", "veth_open"):
        spec = only("attach_target", "on_entry")
        spec.programs["on_entry"].attach_to = name
        with pyebpf.load(spec) as bpf:
            bpf.attach()
            subprocess.run(["ip", "link", "add", "left", "type", "veth"], check=True)
            subprocess.run(["ip", "link", "set", "left", "up"], check=True)
            subprocess.run(["ip", "link", "del", "left"], check=True)
            assert bpf.variables["entries"].value == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_function", "no function no_such_function in the types of the kernel and its m"),
        ("no_such_module:f", "no function f in the types of module no_such_module"),
        ("vmlinux:no_such_function", "no function no_such_function in the types of the kernel$"),
        ("", "names no target"),
    ],
)
def test_a_missing_function_is_named(real_kernel, name, message):
    """Before the kernel is asked."""
    spec = only("attach_target", "on_entry")
    spec.programs["on_entry"].attach_to = name
    with pytest.raises(pyebpf.LoadError, match=f'load program "on_entry": .*{message}') as caught:
        pyebpf.load(spec)
    assert caught.value.name == "on_entry"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("fentry/vfs_raed", "no function vfs_raed in .*near: .*vfs_read"),
        ("fexit/vmlinux:vfs_raed", "no function vfs_raed in .*near: .*vfs_read"),
        ("lsm/fil_open", "no function bpf_lsm_fil_open in .*near: .*bpf_lsm_file_open"),
        ("iter/taks", r"no function bpf_iter_taks in .*near: .*bpf_iter_\w*ta"),
        ("tp_btf/sched_swich", "no type btf_trace_sched_swich in .*near: .*sched_switch"),
    ],
)
def test_a_misspelt_target_is_told_what_is_near(tracefs, section, message):
    """Functions of the kernel, security hooks, iterators, tracepoints."""
    if section.startswith("iter/") and kernel.lacks_function("bpf_iter_task"):
        pytest.skip("this kernel drops the functions of its iterators when it has started")
    program = pyebpf.ProgramSpec.assemble("p", "r0 = 0; exit", section=section, license="GPL")
    with pytest.raises(pyebpf.LoadError, match=message):
        pyebpf.load(CollectionSpec(programs={"p": program}))
