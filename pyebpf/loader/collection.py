"""From `CollectionSpec` to what runs: `load` and `Collection`.

    spec ─copy─▶ BTF ─▶ maps (filled, frozen) ─▶ programs ─▶ variables ─▶ Collection

Everything enters one stack of things to undo. Success hands the stack to the collection, whose
close unwinds it; failure unwinds it at once: nothing stays open, pinned or attached.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Mapping
from types import TracebackType
from typing import Any, BinaryIO

from pyebpf import btf_object
from pyebpf.btf.btf import Btf
from pyebpf.elf import load_spec
from pyebpf.errors import ElfError, LoadError, PrivilegeError, SyscallError, naming
from pyebpf.host.kernel_btf import read_btf
from pyebpf.link import auto
from pyebpf.link.base import Link
from pyebpf.loader import maps
from pyebpf.loader.programs import Environment, check, load_program
from pyebpf.loader.variables import SectionMemory, Variable
from pyebpf.maps.create import completed
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

    Closing it detaches what `attach` attached and closes everything it owns; pins stay.

    Args:
        stack: Undoes the load; owned by the collection from now on.
        maps: By name.
        programs: By name.
        variables: By name.

    Attributes:
        maps: Loaded maps by name; data sections under their section's name.
        programs: Loaded programs by name.
        variables: Global variables by name, shared with the running programs.
        links: What `attach` attached, by the program's name.
    """

    def __init__(
        self,
        stack: contextlib.ExitStack,
        *,
        maps: dict[str, Map[Any, Any]],
        programs: dict[str, Program],
        variables: dict[str, Variable],
    ) -> None:
        self._stack = stack
        self.maps = maps
        self.programs = programs
        self.variables = variables
        self.links: dict[str, Link] = {}

    def attach(self, *names: str) -> dict[str, Link]:
        """Attach programs where their section names say; closing the collection detaches them.

        Args:
            names: Which programs; without any, every program whose section name says where. Kinds
                that need more than a name (XDP: an interface, socket filters: a socket) are left to
                ``pyebpf.link``.

        Returns:
            The new links by program name; also in `links`.

        Raises:
            LoadError: A named program's section does not say where; or without names, none does.
            SyscallError: The kernel refused; then nothing of this call stays attached.
        """
        chosen = [self.programs[name] for name in names] if names else self._attachable()
        attached: dict[str, Link] = {}
        with contextlib.ExitStack() as undo:
            for program in chosen:
                if program.name not in self.links:
                    attached[program.name] = undo.enter_context(auto.attach(program))
            self._stack.push(undo.pop_all())
        self.links.update(attached)
        return attached

    def _attachable(self) -> list[Program]:
        chosen = [each for each in self.programs.values() if auto.names_its_target(each)]
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

    def close(self) -> None:
        """Detach and close everything; closing twice is fine."""
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

    def __repr__(self) -> str:
        return f"<Collection {list(self.maps)} {list(self.programs)}>"


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
            each.name: owned.enter_context(load_program(each, environment)) for each in chosen
        }
        variables = _variables(spec, maps, owned)
        on_failure.pop_all()
        return Collection(owned.pop_all(), maps=maps, programs=programs, variables=variables)


# The programs to load, after refusing everything that can be refused before the kernel is asked.
def _checked(spec: CollectionSpec, replacements: Mapping[str, object]) -> list[ProgramSpec]:
    unknown = min(set(replacements) - set(spec.maps), default=None)
    if unknown is not None:
        raise LoadError(unknown, f'map_replacements: the object has no map "{unknown}"')
    created = {name for name, each in spec.maps.items() if each.autocreate}
    for name in created - set(replacements):
        maps.check(spec.maps[name])
    chosen = [each for each in spec.programs.values() if each.autoload]
    for each in chosen:
        with naming(f'load program "{each.name}"'):
            check(each, created | set(replacements))
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
    except SyscallError as error:
        warnings.warn(
            f"{spec.name}: loading without type information: {error}", RuntimeWarning, stacklevel=3
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
                maps.check_compatible(completed(each), given.spec)
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
    sections: dict[str, SectionMemory] = {}
    variables: dict[str, Variable] = {}
    for name, each in spec.variables.items():
        section = each.map.name
        if section not in loaded:
            continue
        if section not in sections:
            memory = SectionMemory(loaded[section], frozen=each.map.frozen)
            sections[section] = owned.enter_context(contextlib.closing(memory))
        variables[name] = Variable(each, sections[section])
    return variables
