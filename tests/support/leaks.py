"""What a test left behind: open descriptors, and objects that live on in the kernel.

Descriptors are compared at once. The kernel frees programs, maps and links late (RCU, work queues),
so their ids are compared until a deadline; and other processes make objects too: what one of them
holds open is not ours.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pathlib
import re
import select
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support import kernel

PATIENCE = 5.0  # seconds; an RCU grace period is some 20 ms, under emulation up to a second

# BTF is not among them: without a descriptor it lives only as long as a map or program using it.
_KINDS = {
    "program": (kernel.BPF_PROG_GET_NEXT_ID, "prog_id"),
    "map": (kernel.BPF_MAP_GET_NEXT_ID, "map_id"),
    "link": (kernel.BPF_LINK_GET_NEXT_ID, "link_id"),
}

# Kept for the life of the process by design: the kernel's types are mapped once and shared.
_KEPT = re.compile(r"/sys/kernel/btf/|/dev/null$")

Object = tuple[str, int]


@dataclass(frozen=True)
class Snapshot:
    """What existed at one time."""

    descriptors: dict[int, str]
    objects: frozenset[Object] = field(default_factory=frozenset)


def snapshot(*, objects: bool) -> Snapshot:
    """Take a snapshot; of the kernel's objects too if allowed to see them."""
    return Snapshot(_descriptors(), _objects() if objects else frozenset())


def left_since(before: Snapshot, *, objects: bool) -> list[str]:
    """Return what has come since and stayed, in words."""
    left = [
        f"descriptor {fd} ({target})"
        for fd, target in _descriptors().items()
        if before.descriptors.get(fd) != target and not _KEPT.search(target)
    ]
    if objects:
        left += [f"{kind} {number}" for kind, number in sorted(_objects_left(before))]
    return left


def _objects_left(before: Snapshot) -> set[Object]:
    deadline = time.monotonic() + PATIENCE
    pause = select.poll()  # wakes at nothing: only its time-out is used
    milliseconds = 1
    while True:
        new = _objects() - before.objects
        if new:
            new -= _held_by_others()
        if not new or time.monotonic() > deadline:
            return set(new)
        pause.poll(milliseconds)
        milliseconds = min(milliseconds * 2, 200)


def _descriptors() -> dict[int, str]:
    found = {}
    for path in pathlib.Path("/proc/self/fd").iterdir():
        try:
            found[int(path.name)] = str(path.readlink())
        except FileNotFoundError:  # the descriptor of this very listing
            continue
    return found


def _objects() -> frozenset[Object]:
    found: set[Object] = set()
    for kind, (command, _) in _KINDS.items():
        number: int | None = 0
        while number is not None:
            number = kernel.next_id(command, number)
            if number is not None:
                found.add((kind, number))
    return frozenset(found)


def _held_by_others() -> set[Object]:
    fields = {field_name: kind for kind, (_, field_name) in _KINDS.items()}
    pattern = re.compile(rf"^({'|'.join(fields)}):\s*(\d+)$", re.MULTILINE)
    held: set[Object] = set()
    for directory in pathlib.Path("/proc").glob("[0-9]*/fdinfo"):
        if directory.parent.name == str(os.getpid()):
            continue
        text = "".join(_texts(directory))
        held |= {(fields[match[1]], int(match[2])) for match in pattern.finditer(text)}
    return held


def _texts(directory: pathlib.Path) -> Iterator[str]:
    try:
        for path in directory.iterdir():
            yield path.read_text("utf-8")
    except OSError:  # the descriptor was closed or the process has ended meanwhile
        return


@contextlib.contextmanager
def young_garbage() -> Iterator[None]:
    """Let ``gc.collect`` look at what is made inside the block only, not at a whole test suite."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
