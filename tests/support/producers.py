"""Programs that put records into perf or BPF rings and keep books about what became of them.

Goes in: the map's descriptor. Comes out: a `Producer`; its `run` makes the kernel run the program
(BPF_PROG_TEST_RUN of a classifier; XDP's takes 20 ms to start) on a CPU of the caller's choice.
The books are in an array map of the program's, so a test can compare: produced = received + lost.

    array value   0: produced | 8: full | 16: other | 24: base | 32: mask | 64: payload ......
                  records tried, refused because the ring is full, refused otherwise

A record is the payload's first base + (sequence & mask) bytes; it begins with its sequence number.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Iterator

from pyebpf.maps.map import Map
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD
from pyebpf.uapi.attrs import ProgLoad, ProgTestRun
from pyebpf.uapi.bpf import MapType, ProgType

__all__ = ["HUGE", "Producer", "on_cpu"]

HUGE = 65536
_PAYLOAD = 64
_VALUE = _PAYLOAD + HUGE
_KEY = bytes(4)

# Helpers: bpf_perf_event_output, bpf_ringbuf_output, _reserve, _submit, _discard.
_PERF_OUTPUT, _RING_OUTPUT, _RESERVE, _SUBMIT, _DISCARD = 25, 130, 131, 132, 133


def _insn(opcode: int, dst: int = 0, src: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("=BBhi", opcode, src << 4 | dst, offset, immediate)


def _load_fd(dst: int, kind: int, fd: int) -> bytes:
    return _insn(0x18, dst, kind, 0, fd) + _insn(0)


def _prologue(books: int) -> bytes:
    """r6 = ctx, r7 = &books, r8 = sequence (counted as produced), r9 = size."""
    return b"".join(
        [
            _insn(0xBF, 6, 1),
            _load_fd(7, 2, books),  # BPF_PSEUDO_MAP_VALUE
            _insn(0xB7, 1, 0, 0, 1),
            _insn(0xDB, 7, 1, 0),  # lock *(u64 *)(r7 + 0) += r1
            _insn(0x79, 8, 7, 0),
            _insn(0x7B, 7, 8, _PAYLOAD),  # the payload begins with the sequence number
            _insn(0xBF, 9, 8),
            _insn(0x79, 1, 7, 32),
            _insn(0x5F, 9, 1),  # sequence & mask
            _insn(0x79, 1, 7, 24),
            _insn(0x0F, 9, 1),  # + base
        ]
    )


def _book(full: int) -> bytes:
    """r0 != 0: count it as refused, because of *full* or for another reason."""
    return b"".join(
        [
            _insn(0x15, 0, 0, 5, 0),  # if r0 == 0 goto end
            _insn(0xB7, 1, 0, 0, 1),
            _insn(0x55, 0, 0, 2, -full),  # if r0 != -full goto other
            _insn(0xDB, 7, 1, 8),
            _insn(0x05, 0, 0, 1),
            _insn(0xDB, 7, 1, 16),
        ]
    )


_EXIT = _insn(0xB7, 0, 0, 0, 2) + _insn(0x95)


def _bounded(body: bytes) -> bytes:
    """Run *body* only if r9 is at most HUGE, which the verifier wants to see."""
    return _insn(0x25, 9, 0, len(body) // 8, HUGE) + body


def _perf(books: int, target: int) -> bytes:
    body = b"".join(
        [
            _insn(0xBF, 1, 6),
            _load_fd(2, 1, target),
            _insn(0xB4, 3, 0, 0, -1),  # BPF_F_CURRENT_CPU
            _insn(0xBF, 4, 7),
            _insn(0x07, 4, 0, 0, _PAYLOAD),
            _insn(0xBF, 5, 9),
            _insn(0x85, 0, 0, 0, _PERF_OUTPUT),
            _book(errno.ENOSPC),
        ]
    )
    return _prologue(books) + _bounded(body) + _EXIT


def _ring(books: int, target: int) -> bytes:
    body = b"".join(
        [
            _load_fd(1, 1, target),
            _insn(0xBF, 2, 7),
            _insn(0x07, 2, 0, 0, _PAYLOAD),
            _insn(0xBF, 3, 9),
            _insn(0xB7, 4, 0, 0, 0),
            _insn(0x85, 0, 0, 0, _RING_OUTPUT),
            _book(errno.EAGAIN),
        ]
    )
    return _prologue(books) + _bounded(body) + _EXIT


def _ring_discarding(books: int, target: int) -> bytes:
    """Reserve 16 bytes; discard the record if its sequence number is odd."""
    body = b"".join(
        [
            _load_fd(1, 1, target),
            _insn(0xB7, 2, 0, 0, 16),
            _insn(0xB7, 3, 0, 0, 0),
            _insn(0x85, 0, 0, 0, _RESERVE),
            _insn(0x55, 0, 0, 3, 0),  # if r0 != 0 goto +3
            _insn(0xB7, 1, 0, 0, 1),
            _insn(0xDB, 7, 1, 8),  # full
            _insn(0x05, 0, 0, 9),
            _insn(0x7B, 0, 8, 0),
            _insn(0x7B, 0, 8, 8),
            _insn(0xBF, 1, 0),
            _insn(0xB7, 2, 0, 0, 0),
            _insn(0x57, 8, 0, 0, 1),
            _insn(0x55, 8, 0, 2, 0),  # odd
            _insn(0x85, 0, 0, 0, _SUBMIT),
            _insn(0x05, 0, 0, 1),
            _insn(0x85, 0, 0, 0, _DISCARD),
        ]
    )
    return _prologue(books) + body + _EXIT


_KINDS = {"perf": _perf, "ring": _ring, "discard": _ring_discarding}


class Producer:
    """One program and its books; one thread at a time runs it."""

    def __init__(
        self, kind: str, target: int, *, base: int = 16, mask: int = 0, start: int = 0
    ) -> None:
        self._start = start  # what the numbers are counted from
        self._books = Map.create(
            type=MapType.ARRAY, key_size=4, value_size=_VALUE, max_entries=1, name="books"
        )
        self.resize(base, mask)
        code = _KINDS[kind](self._books.fileno(), target)
        log = bytearray(1 << 16)
        self._program: FD | None = None
        try:
            self._program = bpf.prog_load(
                ProgLoad(
                    prog_type=ProgType.SCHED_CLS,
                    insn_cnt=len(code) // 8,
                    insns=code,
                    license=b"GPL\0",
                    log_level=1,
                    log_size=len(log),
                    log_buf=log,
                )
            )
        except BaseException:
            self.close()
            raise

    def resize(self, base: int, mask: int = 0) -> None:
        """Make records base + (sequence & mask) bytes long, and start the books anew."""
        books = struct.pack("=5Q", self._start, 0, 0, base, mask).ljust(_PAYLOAD, b"\0")
        self._books.update(_KEY, books + b"\xab" * HUGE)

    def run(self, times: int = 1, *, cpu: int | None = None) -> None:
        """Run the program so often, on the given CPU."""
        assert self._program is not None
        with contextlib.nullcontext() if cpu is None else on_cpu(cpu):
            bpf.prog_test_run(
                ProgTestRun(
                    prog_fd=self._program.fileno(),
                    data_in=bytes(64),
                    data_size_in=64,
                    repeat=times,
                )
            )

    def fileno(self) -> int:
        """Return the program's descriptor."""
        assert self._program is not None
        return self._program.fileno()

    @property
    def produced(self) -> int:
        """Records the program tried to put out."""
        return self._counts()[0]

    @property
    def full(self) -> int:
        """Records refused because the ring was full."""
        return self._counts()[1]

    @property
    def other(self) -> int:
        """Records refused for other reasons."""
        return self._counts()[2]

    def _counts(self) -> tuple[int, int, int]:
        produced, full, other = struct.unpack_from("=3Q", self._books.lookup(_KEY))
        return produced - self._start, full, other

    def close(self) -> None:
        """Unload the program."""
        if self._program is not None:
            self._program.close()
        self._books.close()

    def __enter__(self) -> Producer:  # noqa: PYI034 - typing.Self is Python 3.11's
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def on_cpu(cpu: int) -> Iterator[None]:
    """Keep the calling thread on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
