"""The kernel's symbols, from files that a kernel might show."""

from __future__ import annotations

import pathlib

import pytest

from pyebpf.errors import FormatError, SyscallError
from pyebpf.host import kallsyms
from pyebpf.host.kallsyms import KernelSymbol

LINES = """\
ffffffff81000000 T _stext
ffffffff81000010 t twice
ffffffff81000020 T bpf_prog_put
ffffffff81000030 t bpf_prog_put_deferred
ffffffff81000040 d table.llvm.123456
ffffffff81000050 t exact.llvm.99
ffffffff81000060 T exact
ffffffff81000070 t twice
ffffffffc0000000 t nf_ct_get\t[nf_conntrack]
"""


def made(root: pathlib.Path, text: str) -> str:
    (root / "proc").mkdir()
    (root / "proc/kallsyms").write_text(text)
    return str(root)


def test_every_place_of_a_name_is_found(tmp_path: pathlib.Path) -> None:
    """Whole names only; those of modules say which."""
    names = ["bpf_prog_put", "twice", "nf_ct_get", "prog_put", "nowhere"]
    found = kallsyms.find(names, made(tmp_path, LINES))
    assert found.by_name == {
        "bpf_prog_put": (KernelSymbol(0xFFFFFFFF81000020, "T", "bpf_prog_put", ""),),
        "twice": (
            KernelSymbol(0xFFFFFFFF81000010, "t", "twice", ""),
            KernelSymbol(0xFFFFFFFF81000070, "t", "twice", ""),
        ),
        "nf_ct_get": (KernelSymbol(0xFFFFFFFFC0000000, "t", "nf_ct_get", "nf_conntrack"),),
    }
    assert found.addresses("twice") == [0xFFFFFFFF81000010, 0xFFFFFFFF81000070]
    assert found.addresses("nowhere") == []
    assert not found.restricted


def test_names_are_found_by_their_addresses(tmp_path: pathlib.Path) -> None:
    """The first one, without the compiler's suffix; what has none is left out."""
    root = made(tmp_path, LINES + "ffffffff81000020 T alias\n")
    wanted = [0xFFFFFFFF81000020, 0xFFFFFFFF81000040, 0xFFFFFFFFC0000000, 0x8]
    assert kallsyms.names_at(wanted, root) == {
        0xFFFFFFFF81000020: "bpf_prog_put",
        0xFFFFFFFF81000040: "table",
        0xFFFFFFFFC0000000: "nf_ct_get",
    }
    assert kallsyms.names_at([], root) == {}
    with pytest.raises(SyscallError, match="ENOENT"):
        kallsyms.names_at([1], str(tmp_path / "nothing"))


def test_a_suffix_of_the_compiler_is_no_part_of_the_name(tmp_path: pathlib.Path) -> None:
    """But a symbol that has exactly the name goes before."""
    found = kallsyms.find(["table", "exact"], made(tmp_path, LINES))
    assert found.addresses("table") == [0xFFFFFFFF81000040]
    assert found.addresses("exact") == [0xFFFFFFFF81000060]


def test_hidden_addresses_are_not_taken_for_addresses(tmp_path: pathlib.Path) -> None:
    """The names are there, all at 0."""
    lines = [f"{'0' * 16}{line[16:]}" for line in LINES.splitlines(keepends=True)]
    found = kallsyms.find(["bpf_prog_put"], made(tmp_path, "".join(lines)))
    assert found.restricted
    assert found.addresses("bpf_prog_put") == [0]


def test_lines_are_found_wherever_pieces_end(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is read in pieces, which end inside lines."""
    root = made(tmp_path, LINES)
    whole = kallsyms.find(["bpf_prog_put", "twice", "nf_ct_get", "table"], root)
    for size in (1, 7, 40, 41, 100):
        monkeypatch.setattr(kallsyms, "_PIECE", size)
        assert kallsyms.find(["bpf_prog_put", "twice", "nf_ct_get", "table"], root) == whole


def test_a_last_line_may_lack_its_end(tmp_path: pathlib.Path) -> None:
    """Not the kernel's habit, but harmless."""
    found = kallsyms.find(["last"], made(tmp_path, LINES + "ffffffffc0000010 t last"))
    assert found.addresses("last") == [0xFFFFFFFFC0000010]


def test_nothing_wanted_is_nothing_found(tmp_path: pathlib.Path) -> None:
    """An empty choice is not every name."""
    assert kallsyms.find([], made(tmp_path, LINES)).by_name == {}


@pytest.mark.parametrize(
    "text", ["twice\n", "xyz t twice\n", "12 twice t\n", "1 t a twice\n", " twice \n"]
)
def test_other_lines_are_no_symbols(tmp_path: pathlib.Path, text: str) -> None:
    """What looks otherwise is passed over."""
    assert kallsyms.find(["twice"], made(tmp_path, text)).by_name == {}


def test_what_has_no_lines_is_refused(tmp_path: pathlib.Path) -> None:
    """Memory stays bounded."""
    with pytest.raises(FormatError, match="a line of"):
        kallsyms.find(["x"], made(tmp_path, "x" * 3_000_000))


def test_a_kernel_without_the_file_says_so(tmp_path: pathlib.Path) -> None:
    """CONFIG_KALLSYMS may be off."""
    with pytest.raises(SyscallError, match=r"open: ENOENT: .*proc/kallsyms"):
        kallsyms.find(["x"], str(tmp_path))
