"""The tracepoints of the made-up kernel: a usual selection, and what their records hold.

One line each, ``category/name``, and behind it the fields after the common ones, as C declares them
(``int pid``, ``char comm[16]``, ``__data_loc char[] filename``). Fields without which a tracepoint
is of use, too, are left out where nothing needs them.
"""

from __future__ import annotations

import struct
import sys

from pyebpf.typed import NamedTuple

__all__ = ["SIZES", "Field", "Tracepoint", "parse", "record", "usual"]

COMMON = (
    "unsigned short common_type; unsigned char common_flags;"
    " unsigned char common_preempt_count; int common_pid"
)

USUAL = """
sched/sched_process_exec: __data_loc char[] filename; pid_t pid; pid_t old_pid
sched/sched_process_fork: char parent_comm[16]; pid_t parent_pid; char child_comm[16]; \
pid_t child_pid
sched/sched_process_exit: char comm[16]; pid_t pid; int prio
sched/sched_process_free: char comm[16]; pid_t pid; int prio
sched/sched_process_wait: char comm[16]; pid_t pid; int prio
sched/sched_switch: char prev_comm[16]; pid_t prev_pid; int prev_prio; long prev_state; \
char next_comm[16]; pid_t next_pid; int next_prio
sched/sched_wakeup: char comm[16]; pid_t pid; int prio; int target_cpu
sched/sched_wakeup_new: char comm[16]; pid_t pid; int prio; int target_cpu
sched/sched_waking: char comm[16]; pid_t pid; int prio; int target_cpu
sched/sched_migrate_task: char comm[16]; pid_t pid; int prio; int orig_cpu; int dest_cpu
sched/sched_stat_runtime: char comm[16]; pid_t pid; u64 runtime
raw_syscalls/sys_enter: long id; unsigned long args[6]
raw_syscalls/sys_exit: long id; long ret
signal/signal_generate: int sig; int errno; int code; char comm[16]; pid_t pid; int group; \
int result
signal/signal_deliver: int sig; int errno; int code; unsigned long sa_handler; \
unsigned long sa_flags
task/task_newtask: pid_t pid; char comm[16]; unsigned long clone_flags; short oom_score_adj
task/task_rename: pid_t pid; char oldcomm[16]; char newcomm[16]; short oom_score_adj
oom/mark_victim: int pid
irq/irq_handler_entry: int irq; __data_loc char[] name
irq/irq_handler_exit: int irq; int ret
irq/softirq_entry: unsigned int vec
irq/softirq_exit: unsigned int vec
irq/softirq_raise: unsigned int vec
timer/timer_start: void * timer; void * function; unsigned long expires
timer/timer_expire_entry: void * timer; unsigned long now; void * function
timer/hrtimer_expire_entry: void * hrtimer; s64 now; void * function
kmem/kmalloc: unsigned long call_site; const void * ptr; size_t bytes_req; size_t bytes_alloc
kmem/kfree: unsigned long call_site; const void * ptr
kmem/mm_page_alloc: unsigned long pfn; unsigned int order; unsigned long gfp_flags; int migratetype
net/net_dev_queue: void * skbaddr; unsigned int len; __data_loc char[] name
net/netif_receive_skb: void * skbaddr; unsigned int len; __data_loc char[] name
net/netif_rx: void * skbaddr; unsigned int len; __data_loc char[] name
skb/kfree_skb: void * skbaddr; void * location; unsigned short protocol; int reason
skb/consume_skb: void * skbaddr; void * location
sock/inet_sock_set_state: const void * skaddr; int oldstate; int newstate; __u16 sport; \
__u16 dport; __u16 family; __u16 protocol; __u8 saddr[4]; __u8 daddr[4]; __u8 saddr_v6[16]; \
__u8 daddr_v6[16]
tcp/tcp_retransmit_skb: const void * skbaddr; const void * skaddr; int state; __u16 sport; \
__u16 dport; __u16 family; __u8 saddr[4]; __u8 daddr[4]; __u8 saddr_v6[16]; __u8 daddr_v6[16]
tcp/tcp_destroy_sock: const void * skaddr; __u16 sport; __u16 dport; __u16 family; \
__u8 saddr[4]; __u8 daddr[4]; __u8 saddr_v6[16]; __u8 daddr_v6[16]; __u64 sock_cookie
xdp/xdp_exception: int prog_id; u32 act; int ifindex
block/block_rq_issue: dev_t dev; sector_t sector; unsigned int nr_sector; unsigned int bytes; \
char rwbs[10]; char comm[16]; __data_loc char[] cmd
block/block_rq_complete: dev_t dev; sector_t sector; unsigned int nr_sector; int error; \
char rwbs[10]; __data_loc char[] cmd
power/cpu_frequency: u32 state; u32 cpu_id
power/cpu_idle: u32 state; u32 cpu_id
exceptions/page_fault_user: unsigned long address; unsigned long ip; unsigned long error_code
module/module_load: unsigned int taints; __data_loc char[] name
"""

# System calls have tracepoints of their own, with the number and the arguments.
SYSCALLS = """
accept accept4 bind bpf chdir chmod chown clone clone3 close connect dup dup2 dup3 epoll_wait
execve execveat exit exit_group fchmod fchown fcntl fork fstat fsync futex getdents64 getpid
getppid getuid ioctl kill link listen lseek lstat mkdir mkdirat mmap mount mprotect munmap
nanosleep newfstat newfstatat newlstat newstat open openat openat2 perf_event_open pipe2 poll
ppoll prctl pread64 ptrace pwrite64 read readlink readv recvfrom recvmsg rename renameat2 rmdir
sendmsg sendto setuid setsockopt socket statx symlink sync tgkill truncate umount unlink
unlinkat unshare vfork wait4 write writev
"""

SIZES = {
    "char": 1,
    "unsigned char": 1,
    "u8": 1,
    "__u8": 1,
    "bool": 1,
    "short": 2,
    "unsigned short": 2,
    "u16": 2,
    "__u16": 2,
    "int": 4,
    "unsigned int": 4,
    "u32": 4,
    "__u32": 4,
    "pid_t": 4,
    "dev_t": 4,
    "long": 8,
    "unsigned long": 8,
    "size_t": 8,
    "u64": 8,
    "s64": 8,
    "__u64": 8,
    "sector_t": 8,
}
SIGNED = frozenset({"char", "short", "int", "long", "pid_t", "s64"})


class Field(NamedTuple):
    """A field of a record.

    Attributes:
        type: As C declares it, without an array's length.
        length: Elements of an array, 0 if it is none.
        dynamic: Its place and length stand there, itself behind the fixed part.
    """

    name: str
    type: str
    offset: int
    size: int
    signed: bool
    length: int
    dynamic: bool


class Tracepoint(NamedTuple):
    """A tracepoint.

    Attributes:
        id: What ``perf_event_open`` takes.
        size: Bytes of the fixed part of a record.
    """

    category: str
    name: str
    id: int
    fields: tuple[Field, ...]
    size: int

    @property
    def format(self) -> str:
        """The text of tracefs' ``format`` file."""
        lines = [f"name: {self.name}", f"ID: {self.id}", "format:"]
        for field in self.fields:
            length = f"[{field.length}]" if field.length else ""
            lines.append(
                f"\tfield:{field.type} {field.name}{length};\toffset:{field.offset};"
                f"\tsize:{field.size};\tsigned:{int(field.signed)};"
            )
            if field.name == "common_pid":
                lines.append("")
        return "\n".join([*lines, "", 'print fmt: ""']) + "\n"


def usual() -> list[Tracepoint]:
    """Return the usual ones."""
    found: list[Tracepoint] = []
    for line in USUAL.strip().splitlines():
        place, _, fields = line.partition(": ")
        category, _, name = place.partition("/")
        found.append(parse(category, name, fields, 100 + len(found)))
    for call in SYSCALLS.split():
        enter = "int __syscall_nr; unsigned long args[6]"
        found.append(parse("syscalls", f"sys_enter_{call}", enter, 100 + len(found)))
        leave = "int __syscall_nr; long ret"
        found.append(parse("syscalls", f"sys_exit_{call}", leave, 100 + len(found)))
    return found


def parse(category: str, name: str, fields: str, number: int) -> Tracepoint:
    """Return a tracepoint whose records hold these fields after the common ones.

    Args:
        category: A directory of tracefs.
        name: Its name there.
        fields: Declarations in C, between semicolons.
        number: Its id.

    Raises:
        ValueError: A declaration that makes no sense.
    """
    placed: list[Field] = []
    end = 0
    declarations = [each.strip() for each in f"{COMMON}; {fields}".split(";") if each.strip()]
    for declaration in declarations:
        field = _field(declaration, end)
        placed.append(field)
        end = field.offset + field.size
    return Tracepoint(category, name, number, tuple(placed), -(-end // 8) * 8)


def _field(declaration: str, end: int) -> Field:
    kind, _, name = declaration.rpartition(" ")
    if not kind or not name:
        raise ValueError(f"not a declaration of a field: {declaration!r}")
    if kind.startswith("__data_loc"):
        return Field(name, kind, -(-end // 4) * 4, 4, False, 0, True)
    count = 0
    if name.endswith("]"):
        name, _, length = name[:-1].partition("[")
        count = int(length)
    size = 8 if kind.endswith("*") else SIZES.get(kind, 0)
    if not size:
        raise ValueError(f"unknown type of a field: {declaration!r}")
    offset = -(-end // size) * size
    return Field(name, kind, offset, size * max(count, 1), kind in SIGNED, count, False)


def record(tracepoint: Tracepoint, pid: int, values: dict[str, object]) -> bytes:
    """Return a record, as a program's context has it: what is not given is zero.

    Args:
        tracepoint: Whose.
        pid: For ``common_pid``.
        values: Numbers, bytes or sequences of numbers by the fields' names.

    Raises:
        ValueError: No such field, or a value that does not fit.
    """
    values = {"common_type": tracepoint.id, "common_pid": pid, **values}
    unknown = values.keys() - {field.name for field in tracepoint.fields}
    if unknown:
        raise ValueError(f"{tracepoint.name} has no field {min(unknown)}")
    fixed, behind = bytearray(tracepoint.size), bytearray()
    for field in tracepoint.fields:
        value = values.get(field.name, b"" if field.dynamic else 0)
        if field.dynamic:
            data = _bytes(value) + b"\0"
            place = tracepoint.size + len(behind)
            struct.pack_into("=I", fixed, field.offset, len(data) << 16 | place)
            behind += data
        else:
            data = _encode(field, value)
            fixed[field.offset : field.offset + len(data)] = data
    return bytes(fixed + behind)


def _encode(field: Field, value: object) -> bytes:
    if isinstance(value, (bytes, str)):
        data = _bytes(value)
        if len(data) > field.size:
            raise ValueError(f"{field.name} takes {field.size} bytes, not {len(data)}")
        return data
    numbers = [value] if isinstance(value, int) else list(value)  # type: ignore[call-overload]
    size = field.size // max(field.length, 1)
    if len(numbers) > max(field.length, 1):
        raise ValueError(f"{field.name} takes {max(field.length, 1)} numbers, not {len(numbers)}")
    mask = (1 << size * 8) - 1
    return b"".join((number & mask).to_bytes(size, sys.byteorder) for number in numbers)


def _bytes(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise ValueError(f"takes text or bytes, not {type(value).__name__}")
