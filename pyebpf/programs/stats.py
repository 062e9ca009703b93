"""How often programs ran and how long it took: the kernel's counters, and its switch for them.

    with enable_stats():            counted while the descriptor is open, for every program
        program.stats()             ProgramStats(run_count=12, run_time_ns=2460, recursion_misses=0)

Counting costs each run of each program some twenty nanoseconds: hence the switch.
"""

from __future__ import annotations

from pyebpf.plain import plain
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD
from pyebpf.uapi.attrs import EnableStats
from pyebpf.uapi.bpf import StatsType
from pyebpf.uapi.info import ProgInfo

__all__ = ["ProgramStats", "enable_stats", "stats"]


@plain(frozen=True, kw_only=True)
class ProgramStats:
    """What the kernel counted for one program since it was loaded.

    Attributes:
        run_count: Runs while statistics were on (Linux 5.1).
        run_time_ns: Nanoseconds spent in those runs.
        recursion_misses: Runs skipped because it was running on that CPU already (Linux 5.12);
            counted always.
    """

    run_count: int
    run_time_ns: int
    recursion_misses: int

    @property
    def mean_ns(self) -> float | None:
        """Nanoseconds a run takes on average, or ``None`` if none was counted."""
        return self.run_time_ns / self.run_count if self.run_count else None


def enable_stats() -> FD:
    """Let the kernel count runs and run time of all programs until what is returned is closed.

    ``with enable_stats():`` does it for a block. It is the kernel's own switch, for the whole
    machine: it stays on as long as any process holds it, or the sysctl ``kernel.bpf_stats_enabled``
    is set.

    Raises:
        PrivilegeError: Without ``CAP_SYS_ADMIN``.
        NotSupportedError: The kernel is older; there is that sysctl since 5.1.

    Since Linux 5.8.
    """
    return bpf.enable_stats(EnableStats(type=StatsType.RUN_TIME))


def stats(fd: int) -> ProgramStats:
    """Ask for the counters of the program behind *fd*.

    Raises:
        SyscallError: *fd* is not a program's.
    """
    raw = ProgInfo()
    bpf.obj_get_info_by_fd(fd, raw)
    return ProgramStats(
        run_count=raw.run_cnt,
        run_time_ns=raw.run_time_ns,
        recursion_misses=raw.recursion_misses,
    )
