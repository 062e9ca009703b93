"""From `CollectionSpec` to what runs: `load` and `Collection`.

    spec ─copy─▶ BTF ─▶ maps (filled, frozen) ─▶ programs ─▶ variables ─▶ Collection

Everything enters one stack of things to undo. Success hands the stack to the collection, whose
close unwinds it; failure unwinds it at once: nothing stays open, pinned or attached.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Mapping
from types import TracebackType
from typing import Any, BinaryIO

from pyebpf import btf_object
from pyebpf.btf.btf import Btf
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
from pyebpf.host.kernel_btf import read_btf
from pyebpf.link import auto
from pyebpf.link.base import Link
from pyebpf.loader import maps
from pyebpf.loader.named import Named
from pyebpf.loader.programs import Environment, check, load_program
from pyebpf.loader.variables import SectionMemory, Variable
from pyebpf.maps.map import Map
from pyebpf.programs.program import Program
from pyebpf.readers.perf import PerfReader
from pyebpf.readers.ring import RingReader
from pyebpf.spec import CollectionSpec, ProgramSpec
from pyebpf.uapi.bpf import MapType

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
        self._lock = threading.RLock()
        self._stack = stack
        self._closed = False

    def attach(self, *names: str) -> dict[str, Link]:
        """Attach programs where their section names say; closing the collection detaches them.

        Args:
            names: Which programs; without any, every program whose section name says where. Kinds
                that need more than a name (XDP: an interface, socket filters: a socket) are left to
                ``pyebpf.link``.

        Returns:
            The new links by program name; also in `links`. What is attached already is left as it
            is.

        Raises:
            KeyError: No such program.
            LoadError: A named program's section does not say where; or without names, none does.
            SyscallError: The kernel refused; then nothing of this call stays attached.
        """
        attached: dict[str, Link] = {}
        with self._lock, contextlib.ExitStack() as undo:
            if self._closed:
                raise ClosedError(f"attach programs of {self!r}: used after close")
            for name in names or self._attachable():
                program, link = self.programs[name], self.links.get(name)
                if name not in attached and (link is None or link.closed):
                    attached[name] = undo.enter_context(auto.attach(program))
            self._stack.push(undo.pop_all())
            self.links.update(attached)
        return attached

    def _attachable(self) -> list[str]:
        chosen = [name for name, each in self.programs.items() if auto.names_its_target(each)]
        if not chosen:
            raise LoadError("", "no program's section name says where to attach it")
        return chosen

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
            return PerfReader(source, **options)
        if source.type == MapType.RINGBUF:
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
    kernel_btf: Btf | str | os.PathLike[str] | bytes | None = None,
    log_level: int = 0,
    log_size: int | None = None,
) -> Collection:
    """Load an object into the kernel: its maps, programs and variables. Nothing is attached yet.

    Args:
        source: A path, the bytes of an object, a binary file, or a spec (which is left unchanged).
        pin_dir: Directory on a bpffs where maps with ``LIBBPF_PIN_BY_NAME`` are pinned, or found if
            they are pinned already; without it they are not pinned.
        map_replacements: Maps to use instead of creating those of the same name; they stay the
            caller's.
        kernel_btf: Types to relocate against instead of the running kernel's: a `Btf`, a path, or
            bytes.
        log_level: ``BPF_LOG_*`` bits: keep the verifier's log of programs that load, too.
        log_size: Bytes of log buffer to start with; it grows as needed.

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
    chosen = _checked(spec, replacements)
    with contextlib.ExitStack() as owned, contextlib.ExitStack() as on_failure:
        btf_fd = _load_btf(spec, owned)
        maps = _load_maps(spec, btf_fd, pin_dir, replacements, owned, on_failure)
        environment = Environment(
            maps=maps,
            btf_fd=btf_fd,
            core_types=_core_types(kernel_btf),
            log_level=log_level,
            log_size=log_size,
        )
        programs = {
            name: owned.enter_context(load_program(each, environment))
            for name, each in chosen.items()
        }
        variables = _variables(spec, maps, owned)
        on_failure.pop_all()
        return Collection(
            owned.pop_all(), name=spec.name, maps=maps, programs=programs, variables=variables
        )


# The programs to load, after refusing everything that can be refused before the kernel is asked.
def _checked(spec: CollectionSpec, replacements: Mapping[str, object]) -> dict[str, ProgramSpec]:
    unknown = min(set(replacements) - set(spec.maps), default=None)
    if unknown is not None:
        raise LoadError(unknown, f'map_replacements: the object has no map "{unknown}"')
    available = set(replacements)
    for name, definition in spec.maps.items():
        if definition.autocreate and name not in replacements:
            maps.check(definition)
            available.add(name)
    chosen = {name: each for name, each in spec.programs.items() if each.autoload}
    for each in chosen.values():
        with naming(f'load program "{each.name}"'):
            check(each, available)
    return chosen


# Types are a help, not a condition, for most objects: without them the verifier is less precise and
# messages lose their C lines. So a refusal is a warning, unless it is a privilege that is missing.
def _load_btf(spec: CollectionSpec, owned: contextlib.ExitStack) -> int | None:
    if spec.btf is None:
        return None
    try:
        return owned.enter_context(btf_object.load(spec.btf)).fileno()
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


def _load_maps(
    spec: CollectionSpec,
    btf_fd: int | None,
    pin_dir: str | os.PathLike[str] | None,
    replacements: Mapping[str, Map[Any, Any]],
    owned: contextlib.ExitStack,
    on_failure: contextlib.ExitStack,
) -> dict[str, Map[Any, Any]]:
    loaded: dict[str, Map[Any, Any]] = {}
    for name, each in spec.maps.items():
        given = replacements.get(name)
        if given is not None:
            with naming(f'replace map "{name}"'):
                maps.check_compatible(maps.as_loaded(each), given.spec)
            loaded[name] = given
        elif each.autocreate:
            loaded[name] = maps.load_map(
                each, btf_fd=btf_fd, pin_dir=pin_dir, owned=owned, on_failure=on_failure
            )
    return loaded


def _core_types(given: Btf | str | os.PathLike[str] | bytes | None) -> Btf | None:
    if given is None or isinstance(given, Btf):
        return given
    return Btf.decode(given) if isinstance(given, bytes) else read_btf(given)


def _variables(
    spec: CollectionSpec, loaded: Mapping[str, Map[Any, Any]], owned: contextlib.ExitStack
) -> dict[str, Variable]:
    names = {id(each): name for name, each in spec.maps.items()}
    sections: dict[str, SectionMemory] = {}
    variables: dict[str, Variable] = {}
    for name, each in spec.variables.items():
        section = names.get(id(each.map))
        if section is None or section not in loaded:
            continue
        if section not in sections:
            memory = SectionMemory(loaded[section], frozen=each.map.frozen)
            sections[section] = owned.enter_context(contextlib.closing(memory))
        variables[name] = Variable(each, sections[section])
    return variables
