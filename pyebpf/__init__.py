"""pyebpf: load clang-compiled eBPF objects, attach their programs and read their events.

x.bpf.o ──elf/──▶ spec.py ──loader/──▶ maps/ programs/ ──link/──▶ hook ──▶ ring, perf ──readers/──▶
            ▲       ▲                     │     ▲                               │          your code
          asm/    btf/      features.py   │     └── host/ (/proc, /sys)         │
            ▲       ▲            │        ▼                                     │
            └───────┴── uapi/ ◀──┴────── sys/  ◀────────────────────────────────┘
pure column: bytes in, data out,          kernel column: the only code that
any OS; same file, same spec              asks the running system

Five nouns: Spec (plain data), Kernel (the seam to the system), FD (owner of one descriptor), object
(Map, Program, Link, BtfObject: each owns one FD), Reader. Five verbs: parse, load, attach, read,
close.

    import pyebpf

    with pyebpf.load("trace_exec.bpf.o") as bpf:
        with bpf.reader("events", record="exec_event") as events:
            bpf.attach()
            for event in events:
                print(event.pid, event.comm)

Names are looked up when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # which type checkers know; typing itself takes 3 ms
if TYPE_CHECKING:
    # For type checkers and editors only; what runs is __getattr__ below. No cycle hides here.
    from pyebpf import daemon as daemon
    from pyebpf import link as link
    from pyebpf import pinning as pinning
    from pyebpf.abi import CollectionAbi as CollectionAbi
    from pyebpf.abi import MapAbi as MapAbi
    from pyebpf.abi import ProgramAbi as ProgramAbi
    from pyebpf.bpf_token import Token as Token
    from pyebpf.btf.btf import Btf as Btf
    from pyebpf.btf_object import BtfObject as BtfObject
    from pyebpf.btf_object import loaded_btfs as loaded_btfs
    from pyebpf.daemon.bpffs import ensure_bpffs as ensure_bpffs
    from pyebpf.daemon.cached import CachedMap as CachedMap
    from pyebpf.daemon.dump import DumpStats as DumpStats
    from pyebpf.daemon.dump import dump_reliably as dump_reliably
    from pyebpf.daemon.limits import remove_memlock_limit as remove_memlock_limit
    from pyebpf.daemon.modules import import_all as import_all
    from pyebpf.daemon.registry import open_maps as open_maps
    from pyebpf.daemon.upgrade import open_or_create as open_or_create
    from pyebpf.daemon.upgrade import open_parallel as open_parallel
    from pyebpf.editor import Editor as Editor
    from pyebpf.elf import load_spec as load_spec
    from pyebpf.elf.listing import listing as listing
    from pyebpf.errors import AsmError as AsmError
    from pyebpf.errors import AttachError as AttachError
    from pyebpf.errors import BtfError as BtfError
    from pyebpf.errors import ClosedError as ClosedError
    from pyebpf.errors import CoreRelocationError as CoreRelocationError
    from pyebpf.errors import EbpfError as EbpfError
    from pyebpf.errors import ElfError as ElfError
    from pyebpf.errors import ExecutionError as ExecutionError
    from pyebpf.errors import ExternError as ExternError
    from pyebpf.errors import FormatError as FormatError
    from pyebpf.errors import IncompatibleError as IncompatibleError
    from pyebpf.errors import InstructionLimitError as InstructionLimitError
    from pyebpf.errors import IterationAborted as IterationAborted
    from pyebpf.errors import KeyExistsError as KeyExistsError
    from pyebpf.errors import KeyNotFoundError as KeyNotFoundError
    from pyebpf.errors import KeyOutOfRangeError as KeyOutOfRangeError
    from pyebpf.errors import LoadError as LoadError
    from pyebpf.errors import MapFullError as MapFullError
    from pyebpf.errors import MapIncompatibleError as MapIncompatibleError
    from pyebpf.errors import MemoryAccessError as MemoryAccessError
    from pyebpf.errors import NetlinkError as NetlinkError
    from pyebpf.errors import NotModelledError as NotModelledError
    from pyebpf.errors import NotSupportedError as NotSupportedError
    from pyebpf.errors import PrivilegeError as PrivilegeError
    from pyebpf.errors import ReaderTimeout as ReaderTimeout
    from pyebpf.errors import SyscallError as SyscallError
    from pyebpf.errors import UnreferencedSymbolError as UnreferencedSymbolError
    from pyebpf.errors import VerifierError as VerifierError
    from pyebpf.host.clock import ktime_to_datetime as ktime_to_datetime
    from pyebpf.host.stacks import Frame as Frame
    from pyebpf.host.stacks import KernelSymbols as KernelSymbols
    from pyebpf.host.stacks import ProcessSymbols as ProcessSymbols
    from pyebpf.link.attached import query as query
    from pyebpf.link.auto import attach as attach
    from pyebpf.link.base import Link as Link
    from pyebpf.link.base import loaded_links as loaded_links
    from pyebpf.link.xdp import XdpMode as XdpMode
    from pyebpf.linking import link_functions as link_functions
    from pyebpf.linking import unreferenced as unreferenced
    from pyebpf.loader.collection import Collection as Collection
    from pyebpf.loader.collection import load as load
    from pyebpf.loader.pinned import load_pinned as load_pinned
    from pyebpf.loader.variables import Variable as Variable
    from pyebpf.maps.arena import Arena as Arena
    from pyebpf.maps.lpm import lpm as lpm
    from pyebpf.maps.map import Map as Map
    from pyebpf.maps.map import loaded_maps as loaded_maps
    from pyebpf.names import sanitize_name as sanitize_name
    from pyebpf.programs.benchmark import BenchmarkResult as BenchmarkResult
    from pyebpf.programs.info import ProgramInfo as ProgramInfo
    from pyebpf.programs.program import Program as Program
    from pyebpf.programs.program import RunResult as RunResult
    from pyebpf.programs.program import loaded_programs as loaded_programs
    from pyebpf.programs.stats import ProgramStats as ProgramStats
    from pyebpf.programs.stats import enable_stats as enable_stats
    from pyebpf.readers.order import in_order as in_order
    from pyebpf.readers.perf import PerfReader as PerfReader
    from pyebpf.readers.perf_history import PerfHistory as PerfHistory
    from pyebpf.readers.program_stream import ProgramStream as ProgramStream
    from pyebpf.readers.ring import RingReader as RingReader
    from pyebpf.readers.trace_pipe import TraceLine as TraceLine
    from pyebpf.readers.trace_pipe import TracePipe as TracePipe
    from pyebpf.readers.user_ring import UserRing as UserRing
    from pyebpf.sections import Section as Section
    from pyebpf.sections import register_section as register_section
    from pyebpf.sections import unregister_section as unregister_section
    from pyebpf.spec import CollectionSpec as CollectionSpec
    from pyebpf.spec import MapSpec as MapSpec
    from pyebpf.spec import ProgramSpec as ProgramSpec
    from pyebpf.spec import VariableSpec as VariableSpec
    from pyebpf.sys.bpf import bpf as bpf
    from pyebpf.uapi.bpf import AttachType as AttachType
    from pyebpf.uapi.bpf import LinkType as LinkType
    from pyebpf.uapi.bpf import MapFlag as MapFlag
    from pyebpf.uapi.bpf import MapType as MapType
    from pyebpf.uapi.bpf import ProgFlag as ProgFlag
    from pyebpf.uapi.bpf import ProgType as ProgType
    from pyebpf.uapi.bpf import UpdateFlag as UpdateFlag
    from pyebpf.uapi.net import XdpAction as XdpAction
    from pyebpf.xsk.redirect import XskRedirect as XskRedirect
    from pyebpf.xsk.socket import XskSocket as XskSocket
    from pyebpf.xsk.umem import Umem as Umem
    from pyebpf.xsk.umem import XskMode as XskMode

__version__ = "0.1.0"

# In the order of the picture: parse, load, attach, read; then their words, and what goes wrong.
_HOMES = {
    "load_spec": "pyebpf.elf",
    "CollectionSpec": "pyebpf.spec",
    "MapSpec": "pyebpf.spec",
    "ProgramSpec": "pyebpf.spec",
    "VariableSpec": "pyebpf.spec",
    "Editor": "pyebpf.editor",
    "link_functions": "pyebpf.linking",
    "unreferenced": "pyebpf.linking",
    "listing": "pyebpf.elf.listing",
    "MapAbi": "pyebpf.abi",
    "ProgramAbi": "pyebpf.abi",
    "CollectionAbi": "pyebpf.abi",
    "Section": "pyebpf.sections",
    "register_section": "pyebpf.sections",
    "unregister_section": "pyebpf.sections",
    "Btf": "pyebpf.btf.btf",
    "load": "pyebpf.loader.collection",
    "load_pinned": "pyebpf.loader.pinned",
    "Collection": "pyebpf.loader.collection",
    "Variable": "pyebpf.loader.variables",
    "Map": "pyebpf.maps.map",
    "Arena": "pyebpf.maps.arena",
    "lpm": "pyebpf.maps.lpm",
    "KernelSymbols": "pyebpf.host.stacks",
    "ProcessSymbols": "pyebpf.host.stacks",
    "Frame": "pyebpf.host.stacks",
    "Program": "pyebpf.programs.program",
    "RunResult": "pyebpf.programs.program",
    "ProgramInfo": "pyebpf.programs.info",
    "BenchmarkResult": "pyebpf.programs.benchmark",
    "ProgramStats": "pyebpf.programs.stats",
    "enable_stats": "pyebpf.programs.stats",
    "BtfObject": "pyebpf.btf_object",
    "Token": "pyebpf.bpf_token",
    "pinning": "pyebpf.pinning",
    "daemon": "pyebpf.daemon",
    "CachedMap": "pyebpf.daemon.cached",
    "dump_reliably": "pyebpf.daemon.dump",
    "DumpStats": "pyebpf.daemon.dump",
    "ensure_bpffs": "pyebpf.daemon.bpffs",
    "open_maps": "pyebpf.daemon.registry",
    "open_or_create": "pyebpf.daemon.upgrade",
    "open_parallel": "pyebpf.daemon.upgrade",
    "remove_memlock_limit": "pyebpf.daemon.limits",
    "import_all": "pyebpf.daemon.modules",
    "ktime_to_datetime": "pyebpf.host.clock",
    "attach": "pyebpf.link.auto",
    "link": "pyebpf.link",
    "Link": "pyebpf.link.base",
    "XdpMode": "pyebpf.link.xdp",
    "query": "pyebpf.link.attached",
    "PerfReader": "pyebpf.readers.perf",
    "PerfHistory": "pyebpf.readers.perf_history",
    "RingReader": "pyebpf.readers.ring",
    "UserRing": "pyebpf.readers.user_ring",
    "TracePipe": "pyebpf.readers.trace_pipe",
    "TraceLine": "pyebpf.readers.trace_pipe",
    "ProgramStream": "pyebpf.readers.program_stream",
    "in_order": "pyebpf.readers.order",
    "XskSocket": "pyebpf.xsk.socket",
    "XskRedirect": "pyebpf.xsk.redirect",
    "XskMode": "pyebpf.xsk.umem",
    "Umem": "pyebpf.xsk.umem",
    "loaded_maps": "pyebpf.maps.map",
    "loaded_programs": "pyebpf.programs.program",
    "loaded_links": "pyebpf.link.base",
    "loaded_btfs": "pyebpf.btf_object",
    "bpf": "pyebpf.sys.bpf",
    "sanitize_name": "pyebpf.names",
    "MapType": "pyebpf.uapi.bpf",
    "ProgType": "pyebpf.uapi.bpf",
    "AttachType": "pyebpf.uapi.bpf",
    "LinkType": "pyebpf.uapi.bpf",
    "MapFlag": "pyebpf.uapi.bpf",
    "ProgFlag": "pyebpf.uapi.bpf",
    "UpdateFlag": "pyebpf.uapi.bpf",
    "XdpAction": "pyebpf.uapi.net",
    "EbpfError": "pyebpf.errors",
    "SyscallError": "pyebpf.errors",
    "KeyNotFoundError": "pyebpf.errors",
    "KeyExistsError": "pyebpf.errors",
    "MapFullError": "pyebpf.errors",
    "KeyOutOfRangeError": "pyebpf.errors",
    "PrivilegeError": "pyebpf.errors",
    "VerifierError": "pyebpf.errors",
    "NetlinkError": "pyebpf.errors",
    "NotSupportedError": "pyebpf.errors",
    "FormatError": "pyebpf.errors",
    "ElfError": "pyebpf.errors",
    "BtfError": "pyebpf.errors",
    "AsmError": "pyebpf.errors",
    "LoadError": "pyebpf.errors",
    "CoreRelocationError": "pyebpf.errors",
    "ExternError": "pyebpf.errors",
    "AttachError": "pyebpf.errors",
    "IncompatibleError": "pyebpf.errors",
    "MapIncompatibleError": "pyebpf.errors",
    "UnreferencedSymbolError": "pyebpf.errors",
    "ExecutionError": "pyebpf.errors",
    "MemoryAccessError": "pyebpf.errors",
    "InstructionLimitError": "pyebpf.errors",
    "NotModelledError": "pyebpf.errors",
    "IterationAborted": "pyebpf.errors",
    "ReaderTimeout": "pyebpf.errors",
    "ClosedError": "pyebpf.errors",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(home)
    value = module if home == f"{__name__}.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
