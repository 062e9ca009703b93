"""The same random program run by the kernel and by the interpreter, and what differs.

Each program has a seed of its own, so that one that differs can be made again:

    python -m tests.support.differential COUNT [FIRST_SEED]
"""

from __future__ import annotations

import collections
import contextlib
import errno
import random
import struct
import sys
import time
from dataclasses import dataclass

from pyebpf.asm.instruction import Instruction, encode_all
from pyebpf.errors import SyscallError
from pyebpf.maps.map import Map
from pyebpf.readers.ring import RingReader
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD
from pyebpf.testing.interpreter import Machine, Program
from pyebpf.testing.interpreter.map_kinds import (
    ArrayMap,
    HashMap,
    ProgramArray,
    QueueMap,
    RingBuffer,
)
from pyebpf.testing.interpreter.prog_test_run import Outcome, prog_test_run
from pyebpf.uapi import insn
from pyebpf.uapi.attrs import BtfLoad, MapElem, ProgLoad, ProgTestRun
from pyebpf.uapi.bpf import MapFlag, MapType, ProgFlag, ProgType
from tests.support.btf_builder import FUNC, FUNC_PROTO, BtfBuilder
from tests.support.code import small
from tests.support.random_helpers import TEXT_ROOM, TEXTS
from tests.support.random_programs import (
    CONTEXT_SIZE,
    CONTEXT_TYPES,
    HASH_KEYS,
    INPUT_SIZE,
    OUTPUT_SIZE,
    Descriptors,
    Generator,
)

TYPES = (
    ProgType.XDP, ProgType.XDP, ProgType.SCHED_CLS, ProgType.SCHED_CLS, ProgType.SOCKET_FILTER,
    ProgType.RAW_TRACEPOINT, ProgType.SYSCALL,
)  # fmt: skip
QUEUE_ROOM, RING_ROOM, PROGRAM_ROOM = 4, 4096, 4
TEXTS_DATA = b"".join(text.ljust(TEXT_ROOM, b"\0") for text in TEXTS)
# What tail calls at index 1 lead to.
TARGET = encode_all([small(0, 42), Instruction(insn.JMP | insn.EXIT)], "little")
LENGTHS = (4, 8, 12, 20, 40)
INDEXES = [at.to_bytes(4, "little") for at in range(2)]
EDGES = (0, 1, -1, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, 1 << 32, 1 << 63, (1 << 63) - 1, 63, 64)


@dataclass(frozen=True)
class State:
    """All that a program can be told apart by."""

    retval: int
    packet: bytes
    context: bytes
    input: tuple[bytes, ...]
    output: bytes
    hash: tuple[tuple[bytes, bytes], ...]
    per_cpu: frozenset[bytes]
    queue: tuple[bytes, ...]
    records: tuple[bytes, ...]


@dataclass(frozen=True)
class Refused:
    """The test run itself was refused: how the packet is not taken."""

    number: int


@dataclass(frozen=True)
class Trial:
    """A program and what it works on."""

    seed: int
    type: ProgType
    code: bytes
    starts: tuple[int, ...]
    packet: bytes
    context: bytes
    numbers: tuple[bytes, ...]
    elements: tuple[tuple[bytes, bytes], ...]


class Differential:
    """Maps in the kernel for many trials; close it afterwards."""

    def __init__(self) -> None:
        with contextlib.ExitStack() as stack:

            def make(**what) -> Map:
                return stack.enter_context(Map.create(**what))

            self.input = make(type=MapType.ARRAY, key_size=4, value_size=INPUT_SIZE, max_entries=2)
            self.output = make(
                type=MapType.ARRAY, key_size=4, value_size=OUTPUT_SIZE, max_entries=1
            )
            self.hash = make(type=MapType.HASH, key_size=8, value_size=16, max_entries=HASH_KEYS)
            self.per_cpu = make(type=MapType.PERCPU_ARRAY, key_size=4, value_size=64, max_entries=1)
            self.queue = make(type=MapType.QUEUE, value_size=8, max_entries=QUEUE_ROOM)
            self.ring = make(type=MapType.RINGBUF, max_entries=RING_ROOM)
            self.records = stack.enter_context(RingReader(self.ring))
            self.texts = make(
                type=MapType.ARRAY,
                key_size=4,
                value_size=len(TEXTS_DATA),
                max_entries=1,
                flags=MapFlag.RDONLY_PROG,
            )
            self.texts[INDEXES[0]] = TEXTS_DATA
            self.texts.freeze()
            self.programs = {}
            for kind in set(TYPES):
                self.programs[kind] = make(
                    type=MapType.PROG_ARRAY, key_size=4, value_size=4, max_entries=PROGRAM_ROOM
                )
                with bpf.prog_load(_request(kind, TARGET)) as target:
                    self.programs[kind][INDEXES[1]] = target.fileno()
            self.btf, self.function_type = function_type()
            stack.enter_context(self.btf)
            self.stack = stack.pop_all()
        self.maps = Descriptors(
            self.input.fileno(),
            self.output.fileno(),
            self.hash.fileno(),
            self.per_cpu.fileno(),
            self.queue.fileno(),
            self.ring.fileno(),
            self.texts.fileno(),
            {kind: programs.fileno() for kind, programs in self.programs.items()},
        )

    def close(self) -> None:
        self.stack.close()

    def __enter__(self) -> Differential:  # noqa: PYI034
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def trial(self, seed: int, length: int | None = None) -> Trial:
        """Make the program of a seed, or its first *length* fragments only."""
        rng = random.Random(seed)
        kind = rng.choice(TYPES)
        context = b""
        if kind in CONTEXT_TYPES:
            context = rng.randbytes(CONTEXT_SIZE)
        elif kind is not ProgType.XDP:
            data = bytearray(192)
            data[8:12], data[32:36] = rng.randbytes(4), rng.randbytes(4)
            data[48:68] = rng.randbytes(20)
            context = bytes(data)
        packet = b"" if kind in CONTEXT_TYPES else _packet(rng)
        numbers = _numbers(rng), _numbers(rng)
        elements = tuple(
            (key.to_bytes(8, "little"), rng.randbytes(16))
            for key in range(rng.randrange(HASH_KEYS))
        )
        whole = rng.choice(LENGTHS)
        generator = Generator(rng, kind, self.maps)
        code = generator.program(whole if length is None else length)
        starts = tuple(generator.starts)
        return Trial(seed, kind, code, starts, packet, context, numbers, elements)

    def shortest(self, seed: int) -> Trial | None:
        """Return the shortest beginning of a program that differs."""
        for length in range(max(LENGTHS)):
            trial = self.trial(seed, length)
            real = self.in_kernel(trial)
            if not isinstance(real, SyscallError) and differences(real, self.interpreted(trial)):
                return trial
        return None

    def in_kernel(self, trial: Trial) -> State | Refused | SyscallError:
        """Run a trial in the kernel; an error if the verifier refuses it."""
        try:
            program = self.load(trial)
        except SyscallError as error:
            return error
        with program:
            for index, numbers in zip(INDEXES, trial.numbers, strict=True):
                self.input[index] = numbers
            self.output[INDEXES[0]] = bytes(OUTPUT_SIZE)
            for key in list(self.hash):
                del self.hash[key]
            for key, value in trial.elements:
                self.hash[key] = value
            self.drain()
            self.records.drain()
            cpus = len(self.per_cpu[INDEXES[0]])
            self.per_cpu[INDEXES[0]] = [trial.numbers[0][:64]] * cpus
            try:
                outcome = run(program, trial)
            except SyscallError as error:
                return Refused(error.errno or 0)
            return State(
                outcome.retval,
                outcome.data,
                outcome.ctx,
                tuple(self.input[index] for index in INDEXES),
                self.output[INDEXES[0]],
                tuple(sorted(self.hash.items())),
                frozenset(self.per_cpu[INDEXES[0]]) - {trial.numbers[0][:64]},
                self.drain(),
                tuple(self.records.drain()),
            )

    def drain(self) -> tuple[bytes, ...]:
        """Take everything out of the queue."""
        found = []
        value = bytearray(8)
        while True:
            try:
                attr = MapElem(map_fd=self.queue.fileno(), value=value)
                bpf.map_lookup_and_delete_elem(attr)
            except SyscallError as error:
                if error.errno == errno.ENOENT:
                    return tuple(found)
                raise
            found.append(bytes(value))

    def load(self, trial: Trial, log: bytearray | None = None) -> FD:
        """Load a trial's program; with functions described, since callbacks have to be."""
        attr = _request(trial.type, trial.code)
        attr.prog_btf_fd, attr.func_info_rec_size = self.btf.fileno(), 8
        info = b"".join(struct.pack("<II", start, self.function_type) for start in trial.starts)
        attr.func_info, attr.func_info_cnt = info, len(trial.starts)
        if log is not None:
            attr.log_level, attr.log_size, attr.log_buf = 1, len(log), log
        return bpf.prog_load(attr)

    def interpreted(self, trial: Trial) -> State | Refused:
        """Run a trial in the interpreter."""
        numbers = ArrayMap("input", value_size=INPUT_SIZE, max_entries=2)
        output = ArrayMap("output", value_size=OUTPUT_SIZE, max_entries=1)
        table = HashMap("hash", key_size=8, value_size=16, max_entries=HASH_KEYS)
        per_cpu = ArrayMap("per_cpu", MapType.PERCPU_ARRAY, value_size=64, max_entries=1)
        for index, data in zip(INDEXES, trial.numbers, strict=True):
            numbers.update(index, data, 0, 0)
        for key, value in trial.elements:
            table.update(key, value, 0, 0)
        per_cpu.update(INDEXES[0], trial.numbers[0][:64], 0, 0)
        queue = QueueMap("queue", value_size=8, max_entries=QUEUE_ROOM)
        ring = RingBuffer("ring", max_entries=RING_ROOM)
        texts = ArrayMap(
            "texts", value_size=len(TEXTS_DATA), max_entries=1, contents=TEXTS_DATA, writable=False
        )
        programs = ProgramArray("programs", max_entries=PROGRAM_ROOM)
        programs.programs[1] = Program(TARGET, type=trial.type, byteorder="little")
        program = Program(
            trial.code,
            type=trial.type,
            byteorder="little",
            maps={
                self.maps.input: numbers,
                self.maps.output: output,
                self.maps.hash: table,
                self.maps.per_cpu: per_cpu,
                self.maps.queue: queue,
                self.maps.ring: ring,
                self.maps.texts: texts,
                self.maps.programs[trial.type]: programs,
            },
        )
        try:
            outcome = prog_test_run(Machine(), program, trial.packet, trial.context)
        except SyscallError as error:
            return Refused(error.errno or 0)
        return State(
            outcome.retval,
            outcome.data,
            outcome.ctx,
            tuple(_bytes(numbers, index) for index in INDEXES),
            _bytes(output, INDEXES[0]),
            tuple(sorted((key, _bytes(table, key)) for key in table.elements)),
            frozenset([_bytes(per_cpu, INDEXES[0])]) - {trial.numbers[0][:64]},
            tuple(queue.values),
            tuple(ring.records),
        )


def _request(kind: ProgType, code: bytes) -> ProgLoad:
    attr = ProgLoad(prog_type=int(kind), insn_cnt=len(code) // 8)
    attr.insns, attr.license = code, b"GPL\0"
    attr.prog_flags = int(ProgFlag.SLEEPABLE) if kind is ProgType.SYSCALL else 0
    return attr


def function_type() -> tuple[FD, int]:
    """Load types with one static function, which does for all: nobody compares it with the code."""
    builder = BtfBuilder()
    number = builder.int("long", 8)
    function = builder.add(FUNC, "function", builder.add(FUNC_PROTO, "", number))
    blob = builder.build()
    attr = BtfLoad(btf=blob, btf_size=len(blob))
    return bpf.btf_load(attr), function


def run(program: FD, trial: Trial) -> Outcome:
    """Run it in the kernel."""
    attr = ProgTestRun(prog_fd=program.fileno())
    context = bytearray(trial.context)
    if trial.type in CONTEXT_TYPES:  # which give nothing back but into the same place
        attr.ctx_in, attr.ctx_size_in = context, len(context)
        bpf.prog_test_run(attr)
        back = bytes(context) if trial.type is ProgType.SYSCALL else b""
        return Outcome(attr.retval, b"", back, 0)
    data_out = bytearray(8192)
    attr.data_in, attr.data_size_in = trial.packet, len(trial.packet)
    attr.data_out, attr.data_size_out = data_out, len(data_out)
    if context:
        attr.ctx_in, attr.ctx_size_in = trial.context, len(trial.context)
        attr.ctx_out, attr.ctx_size_out = context, len(context)
    bpf.prog_test_run(attr)
    return Outcome(attr.retval, bytes(data_out[: attr.data_size_out]), bytes(context), 0)


def differences(real: State | Refused, ours: State | Refused) -> list[str]:
    """Return the fields that differ, with both values."""
    if isinstance(real, Refused) or isinstance(ours, Refused):
        return [] if real == ours else [f"kernel {real}, interpreter {ours}"]
    found = []
    for name in State.__dataclass_fields__:
        left, right = getattr(real, name), getattr(ours, name)
        if isinstance(left, bytes):
            words = range(0, max(len(left), len(right)), 8)
            found += [
                f"{name}[{at}]: kernel {left[at : at + 8].hex()}, "
                f"interpreter {right[at : at + 8].hex()}"
                for at in words
                if left[at : at + 8] != right[at : at + 8]
            ]
        elif left != right:
            found.append(f"{name}: kernel {left!r}, interpreter {right!r}")
    return found


# The numbers where operations have their edges are as frequent as any others.
def _numbers(rng: random.Random) -> bytes:
    words = (
        rng.choice(EDGES) if rng.random() < 0.4 else rng.getrandbits(rng.choice((8, 32, 64)))
        for _ in range(INPUT_SIZE // 8)
    )
    return b"".join(struct.pack("<Q", word & (1 << 64) - 1) for word in words)


def _packet(rng: random.Random) -> bytes:
    addresses = rng.choice((bytes(12), rng.randbytes(12), b"\xff" * 6 + bytes(6)))
    kind = rng.choice((b"\x08\x00", b"\x86\xdd", b"\x81\x00", b"\x00\x20", rng.randbytes(2)))
    return addresses + kind + rng.randbytes(rng.choice((0, 6, 20, 46, 100, 1000)))


def _bytes(found: ArrayMap | HashMap, key: bytes) -> bytes:
    value = found.lookup(key, 0)
    assert value is not None
    return bytes(value.data)


def main(count: int, first: int) -> int:
    """Run trials and print what differs."""
    tally: collections.Counter[str] = collections.Counter()
    instructions = 0
    begin = time.monotonic()
    with Differential() as both:
        seed = first
        while tally["run"] < count:
            trial = both.trial(seed)
            seed += 1
            real = both.in_kernel(trial)
            if isinstance(real, SyscallError):
                tally["refused by the verifier"] += 1
                continue
            ours = both.interpreted(trial)
            instructions += len(trial.code) // 8
            tally["run"] += 1
            tally[str(trial.type)] += 1
            different = differences(real, ours)
            if different:
                tally["different"] += 1
                print(f"seed {trial.seed}: " + "\n    ".join(different))
                if tally["different"] >= 10:
                    break
    seconds = time.monotonic() - begin
    summary = ", ".join(f"{number} {name}" for name, number in tally.items())
    print(f"seeds {first} to {seed - 1}: {summary}; {instructions} instructions, {seconds:.0f} s")
    return 1 if tally["different"] else 0


if __name__ == "__main__":
    arguments = [int(each) for each in sys.argv[1:]]
    sys.exit(main(arguments[0], arguments[1] if len(arguments) > 1 else 0))
