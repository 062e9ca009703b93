"""Types of modules: found, asked one after another, and passed over if they make no sense."""

from __future__ import annotations

import pathlib
import struct

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.errors import PrivilegeError
from pyebpf.host.modules import Modules
from pyebpf.uapi.btf import BtfKind
from tests.support import btf_builder as wire
from tests.support.btf_builder import BtfBuilder


def kernel() -> Btf:
    builder = BtfBuilder()
    builder.int("int", 4)
    builder.func("shared_name", builder.func_proto(1))
    return Btf.decode(builder.build())


BASE = kernel()


def module(*functions: str) -> bytes:
    builder = BtfBuilder(ids=len(BASE), strings=BASE.strings_length)
    # Names the kernel has are in its strings, and only there.
    builder.known["shared_name"] = bytes(BASE.areas[1]).index(b"shared_name")
    proto = builder.func_proto(1)
    for name in functions:
        builder.func(name, proto)
    return builder.build()


def made(root: pathlib.Path, **modules: bytes) -> Modules:
    directory = root / "sys/kernel/btf"
    directory.mkdir(parents=True)
    for name, content in {"vmlinux": bytes(BASE.raw), **modules}.items():
        (directory / name).write_bytes(content)
    return Modules(lambda: BASE, root=str(root))


def test_modules_are_what_stands_beside_the_kernel(tmp_path: pathlib.Path) -> None:
    """By name, where the kernel does not tell their ids."""
    with made(tmp_path, veth=module("veth_open"), ext4=module("ext4_open")) as modules:
        assert [each.name for each in modules] == ["ext4", "veth"]
        assert [len(types) for types in modules.types()] == [len(BASE) + 2] * 2


def test_a_type_is_found_in_the_modules_that_have_it(tmp_path: pathlib.Path) -> None:
    """Their own types only, also under a name that the kernel uses too."""
    with made(tmp_path, a=module("f", "shared_name"), b=module("g", "f")) as modules:
        found = [(each.name, number) for each, number in modules.find("f", BtfKind.FUNC)]
        assert found == [("a", len(BASE) + 1), ("b", len(BASE) + 2)]
        found = [(each.name, number) for each, number in modules.find("shared_name", BtfKind.FUNC)]
        assert found == [("a", len(BASE) + 2)]
        assert [each.name for each, _ in modules.find("f", BtfKind.FUNC, module="b")] == ["b"]
        assert list(modules.find("f", BtfKind.VAR)) == []


def unfit() -> bytes:
    # Its f() has a name in the kernel's strings and takes words that are not there.
    builder = BtfBuilder(ids=len(BASE), strings=BASE.strings_length)
    builder.func("f", builder.add(wire.FUNC_PROTO, 1 << 20, 1, vlen=3))
    return builder.build()


def badly_named() -> bytes:
    # What makes f() a function is malformed.
    builder = BtfBuilder(ids=len(BASE), strings=BASE.strings_length)
    builder.add(wire.STRUCT, "f", 4, 1 << 20, 1, 0, vlen=1)
    builder.types[4:8] = struct.pack("<I", wire.FUNC << 24)
    return builder.build()


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", module("f")[:-1], module("f")[:40], unfit(), badly_named()],
    ids=["empty", "garbage", "cut", "cut in the types", "longer than it is", "other kinds"],
)
def test_a_broken_module_is_skipped_and_told_of(tmp_path: pathlib.Path, content: bytes) -> None:
    """The others are asked all the same; a message can say why one was not."""
    with made(tmp_path, bad=content, good=module("f")) as modules:
        names = [each.name for each, _ in modules.find("f", BtfKind.FUNC)]
        assert names == ["good"]
        assert [each.name for each in modules] == ["good"]
        assert " (module bad was skipped: " in modules.remark()


def test_a_module_of_another_kernel_harms_nobody(tmp_path: pathlib.Path) -> None:
    """Its ids and strings are others'; what it seems to have, others still have."""
    other = BtfBuilder()
    for number in range(40):
        other.int(f"type_{number}", 4)
    kernel = Btf.decode(other.build())
    builder = BtfBuilder(ids=len(kernel), strings=kernel.strings_length)
    builder.func("f", builder.func_proto(1))
    with made(tmp_path, another=builder.build(), good=module("f")) as modules:
        assert "good" in [each.name for each, _ in modules.find("f", BtfKind.FUNC)]
        assert [types.first_id for types in modules.types()] == [len(BASE)] * 2


def test_a_module_that_goes_away_is_skipped(tmp_path: pathlib.Path) -> None:
    """Between listing and reading it was unloaded."""
    with made(tmp_path, gone=module("f"), stays=module("f")) as modules:
        assert len(list(modules)) == 2
        (tmp_path / "sys/kernel/btf/gone").unlink()
        assert [each.name for each, _ in modules.find("f", BtfKind.FUNC)] == ["stays"]


def test_without_modules_nothing_is_asked(tmp_path: pathlib.Path) -> None:
    """A kernel with everything built in, or without types at all."""
    with made(tmp_path) as modules:
        assert list(modules) == []
    assert list(Modules(lambda: BASE, root=str(tmp_path / "nowhere"))) == []


def test_a_descriptor_takes_the_privilege_to_know_the_id(tmp_path: pathlib.Path) -> None:
    """Types are for everybody, what stands for them in the kernel is not."""
    with made(tmp_path, no_such_module=module("f")) as modules:
        (found,) = modules
        with pytest.raises(PrivilegeError, match=r'"no_such_module".*CAP_SYS_ADMIN'):
            found.fileno()
