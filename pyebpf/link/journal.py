"""What the kernel keeps attached after this process: written down, so that it can be cleaned up.

A ``bpf_link`` vanishes with the process that holds it. Programs attached through netlink or
``BPF_PROG_ATTACH`` stay, and most of these places have no room for a mark of ours. So each gets a
file before it is attached, which is removed when it is detached or disowned:

    /run/pyebpf/attachments/4711-1a2b3c4d     {"kind": "xdp", "pid": 4711, "program_id": 12, ...}

A file whose process is gone is a leftover (`pyebpf.link.left_behind`). Where the directory cannot
be made, attaching works all the same and is not written down. ``/run`` is empty after a boot, as
are the hooks.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from pyebpf.host.processes import pid_namespace, started
from pyebpf.plain import field, plain
from pyebpf.programs.program import Program
from pyebpf.sys import kernel
from pyebpf.typed import TypeAlias

__all__ = ["Entry", "alive", "entries", "record", "record_again", "write_down"]

Value: TypeAlias = "int | str"

_DIRECTORY = "run/pyebpf/attachments"
# What `record` fills in itself.
_ALWAYS = frozenset(
    {
        "kind",
        "pid",
        "started",
        "pid_namespace",
        "program_id",
        "program_name",
        "program_loaded",
    }
)


@plain(frozen=True)
class Entry:
    """One attachment, written down.

    Attributes:
        path: The file, ``None`` if it could not be written.
        fields: What was attached where and by whom.
    """

    path: Path | None
    fields: dict[str, Value] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """Return a field that is a number, 0 if it is not there."""
        value = self.fields.get(name, 0)
        return value if isinstance(value, int) else 0

    def text(self, name: str) -> str:
        """Return a field that is text, ``""`` if it is not there."""
        value = self.fields.get(name, "")
        return value if isinstance(value, str) else ""

    def remove(self) -> None:
        """Forget the attachment; fine if it is forgotten already."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()


def record(kind: str, program: Program, **fields: Value) -> Entry:
    """Write down that *program* is about to be attached by this process.

    Args:
        kind: How: ``"xdp"``, ``"tc"``, ``"cgroup"``; `pyebpf.link.left_behind` has one reader each.
        program: Told by its id and its load time, since ids may come again.
        fields: Where.
    """
    info = program.info()
    return write_down(
        kind, program_id=info.id, program_name=info.name, program_loaded=info.load_time_ns, **fields
    )


def record_again(entry: Entry, program: Program, **fields: Value) -> Entry:
    """Write down that *program* is about to take the place of the one that an entry tells of.

    Args:
        entry: Stays; whoever knows which of the two is attached removes the other's.
        program: The new one.
        fields: Where it differs from the entry besides.
    """
    ours = {key: value for key, value in entry.fields.items() if key not in _ALWAYS}
    return record(entry.text("kind"), program, **{**ours, **fields})


def write_down(kind: str, **fields: Value) -> Entry:
    """Write down that this process is about to attach something; arguments as for `record`."""
    whole: dict[str, Value] = {
        "kind": kind,
        "pid": os.getpid(),
        "started": started(os.getpid()),
        "pid_namespace": pid_namespace(),
        **fields,
    }
    directory = _directory()
    path = directory / f"{os.getpid()}-{secrets.token_hex(6)}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Whoever reads it sees a whole file or none.
        unfinished = path.with_suffix(".new")
        unfinished.write_text(json.dumps(whole), encoding="utf-8")
        unfinished.replace(path)
    except OSError:
        return Entry(None, whole)
    return Entry(path, whole)


def entries() -> Iterator[Entry]:
    """Yield all attachments that are written down; files that make no sense are left out."""
    try:
        paths = sorted(_directory().iterdir())
    except OSError:
        return
    for path in paths:
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(fields, dict) and path.suffix != ".new":
            yield Entry(path, fields)


def alive(entry: Entry) -> bool:
    """Whether the process that attached it runs, as far as this one can see.

    A process of another pid namespace counts as running.
    """
    if entry.number("pid_namespace") != pid_namespace():
        return True
    return started(entry.number("pid")) == entry.number("started")


def _directory() -> Path:
    return Path(kernel.current().path(_DIRECTORY))
