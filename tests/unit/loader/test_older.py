"""Older helpers in the place of newer ones."""

from __future__ import annotations

from pyebpf.loader.older import OLDER
from pyebpf.uapi.helpers import FuncId


def test_the_numbers_are_those_of_the_helpers() -> None:
    """They stand there as numbers, since the enum of all helpers takes time to import."""
    assert {
        FuncId.probe_read_user: FuncId.probe_read,
        FuncId.probe_read_kernel: FuncId.probe_read,
        FuncId.probe_read_user_str: FuncId.probe_read_str,
        FuncId.probe_read_kernel_str: FuncId.probe_read_str,
    } == OLDER
