"""Causes in words: sentences of kernels from 5.4 to 7.2, and the row that knows them."""

from __future__ import annotations

import re

import pytest

from pyebpf.programs.verifier_causes import CAUSES, cause

SAID = {
    "cannot call GPL-restricted function from non-GPL compatible program": "licence is not GPL",
    "unknown func bpf_xdp_adjust_head#44": "helper not allowed .*: bpf_xdp_adjust_head",
    "program of this type cannot use helper bpf_override_return#58": "bpf_override_return",
    "calling kernel function tcp_cong_avoid_ai is not allowed": "kernel function not allowed .*_ai",
    "kernel btf_id 5 is not a function": "unknown kernel function",
    "ldimm64 failed to find the address for kernel symbol 'runqueues'.": "variable runqueues is",
    "helper call might sleep in a non-sleepable prog": "may sleep",
    "sleepable helper bpf_copy_from_user#148 in non-sleepable prog": "may sleep",
    "Program of this type cannot be sleepable": "BPF_F_SLEEPABLE",
    "Syscall programs can only be sleepable": "BPF_F_SLEEPABLE",
    "Only fentry/fexit/fmod_ret and lsm programs can be sleepable": "BPF_F_SLEEPABLE",
    "function calls to other bpf functions are allowed for root only": "needs CAP_BPF",
    "loading/calling other bpf or kernel functions are allowed for CAP_BPF and": "CAP_",
    "R0 leaks addr as return value": "CAP_PERFMON",
    "R10 pointer comparison prohibited": "CAP_PERFMON",
    "vfs_read() is not modifiable": "attached there",
    "BPF program is too large. Processed 131073 insn": "after 131073 instructions",
    "The sequence of 8193 jumps is too complex": "8192 branches",
    "infinite loop detected at insn 3": "unbounded loop",
    "back-edge from insn 2 to 1": "loop: kernels before 5.3",
    "combined stack size of 2 calls is 608. Too large": "2 functions .* 608 bytes",
    "the call stack of 9 frames is too deep": "9 functions",
    "invalid write to stack R10 off=-520 size=8": "stack too deep",
    "invalid stack off=-520 size=8": "stack too deep",
    "invalid write to stack R10 off=-500 size=8": "",
    "Unreleased reference id=2 alloc_insn=4": "unreleased reference",
    "bpf_spin_unlock is missing": "lock",
    "BPF_EXIT instruction in main prog cannot be used inside bpf_spin_lock-ed region": "lock",
    "function calls are not allowed while holding a lock": "lock",
    "expected an initialized iter_num as arg #0": "the iter must be made",
    "R0 invalid mem access 'map_value_or_null'": "NULL",
    "R1 invalid mem access 'ptr_or_null_'": "NULL",
    "R1 invalid mem access 'inv'": "R1 is a number",
    "R7 invalid mem access 'scalar'": "R7 is a number",
    "invalid access to packet, off=3 size=1, R1(id=0,off=3,r=0)": "packet",
    "R1 offset is outside of the packet": "packet",
    "invalid access to map value, value_size=24 off=24 size=8": "outside of the memory",
    "R0 unbounded memory access, make sure to bounds check any": "outside of the memory",
    "R2 min value is negative, either use unsigned or 'var &= const'": "outside of the memory",
    "invalid unbounded variable-offset read from stack R2": "index into the stack",
    "R4 invalid zero-sized read: u64=[0,63]": "size may be 0",
    "math between map_value pointer and register with unbounded min value is not allowed": "index",
    "value -2147483648 makes map_value pointer be out of bounds": "index without limits",
    "variable ctx access var_off=(0x0; 0xffffffff) disallowed": "constant offsets",
    "dereference of modified ctx ptr R1 off=8 disallowed": "constant offsets",
    "R0 pointer arithmetic with *= operator prohibited": "adding or subtracting",
    "R2 !read_ok": "R2 is read",
    "invalid indirect read from stack R2 off -4+0 size 4": "nothing was written",
    "invalid read from stack R10 off=-8 size=8": "nothing was written",
    "invalid bpf_context access off=80 size=4": "no such field",
    "write into map forbidden, value_size=4 off=0 size=4": "read-only",
    "only read is supported": "kernel's types",
    "access beyond struct task_struct at off 100000 size 8": "kernel's types",
    "R1 must be a rcu pointer": "not trusted",
    "R1 must be referenced or trusted": "not trusted",
    "misaligned stack access off (0x0; 0x0)+0+-9 size 8": "no multiple",
    "Caller passes invalid args into func#1": "argument types alone",
    "At program exit the register R0 has value (0x7; 0x0) should have been in (0x0; 0x1)": "return",
    "At callback return the register R0 has smin=5 smax=5 should have been in [0, 1]": "return",
    "R1 type=ctx expected=map_ptr": "R1 is not the kind",
    "R1 is fp expected STRUCT task_struct": "R1 is not the kind",
    "cannot pass map_type 1 into func bpf_tail_call#12": "map of this type",
    "expected prog array map for tail call": "map of this type",
    "arg#0 type is not a struct; Arg#0 type PTR in f() is not supported yet": "argument's type",
    "unreachable insn 2": "not well formed",
    "last insn is not an exit or jmp": "not well formed",
    "unknown opcode ff": "unknown to this kernel",
    "BPF_ALU uses reserved fields": "unknown to this kernel",
    "fd 999 is not pointing to valid bpf_map": "descriptor",
    "verifier bug: no prog": "mistake of this kernel",
    "something new": "",
}


@pytest.mark.parametrize("reason", SAID)
def test_a_known_reason_has_its_cause_in_words(reason):
    """And an unknown one none, rather than a wrong one."""
    found = cause(reason)
    assert (found is None) == (SAID[reason] == "")
    if found is not None:
        assert re.search(SAID[reason], found.words)
        assert "{" not in found.words


def test_every_row_knows_a_sentence():
    """A row that none of the sentences above gets to is dead, or untested."""
    used = {index for index, row in enumerate(CAUSES) for each in SAID if first(each) is row}
    assert [row.pattern for index, row in enumerate(CAUSES) if index not in used] == []


def first(reason: str):
    return next((row for row in CAUSES if re.search(row.pattern, reason)), None)
