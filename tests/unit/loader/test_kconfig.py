"""Values of the kernel's configuration as bytes: all types, all ways to give them, all misfits."""

from __future__ import annotations

import pathlib
import sys

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.btf.externs import config_variables
from pyebpf.elf.externs import config_map
from pyebpf.errors import ExternError, FormatError
from pyebpf.loader import kconfig
from pyebpf.loader.kconfig import Given
from tests.support.btf_builder import BOOL, CHAR, SIGNED, BtfBuilder

# Names of types below, and their ids in the order they are made.
TYPES = [
    *("bool", "char", "u8", "s8", "int", "uint", "short", "ushort", "long", "ulong"),
    *("tri", "tri64", "text", "bytes", "empty", "wide", "other", "fwd", "const", "alias", "ints"),
]


def types() -> BtfBuilder:
    builder = BtfBuilder(sys.byteorder)
    builder.int("_Bool", 1, BOOL)
    builder.int("char", 1, CHAR | SIGNED)
    builder.int("unsigned char", 1)
    builder.int("signed char", 1, SIGNED)
    builder.int("int", 4, SIGNED)
    builder.int("unsigned int", 4)
    builder.int("short", 2, SIGNED)
    builder.int("unsigned short", 2)
    builder.int("long", 8, SIGNED)
    builder.int("unsigned long", 8)
    builder.enum("libbpf_tristate", {"TRI_NO": 0, "TRI_YES": 1, "TRI_MODULE": 2})
    builder.enum64("libbpf_tristate", {"TRI_NO": 0})
    builder.array(2, 6)
    builder.array(3, 6)
    builder.array(2, 0)
    builder.int("__int128", 16)
    builder.enum("other", {"A": 0})
    builder.add(7, "fwd")
    builder.add(10, "", 5)
    builder.typedef("alias", 19)
    builder.array(5, 2)
    return builder


def value(kind: str, given: Given | None, *, weak: bool = False, name: str = "CONFIG_X") -> bytes:
    """Fill a map that has one variable of a type; return its bytes."""
    builder = types()
    variable = builder.var(name, TYPES.index(kind) + 1, 2)
    builder.datasec(".kconfig", 0, (variable, 0, 0))
    btf = Btf.decode(builder.build())
    spec = config_map(btf)
    if spec is None:
        # Something that takes room keeps the map from being empty.
        builder = types()
        ids = [builder.var(name, TYPES.index(kind) + 1, 2), builder.var("CONFIG_PAD", 1, 2)]
        builder.datasec(".kconfig", 0, *((each, 0, 0) for each in ids))
        spec = config_map(Btf.decode(builder.build()))
    assert spec is not None
    assert spec.btf is not None
    assert spec.contents is not None
    kconfig.fill(spec, {name: weak}, given)
    place = next(each for each in config_variables(spec.btf) if each.name == name)
    return bytes(spec.contents[place.offset : place.offset + place.size])


def number(size: int, expected: int) -> bytes:
    return expected.to_bytes(size, sys.byteorder, signed=expected < 0)


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("bool", "y", b"\1"),
        ("bool", "n", b"\0"),
        ("tri", "n", number(4, 0)),
        ("tri", "y", number(4, 1)),
        ("tri", "m", number(4, 2)),
        ("tri64", "m", number(8, 2)),
        ("char", "y", b"y"),
        ("char", "m", b"m"),
        ("char", "-128", b"\x80"),
        ("u8", "255", b"\xff"),
        ("u8", "n", b"n"),
        ("s8", "-1", b"\xff"),
        ("int", "250", number(4, 250)),
        ("int", "-2147483648", number(4, -(1 << 31))),
        ("int", "0x7fffffff", number(4, 0x7FFFFFFF)),
        ("int", "010", number(4, 8)),
        ("int", "0", number(4, 0)),
        ("uint", "0xffffffff", number(4, 0xFFFFFFFF)),
        ("short", "-32768", number(2, -32768)),
        ("ushort", "65535", number(2, 65535)),
        ("long", "0xffffffff81000000", number(8, 0xFFFFFFFF81000000)),
        ("ulong", "-1", number(8, -1)),
        ("const", "7", number(4, 7)),
        ("alias", "7", number(4, 7)),
        ("text", '"abc"', b"abc\0\0\0"),
        ("text", '"a"b"', b'a"b\0\0\0'),
        ("text", '""', bytes(6)),
        ("text", '"abcde"', b"abcde\0"),
        ("bytes", '"abc"', b"abc\0\0\0"),
    ],
)
def test_a_value_is_what_the_text_says(kind: str, text: str, expected: bytes) -> None:
    """As C reads it, in the variable's own size."""
    assert value(kind, f"# text\nCONFIG_W=y\nCONFIG_X={text}\nCONFIG_X=9\n") == expected


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("bool", True, b"\1"),
        ("bool", False, b"\0"),
        ("bool", 1, b"\1"),
        ("bool", "y", b"\1"),
        ("tri", "m", number(4, 2)),
        ("tri", 2, number(4, 2)),
        ("tri", True, number(4, 1)),
        ("char", True, b"y"),
        ("char", "m", b"m"),
        ("u8", 2, b"\2"),
        ("int", 250, number(4, 250)),
        ("int", "0x10", number(4, 16)),
        ("text", "abc", b"abc\0\0\0"),
        ("text", "y", b"y\0\0\0\0\0"),
        ("text", b"\xff\xfe", b"\xff\xfe\0\0\0\0"),
        ("text", "ü", "ü".encode().ljust(6, b"\0")),
    ],
)
def test_values_may_be_python_s(kind: str, given: object, expected: bytes) -> None:
    """A mapping says them by name; other names in it do not matter."""
    assert value(kind, {"CONFIG_X": given, "CONFIG_OTHER": object()}) == expected


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("bool", "m", "CONFIG_X is m, which is no bool"),
        ("bool", "1", "CONFIG_X is 1, which is no bool"),
        ("int", "y", "CONFIG_X is y, which is no int"),
        ("int", "4294967296", "CONFIG_X is 4294967296, which does not fit -2147483648 to"),
        ("int", "0xffffffff", "does not fit"),
        ("uint", "-1", "does not fit 0 to 4294967295"),
        ("u8", "256", "does not fit 0 to 255"),
        ("ulong", "0x10000000000000000", "does not fit"),
        ("int", "12abc", "CONFIG_X is '12abc', which is no number"),
        ("int", "yes", "no number"),
        ("int", '"text"', "which is no int"),
        ("tri", "1", "CONFIG_X is 1, which is no enum libbpf_tristate"),
        ("text", "y", "which is no char array"),
        ("text", "12", "which is no char array"),
        ("text", '"abc', "text without its end"),
        ("text", '"', "text without its end"),
        ("empty", '"a"', r"no value of a configuration is of type char\[0\]"),
        ("wide", "1", "is of type __int128"),
        ("other", "y", "is of type enum other"),
        ("fwd", "y", "is of type struct fwd"),
        ("ints", "1", r"is of type int\[2\]"),
    ],
)
def test_a_value_that_is_none_is_refused_by_name(kind: str, text: str, message: str) -> None:
    """Also for a weak variable: it does have a value."""
    for weak in (False, True):
        with pytest.raises(ExternError, match=message) as caught:
            value(kind, f"CONFIG_X={text}", weak=weak)
        assert caught.value.name == "CONFIG_X"


def test_text_that_is_too_long_is_cut_with_a_warning() -> None:
    """It still ends."""
    with pytest.warns(RuntimeWarning, match="CONFIG_X has 9 bytes, of which 5 fit"):
        assert value("text", 'CONFIG_X="123456789"') == b"12345\0"


@pytest.mark.parametrize("given", [None, "", {}, {"CONFIG_X": None}])
def test_what_is_nowhere_set_is_zero_if_weak(given: Given | None) -> None:
    """No kernel has CONFIG_X; ``None`` in a mapping says so of any name."""
    assert value("int", given, weak=True) == bytes(4)
    with pytest.raises(ExternError, match=r"CONFIG_X is not set.*__weak") as caught:
        value("int", given)
    assert caught.value.name == "CONFIG_X"


def test_no_value_at_all_hides_the_systems(tmp_path: pathlib.Path) -> None:
    """A user can pretend that the kernel lacks something."""
    assert value("bool", {"CONFIG_BPF": None}, weak=True, name="CONFIG_BPF") == b"\0"


def test_other_names_are_known_or_weak() -> None:
    """What neither the configuration nor this library has."""
    with pytest.raises(ExternError, match=r"LINUX_NEW is none of LINUX_KERNEL_VERSION, "):
        value("int", None, name="LINUX_NEW")
    assert value("int", None, name="LINUX_NEW", weak=True) == bytes(4)
    assert value("int", {"LINUX_NEW": 5}, name="LINUX_NEW") == number(4, 5)


def test_the_kernels_version_can_be_given() -> None:
    """Tests of programs want the code for other kernels."""
    assert value("int", {"LINUX_KERNEL_VERSION": 0x50A00}, name="LINUX_KERNEL_VERSION") == (
        number(4, 0x50A00)
    )


def test_a_file_may_say_it(tmp_path: pathlib.Path) -> None:
    """That of another kernel, as a path."""
    path = tmp_path / "config"
    path.write_text("CONFIG_X=7\n")
    assert value("int", path) == number(4, 7)


def test_a_malformed_text_is_refused() -> None:
    """With its line."""
    with pytest.raises(FormatError, match="kconfig: line 2: "):
        value("int", "CONFIG_X=1\nCONFIG_Y\n")


@pytest.mark.parametrize("given", [5, b"CONFIG_X=1"])
def test_other_types_are_a_mistake(given: object) -> None:
    """Of whoever wrote the call."""
    with pytest.raises(TypeError, match="mapping, text or a path"):
        value("int", given)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="CONFIG_X cannot be list"):
        value("int", {"CONFIG_X": []})


def test_variables_no_program_uses_never_fail() -> None:
    """They are filled in as far as they are known."""
    builder = types()
    ids = [builder.var("CONFIG_X", 5, 2), builder.var("CONFIG_Y", 5, 2)]
    builder.datasec(".kconfig", 0, *((each, 0, 4) for each in ids))
    spec = config_map(Btf.decode(builder.build()))
    assert spec is not None
    kconfig.fill(spec, {"CONFIG_X": False}, "CONFIG_X=1\nCONFIG_Y=y\n")
    assert spec.contents == number(4, 1) + bytes(4)
