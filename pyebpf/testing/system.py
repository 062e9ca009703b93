"""`System`: everything a made-up kernel holds, and what keeps it in order.

The commands (`pyebpf.testing.commands`) are functions on it; `FakeKernel` is what the library and
tests see of it.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Collection, Hashable, Iterator, Mapping

from pyebpf.testing import seq_files
from pyebpf.testing.ages import Age
from pyebpf.testing.attachments import Hook, Link
from pyebpf.testing.c_types import Types
from pyebpf.testing.cgroups import Cgroups
from pyebpf.testing.faults import Faults
from pyebpf.testing.files import Files, KernelObject, OpenFile
from pyebpf.testing.interpreter import Machine, Task, World
from pyebpf.testing.maps.slots import FdArray
from pyebpf.testing.maps.storage import CgroupStorage
from pyebpf.testing.mounts import Mount
from pyebpf.testing.objects import Btf, Map, ProgramObject, Table
from pyebpf.testing.perf_events import PerfEvent
from pyebpf.testing.pins import Pins
from pyebpf.testing.tracepoints import Tracepoint
from pyebpf.testing.tree import Tree
from pyebpf.uapi.bpf import MapType

__all__ = ["System"]


class System:
    """One made-up kernel.

    Args:
        age: What it can do.
        tree: Its files.
        types: Its types.
        tracepoints: Its tracepoints.
        interfaces: Network interfaces by name.
        netkits: Which of them are netkit devices, the primary ones of their pairs.
        cpus: How many CPUs there are.

    Attributes:
        lock: Held by whoever uses any of it.
        maps: All maps by id; likewise programs, links and btfs.
        run: What stands for ``/run`` when this library writes there.
        hooks: What is attached where, by name; see `hook`.
        events: Perf events, oldest first.
        qdiscs: ``"clsact"`` or ``"ingress"`` by interface, ``""`` where one has been removed.
        sockets: Programs on sockets, by the socket's inode, and of groups of them.
        tasks: Tasks that iterators walk, besides the current one.
        statistics: What whoever wants runs to be counted has open, if there was one.
    """

    def __init__(
        self,
        *,
        age: Age,
        tree: Tree,
        types: Types,
        tracepoints: Mapping[int, Tracepoint],
        interfaces: Mapping[str, int],
        netkits: Collection[str],
        cpus: int,
    ) -> None:
        self.lock = threading.RLock()
        self.age = age
        self.tree = tree
        self.types = types
        self.tracepoints = tracepoints
        self.interfaces = dict(interfaces)
        self.netkits = {interfaces[name] for name in netkits}
        self.cpus = cpus
        self.faults = Faults()
        self.pins = Pins()
        self.cgroups = Cgroups()
        self.run = Mount("/run", "run")
        self.files = Files(self._released)
        self.maps: Table[Map] = Table()
        self.programs: Table[ProgramObject] = Table()
        self.links: Table[Link] = Table()
        self.btfs: Table[Btf] = Table()
        self.hooks: dict[str, Hook] = {}
        self.qdiscs: dict[int, str] = {}
        self.sockets: dict[Hashable, ProgramObject] = {}
        self.tasks: list[Task] = []
        self.statistics: KernelObject | None = None
        self.machine = Machine(World(cpu_count=cpus), helpers=seq_files.HELPERS)
        self.vmlinux = self.btfs.add(Btf(data=types.encode(), name="vmlinux"))
        self._events: weakref.WeakValueDictionary[int, PerfEvent] = weakref.WeakValueDictionary()
        self._event_ids = itertools.count(1)

    # --- descriptors

    def find(self, fd: int) -> OpenFile | None:
        """Return the file behind a descriptor, ``None`` for one that is not ours.

        Raises:
            Refused: ``EBADF``.
        """
        return self.files.find(fd)

    def holding(self, fd: int) -> KernelObject | None:
        """Return the object behind a descriptor, likewise."""
        file = self.files.find(fd)
        return None if file is None else file.what

    def sweep(self) -> None:
        """Let go of what nobody holds any more."""
        self.pins.sweep()
        self.files.sweep()
        for inode in self.cgroups.sweep():
            self._forget_hooks(f"cgroup/{inode}/")
            for found in self.maps:
                if isinstance(found.contents, CgroupStorage):
                    found.contents.forget(inode)

    # --- interfaces, hooks and perf events

    def remove_interface(self, name: str) -> None:
        """Let an interface go, and what is attached to it."""
        index = self.interfaces.pop(name)
        self.netkits.discard(index)
        self.qdiscs.pop(index, None)
        self._forget_hooks(f"tcx/{index}/", f"tc/{index}/", f"netkit/{index}/", f"xdp/{index}/")

    def hook(self, name: str) -> Hook:
        """Return a hook by name; there are as many as one likes."""
        return self.hooks.setdefault(name, Hook(name))

    @property
    def events(self) -> Iterator[PerfEvent]:
        """Perf events, oldest first."""
        return iter(sorted(self._events.values(), key=lambda each: each.id))

    def next_event_id(self) -> int:
        """Return the number of the next perf event."""
        return next(self._event_ids)

    def add_event(self, event: PerfEvent) -> None:
        """Remember an event as long as it lives."""
        self._events[event.id] = event

    # --- the end

    def close(self) -> None:
        """Let go of everything, also of what somebody still refers to."""
        for each in self.maps:
            each.contents.close()
        for event in self.events:
            event.close()
        for hook in self.hooks.values():
            hook.clear()
        self.files.close()
        self.pins.close()
        self.cgroups.close()
        self.run.remove()
        self.sockets.clear()
        self.machine.close()

    def _released(self, file: OpenFile) -> None:
        what = file.what
        if not isinstance(what, Map):
            return
        contents = what.contents
        if what.definition.type == MapType.PERF_EVENT_ARRAY and isinstance(contents, FdArray):
            contents.forget_file(file)
        if not self.files.holders(what) and not self.pins.holds(what):
            contents.forget_users()
            if not any(each.holds is what for each in self.links):
                self._forget_hooks(f"sockmap/{what.id}/")

    # Their place is gone; another one may get the same number.
    def _forget_hooks(self, *prefixes: str) -> None:
        for name in [each for each in self.hooks if each.startswith(prefixes)]:
            self.hooks.pop(name).clear()
