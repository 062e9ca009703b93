"""What the kernel knows about a program: ``struct bpf_prog_info`` as a frozen dataclass."""

from __future__ import annotations

import array

from pyebpf.host.fdinfo import fdinfo
from pyebpf.plain import plain, replace
from pyebpf.programs.source_tables import SourceTables
from pyebpf.sys import bpf
from pyebpf.typed import TYPE_CHECKING
from pyebpf.uapi.bpf import ProgType
from pyebpf.uapi.info import ProgInfo

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["ProgramInfo", "program_details", "program_info"]

_LONGEST_NAME = 15  # BPF_OBJ_NAME_LEN, without the NUL


@plain(frozen=True, kw_only=True)
class ProgramInfo:
    """A program as the kernel describes it.

    Attributes:
        id: The kernel's id.
        type: ``enum bpf_prog_type``.
        name: The kernel's copy of its name, at most 15 bytes.
        tag: First 8 bytes of the hash over its instructions, as hexadecimal text.
        map_ids: Ids of the maps it uses.
        btf_id: Id of its BTF, 0 without.
        gpl_compatible: Whether its licence is GPL compatible.
        created_by_uid: Who loaded it.
        load_time_ns: When it was loaded, nanoseconds since boot (``CLOCK_BOOTTIME``).
        ifindex: The network device it was loaded for (offload), else 0.
        netns_dev: Device number of that device's network namespace, and
        netns_ino: its inode number.
        attach_btf_id: Type that it attaches to (fentry, LSM, freplace, …; Linux 6.0), else 0.
        attach_btf_obj_id: Id of the BTF that type is in, 0 for that of the vmlinux of older ones.
        xlated_size: Bytes of verified code.
        jited_size: Bytes of machine code, 0 where the kernel interprets or hides it.
        verified_instructions: Instructions the verifier processed (Linux 5.16), else 0.
        run_count: Runs while statistics were on (Linux 5.1).
        run_time_ns: Nanoseconds spent in those runs.
        recursion_misses: Runs skipped because it was running already (Linux 5.12).
        full_name: Its whole name if its types tell (Linux 5.0), else *name*.
        memlock: Bytes of kernel memory it takes; ``None`` where ``/proc`` does not tell.
    """

    id: int
    type: ProgType
    name: str
    tag: str
    map_ids: tuple[int, ...]
    btf_id: int
    gpl_compatible: bool
    created_by_uid: int
    load_time_ns: int
    ifindex: int
    netns_dev: int
    netns_ino: int
    attach_btf_id: int
    attach_btf_obj_id: int
    xlated_size: int
    jited_size: int
    verified_instructions: int
    run_count: int
    run_time_ns: int
    recursion_misses: int
    full_name: str
    memlock: int | None = None

    @property
    def load_time(self) -> datetime:
        """When it was loaded: aware, in UTC; exact as long as nobody sets the wall clock."""
        from pyebpf.host.clock import KtimeClock, ktime_to_datetime

        return ktime_to_datetime(self.load_time_ns, clock=KtimeClock.BOOT)


def program_info(fd: int) -> ProgramInfo:
    """Ask the kernel about the program behind *fd*.

    Raises:
        SyscallError: *fd* is not a program's.

    Since Linux 4.13.
    """
    raw = ProgInfo()
    bpf.obj_get_info_by_fd(fd, raw)
    map_ids: tuple[int, ...] = ()
    # Two passes: the first learns how many there are. Every other counter must be zero in the
    # second one, or the kernel tries to fill that array too.
    if raw.nr_map_ids:
        ids = array.array("I", bytes(4 * raw.nr_map_ids))
        again = ProgInfo(nr_map_ids=raw.nr_map_ids, map_ids=ids)
        bpf.obj_get_info_by_fd(fd, again)
        map_ids = tuple(ids)[: again.nr_map_ids]
    name = bytes(raw.name).partition(b"\0")[0].decode(errors="replace")
    return ProgramInfo(
        id=raw.id,
        type=ProgType(raw.type),
        name=name,
        tag=bytes(raw.tag).hex(),
        map_ids=map_ids,
        btf_id=raw.btf_id,
        gpl_compatible=bool(raw.gpl_compatible),
        created_by_uid=raw.created_by_uid,
        load_time_ns=raw.load_time,
        ifindex=raw.ifindex,
        netns_dev=raw.netns_dev,
        netns_ino=raw.netns_ino,
        attach_btf_id=raw.attach_btf_id,
        attach_btf_obj_id=raw.attach_btf_obj_id,
        xlated_size=raw.xlated_prog_len,
        jited_size=raw.jited_prog_len,
        verified_instructions=raw.verified_insns,
        run_count=raw.run_cnt,
        run_time_ns=raw.run_time_ns,
        recursion_misses=raw.recursion_misses,
        full_name=name,
    )


def program_details(fd: int) -> ProgramInfo:
    """As `program_info`, with what only its types and ``/proc/self/fdinfo`` tell.

    Raises:
        SyscallError: *fd* is not a program's.

    Since Linux 4.13.
    """
    found = program_info(fd)
    full_name = _full_name(fd) if len(found.name) == _LONGEST_NAME and found.btf_id else ""
    return replace(
        found, full_name=full_name or found.name, memlock=fdinfo("self", fd).get("memlock")
    )


# The first function is the program itself.
def _full_name(fd: int) -> str:
    known, asked = ProgInfo(), ProgInfo()
    bpf.obj_get_info_by_fd(fd, known)
    tables = SourceTables(known, asked)
    bpf.obj_get_info_by_fd(fd, asked)
    return tables.functions().get(0, "")
