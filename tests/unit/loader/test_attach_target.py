"""What a program attaches to, looked up in the types of a kernel that is made up."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.errors import LoadError, NotSupportedError, PrivilegeError
from pyebpf.host.kernel_btf import kernel_btf
from pyebpf.host.modules import Modules
from pyebpf.loader.attach_target import AttachTarget, attach_target, needs_target
from pyebpf.spec import ProgramSpec
from pyebpf.sys import kernel
from pyebpf.uapi.bpf import AttachType, ProgType
from tests.support.btf_builder import SIGNED, BtfBuilder
from tests.support.made_kernel import MadeKernel


def vmlinux() -> BtfBuilder:
    builder = BtfBuilder()
    builder.int("int", 4, SIGNED)  # 1
    builder.func_proto(1)  # 2
    builder.func("vfs_read", 2)  # 3
    builder.func("twice", 2)  # 4
    builder.func("twice", 2)  # 5
    builder.func("bpf_lsm_file_open", 2)  # 6
    builder.func("bpf_iter_task", 2)  # 7
    builder.typedef("btf_trace_sched_switch", 1)  # 8
    builder.typedef("vfs_write", 1)  # 9, no function
    return builder


BASE = Btf.decode(vmlinux().build())


@pytest.fixture
def files(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A kernel with one module, whose descriptor it does not give, and one with broken types."""
    directory = tmp_path / "sys/kernel/btf"
    directory.mkdir(parents=True)
    (directory / "vmlinux").write_bytes(bytes(BASE.raw))
    builder = BtfBuilder(ids=len(BASE), strings=BASE.strings_length)
    builder.func("veth_open", 2)
    builder.func("vfs_read", 2)
    (directory / "veth").write_bytes(builder.build())
    (directory / "broken").write_bytes(b"nonsense")
    with kernel.use(MadeKernel(tmp_path)):
        yield tmp_path


def spec(to: str, attach: AttachType | None, kind: ProgType = ProgType.TRACING) -> ProgramSpec:
    return ProgramSpec(name="p", type=kind, attach_type=attach, attach_to=to, section="s/x")


def find(program: ProgramSpec) -> AttachTarget:
    with Modules(kernel_btf) as modules:
        return attach_target(program, modules)


ENTRY = AttachType.TRACE_FENTRY


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (spec("vfs_read", ENTRY), 3),
        (spec("vmlinux:vfs_read", AttachType.TRACE_FEXIT), 3),
        (spec("vfs_read", AttachType.MODIFY_RETURN), 3),
        (spec("sched_switch", AttachType.TRACE_RAW_TP), 8),
        (spec("task", AttachType.TRACE_ITER), 7),
        (spec("file_open", AttachType.LSM_MAC, ProgType.LSM), 6),
    ],
    ids=lambda each: str(getattr(each, "attach_type", "")),
)
def test_each_way_to_attach_has_its_names(files, program, expected):
    """As the kernel calls what belongs to them."""
    assert needs_target(program)
    assert find(program) == AttachTarget(expected)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (spec("twice", ENTRY), r'SEC\("s/x"\): the kernel has 2 of the name twice'),
        (spec("vfs_write", ENTRY), "no function vfs_write in the types of the kernel and its mod"),
        (spec("sched_switch", ENTRY), "no function sched_switch"),
        (spec("vfs_read", AttachType.TRACE_RAW_TP), "no type btf_trace_vfs_read in the types of"),
        (spec("vmlinux:veth_open", ENTRY), "no function veth_open in the types of the kernel$"),
        (spec("veth:twice", ENTRY), r"no function twice in the types of module veth"),
        (spec("", ENTRY), r'SEC\("s/x"\) names no target; set spec.programs\["p"\].attach_to'),
        (spec("f", None), "attach type None has no target"),
        (spec("f", AttachType.XDP), "attach type BPF_XDP has no target"),
        (spec("f", None, ProgType.EXT), r'SEC\("s/x"\) replaces a function of another program'),
    ],
    ids=lambda each: each[:30] if isinstance(each, str) else "",
)
def test_what_cannot_be_found_is_named(files, program, message):
    """A name that two functions have is not found either: which of them is a matter of luck."""
    with pytest.raises(LoadError, match=message) as caught:
        find(program)
    assert caught.value.name == "p"


def test_modules_that_were_passed_over_are_mentioned(files):
    """The function may have been there."""
    with pytest.raises(LoadError, match=r"no function gone .*\(module broken was skipped: "):
        find(spec("gone", ENTRY))


@pytest.mark.parametrize("name", ["veth_open", "veth:veth_open", "veth:vfs_read"])
def test_a_function_of_a_module_takes_its_descriptor(files, name):
    """Which this kernel gives to nobody; the kernel's own of that name is not meant."""
    with pytest.raises(PrivilegeError, match='BTF of module "veth"'):
        find(spec(name, ENTRY))


def test_a_kernel_without_types_has_no_targets(files):
    """Said with what it lacks."""
    (files / "sys/kernel/btf/vmlinux").unlink()
    with pytest.raises(NotSupportedError, match=r'SEC\("s/x"\): kernel BTF'):
        find(spec("vfs_read", ENTRY))


def test_some_are_told_later():
    """Programs for many functions at once, and other kinds."""
    assert not needs_target(spec("", AttachType.TRACE_FENTRY_MULTI))
    assert not needs_target(spec("vfs_read", None, ProgType.KPROBE))
    assert needs_target(spec("f", None, ProgType.EXT))
