"""A header of the running kernel's types, as clang and bpftool see it."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.btf.dump import vmlinux_h
from pyebpf.btf.ext import decode_ext
from pyebpf.btf.names import essential_name
from pyebpf.btf.types import Composite
from pyebpf.errors import NotSupportedError
from pyebpf.host.kernel_btf import kernel_btf
from pyebpf.uapi.btf import BtfKind
from tests.support import programs
from tests.support.c_asserts import assertions
from tests.support.c_types import clang, compile_bpf

VMLINUX = pathlib.Path("/sys/kernel/btf/vmlinux")


@pytest.fixture(scope="module")
def btf() -> Btf:
    if programs.PREBUILT in os.environ:
        pytest.skip("a machine that is quick enough for compilers")
    try:
        return kernel_btf()
    except NotSupportedError:
        pytest.skip("kernel with CONFIG_DEBUG_INFO_BTF")


@pytest.fixture(scope="module")
def header(btf: Btf) -> str:
    return "".join(vmlinux_h(btf))


def test_a_compiler_finds_every_size_and_offset(
    btf: Btf, header: str, tmp_path: pathlib.Path
) -> None:
    """Of all structs that have their name to themselves, and all their members with a name."""
    checks = assertions(btf)
    assert len(checks) > 10_000
    path = tmp_path / "x.c"
    path.write_text(f"#define BPF_NO_PRESERVE_ACCESS_INDEX\n{header}\n" + "\n".join(checks))
    order = "bpfel" if btf.byteorder == "little" else "bpfeb"
    command = [clang(), "-target", order, "-fsyntax-only", "-Wall", "-Wno-unused"]
    command += ["-Wno-missing-declarations", str(path)]
    assert subprocess.run(command, capture_output=True, text=True).stderr == ""


def shape(found: Composite) -> tuple:
    named = [one for one in found.members if not one.name.startswith("__padding_")]
    return found.size, [(one.name, one.bit_offset, one.bitfield_size) for one in named]


def bit_fields(btf: Btf, count: int) -> dict[tuple[BtfKind, str], Composite]:
    """Return the first structs with bit-fields that have their name to themselves."""
    found: dict[tuple[BtfKind, str], Composite] = {}
    for number in range(1, len(btf)):
        if btf.kind(number) in {BtfKind.STRUCT, BtfKind.UNION}:
            one = btf.inflate(number)
            assert isinstance(one, Composite)  # as its kind says
            alone = one.name and len(btf.ids(one.name, BtfKind(btf.kind(number)))) == 1
            if alone and any(member.bitfield_size for member in one.members):
                found[one.kind, one.name] = one
        if len(found) == count:
            break
    return found


def test_a_compiler_writes_the_same_bit_fields(btf: Btf, header: str) -> None:
    """Places of bit-fields cannot be asked for in C, but come back in the compiler's own BTF."""
    wanted = bit_fields(btf, 60)
    assert wanted
    members = "".join(
        f"{kind.name.lower()} {name} member_{number};\n"
        for number, (kind, name) in enumerate(wanted)
    )
    source = f"#define BPF_NO_PRESERVE_ACCESS_INDEX\n{header}\nunion every_one {{{members}}} it_;\n"
    written = Btf.decode(compile_bpf(source, btf.byteorder).btf)
    for (kind, name), expected in wanted.items():
        found = written.type(written.find(name, kind))
        assert isinstance(found, Composite)
        assert (name, shape(found)) == (name, shape(expected))


NAMES = re.compile(
    r"^(?:(struct|union|enum) (\w+) \{|(?:typedef [^;{]*?|\}[^;{]*? )(\w+)(?:\[\d*\])*;|"
    r"typedef [^;{]*?\(\*+ ?(?:const )?(\w+)\)[(\[]|\t+(\w+) = )",
    re.MULTILINE,
)


def names(text: str) -> set[str]:
    """Return the names a header defines, without flavours: which one has it differs."""
    found = (match for match in NAMES.finditer(text))
    return {essential_name(next(filter(None, match.groups()[1:]))) for match in found}


def test_the_header_has_the_names_of_bpftool_s(header: str) -> None:
    """And those of enumerations nothing refers to, which some bpftools leave out."""
    if shutil.which("bpftool") is None:
        pytest.skip("bpftool")
    command = ["bpftool", "btf", "dump", "file", str(VMLINUX), "format", "c"]
    theirs = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    missing = names(theirs) - names(header)
    assert len(names(header)) > 10_000
    assert missing == set()


PROGRAM = """
extern void __attribute__((address_space(1))) *bpf_arena_alloc_pages(
    void *map, void __attribute__((address_space(1))) *addr, unsigned int page_cnt, int node_id,
    unsigned long long flags) __attribute__((weak, section(".ksyms")));
int __attribute__((section("tc"))) program(struct task_struct *task) { return task->pid; }
"""


def test_what_a_program_reads_through_it_is_relocated(header: str) -> None:
    """Without any attribute of the program's own; and libbpf's declarations may stand beside."""
    compiled = compile_bpf(header + PROGRAM)
    ext = decode_ext(compiled.sections[".BTF.ext"], Btf.decode(compiled.btf))
    (records,) = ext.core_relocations.values()
    assert [one.access for one in records] == [header_access(compiled.btf)]


def header_access(blob: bytes) -> str:
    btf = Btf.decode(blob)
    task = btf.type(btf.find("task_struct", BtfKind.STRUCT))
    assert isinstance(task, Composite)
    return f"0:{[member.name for member in task.members].index('pid')}"
