"""The journal of what the kernel keeps: written before, removed after, read by anybody."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import pathlib
import subprocess

import pytest

import pyebpf
from pyebpf import link
from pyebpf.host import probe_events
from pyebpf.link import journal, left_behind
from tests.support.killed import killed
from tests.support.netns import Namespace
from tests.support.programs import only

DIRECTORY = pathlib.Path("/run/pyebpf/attachments")


@pytest.fixture
def program():
    with pyebpf.load(only("hooks_net", "xdp_one")) as bpf:
        yield bpf.programs["xdp_one"]


def mine() -> list[journal.Entry]:
    return [each for each in journal.entries() if each.number("pid") == os.getpid()]


def test_an_attachment_is_written_down_while_it_lasts(program, netns):
    """By whom, and which program; only root may look."""
    with link.attach_xdp(program, "lo", use_link=False):
        (entry,) = mine()
        assert journal.alive(entry)
        assert entry.number("program_id") == program.id
        assert entry.text("kind") == "xdp"
        assert entry.text("program_id") == ""
        assert DIRECTORY.stat().st_mode & 0o077 == 0
    assert mine() == []


def test_one_that_is_refused_is_not(program, netns):
    """Nor one that is disowned."""
    with (
        link.attach_xdp(program, "lo", use_link=False),
        pytest.raises(pyebpf.SyscallError),
    ):
        link.attach_xdp(program, "lo", use_link=False)
    assert mine() == []


def test_rubbish_among_the_entries_is_left_out(program, netns):
    """Files of others, unfinished ones, kinds of a newer version, programs that are gone."""
    DIRECTORY.mkdir(mode=0o700, parents=True, exist_ok=True)
    namespace = pathlib.Path("/proc/self/ns/pid").stat().st_ino
    dead = {"pid": 1 << 22, "started": 5, "pid_namespace": namespace}
    texts = {
        "rubbish": "{",
        "list": "[]",
        "1-x.new": json.dumps({"kind": "xdp"}),
        "newer": json.dumps({"kind": "hologram", **dead}),
        "gone": json.dumps({"kind": "xdp", "program_id": 0x7FFFFFFE, **dead}),
    }
    for name, text in texts.items():
        (DIRECTORY / name).write_text(text)
    try:
        assert link.leftovers() == []
        assert link.clean_up() == []
        assert not (DIRECTORY / "gone").exists()
        assert (DIRECTORY / "newer").exists()
    finally:
        for name in texts:
            (DIRECTORY / name).unlink(missing_ok=True)


def test_another_program_in_the_same_place_is_left_alone(program, netns):
    """Whoever replaced ours meanwhile."""
    with pyebpf.load(only("hooks_net", "xdp_two")) as other:
        with killed(lambda: link.attach_xdp(program, "lo", use_link=False)):
            pass
        two = other.programs["xdp_two"]
        with link.attach_xdp(two, "lo", replace=program):
            assert link.clean_up() == []
            assert link.query_xdp("lo").program_id == two.id
        assert link.leftovers() == []


def test_a_namespace_nobody_can_name_is_not_forgotten():
    """It may live on by a descriptor; once its programs are gone, nothing is left to clean up."""
    namespace = Namespace()
    with pyebpf.load(only("hooks_net", "xdp_one")) as bpf:
        program = bpf.programs["xdp_one"]
        with namespace.entered(), killed(lambda: link.attach_xdp(program, "lo", use_link=False)):
            assert [each.program_id for each in link.leftovers()] == [program.id]
        assert link.leftovers() == []
        with namespace.entered():
            assert [each.program_id for each in link.leftovers()] == [program.id]
        namespace.close()
    assert link.leftovers() == []


def test_any_process_finds_a_namespace_that_has_one(program, netns):
    """From outside."""
    with killed(lambda: link.attach_xdp(program, "lo", use_link=False)):
        keeper = subprocess.Popen(["sleep", "60"])
        try:
            with nowhere():
                assert [each.program_id for each in link.clean_up()] == [program.id]
        finally:
            keeper.kill()
            keeper.wait()
    assert link.query_xdp("lo").program_id == 0


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENODEV])
def test_a_container_without_tracefs_cleans_up_all_the_same(program, netns, monkeypatch, number):
    """It is not mounted, and may not be: there are no probes to see, but other leftovers."""

    def refused(*_, **__):
        kind = pyebpf.PrivilegeError if number == errno.EPERM else pyebpf.SyscallError
        raise kind("mount", number)

    monkeypatch.setattr(probe_events.tracefs, "_directory", refused)
    with killed(lambda: link.attach_xdp(program, "lo", use_link=False)):
        assert [each.program_id for each in link.leftovers()] == [program.id]
        assert [each.program_id for each in link.clean_up()] == [program.id]


def test_a_probe_of_another_pid_namespace_is_no_leftover(tracefs):
    """Its process cannot be seen from here, and may well run."""
    with pyebpf.load(only("probes", "on_uprobe")) as bpf:
        attach = functools.partial(
            link.attach_uprobe, bpf.programs["on_uprobe"], "libc.so.6", "getuid", use_tracefs=True
        )
        with killed(attach):
            (event,) = probe_events.ours()
            try:
                here = pathlib.Path("/proc/self/ns/pid").stat().st_ino
                assert event.pid_namespace == here
                assert len(link.leftovers()) == 1
                elsewhere = event._replace(pid_namespace=here + 1)
                assert left_behind._alive(elsewhere)
            finally:
                link.clean_up()


@contextlib.contextmanager
def nowhere():
    """Be in another namespace."""
    other = Namespace()
    try:
        with other.entered():
            yield
    finally:
        other.close()
