"""The exception tree: copies and pickles say what the original said."""

from __future__ import annotations

import copy
import pickle

import pytest

from pyebpf import errors

ERRORS = [
    errors.SyscallError("BPF_MAP_CREATE", 22, "max_entries is 0"),
    errors.KeyNotFoundError("BPF_MAP_LOOKUP_ELEM", 2),
    errors.PrivilegeError("BPF_PROG_LOAD", 1, "needs CAP_BPF"),
    errors.VerifierError(
        "BPF_PROG_LOAD",
        errors.ENOTSUPP,
        "R2 !read_ok",
        log="0: (95) exit",
        source=errors.SourceLine("a.c", 1, 2, "x"),
        truncated=True,
    ),
    errors.NetlinkError("RTM_SETLINK", 16, "busy"),
    errors.NotSupportedError("ring buffers", "5.8", "not here"),
    errors.ElfError("no sections", "offset 0x10"),
    errors.LoadError("counts", "a map"),
    errors.IncompatibleError("count", "another type"),
    errors.MapIncompatibleError("counts", "another type"),
    errors.ReaderTimeout("no record"),
    errors.ClosedError("used after close"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda each: type(each).__name__)
def test_an_error_survives_pickling_and_copying(error):
    """A worker process hands it to its parent whole, with the names that outer layers gave it."""
    error.context.insert(0, 'load program "count"')
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(copied) is type(error)
        assert (str(copied), vars(copied)) == (str(error), vars(error))
        assert str(copied).startswith('load program "count": ')
        if isinstance(error, errors.SyscallError):
            assert (copied.errno, copied.strerror) == (error.errno, error.strerror)
