"""OBJ_GET_INFO_BY_FD: what the kernel tells about an object, and which arrays it fills."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

from pyebpf.testing import buffers
from pyebpf.testing.attachments import Link
from pyebpf.testing.files import OpenFile
from pyebpf.testing.maps.slots import FdArray
from pyebpf.testing.objects import Btf, Map, ProgramObject
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.uapi.attrs import ObjInfo
from pyebpf.uapi.bpf import LinkType, OpenFlag, PerfEventType
from pyebpf.uapi.cstruct import CStruct
from pyebpf.uapi.info import (
    BtfInfo,
    LinkInfo,
    LinkInfoCgroup,
    LinkInfoEvent,
    LinkInfoIter,
    LinkInfoIterTask,
    LinkInfoKprobe,
    LinkInfoKprobeMulti,
    LinkInfoNetfilter,
    LinkInfoNetkit,
    LinkInfoNetns,
    LinkInfoPerfEvent,
    LinkInfoRawTracepoint,
    LinkInfoSockmap,
    LinkInfoTcx,
    LinkInfoTracepoint,
    LinkInfoTracing,
    LinkInfoUprobe,
    LinkInfoUprobeMulti,
    LinkInfoXdp,
    MapInfo,
    ProgInfo,
)

__all__ = ["file_info", "get_info"]

_LINKS: dict[LinkType, type[LinkInfo]] = {
    LinkType.RAW_TRACEPOINT: LinkInfoRawTracepoint,
    LinkType.TRACING: LinkInfoTracing,
    LinkType.XDP: LinkInfoXdp,
    LinkType.TCX: LinkInfoTcx,
    LinkType.PERF_EVENT: LinkInfoPerfEvent,
    LinkType.CGROUP: LinkInfoCgroup,
    LinkType.NETNS: LinkInfoNetns,
    LinkType.NETKIT: LinkInfoNetkit,
    LinkType.NETFILTER: LinkInfoNetfilter,
    LinkType.ITER: LinkInfoIter,
    LinkType.SOCKMAP: LinkInfoSockmap,
    LinkType.KPROBE_MULTI: LinkInfoKprobeMulti,
    LinkType.UPROBE_MULTI: LinkInfoUprobeMulti,
}
_EVENTS: dict[object, type[LinkInfoPerfEvent]] = {
    PerfEventType.UPROBE: LinkInfoUprobe,
    PerfEventType.URETPROBE: LinkInfoUprobe,
    PerfEventType.KPROBE: LinkInfoKprobe,
    PerfEventType.KRETPROBE: LinkInfoKprobe,
    PerfEventType.TRACEPOINT: LinkInfoTracepoint,
    PerfEventType.EVENT: LinkInfoEvent,
}
# Where the length of a text is: the first of these that a struct has.
_LENGTHS = ("tp_name_len", "target_name_len", "name_len", "path_size")


def file_info(file: OpenFile) -> str:
    """Return the text of ``/proc/self/fdinfo``: bpf_map_show_fdinfo and its like."""
    access = {OpenFlag.RDONLY: 0, OpenFlag.WRONLY: 1}.get(OpenFlag(file.flags), 2)
    lines = {"pos": "0", "flags": f"0200000{access}", "mnt_id": "15", "ino": str(file.inode)}
    what = file.what
    if isinstance(what, Map):
        definition = what.definition
        lines |= {
            "map_type": str(int(definition.type)),
            "key_size": str(definition.key_size),
            "value_size": str(definition.value_size),
            "max_entries": str(definition.max_entries),
            "map_flags": f"{int(definition.flags):#x}",
            "map_extra": f"{definition.map_extra:#x}",
            "memlock": str(definition.max_entries * (definition.key_size + definition.stride)),
            "map_id": str(what.id),
            "frozen": str(int(what.frozen)),
        }
        if isinstance(what.contents, FdArray) and what.contents.owner is not None:
            lines |= {"owner_prog_type": str(int(what.contents.owner)), "owner_jited": "1"}
    elif isinstance(what, ProgramObject):
        lines |= {"prog_type": str(int(what.type)), "prog_jited": "0", "prog_tag": what.tag.hex()}
        lines |= {"memlock": "4096", "prog_id": str(what.id), "run_cnt": str(what.run_count)}
    elif isinstance(what, Link):
        lines |= {"link_id": str(what.id), "prog_id": str(what.program.id)}
    return "".join(f"{name}:\t{value}\n" for name, value in lines.items())


def get_info(system: System, attr: ObjInfo) -> int:
    """Fill ``attr.info``."""
    what = system.holding(attr.bpf_fd)
    given = attr.info
    if isinstance(what, Map):
        info: CStruct = _map(what)
    elif isinstance(what, ProgramObject):
        info = _program(what, given if isinstance(given, ProgInfo) else ProgInfo())
    elif isinstance(what, Link):
        info = _link(what, given)
    elif isinstance(what, Btf):
        info = _btf(what, given if isinstance(given, BtfInfo) else BtfInfo())
    else:
        raise Refused(errno.EINVAL)
    _forget_new_fields(system, info)
    size = min(attr.info_len, type(info).SIZE)
    buffers.fill(given, info, size=size)
    attr.info_len = size
    return 0


def _map(what: Map) -> MapInfo:
    definition = what.definition
    return MapInfo(
        type=definition.type,
        id=what.id,
        key_size=definition.key_size,
        value_size=definition.value_size,
        max_entries=definition.max_entries,
        map_flags=definition.flags,
        name=definition.name,
        map_extra=definition.map_extra,
        btf_id=what.btf.id if what.btf is not None else 0,
        btf_key_type_id=what.key_type_id,
        btf_value_type_id=what.value_type_id,
    )


def _program(what: ProgramObject, given: ProgInfo) -> ProgInfo:
    info = ProgInfo(
        type=what.type,
        id=what.id,
        tag=what.tag,
        xlated_prog_len=len(what.code),
        load_time=what.load_time,
        created_by_uid=what.uid,
        nr_map_ids=len(what.maps),
        name=what.name,
        gpl_compatible=int(what.gpl_compatible),
        btf_id=what.btf.id if what.btf is not None else 0,
        func_info_rec_size=8,
        nr_func_info=len(what.func_info) // 8,
        nr_line_info=len(what.line_info) // 16,
        line_info_rec_size=16,
        jited_line_info_rec_size=8,
        run_cnt=what.run_count,
        verified_insns=len(what.code) // 8,
        attach_btf_id=what.attach_btf_id,
    )
    _fill(given.map_ids, given.nr_map_ids, _words([each.id for each in what.maps]), 4)
    _fill(given.func_info, given.nr_func_info, what.func_info, 8)
    _fill(given.line_info, given.nr_line_info, what.line_info, 16)
    _fill(given.xlated_prog_insns, given.xlated_prog_len, what.code, 1)
    return info


def _link(what: Link, given: object) -> LinkInfo:
    details = dict(what.details)
    if what.forgotten and not what.attached:
        details[what.forgotten] = 0
    kind = _LINKS.get(what.type, LinkInfo)
    if what.type == LinkType.PERF_EVENT:
        kind = _EVENTS.get(details.get("perf_event_type"), LinkInfoPerfEvent)
    elif "tid" in details:
        kind = LinkInfoIterTask
    numbers = {name: value for name, value in details.items() if isinstance(value, int)}
    info = kind(type=what.type, id=what.id, prog_id=what.program.id, **numbers)
    short = False
    for name, value in details.items():
        if isinstance(value, bytes):
            short |= _put_text(info, given, name, value)
        elif not isinstance(value, int):
            short |= _put_numbers(info, given, name, value)
    if short:
        raise Refused(errno.ENOSPC)
    return info


# bpf_copy_to_user: with a NUL, cut off if need be. Returns whether it was.
def _put_text(info: LinkInfo, given: object, name: str, text: bytes) -> bool:
    length = next(each for each in _LENGTHS if hasattr(info, each))
    room, target = getattr(given, length, 0), getattr(given, name, None)
    setattr(info, length, len(text) + 1)
    if not room or not buffers.given(target):
        return False
    buffers.write(target, text[: room - 1] + b"\0")
    return bool(room <= len(text))


def _put_numbers(info: LinkInfo, given: object, name: str, numbers: Sequence[int]) -> bool:
    room, target = getattr(given, "count", 0), getattr(given, name, None)
    if not room or not buffers.given(target):
        return False
    buffers.write(target, struct.pack(f"={len(numbers[:room])}Q", *numbers[:room]))
    return bool(room < len(numbers))


# btf_get_info_by_fd
def _btf(what: Btf, given: BtfInfo) -> BtfInfo:
    name = what.name.encode() + b"\0"
    if given.btf not in (None, 0):
        buffers.write(given.btf, what.data[: given.btf_size])
    if given.name not in (None, 0) and given.name_len:
        buffers.write(given.name, name[: given.name_len - 1].rstrip(b"\0") + b"\0")
        if given.name_len < len(name):
            raise Refused(errno.ENOSPC)
    return BtfInfo(
        btf_size=len(what.data), id=what.id, name_len=len(name) - 1, kernel_btf=int(bool(what.name))
    )


def _fill(target: object, count: int, data: bytes, size: int) -> None:
    if target not in (None, 0) and count:
        buffers.write(target, data[: count * size])


def _words(numbers: Sequence[int]) -> bytes:
    return struct.pack(f"={len(numbers)}I", *numbers)


# An older kernel leaves them zero.
def _forget_new_fields(system: System, info: CStruct) -> None:
    for field in info.FIELDS:
        if field.since is not None and not system.age.reached(field.since):
            setattr(info, field.name, field.default)
