"""Jump tables as maps, on a kernel that answers no call; tests/kernel has one that does."""

from __future__ import annotations

import contextlib
import errno

import pytest

from pyebpf.errors import PrivilegeError
from pyebpf.loader.jump_tables import create_tables
from pyebpf.sys import kernel
from tests.support.made_kernel import MadeKernel


def test_a_program_without_tables_asks_for_nothing(tmp_path):
    """No call is made."""
    with kernel.use(MadeKernel(tmp_path)), contextlib.ExitStack() as owned:
        assert create_tables({}, owned) == {}


def test_a_table_that_cannot_be_made_is_named(tmp_path):
    """By its symbol."""
    with (
        kernel.use(MadeKernel(tmp_path)),
        contextlib.ExitStack() as owned,
        pytest.raises(PrivilegeError, match=r'jump table "BPF.JT.0": create map "BPF.JT.0"') as no,
    ):
        create_tables({"BPF.JT.0": (9, 11)}, owned)
    assert no.value.errno == errno.EPERM
