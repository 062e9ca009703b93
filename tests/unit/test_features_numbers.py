"""Numbers that probes know without the table of all helpers."""

from __future__ import annotations

from pyebpf.features import attach, programs
from pyebpf.uapi.helpers import FuncId


def test_probes_call_the_helpers_they_name() -> None:
    """They stand beside the probes, as the table takes long to make."""
    assert FuncId.probe_read_kernel == programs._PROBE_READ_KERNEL
    assert FuncId.get_attach_cookie == attach._GET_ATTACH_COOKIE
