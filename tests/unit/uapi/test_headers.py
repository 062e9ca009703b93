"""All declared numbers and structs against what gcc computes from the installed headers.

One C program holds an expression per line; lines that do not compile are what the headers lack,
which must be newer than they are. `PYEBPF_HEADERS` names another directory of headers (such as a
newer kernel's) to compare with.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable

import pytest

from pyebpf.uapi.cstruct import CStruct
from tests.unit.uapi import declared
from tests.unit.uapi.declared import Member, Number

_UNIONS = ("bpf_attr", "bpf_iter_link_info")

# elf.h is the C library's and knows no BPF relocations in older releases.
_INCLUDES = (
    "stdio.h", "string.h", "stddef.h", "elf.h", "sys/ioctl.h", "sys/socket.h", "linux/version.h",
    "linux/bpf.h", "linux/btf.h", "linux/perf_event.h", "linux/hw_breakpoint.h", "linux/if_link.h",
    "linux/if_xdp.h", "linux/netlink.h", "linux/rtnetlink.h", "linux/pkt_cls.h",
    "linux/pkt_sched.h", "linux/tc_act/tc_bpf.h",
)  # fmt: skip
_OPTIONAL_INCLUDES = ("linux/netdev.h",)  # Linux 6.3


def _c_type(struct_class: type[CStruct]) -> str:
    kind = "union" if struct_class.C_NAME in _UNIONS else "struct"
    return f"{kind} {struct_class.C_NAME}"


def _expressions(member: Member) -> list[str]:
    c_type, path = _c_type(member.owner), member.field.path
    if member.field.kind == "bits":
        return [f"({{ {c_type} x; memset(&x, 0, sizeof x); x.{path} = -1; bits(&x, sizeof x); }})"]
    return [f"offsetof({c_type}, {path})", f"sizeof((({c_type} *)0)->{path})"]


def _numbers() -> list[Number]:
    found = [number for enum_class in declared.enums() for number in declared.numbers(enum_class)]
    return found + declared.plain_numbers()


def _members() -> list[Member]:
    return [member for cls in declared.structs() for member in declared.members(cls)]


class Headers:
    """What the headers say: expression -> value, without those that do not compile."""

    def __init__(self, values: dict[str, int], version: tuple[int, int]) -> None:
        self.values = values
        self.version = version


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Headers:
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("gcc is not installed")
    wanted = ["LINUX_VERSION_CODE"]
    wanted += [number.c_name for number in _numbers()]
    for member in _members():
        wanted += _expressions(member)
    wanted += [f"sizeof({_c_type(cls)})" for cls in declared.structs()]
    probe = tmp_path_factory.mktemp("headers") / "probe"
    values = _compute(gcc, list(dict.fromkeys(wanted)), probe)
    code = values["LINUX_VERSION_CODE"]
    return Headers(values, (code >> 16, code >> 8 & 0xFF))


def _compute(gcc: str, wanted: list[str], probe: pathlib.Path) -> dict[str, int]:
    # gcc names an unknown struct or a macro's insides once only, so a second round may be needed.
    for _ in range(5):
        lacking = _lacking(gcc, wanted)
        if not lacking:
            break
        wanted = [expression for expression in wanted if expression not in lacking]
    command = [gcc, *_FLAGS, "-x", "c", "-", "-o", str(probe)]
    subprocess.run(command, input=_program(wanted), text=True, check=True)
    output = subprocess.run([probe], capture_output=True, check=True).stdout
    return dict(zip(wanted, map(int, output.split()), strict=True))


_FLAGS = ["-w", "-fmax-errors=0", "-ftrack-macro-expansion=0"]
if "PYEBPF_HEADERS" in os.environ:
    _FLAGS += ["-isystem", os.environ["PYEBPF_HEADERS"]]


def _program(expressions: Iterable[str]) -> str:
    lines = [f"#include <{name}>" for name in _INCLUDES]
    for name in _OPTIONAL_INCLUDES:
        lines += [f"#if __has_include(<{name}>)", f"#include <{name}>", "#endif"]
    # Which bits of an object are set: number of the first as C counts them << 8 | how many.
    order = "i ^ 7" if sys.byteorder == "big" else "i"
    lines += [
        "static long long bits(void *p, int size) {",
        "  int first = -1, count = 0, i;",
        "  for (i = 0; i < size * 8; i++) {",
        f"    if (!(((unsigned char *)p)[i / 8] >> (({order}) % 8) & 1)) continue;",
        "    if (first < 0) first = i;",
        "    count++;",
        "  }",
        "  return (long long)first << 8 | count;",
        "}",
        "int main(void) {",
    ]
    lines += [f'printf("%lld\\n", (long long)({expression}));' for expression in expressions]
    return "\n".join([*lines, "return 0; }", ""])


def _lacking(gcc: str, wanted: list[str]) -> set[str]:
    source = _program(wanted)
    done = subprocess.run(
        [gcc, *_FLAGS, "-fsyntax-only", "-x", "c", "-"],
        input=source,
        text=True,
        capture_output=True,
        check=False,
    )
    errors = re.findall(r"^<stdin>:(\d+):(?:\d+:)? error", done.stderr, re.MULTILINE)
    bad = {int(line) for line in errors}
    assert bad or done.returncode == 0, done.stderr
    first = source.count("\n", 0, source.index("int main")) + 2
    assert all(line >= first for line in bad), done.stderr
    return {wanted[line - first] for line in bad}


def _check_presence(name: str, since: str | None, present: bool, version: tuple[int, int]) -> None:
    if present:
        assert declared.allowed_in(name, since, version), f"{name} is older than {since}"
    else:
        assert not declared.expected_in(since, version), f"{name} is not in headers of {version}"


@pytest.mark.parametrize("enum_class", declared.enums(), ids=lambda cls: cls.__name__)
def test_every_member_has_the_value_of_the_c_constant(
    enum_class: declared.EnumClass, headers: Headers
) -> None:
    """Values are the headers'; what they lack is newer than they are."""
    _check_numbers(declared.numbers(enum_class), headers)


def test_every_plain_number_has_the_value_of_the_c_constant(headers: Headers) -> None:
    """The same for opcodes and other numbers without a class."""
    _check_numbers(declared.plain_numbers(), headers)


def _check_numbers(numbers: list[Number], headers: Headers) -> None:
    values = headers.values
    for number in numbers:
        value = values.get(number.c_name)
        if value is not None:
            assert (number.c_name, value) == (number.c_name, _as_printed(number.value))
        if number.header.startswith("linux/"):
            _check_presence(number.c_name, number.since, value is not None, headers.version)


# printf got a long long: 64-bit constants above 2^63 come out negative.
def _as_printed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


@pytest.mark.parametrize("struct_class", declared.structs(), ids=lambda cls: cls.__name__)
def test_every_field_lies_where_c_puts_it(struct_class: type[CStruct], headers: Headers) -> None:
    """Offsets, sizes and bits are the compiler's; what the headers lack is newer than they are."""
    values = headers.values
    for member in declared.members(struct_class):
        field = member.field
        found = [values[text] for text in _expressions(member) if text in values]
        _check_presence(member.c_name, member.since, bool(found), headers.version)
        if found and field.kind == "bits":
            place = (field.offset * 8 + field.bit_offset) << 8 | field.bit_size
            assert (member.c_name, found) == (member.c_name, [place])
        elif found and declared.expected_in(member.narrowed, headers.version):
            assert (member.c_name, found) == (member.c_name, [field.offset, field.size])


@pytest.mark.parametrize("struct_class", declared.structs(), ids=lambda cls: cls.__name__)
def test_every_struct_has_the_size_of_the_c_struct(
    struct_class: type[CStruct], headers: Headers
) -> None:
    """Equal if the headers know all fields of the C type, otherwise theirs is not longer."""
    values = headers.values
    size = values.get(f"sizeof({_c_type(struct_class)})")
    if size is None:
        assert not declared.expected_in(struct_class.SINCE, headers.version)
        return
    siblings = [cls for cls in declared.structs() if cls.C_NAME == struct_class.C_NAME]
    fields = [member for cls in siblings for member in declared.members(cls)]
    if all(text in values for member in fields for text in _expressions(member)):
        assert size == struct_class.SIZE
    else:
        assert size <= struct_class.SIZE


def test_what_the_headers_lack_is_counted(headers: Headers) -> None:
    """Says how much of the data these headers could not confirm (shown by pytest -rP)."""
    lacking = {number.c_name for number in _numbers()} - headers.values.keys()
    lacking |= {
        member.c_name
        for member in _members()
        if not all(text in headers.values for text in _expressions(member))
    }
    print(f"headers of Linux {headers.version}: {len(headers.values)} confirmed, not there:")
    print("\n".join(sorted(lacking)))
    assert len(headers.values) > 1000
