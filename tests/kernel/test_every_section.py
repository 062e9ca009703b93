"""A program for every section name that is known loads, with the attach type the name says."""

from __future__ import annotations

import pytest

import pyebpf
from pyebpf import AttachType, ProgramSpec, ProgType
from pyebpf.sections import SECTIONS, Section
from pyebpf.spec import CollectionSpec
from tests.support import kernel

# What the name goes on with, where the kernel looks at it when the program is loaded.
TARGETS = {
    AttachType.TRACE_RAW_TP: "sched_switch",
    AttachType.TRACE_FENTRY: "bpf_fentry_test1",
    AttachType.TRACE_FEXIT: "bpf_fentry_test1",
    AttachType.TRACE_FSESSION: "bpf_fentry_test1",
    AttachType.MODIFY_RETURN: "security_file_open",
    AttachType.LSM_MAC: "file_open",
    AttachType.LSM_CGROUP: "socket_create",
    AttachType.TRACE_ITER: "task",
}
# The kernel wants 0 of these; of others 1 is always a good answer.
ZERO = {
    AttachType.TRACE_FENTRY,
    AttachType.TRACE_FEXIT,
    AttachType.TRACE_FSESSION,
    AttachType.TRACE_FENTRY_MULTI,
    AttachType.TRACE_FEXIT_MULTI,
    AttachType.TRACE_FSESSION_MULTI,
    AttachType.LSM_MAC,
}
# Functions and tracepoints that may sleep are chosen ones.
SLEEPING = {
    "fentry.s": "bpf_fentry_test1",
    "fexit.s": "bpf_fentry_test1",
    "fmod_ret.s": "bpf_fentry_test1",
    "tp_btf.s": "sys_enter",
    "lsm.s": "file_open",
    "iter.s": "task",
}
# They need a program or a map beside them: see test_attach_target.py and test_struct_ops.py.
ELSEWHERE = {ProgType.EXT, ProgType.STRUCT_OPS}
# Since when programs of a kind load with what the name says, where that is newer than the kind.
SINCE = {
    "tp_btf.s+": "7.1",
    "iter.s+": "5.18",
    "tracepoint.s+": "7.1",
    "tp.s+": "7.1",
    "raw_tracepoint.s+": "7.1",
    "raw_tp.s+": "7.1",
    "uprobe.s+": "6.0",
    "uretprobe.s+": "6.0",
    "usdt.s+": "6.0",
    # 5.10 for functions that a kernel with CONFIG_FUNCTION_ERROR_INJECTION lets fail.
    "fentry.s+": "6.3",
    "fexit.s+": "6.3",
    "fmod_ret.s+": "6.3",
    "lsm.s+": "5.11",
    "xdp.frags": "5.18",
    "xdp.frags/devmap": "5.18",
    "xdp.frags/cpumap": "5.18",
}
ROWS = [row for row in SECTIONS if row.type not in ELSEWHERE]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.pattern)
def test_a_program_of_every_section_loads(row: Section):
    """Or the kernel is too old for it, or a policy of the machine refuses its kind."""
    name = row.pattern.removesuffix("+")
    attach_type = row.attach_type
    target = TARGETS.get(attach_type) if attach_type is not None else None
    section = f"{name}/{SLEEPING.get(name, target)}" if target else name
    result = 0 if attach_type in ZERO else 1
    program = ProgramSpec.assemble("p", f"r0 = {result}; exit", section=section, license="GPL")
    assert (program.type, program.attach_type) == (row.type, attach_type)
    since = [SINCE.get(row.pattern), row.type.since, attach_type.since if attach_type else None]
    for release in filter(None, since):
        kernel.needs(release, f'SEC("{name}")')
    try:
        with pyebpf.load(CollectionSpec(programs={"p": program})) as bpf:
            info = bpf.programs["p"].info()
            assert (info.type, info.name) == (row.type, "p")
    except pyebpf.PrivilegeError as error:
        if "a policy of this kernel" not in str(error):
            raise
        assert row.type in (ProgType.TRACING, ProgType.LSM)
        pytest.skip("a policy of this kernel refuses programs that attach to functions")
