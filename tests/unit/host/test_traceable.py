"""Functions by pattern: from tracefs, and from the kernel's symbols where that may not be read."""

from __future__ import annotations

import pathlib

import pytest

from pyebpf.errors import SyscallError
from pyebpf.host import traceable

AVAILABLE = """tcp_connect
tcp_close
tcp_twice
tcp_twice
__ftrace_invalid_address___64
nf_ct_get [nf_conntrack]
tcp_bpf_init [tcp_bpf]
"""
SYMBOLS = """ffffffff81000000 T tcp_connect
ffffffff81000010 t tcp_close
ffffffff81000020 d tcp_data
ffffffff81000030 t tcp_twice
ffffffff81000040 t tcp_twice
ffffffffc0000000 t nf_ct_get\t[nf_conntrack]
"""


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    """A root with kernel symbols alone."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text("")
    (tmp_path / "proc/kallsyms").write_text(SYMBOLS)
    return tmp_path


def test_tracefs_knows_best(root):
    """Each once, in order, without ambiguous ones and places that were dropped."""
    tracing = root / "sys/kernel/tracing"
    (tracing / "events").mkdir(parents=True)
    (tracing / "available_filter_functions").write_text(AVAILABLE)
    find = lambda *args, **options: traceable.functions(*args, **options, root=str(root))  # noqa: E731
    assert find("tcp_*") == ["tcp_connect", "tcp_close", "tcp_bpf_init"]
    assert find("tcp_*", module="tcp_bpf") == ["tcp_bpf_init"]
    assert find("*") == ["tcp_connect", "tcp_close", "nf_ct_get", "tcp_bpf_init"]
    assert find("nf_ct_[gs]et") == ["nf_ct_get"]
    assert find("nothing*") == []


def test_symbols_will_do(root):
    """Functions only."""
    assert traceable.functions("tcp_*", root=str(root)) == ["tcp_connect", "tcp_close"]
    assert traceable.functions("*", module="nf_conntrack", root=str(root)) == ["nf_ct_get"]


def test_without_either_it_says_so(tmp_path):
    """An error, not an empty list."""
    with pytest.raises(SyscallError, match="kallsyms"):
        traceable.functions("*", root=str(tmp_path))
