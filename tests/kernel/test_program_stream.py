"""Streams of programs, as far as this kernel has them."""

from __future__ import annotations

import errno

import pytest

import pyebpf
from pyebpf.errors import ClosedError, NotSupportedError, ReaderTimeout
from pyebpf.readers import program_stream
from pyebpf.readers.program_stream import ProgramStream
from pyebpf.sys import bpf as commands
from pyebpf.uapi.bpf import Stream
from tests.support import kernel
from tests.support.programs import built


@pytest.mark.parametrize("stream", [Stream.STDOUT, Stream.STDERR], ids=str)
def test_a_silent_program_has_nothing_to_read(stream):
    """It waits for as long as it may, and ends."""
    with pyebpf.load(built("count")) as bpf:
        program = next(iter(bpf.programs.values()))
        with ProgramStream(program, stream, interval=0.005) as lines:
            program.close()  # the reader has its own descriptor
            assert lines.drain() == []
            with pytest.raises(ReaderTimeout, match=r"read stream .* no record"):
                lines.read(0.02)
            assert lines.stats().received == 0
            assert lines.stats().lost is None
        with pytest.raises(ClosedError):
            lines.read(0)


def test_lines_come_as_they_were_printed(monkeypatch):
    """The kernel's answers are made up: programs cannot print on every kernel that has streams."""
    answers = [b"one\nt", b"wo\n\xffthree", b""]

    def read(attr):
        assert attr.stream_id == Stream.STDERR
        text = answers.pop(0) if answers else b""
        attr.stream_buf[: len(text)] = text
        return len(text)

    with pyebpf.load(built("count")) as bpf:
        program = next(iter(bpf.programs.values()))
        monkeypatch.setattr(program_stream.bpf, "prog_stream_read_by_fd", read)
        with ProgramStream(program, interval=0.001) as lines:
            assert [lines.read(5.0) for _ in range(3)] == ["one", "two", "\\xffthree"]


def test_a_kernel_without_streams_is_named(monkeypatch):
    """NotSupportedError, and nothing is left open (conftest looks)."""

    def lacking(attr):
        raise NotSupportedError("BPF_PROG_STREAM_READ_BY_FD", "6.17")

    with pyebpf.load(built("count")) as bpf:
        program = next(iter(bpf.programs.values()))
        monkeypatch.setattr(commands, "prog_stream_read_by_fd", lacking)
        with pytest.raises(NotSupportedError, match=r"STREAM_READ_BY_FD.*6\.17"):
            ProgramStream(program)


def test_what_a_program_prints_is_read():
    """By a program of this kernel, in pieces of its own; the reader sleeps meanwhile."""
    kernel.needs("6.17", "streams of programs")
    with pyebpf.load(built("streams")) as bpf:
        program = bpf.programs["print"]
        with ProgramStream(program, interval=0.01) as lines:
            answer = program.run(bytes(64)).retval
            if answer == -errno.ENOMEM & 0xFFFFFFFF:
                pytest.skip("a kernel that has memory for streams in every context")
            assert answer == 0
            assert [lines.read(5.0), lines.read(5.0)] == ["packet of 64 bytes", "and"]
            program.run(bytes(100))
            program.run(bytes(64))
            assert [lines.read(5.0) for _ in range(3)] == [
                "packet of 100 bytes",
                "andpacket of 64 bytes",
                "and",
            ]
            assert lines.stats().received == 5
