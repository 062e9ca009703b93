"""From `CollectionSpec` to what runs: `load` and `Collection`.

    spec ─copy─▶ plan ─▶ BTF ─▶ maps (filled, frozen) ─▶ programs ─▶ slots of programs ─▶ Collection

The plan is what has to be known before anything is made: what the object takes from the kernel, and
which of its programs implement what.

Everything enters one stack of things to undo. Success hands the stack to the collection, whose
close unwinds it; failure unwinds it at once: nothing stays open, pinned or attached.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from _thread import RLock  # threading takes 1 ms
from collections.abc import Mapping
from types import TracebackType

from pyebpf import btf_object
from pyebpf.btf.externs import without_externs
from pyebpf.elf import load_spec
from pyebpf.errors import (
    ClosedError,
    ElfError,
    LoadError,
    NotSupportedError,
    PrivilegeError,
    SyscallError,
    naming,
)
from pyebpf.host.kernel_btf import kernel_btf as running_kernel_btf
from pyebpf.host.modules import Modules
from pyebpf.link.base import Link
from pyebpf.loader import contents, maps
from pyebpf.loader.core_types import CoreTypes, Types
from pyebpf.loader.externs import Externs
from pyebpf.loader.named import Named
from pyebpf.loader.plan import Fitted, Plan
from pyebpf.loader.programs import Environment, check, load_program
from pyebpf.loader.variables import Variable, open_variables
from pyebpf.maps.map import Map
from pyebpf.programs.program import Program
from pyebpf.resolve import resolve
from pyebpf.spec import CollectionSpec, MapSpec, ProgramSpec
from pyebpf.sys import delegation
from pyebpf.typed import TYPE_CHECKING, Any, BinaryIO
from pyebpf.uapi.bpf import MapType, ProgType

if TYPE_CHECKING:
    from pyebpf.bpf_token import Token
    from pyebpf.loader.kconfig import Given
    from pyebpf.maps.struct_ops import StructOps
    from pyebpf.readers.perf import PerfReader
    from pyebpf.readers.ring import RingReader

__all__ = ["Collection", "load"]

Source = CollectionSpec | str | os.PathLike[str] | bytes | BinaryIO


class Collection:
    """The maps, programs and variables of one object, loaded.

    Closing it detaches what `attach` attached and closes everything it owns; pins stay. May be
    shared between threads. One that is forgotten warns (``ResourceWarning``) and closes.

    Args:
        stack: Undoes the load; owned by the collection from now on.
        name: Of the object, for messages.
        maps: By name.
        programs: By name.
        variables: By name.

    Attributes:
        maps: Loaded maps by name; data sections under their section's name.
        programs: Loaded programs by name.
        variables: Global variables by name, shared with the running programs.
        links: What `attach` attached, by the program's name.
    """

    _closed = True  # for __del__, until there is something to close

    def __init__(
        self,
        stack: contextlib.ExitStack,
        *,
        name: str = "",
        maps: Mapping[str, Map[Any, Any]],
        programs: Mapping[str, Program],
        variables: Mapping[str, Variable],
    ) -> None:
        self.name = name
        self.maps: dict[str, Map[Any, Any]] = Named("map", maps)
        self.programs: dict[str, Program] = Named("program", programs)
        self.variables: dict[str, Variable] = Named("variable", variables)
        self.links: dict[str, Link] = Named("link", {})
        # Closing waits for an attach() that is under way, which would be lost otherwise.
        self._lock = RLock()
        self._stack = stack
        self._closed = False

    def attach(self, *names: str) -> dict[str, Link]:
        """Attach programs where their section names say; closing the collection detaches them.

        Implementations of kernel interfaces (struct_ops) are registered likewise.

        Args:
            names: Which programs and implementations; without any, all of which the section's name
                says where. Kinds that need more than a name (XDP: an interface, socket filters: a
                socket) are left to ``pyebpf.link``.

        Returns:
            The new links by name; also in `links`. What is attached already is left as it is.

        Raises:
            KeyError: No such program or implementation.
            LoadError: A named program's section does not say where; or without names, none does.
            SyscallError: The kernel refused; then nothing of this call stays attached.
        """
        attached: dict[str, Link] = {}
        with self._lock, contextlib.ExitStack() as undo:
            if self._closed:
                raise ClosedError(f"attach programs of {self!r}: used after close")
            for name in names or self._attachable():
                link = self.links.get(name)
                if name not in attached and (link is None or link.closed):
                    attached[name] = undo.enter_context(self._attach(name))
            self._stack.push(undo.pop_all())
            self.links.update(attached)
        return attached

    def _attach(self, name: str) -> Link:
        implementation = _implementation(self.maps.get(name))
        if implementation is not None:
            from pyebpf.link.struct_ops import attach_struct_ops

            return attach_struct_ops(implementation)
        from pyebpf.link import auto

        return auto.attach(self.programs[name])

    def _attachable(self) -> list[str]:
        from pyebpf.link import auto

        chosen = [name for name, each in self.programs.items() if auto.names_its_target(each)]
        chosen += [name for name, each in self.maps.items() if _implementation(each)]
        if not chosen:
            raise LoadError("", "no program's section name says where to attach it")
        return chosen

    def pin(self, directory: str | os.PathLike[str], *, links: bool = True) -> None:
        """Pin every map, program and link, so that they outlive this process: all, or nothing.

        They land in ``maps``, ``programs`` and ``links`` below the directory, under their names
        with dots replaced by underscores; `load_pinned` opens them again. What is pinned and
        attached stays so when the collection is closed.

        Args:
            directory: On a bpffs; made (mode 0700) if only its last part is missing.
            links: False leaves out what `attach` attached.

        Raises:
            LoadError: A name cannot be that of a pin.
            NotSupportedError: An attachment is no ``bpf_link`` on this kernel.
            SyscallError: ``EEXIST``, ``EPERM`` outside a bpffs, …

        Since Linux 4.4 (links: 5.7).
        """
        with self._lock:
            if self._closed:
                raise ClosedError(f"pin {self!r}: used after close")
            attached = self.links if links else {}
            present = {name: each for name, each in attached.items() if not each.closed}
            from pyebpf.loader.pins import pin_all

            pin_all(directory, self.maps, self.programs, present)

    def reader(self, name: str, **options: Any) -> PerfReader[Any] | RingReader[Any]:  # noqa: ANN401
        """Read the events of a perf event array or ring buffer.

        Args:
            name: The map.
            options: As `PerfReader` or `RingReader` takes them; ``record="struct_name"`` gives
                typed events.

        Returns:
            A reader the caller closes; it works on when the collection is closed.

        Raises:
            KeyError: No such map.
            TypeError: The map holds no events.
        """
        source = self.maps[name]
        if source.type == MapType.PERF_EVENT_ARRAY:
            from pyebpf.readers.perf import PerfReader

            return PerfReader(source, **options)
        if source.type == MapType.RINGBUF:
            from pyebpf.readers.ring import RingReader

            return RingReader(source, **options)
        raise TypeError(f'map "{name}" ({source.type}) holds no events to read')

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Detach and close everything; closing twice is fine."""
        with self._lock:
            self._closed = True
            # Interrupted, it keeps what is left, so that a second call goes on.
            self._stack.close()

    def __enter__(self) -> Collection:  # noqa: PYI034 - typing.Self is Python 3.11's
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # One warning that says what was forgotten, in the place of one for each of its descriptors.
    def __del__(self) -> None:
        if not self._closed:
            try:
                warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            finally:
                self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        counts = f"{len(self.maps)} maps, {len(self.programs)} programs, {len(self.links)} links"
        return f'<Collection "{self.name}" {counts}, {state}>'


def load(
    source: Source,
    *,
    pin_dir: str | os.PathLike[str] | None = None,
    map_replacements: Mapping[str, Map[Any, Any]] | None = None,
    kernel_btf: Types | None = None,
    module_btf: Mapping[str, Types] | None = None,
    kconfig: Given | None = None,
    log_level: int = 0,
    log_size: int | None = None,
    token: Token | None = None,
) -> Collection:
    """Load an object into the kernel: its maps, programs and variables. Nothing is attached yet.

    Args:
        source: A path, the bytes of an object, a binary file, or a spec (which is left unchanged).
        pin_dir: Directory on a bpffs where maps with ``LIBBPF_PIN_BY_NAME`` are pinned, or found if
            they are pinned already; without it they are not pinned.
        map_replacements: Maps to use instead of creating those of the same name, or ones that only
            programs name (`ProgramSpec.rewrite_map`); they stay the caller's.
        kernel_btf: Types to relocate against instead of the running kernel's: a `Btf`, a path, or
            bytes.
        module_btf: Types of modules likewise, by the module's name; without it and with
            *kernel_btf* there are none.
        kconfig: The kernel's configuration, as far as it is not to be looked for on this system:
            values by name, the text of a configuration, or a path (not a string) of one.
        log_level: ``BPF_LOG_*`` bits: keep the verifier's log of programs that load, too. A
            program's own, in its spec, goes before this one.
        log_size: Bytes of log buffer to start with; it grows as needed.
        token: Load by the rights of this BPF token (Linux 6.9); it may be closed afterwards.

    Returns:
        The collection; use it with ``with``, or close it.

    Raises:
        ElfError: Not an eBPF object, or one of the other byte order.
        BtfError: Its type information is malformed.
        LoadError: It holds what cannot be loaded here.
        VerifierError: The verifier refused a program.
        PrivilegeError: A capability, sysctl or lockdown stands in the way.
        NotSupportedError: The kernel lacks something it needs.
        SyscallError: Anything else the kernel says.
    """
    spec = source.copy() if isinstance(source, CollectionSpec) else load_spec(source)
    if spec.byteorder != sys.byteorder:
        raise ElfError(
            f"a {spec.byteorder}-endian object cannot be loaded on this machine", spec.name
        )
    replacements = dict(map_replacements or {})
    resolve(spec, maps=replacements)
    if any(each.btf not in (None, spec.btf) for each in spec.programs.values()):
        from pyebpf.gather import gather_types

        gather_types(spec)
    stacks = contextlib.ExitStack(), contextlib.ExitStack()
    with delegation.in_force(token), stacks[0] as owned, stacks[1] as on_failure:
        # Closed as soon as the programs are loaded, and whatever fails before that.
        modules = on_failure.enter_context(Modules(running_kernel_btf))
        plan = _plan(spec, modules)
        chosen = _chosen(spec, plan)
        _check(spec, chosen, replacements)
        with Externs.resolve(spec, chosen.values(), modules, kconfig) as externs:
            btf_fd = _load_btf(spec, owned)
            maps = _Maps(
                plan,
                btf_fd=btf_fd,
                pin_dir=pin_dir,
                replacements=replacements,
                owned=owned,
                on_failure=on_failure,
            ).load(spec)
            # Those that only programs know; nothing is declared of them that could be checked.
            others = {name: each for name, each in replacements.items() if name not in spec.maps}
            environment = Environment(
                maps={**maps, **others},
                starts=_starts(spec, maps),
                externs=externs,
                modules=modules,
                interfaces=plan.targets,
                btf_fd=btf_fd,
                core_types=CoreTypes(kernel_btf, module_btf, modules),
                log_level=log_level,
                log_size=log_size,
            )
            programs = {
                name: owned.enter_context(load_program(each, environment))
                for name, each in chosen.items()
            }
        _fill_with_programs(spec, plan, maps, programs)
        variables = open_variables(spec, maps, environment.starts, owned)
        on_failure.pop_all()
        return Collection(
            owned.pop_all(),
            name=spec.name,
            maps={**maps, **others},
            programs=programs,
            variables=variables,
        )


# Fits the implementations of kernel interfaces to the kernel, if there are any.
def _plan(spec: CollectionSpec, modules: Modules) -> Plan:
    if all(each.type != MapType.STRUCT_OPS for each in spec.maps.values()):
        return Plan()
    from pyebpf.loader import struct_ops

    return struct_ops.plan(spec, running_kernel_btf, modules)


def _implementation(loaded: Map[Any, Any] | None) -> StructOps | None:
    if loaded is None or loaded.type != MapType.STRUCT_OPS:
        return None
    from pyebpf.maps.struct_ops import StructOps

    return loaded if isinstance(loaded, StructOps) else None


# Where the globals of each arena start in it, by its name.
def _starts(spec: CollectionSpec, loaded: Mapping[str, Map[Any, Any]]) -> dict[str, int]:
    if all(each.type != MapType.ARENA for each in loaded.values()):
        return {}
    from pyebpf.loader import arena

    return arena.starts(spec, loaded)


# The programs to load. Those that implement something are loaded as the implementations need them,
# whatever their autoload says; others of their kind belong to implementations that are left out.
def _chosen(spec: CollectionSpec, plan: Plan) -> dict[str, ProgramSpec]:
    implements = any(each.type == MapType.STRUCT_OPS for each in spec.maps.values())
    chosen = {}
    for name, each in spec.programs.items():
        if each.type == ProgType.STRUCT_OPS and name not in plan.targets:
            if not implements and each.autoload:
                raise LoadError(
                    name, f'program "{name}" implements nothing: no map of the object names it'
                )
            continue
        if each.autoload or name in plan.targets:
            chosen[name] = each
    return chosen


# Refuses everything that can be refused before the kernel is asked.
def _check(
    spec: CollectionSpec, chosen: Mapping[str, ProgramSpec], replacements: Mapping[str, object]
) -> None:
    used = {each.symbol for program in chosen.values() for each in program.references.values()}
    unknown = min(set(replacements) - set(spec.maps) - used, default=None)
    if unknown is not None:
        raise LoadError(unknown, f'map_replacements: the object has no map "{unknown}"')
    created = {
        name: each
        for name, each in spec.maps.items()
        if each.autocreate and name not in replacements
    }
    available = created.keys() | replacements.keys()
    for each in created.values():
        maps.check(each)
        if each.type == MapType.ARENA:
            from pyebpf.loader import arena

            arena.check(each)
        elif each.type != MapType.STRUCT_OPS:
            contents.check(each, maps=available, programs=chosen.keys())
    for name in replacements:
        if name in spec.maps and spec.maps[name].type == MapType.STRUCT_OPS:
            raise LoadError(name, f'map_replacements: "{name}" is an implementation, not a map')
    for program in chosen.values():
        with naming(f'load program "{program.name}"'):
            check(program, available)


# Types are a help, not a condition, for most objects: without them the verifier is less precise and
# messages lose their C lines. So a refusal is a warning, unless it is a privilege that is missing.
def _load_btf(spec: CollectionSpec, owned: contextlib.ExitStack) -> int | None:
    if spec.btf is None:
        return None
    try:
        return owned.enter_context(btf_object.load(without_externs(spec.btf))).fileno()
    except PrivilegeError:
        raise
    except NotSupportedError:
        return None  # before Linux 4.18
    except SyscallError as error:
        warnings.warn(
            f'object "{spec.name}" is loaded without type information: {error}',
            RuntimeWarning,
            stacklevel=3,
        )
        return None


class _Maps:
    # Makes the maps of a load, in an order in which each finds what it holds.

    def __init__(
        self,
        plan: Plan,
        *,
        btf_fd: int | None,
        pin_dir: str | os.PathLike[str] | None,
        replacements: Mapping[str, Map[Any, Any]],
        owned: contextlib.ExitStack,
        on_failure: contextlib.ExitStack,
    ) -> None:
        self._plan = plan
        self._btf_fd = btf_fd
        self._pin_dir = pin_dir
        self._replacements = replacements
        self._owned = owned
        self._on_failure = on_failure
        self._loaded: dict[str, Map[Any, Any]] = {}

    def load(self, spec: CollectionSpec) -> dict[str, Map[Any, Any]]:
        for name, each in sorted(spec.maps.items(), key=lambda item: item[1].type in maps.OF_MAPS):
            if name in self._replacements or each.autocreate:
                self._loaded[name] = self._one(name, each)
        return {name: self._loaded[name] for name in spec.maps if name in self._loaded}

    def _one(self, name: str, spec: MapSpec) -> Map[Any, Any]:
        given = self._replacements.get(name)
        if given is not None:
            from pyebpf.abi import check_map

            with naming(f'replace map "{name}"'):
                check_map(maps.as_loaded(spec), given.spec)
                if spec.type == MapType.ARENA:
                    from pyebpf.maps.arena import Arena

                    if isinstance(given, Arena):
                        return given
                    # Opened by id or pin: the same map, with its address and memory.
                    return self._owned.enter_context(Arena.from_fd(given.fileno()))
            return given
        fitted = self._plan.maps.get(name)
        if fitted is not None:
            return self._implementation(fitted)
        return maps.load_map(
            spec,
            btf_fd=self._btf_fd,
            loaded=self._loaded,
            pin_dir=self._pin_dir,
            owned=self._owned,
            on_failure=self._on_failure,
        )

    def _implementation(self, fitted: Fitted) -> StructOps:
        if self._btf_fd is None:
            raise NotSupportedError(
                f'implementation "{fitted.spec.name}"', None, "the kernel did not take its types"
            )
        from pyebpf.maps.struct_ops import StructOps

        return self._owned.enter_context(
            StructOps.create_fitted(fitted.spec, btf_fd=self._btf_fd, module=fitted.module)
        )


def _fill_with_programs(
    spec: CollectionSpec,
    plan: Plan,
    loaded: Mapping[str, Map[Any, Any]],
    programs: Mapping[str, Program],
) -> None:
    for name, each in loaded.items():
        if each.type == MapType.PROG_ARRAY and spec.maps[name].entries:
            with naming(f'map "{name}"'):
                contents.fill(each, spec.maps[name], programs)
        elif (implementation := _implementation(each)) is not None:
            fitted = plan.maps[name].functions
            implementation.bind([(place, programs[program]) for place, program in fitted])
