"""The kernel's types: found in the places they may be in, kept while the file is the same."""

from __future__ import annotations

import pathlib
import struct
import sys
import uuid

import pytest

from pyebpf.btf import saved_index
from pyebpf.btf.btf import Btf
from pyebpf.errors import BtfError, NotSupportedError, SyscallError
from pyebpf.host import index_file, kernel_btf
from pyebpf.uapi.btf import BtfKind
from tests.support.btf_builder import BtfBuilder

RELEASE = "6.1.0-made"


def blob(name: str) -> bytes:
    """BTF with one int: header, then name_off, info, size, encoding."""
    strings = b"\0" + name.encode() + b"\0"
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, 16, 16, len(strings))
    return header + struct.pack("=IIII", 1, 1 << 24, 4, 1 << 24 | 32) + strings


def elf(section: bytes, name: bytes = b".BTF", base: bytes = b"") -> bytes:
    """The smallest ELF file with that section, and .BTF.base: header, bytes, names, headers."""
    names = b"\0.shstrtab\0.BTF.base\0" + name + b"\0"
    at = 64 + len(section) + len(base)
    table = at + len(names)
    count = 4 if base else 3
    ident = b"\x7fELF" + bytes([2, 1 if struct.pack("=H", 1)[0] else 2, 1]) + bytes(9)
    header = struct.pack("=HHIQQQIHHHHHH", 2, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, count, 1)
    headers = bytes(64) + struct.pack("=IIQQQQIIQQ", 1, 3, 0, 0, at, len(names), 0, 0, 1, 0)
    if base:
        place = 64 + len(section)
        headers += struct.pack("=IIQQQQIIQQ", 11, 1, 0, 0, place, len(base), 0, 0, 1, 0)
    headers += struct.pack("=IIQQQQIIQQ", 21, 1, 0, 0, 64, len(section), 0, 0, 1, 0)
    return ident + header + section + base + names + headers


@pytest.fixture(autouse=True)
def forget() -> None:
    kernel_btf.flush()


def made(root: pathlib.Path, place: str, content: bytes) -> pathlib.Path:
    osrelease = root / "proc/sys/kernel/osrelease"
    osrelease.parent.mkdir(parents=True, exist_ok=True)
    osrelease.write_text(RELEASE + "\n")
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(btf: Btf) -> list[str]:
    return [btf.type(number).name for number in range(1, len(btf))]


@pytest.mark.parametrize(
    ("place", "content"),
    [
        ("sys/kernel/btf/vmlinux", blob("raw")),
        (f"boot/vmlinux-{RELEASE}", elf(blob("raw"))),
        (f"lib/modules/{RELEASE}/build/vmlinux", elf(blob("raw"))),
        (f"usr/lib/debug/lib/modules/{RELEASE}/vmlinux", elf(blob("raw"))),
    ],
)
def test_each_place_is_looked_at(tmp_path: pathlib.Path, place: str, content: bytes) -> None:
    """Raw BTF and ELF files alike."""
    made(tmp_path, place, content)
    assert names(kernel_btf.kernel_btf(str(tmp_path))) == ["raw"]


def test_the_kernels_own_file_comes_first(tmp_path: pathlib.Path) -> None:
    """And an ELF file without BTF is passed over."""
    made(tmp_path, f"boot/vmlinux-{RELEASE}", elf(b"", b".none"))
    last = made(tmp_path, f"usr/lib/debug/boot/vmlinux-{RELEASE}", elf(blob("last")))
    assert names(kernel_btf.kernel_btf(str(tmp_path))) == ["last"]
    made(tmp_path, "sys/kernel/btf/vmlinux", blob("first"))
    assert names(kernel_btf.kernel_btf(str(tmp_path))) == ["first"]
    last.unlink()


def test_types_are_kept_while_the_file_is_the_same(tmp_path: pathlib.Path) -> None:
    """The same object until the file changes or flush() is called."""
    path = made(tmp_path, "sys/kernel/btf/vmlinux", blob("one"))
    first = kernel_btf.kernel_btf(str(tmp_path))
    assert kernel_btf.kernel_btf(str(tmp_path)) is first
    path.write_bytes(blob("three"))
    second = kernel_btf.kernel_btf(str(tmp_path))
    assert names(second) == ["three"]
    kernel_btf.flush()
    assert kernel_btf.kernel_btf(str(tmp_path)) is not second
    assert names(first) == ["one"], "types in use stay usable"


def test_a_kernel_without_types_is_not_supported(tmp_path: pathlib.Path) -> None:
    """With the option that is missing."""
    with pytest.raises(NotSupportedError, match="CONFIG_DEBUG_INFO_BTF"):
        kernel_btf.kernel_btf(str(tmp_path))


@pytest.mark.parametrize(
    "content",
    [b"", b"\x7fELF", blob("x")[:-1], blob("x")[:20], elf(blob("x"))[:100], b"\x7fELF" * 100],
    ids=["empty", "magic", "cut", "header", "cut elf", "not an elf"],
)
def test_malformed_files_are_btf_errors(tmp_path: pathlib.Path, content: bytes) -> None:
    """Which name the file."""
    path = tmp_path / "types"
    path.write_bytes(content)
    with pytest.raises(BtfError, match="types"):
        kernel_btf.read_btf(path)


def test_a_huge_section_is_not_read(tmp_path: pathlib.Path) -> None:
    """An ELF file may claim any size."""
    content = bytearray(elf(blob("x")))
    struct.pack_into("=Q", content, len(content) - 32, 1 << 60)
    path = tmp_path / "types"
    path.write_bytes(content)
    with pytest.raises(BtfError, match="too many"):
        kernel_btf.read_btf(path)


def module(base: Btf) -> bytes:
    """Split BTF: a pointer to the base's int."""
    builder = BtfBuilder(sys.byteorder, ids=len(base), strings=base.strings_length)
    builder.typedef("of_module", builder.ptr(1))
    return builder.build()


def test_a_module_s_file_continues_the_kernel(tmp_path: pathlib.Path) -> None:
    """Without the kernel's types it makes no sense, and says so."""
    kernel = Btf.decode(blob("int"))
    path = tmp_path / "x.ko"
    path.write_bytes(elf(module(kernel)))
    assert names(kernel_btf.read_btf(path, base=kernel)) == ["int", "", "of_module"]
    with pytest.raises(BtfError, match=r"x\.ko"):
        kernel_btf.read_btf(path)


def test_a_module_with_a_base_of_its_own_is_not_the_kernel_s(tmp_path: pathlib.Path) -> None:
    """It can be read by itself; ids would mean other types of the kernel."""
    own = Btf.decode(blob("int"))
    path = tmp_path / "x.ko"
    path.write_bytes(elf(module(own), base=blob("int")))
    assert names(kernel_btf.read_btf(path)) == ["int", "", "of_module"]
    with pytest.raises(BtfError, match=r"x\.ko.*\.BTF\.base.*/sys/kernel/btf"):
        kernel_btf.read_btf(path, base=own)
    path.write_bytes(elf(module(own), base=b"garbage"))
    with pytest.raises(BtfError, match=r"x\.ko, \.BTF\.base"):
        kernel_btf.read_btf(path)


def test_a_missing_file_is_a_syscall_error(tmp_path: pathlib.Path) -> None:
    """Only kernel_btf() goes on looking."""
    with pytest.raises(SyscallError, match="nothing"):
        kernel_btf.read_btf(tmp_path / "nothing")


def test_this_kernels_types_hold_what_every_kernel_has() -> None:
    """Readable by everybody; task_struct is there, and large."""
    if not pathlib.Path("/sys/kernel/btf/vmlinux").exists():
        pytest.skip("no /sys/kernel/btf/vmlinux")
    btf = kernel_btf.kernel_btf()
    assert btf.size_of(btf.find("task_struct", BtfKind.STRUCT)) > 1000


@pytest.fixture
def by_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> pathlib.Path:
    monkeypatch.setenv("PYEBPF_INDEX_DIR", str(tmp_path / "index"))
    return tmp_path / "index"


def test_an_index_is_left_for_the_next_process(
    monkeypatch: pytest.MonkeyPatch, by_environment: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Which need not look at all types again."""
    made(tmp_path, "sys/kernel/btf/vmlinux", blob("raw"))
    assert kernel_btf.kernel_btf(str(tmp_path)).ids("raw") == [1]
    assert [each.name for each in by_environment.iterdir()] == [index_file.NAME]
    kernel_btf.flush()
    monkeypatch.setattr("pyebpf.btf.places.Places._walk", None)
    assert kernel_btf.kernel_btf(str(tmp_path)).ids("raw") == [1]


def test_an_index_of_another_kernel_is_replaced(tmp_path: pathlib.Path) -> None:
    """A machine that was updated finds its new types, and again with an index."""
    directory = tmp_path / "index"
    for name in ("old", "new"):
        made(tmp_path, "sys/kernel/btf/vmlinux", blob(name))
        kernel_btf.flush()
        found = kernel_btf.kernel_btf(str(tmp_path), index_dir=directory)
        assert names(found) == [name]
        data = index_file.read(directory, 1 << 20)
        assert data is not None
        assert saved_index.restore(Btf.decode(blob(name)), data)


def test_the_next_boot_s_number_is_noted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """Of what sysfs shows; with it the index is taken as it is, without a look at every type."""
    made(tmp_path, "sys/kernel/btf/vmlinux", blob("raw"))
    directory = tmp_path / "index"
    monkeypatch.setattr(kernel_btf, "_device", lambda _: tmp_path.stat().st_dev)
    monkeypatch.setattr(kernel_btf, "_mapped", lambda *_: b"")
    for number in range(2):
        boot = uuid.UUID(int=number + 1)
        made(tmp_path, "proc/sys/kernel/random/boot_id", f"{boot}\n".encode())
        kernel_btf.flush()
        assert names(kernel_btf.kernel_btf(str(tmp_path), index_dir=directory)) == ["raw"]
        data = index_file.read(directory, 1 << 20)
        assert data is not None
        assert saved_index.stamped(data, boot.bytes) is None
    monkeypatch.setattr(index_file, "write", None)
    kernel_btf.flush()
    assert names(kernel_btf.kernel_btf(str(tmp_path), index_dir=directory)) == ["raw"]


@pytest.mark.parametrize("text", [None, b"", b"nothing\n", b"00ff\n", b"\xff"])
def test_a_machine_without_a_number_is_served_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, text: bytes | None
) -> None:
    """The types' checksum says whose index it is; so it is with an ordinary file."""
    made(tmp_path, "sys/kernel/btf/vmlinux", blob("raw"))
    if text is not None:
        made(tmp_path, "proc/sys/kernel/random/boot_id", text)
        monkeypatch.setattr(kernel_btf, "_device", lambda _: tmp_path.stat().st_dev)
        monkeypatch.setattr(kernel_btf, "_mapped", lambda *_: b"")
    else:
        made(tmp_path, "proc/sys/kernel/random/boot_id", f"{uuid.uuid4()}".encode())
    for _ in range(2):
        kernel_btf.flush()
        found = kernel_btf.kernel_btf(str(tmp_path), index_dir=tmp_path / "index")
        assert names(found) == ["raw"]
    data = index_file.read(tmp_path / "index", 1 << 20)
    assert data == saved_index.save(Btf.decode(blob("raw")))


def test_without_a_directory_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """It is for those who ask for it."""
    monkeypatch.delenv("PYEBPF_INDEX_DIR", raising=False)
    monkeypatch.setattr(index_file, "write", None)
    made(tmp_path, "sys/kernel/btf/vmlinux", blob("raw"))
    assert kernel_btf.kernel_btf(str(tmp_path)).ids("raw") == [1]


def test_an_unsafe_directory_is_said_and_not_used(tmp_path: pathlib.Path) -> None:
    """The types are there all the same."""
    made(tmp_path, "sys/kernel/btf/vmlinux", blob("raw"))
    directory = tmp_path / "index"
    directory.mkdir()
    directory.chmod(0o777)
    with pytest.warns(RuntimeWarning, match="index of the kernel's types: others may write"):
        found = kernel_btf.kernel_btf(str(tmp_path), index_dir=directory)
    assert found.ids("raw") == [1]
    assert list(directory.iterdir()) == []
