"""USDT probes, places a program marks for tracing: ``SEC("usdt/path:provider:name")``.

    note in the file ──host.usdt──▶ place, semaphore, arguments
    arguments        ──spec───────▶ map __bpf_usdt_specs[id]   (libbpf's usdt.bpf.h reads it)
    place, semaphore ──uprobe─────▶ cookie = id                (Linux 5.15)
                                    or map __bpf_usdt_ip_to_spec_id[address] = id

Places with equal arguments share an id. The layout of a spec is the object's own business: newer
libbpf headers have wider arguments, so offsets come from the object's types, or from the size of
the map's value.

    16-byte argument  val_off 8 | arg_type 4 | reg_off 2 | signed 1 | bitshift 1
    24-byte argument  val_off 8 | arg_type 1 | - 1 | index:12 scale:4 | - 2 | reg_off 2 | ...
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections.abc import Callable

from pyebpf import features
from pyebpf.errors import AttachError, LoadError, NotSupportedError, naming
from pyebpf.host import symbols
from pyebpf.host.usdt import UsdtNote, usdt_notes
from pyebpf.host.usdt_arguments import Argument, arguments
from pyebpf.link.base import Link
from pyebpf.link.group import LinkGroup, attach_each
from pyebpf.link.interface import check_type
from pyebpf.link.probe import attach_probe
from pyebpf.link.target import parsed
from pyebpf.link.uprobe_multi import create_uprobe_multi
from pyebpf.maps.map import Map
from pyebpf.programs.program import Program
from pyebpf.typed import Any, NamedTuple
from pyebpf.uapi.bpf import AttachType, ProgType

__all__ = ["UsdtLink", "attach_usdt", "by_section", "parse_probe"]

# Names as the kernel keeps them: cut to 15 bytes.
_SPECS, _ADDRESSES = "__bpf_usdt_specs"[:15], "__bpf_usdt_ip_to_spec_id"[:15]
_MOST_ARGUMENTS = 12


class _Layout(NamedTuple):
    argument_size: int
    wide: bool


# By size of the map's value: 12 arguments, a cookie of 8 bytes, a count of 2, padding.
_LAYOUTS = {208: _Layout(16, wide=False), 304: _Layout(24, wide=True)}


class UsdtLink(LinkGroup):
    """A program on all places of a USDT probe; closing gives its specs' numbers back."""

    def __init__(
        self, links: tuple[Link, ...], *, target: str, release: Callable[[], None]
    ) -> None:
        super().__init__(links, target=target)
        self._release = release

    def close(self) -> None:
        """Detach from each of them."""
        if not self.closed:
            super().close()
            self._release()


def parse_probe(text: str) -> tuple[str, str, str]:
    """Split ``"path:provider:name"``.

    Raises:
        ValueError: It has another form.
    """
    path, _, rest = text.partition(":")
    provider, _, name = rest.partition(":")
    if not (path and provider and name) or ":" in name:
        raise ValueError(f'"{text}" is not of the form path:provider:name')
    return path, provider, name


def attach_usdt(
    program: Program,
    path: str | os.PathLike[str],
    provider: str,
    name: str,
    *,
    pid: int | None = None,
    cookie: int = 0,
) -> Link:
    """Attach *program* to a USDT probe, wherever the file has it.

    Args:
        program: Of type ``BPF_PROG_TYPE_KPROBE``, written with libbpf's ``usdt.bpf.h``; may be
            closed afterwards.
        path: As for `attach_uprobe`.
        provider: Such as ``"python"``.
        name: Such as ``"gc__start"``.
        pid: Only this process (*path* is looked up in its ``/proc/PID/root``).
        cookie: What ``bpf_usdt_cookie()`` returns in the program.

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: *program* has another type; or the file has no such probe: near ones are named.
        LoadError: No such file; or *program* does not use ``usdt.bpf.h``.
        FormatError: An argument's place is not understood.
        NotSupportedError: The kernel knows no semaphores of uprobes (before 4.20).
        SyscallError: ``E2BIG``: more different specs than the program's map holds; …

    Since Linux 4.20; with *pid* only, for what is not loaded at a fixed address, before 5.15.
    """
    check_type(program, ProgType.KPROBE)
    target = f"usdt {os.fspath(path)}:{provider}:{name}"
    with naming(f'attach program "{program.name}" to {target}'):
        file = symbols.find_file(path, pid=pid)
        places = _places(file, provider, name)
        with contextlib.ExitStack() as opened:
            specs, addresses = _maps(program, opened)
            numbers = _Numbers.of(specs)
            with contextlib.ExitStack() as undo:
                ids = []
                for each in places:
                    spec = _spec(specs, arguments(each.arguments), cookie)
                    ids.append(numbers.take(spec, specs))
                    undo.callback(numbers.give_back, spec)
                link = _attach(program, file, places, ids, addresses, pid, target)
                release = undo.pop_all().close
        links = link.links if isinstance(link, LinkGroup) else (link,)
        return UsdtLink(links, target=target, release=release)


def _attach(
    program: Program,
    file: str,
    places: list[UsdtNote],
    ids: list[int],
    addresses: Map[Any, Any] | None,
    pid: int | None,
    target: str,
) -> Link:
    said = program.spec.attach_type if program.spec is not None else None
    if said == AttachType.TRACE_UPROBE_MULTI:
        return create_uprobe_multi(
            program, file, [each.offset for each in places], session=False, retprobe=False,
            pid=pid, cookies=ids, reference_counters=[each.semaphore for each in places],
            target=target,
        )  # fmt: skip
    cookies = features.attach_cookie.available()
    if not cookies:
        if addresses is None:
            raise LoadError(program.name, "it has no map __bpf_usdt_ip_to_spec_id")
        for each, number in zip(places, ids, strict=True):
            addresses.update(
                struct.pack("=q", _address(each, file, pid)), struct.pack("=I", number)
            )
    return attach_each(
        [
            _uprobe(program, file, each, number if cookies else None, pid, target)
            for each, number in zip(places, ids, strict=True)
        ],
        target=target,
    )


def _uprobe(
    program: Program, file: str, note: UsdtNote, cookie: int | None, pid: int | None, target: str
) -> Callable[[], Link]:
    return lambda: attach_probe(
        program, "uprobe", file, note.offset, target=target, cookie=cookie, pid=pid,
        reference_counter=note.semaphore,
    )  # fmt: skip


# Where the instruction is in memory, for kernels that hand no cookie to programs.
def _address(note: UsdtNote, file: str, pid: int | None) -> int:
    if not note.relocatable:
        return note.address
    if pid is None:
        raise NotSupportedError("USDT probes of what is loaded anywhere, without pid", "5.15")
    inode = os.stat(file).st_ino
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            # start-end perms offset device inode path
            extent, _, offset, _, number, *_ = line.split()
            start, end = (int(part, 16) for part in extent.split("-"))
            first = int(offset, 16)
            if int(number) == inode and first <= note.offset < first + end - start:
                return start + note.offset - first
    raise AttachError(file, f"process {pid} has not loaded {file}")


def _places(file: str, provider: str, name: str) -> list[UsdtNote]:
    notes = usdt_notes(file)
    found = [each for each in notes if (each.provider, each.name) == (provider, name)]
    if not found:
        import difflib

        known = sorted({f"{each.provider}:{each.name}" for each in notes})
        near = difflib.get_close_matches(f"{provider}:{name}", known) or known[:5]
        hint = f"near: {', '.join(near)}" if near else "it has none at all"
        raise AttachError(file, f"{file} has no probe {provider}:{name} ({hint})")
    return found


# The program's own maps, which its object got from usdt.bpf.h.
def _maps(
    program: Program, opened: contextlib.ExitStack
) -> tuple[Map[Any, Any], Map[Any, Any] | None]:
    found: dict[str, Map[Any, Any]] = {}
    for number in program.info().map_ids:
        with Map.from_id(number) as each:
            if each.name[:15] in (_SPECS, _ADDRESSES):
                found[each.name[:15]] = opened.enter_context(each.raw)
    if _SPECS not in found:
        raise LoadError(program.name, f'program "{program.name}" does not use usdt.bpf.h')
    return found[_SPECS], found.get(_ADDRESSES)


def _spec(specs: Map[Any, Any], given: list[Argument], cookie: int) -> bytes:
    size = specs.value_size
    layout = _LAYOUTS.get(size)
    if layout is None:
        raise LoadError(specs.name, f"specs of {size} bytes are of no known usdt.bpf.h")
    data = b"".join(_argument(each, layout) for each in given)
    data = data.ljust(layout.argument_size * _MOST_ARGUMENTS, b"\0")
    data += struct.pack("=Qh", cookie & 0xFFFFFFFFFFFFFFFF, len(given))
    return data.ljust(size, b"\0")


def _argument(each: Argument, layout: _Layout) -> bytes:
    value = each.value & 0xFFFFFFFFFFFFFFFF
    if not layout.wide:
        if each.index_register or each.scale:
            text = "an argument at two registers needs libbpf's usdt.bpf.h of 1.7 or newer"
            raise LoadError("__bpf_usdt_specs", text)
        return struct.pack("=QIh?B", value, each.kind, each.register, each.signed, each.shift)
    packed = each.index_register | each.scale << 12
    return struct.pack(
        "=QBxHhh?B6x", value, each.kind, packed, 0, each.register, each.signed, each.shift
    )


# Numbers in a map of specs; equal specs share one. Per map: its programs and all their links.
class _Numbers:
    _all: dict[int, _Numbers] = {}  # noqa: RUF012 - by the map's id, for the whole process
    _lock = threading.Lock()

    def __init__(self, map_id: int, room: int) -> None:
        self._map_id = map_id
        self._room = room
        self._taken: dict[bytes, tuple[int, int]] = {}  # spec -> number, uses

    @classmethod
    def of(cls, specs: Map[Any, Any]) -> _Numbers:
        info = specs.info()
        with cls._lock:
            return cls._all.setdefault(info.id, cls(info.id, info.max_entries))

    def take(self, spec: bytes, specs: Map[Any, Any]) -> int:
        with self._lock:
            number, uses = self._taken.get(spec, (-1, 0))
            if not uses:
                used = {each for each, _ in self._taken.values()}
                free = (each for each in range(self._room) if each not in used)
                number = next(free, self._room)
                # The map says E2BIG if there is none.
                specs.update(struct.pack("=I", number), spec)
            self._taken[spec] = (number, uses + 1)
            return number

    def give_back(self, spec: bytes) -> None:
        with self._lock:
            number, uses = self._taken[spec]
            if uses > 1:
                self._taken[spec] = (number, uses - 1)
                return
            del self._taken[spec]
            if not self._taken:
                self._all.pop(self._map_id, None)


def by_section(program: Program) -> Link:
    """Attach *program* where its section name says; for `pyebpf.link.auto`."""
    path, provider, name = parsed(program, parse_probe)
    return attach_usdt(program, path, provider, name)
