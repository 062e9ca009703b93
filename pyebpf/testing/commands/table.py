"""Which function answers which command, and with what attr."""

from __future__ import annotations

from collections.abc import Callable

from pyebpf.testing.commands import (
    batches,
    btf,
    elements,
    ids,
    info,
    iterators,
    links,
    maps,
    pinning,
    probes,
    prog_attach,
    programs,
    test_run,
    tracing,
)
from pyebpf.uapi import attrs
from pyebpf.uapi.bpf import Cmd
from pyebpf.uapi.cstruct import CStruct

__all__ = ["COMMANDS"]

Command = tuple[type[CStruct], Callable[..., int]]

COMMANDS: dict[Cmd, Command] = {
    Cmd.MAP_CREATE: (attrs.MapCreate, maps.create),
    Cmd.MAP_LOOKUP_ELEM: (attrs.MapElem, elements.lookup_elem),
    Cmd.MAP_UPDATE_ELEM: (attrs.MapElem, elements.update_elem),
    Cmd.MAP_DELETE_ELEM: (attrs.MapElem, elements.delete_elem),
    Cmd.MAP_GET_NEXT_KEY: (attrs.MapNextKey, elements.get_next_key),
    Cmd.MAP_LOOKUP_AND_DELETE_ELEM: (attrs.MapElem, elements.lookup_and_delete_elem),
    Cmd.MAP_FREEZE: (attrs.MapElem, elements.freeze),
    Cmd.MAP_LOOKUP_BATCH: (attrs.MapBatch, batches.lookup_batch),
    Cmd.MAP_LOOKUP_AND_DELETE_BATCH: (attrs.MapBatch, batches.lookup_and_delete_batch),
    Cmd.MAP_UPDATE_BATCH: (attrs.MapBatch, batches.update_batch),
    Cmd.MAP_DELETE_BATCH: (attrs.MapBatch, batches.delete_batch),
    Cmd.PROG_LOAD: (attrs.ProgLoad, programs.load),
    Cmd.PROG_TEST_RUN: (attrs.ProgTestRun, test_run.test_run),
    Cmd.PROG_BIND_MAP: (attrs.ProgBindMap, programs.bind_map),
    Cmd.ENABLE_STATS: (attrs.EnableStats, programs.enable_stats),
    Cmd.BTF_LOAD: (attrs.BtfLoad, btf.load),
    Cmd.OBJ_PIN: (attrs.ObjPin, pinning.pin),
    Cmd.OBJ_GET: (attrs.ObjPin, pinning.get),
    Cmd.OBJ_GET_INFO_BY_FD: (attrs.ObjInfo, info.get_info),
    Cmd.MAP_GET_NEXT_ID: (attrs.ObjId, ids.next_map),
    Cmd.PROG_GET_NEXT_ID: (attrs.ObjId, ids.next_program),
    Cmd.LINK_GET_NEXT_ID: (attrs.ObjId, ids.next_link),
    Cmd.BTF_GET_NEXT_ID: (attrs.ObjId, ids.next_btf),
    Cmd.MAP_GET_FD_BY_ID: (attrs.ObjId, ids.map_fd),
    Cmd.PROG_GET_FD_BY_ID: (attrs.ObjId, ids.program_fd),
    Cmd.LINK_GET_FD_BY_ID: (attrs.ObjId, ids.link_fd),
    Cmd.BTF_GET_FD_BY_ID: (attrs.ObjId, ids.btf_fd),
    Cmd.LINK_CREATE: (attrs.LinkCreate, links.create),
    Cmd.LINK_UPDATE: (attrs.LinkUpdate, links.update),
    Cmd.LINK_DETACH: (attrs.LinkDetach, links.detach),
    Cmd.RAW_TRACEPOINT_OPEN: (attrs.RawTracepointOpen, tracing.raw_tracepoint_open),
    Cmd.PROG_ATTACH: (attrs.ProgAttach, prog_attach.attach),
    Cmd.PROG_DETACH: (attrs.ProgAttach, prog_attach.detach),
    Cmd.TASK_FD_QUERY: (attrs.TaskFdQuery, probes.task_fd_query),
    Cmd.ITER_CREATE: (attrs.IterCreate, iterators.create),
    Cmd.PROG_QUERY: (attrs.ProgQuery, prog_attach.query),
}
