"""What the verifier's sentences mean: the known causes of refusals, in words, and what to do.

    "R0 invalid mem access 'map_value_or_null'" ──cause()──▶ words: R0 may be NULL here
                                                             help:  compare it with NULL first

A table, searched from its top; `Cause.words` may take groups of its pattern. The verifier's
sentences change between releases, so a row matches what its forms since Linux 5.4 share.
"""

from __future__ import annotations

import re

from pyebpf.typed import NamedTuple

__all__ = ["CAUSES", "Cause", "cause"]


class Cause(NamedTuple):
    """A row of the table.

    Attributes:
        pattern: What the verifier's sentences contain.
        words: What that means; ``{1}`` stands for a group of the pattern.
        help: What to do about it, or ``""``.
    """

    pattern: str
    words: str
    help: str = ""


_BOUND = "compare it with a limit in the same branch, as an unsigned value, before it is used"
_REGISTER = r"\b(R\d+) "

CAUSES = (
    # What the program may not do at all, being what it is.
    Cause(
        r"non-GPL compatible|only be called from GPL|GPL-only|not GPL",
        "the object's licence is not GPL compatible, and this needs one that is",
        'if it may be: char LICENSE[] SEC("license") = "GPL"',
    ),
    Cause(
        r"(?:program of this type cannot use helper|unknown func) (\w+)#\d+",
        "helper not allowed for this program type by this kernel: {1}",
        "bpf-helpers(7) has the types that may call it; a newer kernel may allow it to more",
    ),
    Cause(
        r"calling kernel function (\S+) is not allowed",
        "kernel function not allowed for this program type by this kernel: {1}",
    ),
    Cause(
        r"calling invalid kernel function|btf_id \d+ is not a (?:kernel )?function",
        "unknown kernel function: the number called is not a function of this kernel",
        "build kernel function calls from an extern declared __ksym, so that it is looked up here",
    ),
    Cause(
        r"failed to find the address for kernel symbol '(.+?)'",
        "the kernel does not list where its variable {1} is",
        "variables are listed by kernels built with CONFIG_KALLSYMS_ALL",
    ),
    Cause(
        r"might sleep in a non-sleepable|sleepable (?:helper|kfunc|kernel function)|is sleepable "
        r"within|program must be sleepable",
        "what is called may sleep, and the program is one that must not",
        'use the sleepable form of the section where there is one: SEC("lsm.s/...")',
    ),
    Cause(
        r"[Pp]rogram(?:s| of this type) can(?:not|(?: only)?) be sleepable",
        "BPF_F_SLEEPABLE does not go with this program type: some never sleep, some always may",
    ),
    Cause(
        r"allowed for (?:capable root|CAP_|root)|!root|unprivileged",
        "not allowed without privilege: needs CAP_BPF (or CAP_SYS_ADMIN)",
    ),
    Cause(
        r"leaks addr|pointer comparison prohibited|pointer arithmetic .*prohibited for !root",
        "without CAP_PERFMON a program must not let addresses of the kernel be seen or compared",
    ),
    Cause(
        r"is not modifiable|(?:attach_btf_id|target).* is not a function|can only be attached to"
        r"|Cannot (?:replace|attach)|cannot attach|not attachable",
        "the kernel does not let programs of this kind be attached there",
    ),
    # Size and time.
    Cause(
        r"BPF program is too large\. Processed (\d+) insn",
        "too complex: the verifier gave up after {1} instructions, every path through it counted",
        "fewer branches in loops, or bpf_loop(), bpf_for() or a global function: seen only once",
    ),
    Cause(
        r"sequence of (\d+) jumps is too complex",
        "too complex: more than 8192 branches wait to be followed at once",
        "fewer branches one after another; a global function is verified on its own",
    ),
    Cause(
        r"infinite loop detected",
        "unbounded loop: it comes back to where it was with nothing changed that ends it",
        "let a counter with a constant limit end the loop, or use bpf_loop()",
    ),
    Cause(
        r"back-edge from insn",
        "loop: kernels before 5.3 allow none, later ones none without CAP_BPF",
        "unroll it: #pragma unroll",
    ),
    Cause(
        r"combined stack size of (\d+) calls is (\d+)",
        "stack too deep: {1} functions that call each other take {2} bytes, 512 are allowed",
        "move large variables into a per-CPU array map",
    ),
    Cause(
        r"call stack of (\d+) frames is too deep",
        "calls too deep: {1} functions active at once are more than this kernel follows",
        "let the compiler inline some of them: static __always_inline",
    ),
    Cause(
        r"invalid (?:write to|read from|indirect read from)? ?(?:variable-offset )?stack "
        r"(?:R\d+ |type=\w+ )?off=-(?:5(?:1[3-9]|[2-9]\d)|[6-9]\d\d|\d{4,})\b",
        "stack too deep: a function has 512 bytes of it",
        "move large variables into a per-CPU array map",
    ),
    # References and locks.
    Cause(
        r"Unreleased reference",
        "unreleased reference: the program ends, or returns, while it still holds one",
        "release it on every path: bpf_ringbuf_submit() or _discard(), bpf_sk_release(), ...",
    ),
    Cause(
        r"spin_(?:un)?lock is missing|spin_lock-ed region|while holding a lock|irq-?disabled region"
        r"|rcu_read_lock-ed region|preempt-disabled region|missing.*unlock",
        "a lock is held where it must not be",
        "unlock before calls, before returning, and on every path",
    ),
    Cause(
        r"initialized (iter|dynptr|irq flag)\w*",
        "the {1} must be made by its _new or _from function first, once, and not be copied",
    ),
    # Pointers and numbers.
    Cause(
        _REGISTER
        + r"invalid mem access '\w*_or_null|Possibly NULL|possibly NULL|(?:may|can) be NULL",
        "the pointer may be NULL here",
        "compare it with NULL before it is used",
    ),
    Cause(
        _REGISTER + r"invalid mem access '(?:scalar|inv)'",
        "{1} is a number to the verifier, not an address it knows of",
        "read other memory with bpf_probe_read_kernel() or bpf_core_read(); keep pointers pointers",
    ),
    Cause(
        r"(invalid access to packet|(?:pointer|offset) is outside of the packet)",
        "the packet may end before what is read or written here",
        "compare the end of the access with data_end first, and use the same pointer",
    ),
    Cause(
        r"invalid access to map value|invalid access to memory|unbounded memory access"
        r"|(?:min|max) value is (?:outside|negative|out of)|invalid access to key",
        "the access may lie outside of the memory that is there",
        f"index or size not limited enough: {_BOUND}",
    ),
    Cause(
        r"unbounded variable-offset|variable-offset (?:stack|.*stack)|invalid variable-offset",
        "the index into the stack may lie outside of the variable",
        _BOUND,
    ),
    Cause(
        r"invalid zero-sized read",
        "the size may be 0, which this helper does not take",
        "make sure that it is at least 1 before the call, or a constant",
    ),
    Cause(
        r"math between .*unbounded|pointer offset .* is not allowed|value .* makes .* be out of "
        r"bounds",
        "an index without limits is added to a pointer",
        _BOUND,
    ),
    Cause(
        r"variable \w+ access|dereference of modified (\w+)|variable offset .*disallowed",
        "this kind of pointer may be used with constant offsets only",
        "keep the pointer as it was given; barrier_var() keeps the compiler from moving it",
    ),
    Cause(
        r"pointer arithmetic",
        "addresses may only be moved by adding or subtracting, and not those of every kind",
    ),
    Cause(
        _REGISTER + r"!read_ok",
        "{1} is read, but nothing was put in it on this path (a call takes what R1 to R5 held)",
        "give the variable a value on every path, the function an argument or a return value",
    ),
    Cause(
        r"invalid (?:indirect )?(?:read from|access to) stack|invalid indirect read|uninitialized",
        "memory is read that nothing was written to, padding included",
        "clear the variable first: = {{}} or __builtin_memset()",
    ),
    Cause(
        r"invalid bpf_context access",
        "this program type has no such field in its context, or not for this access or size",
        "",
    ),
    Cause(
        r"write into (?:map|mem) forbidden|cannot write into",
        "the memory is read-only to the program: a constant (.rodata), or a frozen map",
        "values that change belong into .data or .bss",
    ),
    Cause(
        r"only read is supported|cannot access ptr member|access beyond (?:struct|the end)",
        "the kernel's types do not allow this access",
        "bpf_probe_read_kernel() reads what the types do not show; most of it cannot be written",
    ),
    Cause(
        r"must be (?:referenced|a rcu|trusted)|must be.* trusted|(?:is|a) untrusted",
        "the kernel may free what the pointer leads to, so it is not trusted here",
        "take it from the arguments of the hook, or acquire it, within bpf_rcu_read_lock()",
    ),
    Cause(
        r"misaligned",
        "the address is no multiple of the size that is read or written",
        "lay out the structure so that fields are aligned, or copy with __builtin_memcpy()",
    ),
    # Functions.
    Cause(
        r"Caller passes invalid args into func#\d+(?: \('(\w+)'\))?",
        "a global function is verified by its argument types alone, and what is passed is none",
        "pass what the types say, or make the function static: then it is verified with its caller",
    ),
    Cause(
        r"(?:At|at) (?:program exit|callback return|async callback return|subprogram exit)"
        r"|In (?:async )?callback return|R0 .*should have been in",
        "a return value that this kind of program or callback must not return",
    ),
    Cause(
        _REGISTER + r"(?:type=\w+ expected=|is \w+ expected )",
        "{1} is not the kind of argument that the function takes there",
    ),
    Cause(
        r"cannot pass map_type|expected prog array map for tail call|misconfigured verifier",
        "the function does not take a map of this type",
    ),
    Cause(
        r"arg#\d+",
        "the argument's type is none that a function of this kind can have, or not what is passed",
    ),
    # Code.
    Cause(
        r"unreachable insn|jump out of range|last insn is not an exit|call to invalid destination"
        r"|jump into the middle|invalid bpf_ld_imm64",
        "the code is not well formed: it leaves the function, or is never reached",
        "a function that never returns, or code made by hand? Each must end in exit",
    ),
    Cause(
        r"unknown opcode|uses reserved fields|invalid atomic|unknown .*opcode|BPF_\w+ uses",
        "the instruction is unknown to this kernel, or malformed",
        "compile for an older instruction set: -mcpu=v3 (Linux 5.1), v2 (4.14)",
    ),
    Cause(
        r"is not pointing to valid bpf_map|fd \d+ is not",
        "a map's descriptor in the code is closed, or not a map's",
    ),
    Cause(
        r"verifier bug|BUG |REG INVARIANTS VIOLATION",
        "a mistake of this kernel's verifier, not of the program",
        "report it to bpf@vger.kernel.org with the log; other compilers may avoid it",
    ),
)


def cause(reason: str) -> Cause | None:
    """Find what a refusal's reason means.

    Args:
        reason: What the verifier said, on one line.

    Returns:
        The row with its groups filled in, or ``None`` if no row knows it.
    """
    for row in CAUSES:
        found = re.search(row.pattern, reason)
        if found is not None:
            words = row.words.format(found[0], *found.groups(""))
            return row._replace(words=words, help=row.help.format())
    return None
