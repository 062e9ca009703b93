"""Probes of the commands of bpf(2)."""

from __future__ import annotations

import errno

from pyebpf.errors import EbpfError, NotSupportedError, PrivilegeError, SyscallError
from pyebpf.features.feature import Feature
from pyebpf.sys import bpf
from pyebpf.sys.absence import harmless
from pyebpf.sys.fd import FD
from pyebpf.uapi.bpf import Cmd

__all__ = ["command"]

# As old as bpf(2) or as programs of cgroups: a kernel that can be asked has them.
_NEVER_MISSING = frozenset(
    {
        Cmd.MAP_CREATE,
        Cmd.MAP_LOOKUP_ELEM,
        Cmd.MAP_UPDATE_ELEM,
        Cmd.MAP_DELETE_ELEM,
        Cmd.MAP_GET_NEXT_KEY,
        Cmd.PROG_LOAD,
        Cmd.OBJ_PIN,
        Cmd.OBJ_GET,
        Cmd.PROG_ATTACH,
        Cmd.PROG_DETACH,
    }
)
_ABSENT_FD = b"\xff" * 4


def command(cmd: Cmd) -> Feature:
    """Return the feature "this command of bpf(2)"."""
    return Feature(cmd.c_name, cmd.since, lambda: _try_command(cmd))


def _try_command(cmd: Cmd) -> bool:
    attr = harmless(cmd)
    try:
        # The descriptor of a map, an object, a cgroup that is not there.
        found = bpf.bpf(cmd, attr or bytearray(_ABSENT_FD))
    except NotSupportedError:
        return False
    except PrivilegeError:
        raise
    except SyscallError as error:
        if error.errno != errno.EINVAL or attr is not None or cmd in _NEVER_MISSING:
            return True
        raise EbpfError(f"{cmd} says EINVAL whether it is there or not") from None
    if cmd == Cmd.ENABLE_STATS:
        FD(found).close()
    return True
