"""The running kernel's BTF, against bpftool: every type, name by name."""

from __future__ import annotations

import mmap
import os
import pathlib
import time

import pytest

from pyebpf.btf import saved_index
from pyebpf.btf import types as t
from pyebpf.btf.btf import Btf
from pyebpf.uapi.btf import BtfKind
from tests.support.amount import FEWER
from tests.support.bpftool_btf import described, dump

STRIDE = 10 if FEWER > 1 else 1  # through the names that are tried
VMLINUX = pathlib.Path("/sys/kernel/btf/vmlinux")

NAMES = (
    *("task_struct", "file", "sk_buff", "net_device", "bpf_map", "page", "inode", "mm_struct"),
    *("cred", "nsproxy", "sock", "tcp_sock", "pid", "dentry", "super_block", "bpf_prog", "rq"),
    *("cfs_rq", "zone", "socket"),
)


def mapped() -> Btf:
    if not VMLINUX.exists():
        pytest.skip("kernel with CONFIG_DEBUG_INFO_BTF")
    with VMLINUX.open("rb") as file:
        try:
            size = os.fstat(file.fileno()).st_size
            return Btf.decode(mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE, mmap.PROT_READ))
        except OSError:
            # Linux before 6.16 cannot map it.
            return Btf.decode(file.read())


def test_every_type_of_the_kernel_is_as_bpftool_says() -> None:
    """All of them, all fields."""
    btf = mapped()
    assert described(btf) == dump(VMLINUX)


def test_names_find_what_a_scan_of_all_types_finds() -> None:
    """The search in bytes sees neither more nor less, nor does that in an index kept on disk."""
    btf, kept = mapped(), mapped()
    assert saved_index.restore(kept, saved_index.save(btf))
    by_name: dict[str, list[int]] = {}
    for number in range(1, len(btf)):
        by_name.setdefault(btf.string(btf.name_offset(number)), []).append(number)
    for name in [*list(by_name)[:: 50 * STRIDE], *NAMES, "int", ""]:
        assert btf.ids(name) == kept.ids(name) == by_name.get(name, [])
    # The first few are searched for without an index.
    several = [name for name, found in by_name.items() if len(found) > 1]
    chosen = [*list(by_name)[:: 900 * STRIDE], *NAMES, *several[:: 30 * STRIDE], "int"]
    for start in range(0, len(chosen), 20):
        fresh = mapped()
        for name in chosen[start : start + 20]:
            assert fresh.ids(name) == by_name[name]


def test_twenty_names_of_a_cold_kernel_take_no_time() -> None:
    """Some twenty milliseconds; emulated, less than it takes to read every name once."""
    started = time.process_time()
    btf = mapped()
    found = [btf.type(btf.ids(name, BtfKind.STRUCT)[0]) for name in NAMES]
    spent = time.process_time() - started
    assert all(isinstance(one, t.Struct) for one in found)
    started = time.process_time()
    for number in range(1, len(btf)):
        btf.string(btf.name_offset(number))
    assert spent < max(0.25, time.process_time() - started)
