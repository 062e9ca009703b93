"""Helpers about the machine and the task: clocks, CPU, random numbers, who runs, stacks."""

from __future__ import annotations

import errno

from pyebpf.testing.interpreter.calls import Function
from pyebpf.testing.interpreter.run import Run
from pyebpf.uapi.bpf import MapType
from pyebpf.uapi.helper_flags import StackFlag
from pyebpf.uapi.helpers import FuncId

__all__ = ["HELPERS"]

NSEC_PER_JIFFY = 4_000_000  # 250 a second
# A number: the complement of a flag knows no bits that have no name.
KNOWN_STACK_FLAGS = int(
    StackFlag.SKIP_FIELD_MASK
    | StackFlag.USER_STACK
    | StackFlag.FAST_STACK_CMP
    | StackFlag.REUSE_STACKID
)


def ktime_get_ns(run: Run) -> int:
    """Return nanoseconds since boot; all clocks of a `World` are one."""
    return run.world.clock()


def jiffies64(run: Run) -> int:
    """Return ticks since boot."""
    return run.world.clock() // NSEC_PER_JIFFY


def get_prandom_u32(run: Run) -> int:
    """Return a random number of 32 bits."""
    return run.world.random.getrandbits(32)


def get_smp_processor_id(run: Run) -> int:
    """Return the CPU's number."""
    return run.world.cpu


def get_numa_node_id(run: Run) -> int:
    """Return the number of the CPU's node."""
    return run.world.numa_node


def get_current_pid_tgid(run: Run) -> int:
    """Return process and thread: ``tgid << 32 | pid``."""
    return run.world.task.tgid << 32 | run.world.task.pid


def get_ns_current_pid_tgid(run: Run, device: int, inode: int, place: int, size: int) -> int:
    """Write thread and process as a namespace numbers them; here all namespaces are one."""
    size &= 0xFFFF_FFFF
    target = run.memory.view(place, size, write=True)
    if size != 8:  # of struct bpf_pidns_info
        target[:] = bytes(size)
        return -errno.EINVAL
    run.store(place, 4, run.world.task.pid)
    run.store(place + 4, 4, run.world.task.tgid)
    return 0


def get_current_uid_gid(run: Run) -> int:
    """Return group and user: ``gid << 32 | uid``."""
    return run.world.task.gid << 32 | run.world.task.uid


def get_current_comm(run: Run, place: int, size: int) -> int:
    """Copy the task's name, NUL-terminated and filled up with zeros."""
    size &= 0xFFFF_FFFF
    if not size:
        return -errno.EINVAL
    target = run.memory.view(place, size, write=True)
    name = run.world.task.comm[: min(15, size - 1)]
    target[:] = name.ljust(size, b"\0")
    return 0


def get_current_cgroup_id(run: Run) -> int:
    """Return the id of the task's control group."""
    return run.world.task.cgroup_id


def get_current_task(run: Run) -> int:
    """Return the address of the task, which a test gives (`Task.address`)."""
    return run.world.task.address


# The kernel's own hash is not told; here a stack's id is its place among those seen.
def get_stackid(run: Run, context: int, pointer: int, flags: int) -> int:
    """Keep the stack that `World.stacks` names in a stack trace map and return its id."""
    found = run.map_at(pointer)
    if flags & ~KNOWN_STACK_FLAGS or found.type is not MapType.STACK_TRACE:
        return -errno.EINVAL
    addresses = _stack(run, flags)[: found.value_size // 8]
    if not addresses:
        return -errno.EFAULT
    data = b"".join(each.to_bytes(8, run.byteorder) for each in addresses)
    return found.stack_id(data.ljust(found.value_size, b"\0"), flags)


def get_stack(run: Run, context: int, place: int, size: int, flags: int) -> int:
    """Copy the stack that `World.stacks` names and return how many bytes."""
    size &= 0xFFFF_FFFF
    if flags & ~int(StackFlag.SKIP_FIELD_MASK | StackFlag.USER_STACK) or size % 8:
        return -errno.EINVAL
    target = run.memory.view(place, size, write=True)
    addresses = _stack(run, flags)[: size // 8]
    data = b"".join(each.to_bytes(8, run.byteorder) for each in addresses)
    target[:] = data.ljust(size, b"\0")
    return len(data) if data else -errno.EFAULT


def _stack(run: Run, flags: int) -> list[int]:
    kind = "user" if flags & StackFlag.USER_STACK else "kernel"
    return run.world.stacks.get(kind, [])[flags & StackFlag.SKIP_FIELD_MASK :]


HELPERS: dict[int, Function] = {
    FuncId.ktime_get_ns: ktime_get_ns,
    FuncId.ktime_get_boot_ns: ktime_get_ns,
    FuncId.ktime_get_coarse_ns: ktime_get_ns,
    FuncId.ktime_get_tai_ns: ktime_get_ns,
    FuncId.jiffies64: jiffies64,
    FuncId.get_prandom_u32: get_prandom_u32,
    FuncId.get_smp_processor_id: get_smp_processor_id,
    FuncId.get_numa_node_id: get_numa_node_id,
    FuncId.get_current_pid_tgid: get_current_pid_tgid,
    FuncId.get_ns_current_pid_tgid: get_ns_current_pid_tgid,
    FuncId.get_current_uid_gid: get_current_uid_gid,
    FuncId.get_current_comm: get_current_comm,
    FuncId.get_current_cgroup_id: get_current_cgroup_id,
    FuncId.get_current_task: get_current_task,
    FuncId.get_current_task_btf: get_current_task,
    FuncId.get_stackid: get_stackid,
    FuncId.get_stack: get_stack,
}
