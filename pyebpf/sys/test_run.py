"""BPF_PROG_TEST_RUN of one program, again and again, with everything bound beforehand.

    union bpf_attr  | prog_fd  0 | … all zero |  80          no data, no context, one run

For programs that take their input from maps; `pyebpf.sys.bpf.prog_test_run` does the rest. A run
costs its system call and a third of a microsecond.
"""

from __future__ import annotations

import ctypes

from pyebpf.sys.numbers import numbers
from pyebpf.typed import final
from pyebpf.uapi.bpf import Cmd

__all__ = ["TestRun"]

# Up to batch_size; kernels that know less of it take zeros.
_ATTR_SIZE = 80

_syscall = ctypes.CDLL(None, use_errno=True).syscall


@final
class TestRun:
    """Runs a program; other threads go on meanwhile.

    Args:
        fd: The program, which must stay open: the caller sees to it that no run starts later.

    Attributes:
        arguments: For `pyebpf.sys.slots.quiet_call`, which holds the GIL: for the shortest runs.

    Since Linux 5.14 (programs of type ``BPF_PROG_TYPE_SYSCALL``).
    """

    __slots__ = ("_attr", "arguments")

    def __init__(self, fd: int) -> None:
        words = bytearray(_ATTR_SIZE)
        self._attr = (ctypes.c_char * _ATTR_SIZE).from_buffer(words)
        memoryview(words).cast("I")[0] = fd
        where = ctypes.byref(self._attr)
        self.arguments = (numbers().bpf, int(Cmd.PROG_TEST_RUN), where, _ATTR_SIZE)

    def __call__(self) -> int:
        """Run it once; return 0, or an errno: ``EINTR`` if a signal came before it started."""
        return ctypes.get_errno() if _syscall(*self.arguments) else 0
