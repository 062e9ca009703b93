"""`ProgramStream`: the lines that a program printed to one of its own streams.

    bpf_stream_printk(BPF_STDERR, …) ──▶ the program's stream ──PROG_STREAM_READ_BY_FD──▶ lines
    the kernel's own words about faults, deadlocks, endless loops ──▶ BPF_STDERR

Unlike the trace buffer a stream is the program's alone, and bounded: what a program prints while
it is full (100 000 bytes) is refused, which the kernel tells the program only.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from pyebpf.errors import naming
from pyebpf.programs.program import Program
from pyebpf.readers.line_source import LineSource
from pyebpf.readers.pace import Losses, Pace
from pyebpf.readers.reader import Reader
from pyebpf.readers.record import Decoder
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD
from pyebpf.sys.poller import Poller
from pyebpf.typed import final
from pyebpf.uapi.attrs import ProgStreamRead
from pyebpf.uapi.bpf import Stream

__all__ = ["ProgramStream"]

_ENOUGH = 1 << 16


@final
class ProgramStream(Reader[str]):
    """Reads a program's ``BPF_STDOUT`` or ``BPF_STDERR``, line by line; what is read is gone.

    The kernel wakes nobody when a program prints, so the stream is looked at once in an interval
    while somebody waits; `fileno` shows only what was read ahead. Text without a newline comes as a
    line if nothing follows it until the next look. ``stats().lost`` is ``None``: nobody knows.

    Args:
        program: May be closed afterwards.
        stream: Which one.
        interval: Seconds between two looks.

    Raises:
        NotSupportedError: Before Linux 6.17.
        SyscallError: The kernel refused.

    Since Linux 6.17.
    """

    _kind = "stream"

    def __init__(
        self, program: Program, stream: Stream = Stream.STDERR, *, interval: float = 0.1
    ) -> None:
        pace = Pace(interval)
        name = f"{stream} of {program.name}"
        with ExitStack() as stack, naming(f'read stream "{name}"'):
            fd = FD(os.dup(program.fileno()))
            stack.callback(fd.close)
            poller = Poller()
            stack.callback(poller.close)
            keeper = ExitStack()
            source = LineSource(lambda: _read(fd, stream), keeper, poller=poller)
            source.look()  # says whether the kernel can
            keeper.push(stack.pop_all())
        super().__init__(source, [Decoder(_text)], name=name, pace=pace, losses=Losses(None))


def _read(fd: FD, stream: Stream) -> bytes:
    buffer = bytearray(_ENOUGH)
    attr = ProgStreamRead(
        stream_buf=buffer, stream_buf_len=len(buffer), stream_id=stream, prog_fd=fd.fileno()
    )
    return bytes(buffer[: bpf.prog_stream_read_by_fd(attr)])


def _text(line: bytes) -> str:
    return line.decode(errors="backslashreplace")
