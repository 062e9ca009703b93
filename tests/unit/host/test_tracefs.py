"""Tracepoint ids in a made tracefs."""

from __future__ import annotations

import pathlib

import pytest

from pyebpf.errors import LoadError, SyscallError
from pyebpf.host import tracefs


def made(root: pathlib.Path, place: str, mounted: str = "") -> str:
    for name, number in {"sched/sched_switch": 314, "sched/sched_wakeup": 315}.items():
        path = root / place / "events" / name / "id"
        path.parent.mkdir(parents=True)
        path.write_text(f"{number}\n")
    info = root / "proc/self/mountinfo"
    info.parent.mkdir(parents=True)
    line = f"36 22 0:30 / {mounted} rw - tracefs tracefs rw\n" if mounted else ""
    info.write_text(line)
    return str(root)


@pytest.mark.parametrize(
    ("place", "mounted"),
    [
        ("sys/kernel/tracing", ""),
        ("sys/kernel/debug/tracing", ""),
        ("somewhere/else", "/somewhere/else"),
    ],
)
def test_a_tracepoint_has_its_id(tmp_path: pathlib.Path, place: str, mounted: str) -> None:
    """Wherever tracefs is."""
    root = made(tmp_path, place, mounted)
    assert tracefs.tracepoint_id("sched", "sched_switch", root) == 314
    assert tracefs.directory(root) == tmp_path / place


@pytest.mark.parametrize(
    ("category", "name", "text"),
    [
        ("sched", "sched_swich", r"near: sched/sched_switch"),
        ("shed", "sched_switch", r"near: sched/…"),
        ("sched", "", "not a tracepoint's name"),
        ("..", "sched", "not a tracepoint's name"),
        ("sched/sched_switch", "x", "not a tracepoint's name"),
        ("sched", "sched_switch\0", "not a tracepoint's name"),
    ],
)
def test_what_is_no_tracepoint_is_named(
    tmp_path: pathlib.Path, category: str, name: str, text: str
) -> None:
    """With names that are near; what is no name never becomes a path."""
    root = made(tmp_path, "sys/kernel/tracing")
    with pytest.raises(LoadError, match=text):
        tracefs.tracepoint_id(category, name, root)


def test_without_tracefs_it_is_an_error(tmp_path: pathlib.Path) -> None:
    """Nothing is mounted under another root."""
    with pytest.raises(SyscallError, match="no tracefs"):
        tracefs.directory(made(tmp_path, "nowhere"))
