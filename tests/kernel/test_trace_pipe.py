"""What programs print, read from trace_pipe."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import pathlib
import select
import time
from collections.abc import Iterator

import pytest

import pyebpf
from pyebpf.errors import ClosedError, ReaderTimeout, SyscallError
from pyebpf.readers.trace_pipe import TraceLine, TracePipe
from tests.support.programs import built

PATIENCE = 20.0


@pytest.fixture
def instance(tracefs: pathlib.Path) -> Iterator[pathlib.Path]:
    """A buffer of the test's own, into which programs print too."""
    path = tracefs / "instances" / f"pyebpf-test-{os.getpid()}"
    path.mkdir()
    try:
        (path / "events/bpf_trace/enable").write_text("1")
        yield path
    finally:
        path.rmdir()


@contextlib.contextmanager
def printing(token: int) -> Iterator[pyebpf.Collection]:
    with pyebpf.load(built("printing")) as bpf:
        bpf.variables["token"].value = token
        yield bpf


def ours(lines: list[TraceLine], token: int) -> list[str]:
    return [each.message for each in lines if f"token {token}:" in each.message]


def test_a_line_says_who_printed_it(instance):
    """Task, number, CPU, time and the text."""
    with TracePipe(instance=instance.name) as pipe, printing(4711) as bpf:
        bpf.programs["print"].run(bytes(64))
        line = pipe.read(PATIENCE)
        while "token 4711:" not in line.message:  # somebody else's
            line = pipe.read(PATIENCE)
    assert line.message == "token 4711: packet of 64 bytes"
    assert (line.pid, line.event, line.tgid) == (os.getpid(), "bpf_trace_printk", None)
    assert line.cpu in os.sched_getaffinity(0)
    assert len(line.flags) >= 4
    assert abs(line.time - time.monotonic()) < 3600  # another clock, but of this boot


def test_options_of_the_trace_change_the_head(instance):
    """The process's number, no flags, a clock that counts."""
    (instance / "options/record-tgid").write_text("1")
    (instance / "options/irq-info").write_text("0")
    (instance / "trace_clock").write_text("counter")
    with TracePipe(instance=instance.name) as pipe, printing(4712) as bpf:
        bpf.programs["print"].run(bytes(64))
        found = [each for each in pipe.poll(PATIENCE) if "token 4712:" in each.message]
    assert len(found) == 1
    assert found[0].flags == ""
    assert found[0].tgid in {None, os.getpid()}  # None: it was not scheduled since


def test_lines_of_one_message_have_one_head(instance):
    """Also the second, which the kernel prints without."""
    with TracePipe(instance=instance.name) as pipe, printing(4713) as bpf:
        bpf.programs["print_lines"].run(bytes(64))
        lines = pipe.poll(PATIENCE)
    at = next(at for at, each in enumerate(lines) if "token 4713:" in each.message)
    assert [each.message for each in lines[at : at + 2]] == ["token 4713: first", "second: line"]
    assert lines[at]._replace(message="") == lines[at + 1]._replace(message="")


def test_every_line_comes_once_or_is_lost(instance):
    """Printed = received + lost, of a buffer too small for them; and in order."""
    (instance / "buffer_size_kb").write_text("64")
    with TracePipe(instance=instance.name) as pipe, printing(4714) as bpf:
        program = bpf.programs["print"]
        program.run(bytes(64), repeat=500)
        before = len(ours(pipe.drain(), 4714))
        assert (before, pipe.stats().lost) == (500, 0)
        program.run(bytes(64), repeat=20_000)
        received = 0
        while lines := pipe.drain():  # 256 KiB at a time, and the buffer of each CPU is 64
            received += len(ours(lines, 4714))
        stats = pipe.stats()
    assert stats.lost > 0
    # Lines of others may be among those lost, or received.
    assert received <= 20_000 <= received + stats.lost
    assert 20_000 + before <= stats.received + stats.lost


def test_it_waits_and_wakes(instance):
    """A timeout without lines; the descriptor is readable until all are read."""
    with TracePipe(instance=instance.name) as pipe, printing(4715) as bpf:
        pipe.drain()
        poll = select.poll()
        poll.register(pipe.fileno(), select.POLLIN)
        bpf.programs["print"].run(bytes(64), repeat=2)
        assert poll.poll(PATIENCE * 1000)
        found: list[TraceLine] = []
        while len(ours(found, 4715)) < 2:
            assert poll.poll(PATIENCE * 1000)
            found.append(pipe.read(0))
        (instance / "events/bpf_trace/enable").write_text("0")  # nobody else's lines from now on
        pipe.drain()
        with pytest.raises(ReaderTimeout, match=r'read file ".*/trace_pipe": no record'):
            pipe.read(0)
    with pytest.raises(ClosedError, match="file"):
        pipe.read(0)


def test_it_is_read_in_asyncio(instance):
    """As other readers: a line wakes the task that waits for it."""

    async def first(pipe: TracePipe) -> TraceLine | None:
        async for line in pipe:
            if "token 4717:" in line.message:
                return line
        return None

    async def main(pipe: TracePipe, program: pyebpf.Program) -> TraceLine | None:
        waiting = asyncio.create_task(first(pipe))
        await asyncio.sleep(0)  # it has looked, and found nothing
        program.run(bytes(64))
        return await asyncio.wait_for(waiting, PATIENCE)

    with TracePipe(instance=instance.name) as pipe, printing(4717) as bpf:
        line = asyncio.run(main(pipe, bpf.programs["print"]))
    assert line is not None
    assert line.pid == os.getpid()


def test_the_buffer_of_the_machine_is_read_where_it_is_mounted(tracefs):
    """Found by itself; somebody else may be reading it, which is said."""
    try:
        pipe = TracePipe()
    except SyscallError as error:
        if error.errno != errno.EBUSY:
            raise
        pytest.skip(f"another process is reading: {error}")
    with pipe, printing(4716) as bpf:
        bpf.programs["print"].run(bytes(64))
        deadline = time.monotonic() + PATIENCE
        found: list[TraceLine] = []
        while not ours(found, 4716) and time.monotonic() < deadline:
            found += pipe.poll(PATIENCE)
    assert ours(found, 4716) == ["token 4716: packet of 64 bytes"]


def test_a_second_reader_is_refused_or_shares(instance):
    """EBUSY with the file's name, since Linux 6.6."""
    said = ""
    with TracePipe(instance=instance.name):
        try:
            TracePipe(instance=instance.name).close()
        except SyscallError as error:
            said = str(error)
    assert said == "" or ("EBUSY" in said and "trace_pipe is being read already" in said)


def test_what_is_no_instance_is_refused(tracefs):
    """By name, and without leaving anything open."""
    with pytest.raises(SyscallError, match="no_such_instance") as caught:
        TracePipe(instance="no_such_instance")
    assert caught.value.errno == errno.ENOENT
    for name in ("", "..", "a/b"):
        with pytest.raises(ValueError, match="not the name"):
            TracePipe(instance=name)
