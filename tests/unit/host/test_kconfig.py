"""The kernel's configuration, in its places and forms."""

from __future__ import annotations

import gzip
import pathlib

import pytest

from pyebpf.errors import FormatError, SyscallError
from pyebpf.host import kconfig

RELEASE = "6.1.0-made"
TEXT = """\
#
# Automatically generated file; DO NOT EDIT.
#
CONFIG_CC_VERSION_TEXT="gcc-12 = good"
CONFIG_HZ=250
# CONFIG_KALLSYMS_ALL is not set
CONFIG_VETH=m
CONFIG_HZ=1000
"""
NAMES = ["CONFIG_HZ", "CONFIG_VETH", "CONFIG_CC_VERSION_TEXT", "CONFIG_KALLSYMS_ALL"]
VALUES = {"CONFIG_HZ": "250", "CONFIG_VETH": "m", "CONFIG_CC_VERSION_TEXT": '"gcc-12 = good"'}


def made(root: pathlib.Path, place: str, content: bytes) -> pathlib.Path:
    release = root / "proc/sys/kernel/osrelease"
    release.parent.mkdir(parents=True, exist_ok=True)
    release.write_text(RELEASE + "\n")
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("place", "content"),
    [
        (f"boot/config-{RELEASE}", TEXT.encode()),
        (f"boot/config-{RELEASE}", gzip.compress(TEXT.encode())),
        ("proc/config.gz", gzip.compress(TEXT.encode())),
        (f"lib/modules/{RELEASE}/config", TEXT.encode()),
    ],
)
def test_each_place_is_looked_at(tmp_path: pathlib.Path, place: str, content: bytes) -> None:
    """Compressed or not; the first line about a name counts."""
    path = made(tmp_path, place, content)
    assert kconfig.read(NAMES, str(tmp_path)) == (VALUES, str(path))
    assert kconfig.read_file(path, NAMES) == (VALUES, str(path))


def test_the_file_in_boot_comes_first(tmp_path: pathlib.Path) -> None:
    """As libbpf has it."""
    made(tmp_path, "proc/config.gz", gzip.compress(b"CONFIG_HZ=1\n"))
    made(tmp_path, f"boot/config-{RELEASE}", b"CONFIG_HZ=2\n")
    assert kconfig.read(NAMES, str(tmp_path)).values == {"CONFIG_HZ": "2"}


def test_a_system_may_keep_no_configuration(tmp_path: pathlib.Path) -> None:
    """Then nothing is known, which is no error."""
    assert kconfig.read(NAMES, str(tmp_path)) == ({}, "")


@pytest.mark.parametrize("line", ["CONFIG_HZ", "CONFIG_HZ="])
def test_a_line_without_a_value_is_malformed(line: str) -> None:
    """The message has its number."""
    with pytest.raises(FormatError, match=r"line 2: .*sets no value"):
        kconfig.parse(f"CONFIG_A=y\n{line}\n", NAMES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b\x08\x00garbage", "not gzip"),
        (gzip.compress(b"CONFIG_A=y\n" * (2 << 20)), "more than 16 MiB"),
        (b"#" * (17 << 20), "more than 16 MiB"),
    ],
    ids=["broken", "bomb", "large"],
)
def test_hostile_files_are_refused(tmp_path: pathlib.Path, content: bytes, message: str) -> None:
    """Before they take memory."""
    with pytest.raises(FormatError, match=message):
        kconfig.read_file(made(tmp_path, "config", content), NAMES)


def test_a_file_that_is_not_there_is_named(tmp_path: pathlib.Path) -> None:
    """It was asked for, so it must be."""
    with pytest.raises(SyscallError, match=r"open: ENOENT: .*nowhere"):
        kconfig.read_file(tmp_path / "nowhere", NAMES)
