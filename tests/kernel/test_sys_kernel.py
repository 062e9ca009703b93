"""The real kernel behind the seam: what errnos become, signals, privilege."""

from __future__ import annotations

import errno
import os
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pyebpf.errors import NotSupportedError, SyscallError
from pyebpf.sys import bpf, kernel
from pyebpf.sys.fd import FD
from pyebpf.uapi.attrs import BtfLoad, CommonAttr, MapCreate, MapElem, ObjId, ProgLoad, ProgTestRun
from pyebpf.uapi.bpf import Cmd, MapFlag, MapType, ProgType
from pyebpf.uapi.cstruct import c_struct, u32
from pyebpf.uapi.perf import PerfEventAttr, PerfSw, PerfType
from tests.support.children import outcome_as_nobody


def instruction(opcode: int, dst: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    registers = dst if struct.pack("=H", 1)[0] else dst << 4
    return struct.pack("=BBhi", opcode, registers, offset, immediate)


EXIT = instruction(0x95)
RETURN_0 = instruction(0xB7) + EXIT

# r6 = 0; do r6 += 1 while r6 != 200000; return 0. The verifier walks through every round: some
# tenths of a second.
SLOW = (
    instruction(0xB7, dst=6)
    + instruction(0x07, dst=6, immediate=1)
    + instruction(0x55, dst=6, offset=-2, immediate=200_000)
    + RETURN_0
)


def load_attr(code: bytes, kind: ProgType = ProgType.SOCKET_FILTER) -> ProgLoad:
    return ProgLoad(prog_type=kind, insn_cnt=len(code) // 8, insns=code, license=b"GPL\0")


@contextmanager
def ticking(seconds: float, handler: Callable[[int, object], None]) -> Iterator[None]:
    """Run *handler* again and again, by a signal."""
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_storm_of_signals_does_not_stop_a_load() -> None:
    """What fails with EAGAIN when tried once under a fast timer is loaded by prog_load."""
    ticks: list[int] = []
    with ticking(0.005, lambda number, _: ticks.append(number)):
        with pytest.raises(SyscallError) as caught:
            FD(kernel.current().bpf(Cmd.PROG_LOAD, load_attr(SLOW))).close()
        assert caught.value.errno == errno.EAGAIN
        ticks.clear()
        with bpf.prog_load(load_attr(SLOW)):
            pass
    assert ticks


def load_for_ever() -> None:
    while True:
        bpf.prog_load(load_attr(SLOW)).close()


def test_ctrl_c_ends_a_load_that_is_being_retried() -> None:
    """SIGINT is never held back: KeyboardInterrupt leaves prog_load in one of its later tries."""
    main = threading.get_ident()
    reader, writer = os.pipe()

    def interrupt() -> None:
        os.read(reader, 1)  # until the timer has made the first try fail
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    with ticking(0.005, lambda *_: os.write(writer, b"x")), pytest.raises(KeyboardInterrupt):
        load_for_ever()
    thread.join()
    os.close(reader)
    os.close(writer)


def load_slowly(loading: threading.Event) -> None:
    loading.set()
    bpf.prog_load(load_attr(SLOW)).close()


def test_ctrl_c_at_the_end_of_a_load_leaks_nothing() -> None:
    """A handler that raises when the load has just succeeded: the new program is closed.

    The signal goes to another thread, so that the verifier does not see it; Python's handler runs
    in this one as soon as the load is over.
    """
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    for _ in range(5):
        loading = threading.Event()

        def interrupt(loading: threading.Event = loading) -> None:
            loading.wait()
            signal.raise_signal(signal.SIGALRM)

        thread = threading.Thread(target=interrupt, daemon=True)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            load_slowly(loading)
        thread.join()
    signal.signal(signal.SIGALRM, before)


def test_signals_held_back_during_a_load_are_let_through_after() -> None:
    """The thread's signal mask is what it was."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with ticking(0.005, lambda *_: None):
        bpf.prog_load(load_attr(SLOW)).close()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_a_test_run_is_not_retried() -> None:
    """prog_test_run of many rounds ends with EINTR at a signal: its effects cannot be undone."""
    with bpf.prog_load(load_attr(RETURN_0, ProgType.XDP)) as program:
        attr = ProgTestRun(
            prog_fd=program.fileno(), data_in=bytes(64), data_size_in=64, repeat=1 << 31
        )
        with ticking(0.01, lambda *_: None), pytest.raises(SyscallError) as caught:
            bpf.prog_test_run(attr)
    assert caught.value.errno == errno.EINTR


def test_other_threads_run_while_the_kernel_works() -> None:
    """A bpf call releases the GIL: only another thread's signal can end this run of 10 minutes."""
    main, ended = threading.get_ident(), threading.Event()

    def interrupt() -> None:
        while not ended.wait(0.002):
            signal.pthread_kill(main, signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, lambda *_: None)
    thread = threading.Thread(target=interrupt, daemon=True)
    with bpf.prog_load(load_attr(RETURN_0, ProgType.XDP)) as program:
        attr = ProgTestRun(
            prog_fd=program.fileno(), data_in=bytes(64), data_size_in=64, repeat=(1 << 32) - 1
        )
        thread.start()
        with pytest.raises(SyscallError) as caught:
            bpf.prog_test_run(attr)
    ended.set()
    thread.join()
    signal.signal(signal.SIGALRM, before)
    assert caught.value.errno == errno.EINTR


def test_the_verifiers_refusal_is_no_lack_of_privilege() -> None:
    """EACCES of PROG_LOAD is a plain SyscallError, with the log in the caller's buffer."""
    log = bytearray(1024)
    attr = load_attr(EXIT)  # r0 was never set
    attr.log_buf, attr.log_size, attr.log_level = log, len(log), 1
    with pytest.raises(SyscallError) as caught:
        bpf.prog_load(attr)
    assert type(caught.value) is SyscallError
    assert caught.value.errno == errno.EACCES
    assert b"R0 !read_ok" in log


def test_what_the_kernel_wrote_survives_a_failure() -> None:
    """Out fields are refreshed after errors: log_true_size says what the log would have taken."""
    attr = load_attr(EXIT)
    attr.log_buf, attr.log_size, attr.log_level = bytearray(8), 8, 1
    with pytest.raises(SyscallError) as caught:
        bpf.prog_load(attr)
    if caught.value.errno != errno.ENOSPC or not attr.log_true_size:
        raise NotSupportedError("log_true_size", "6.4")
    assert attr.log_true_size > 8


@c_struct("bpf_attr", size=200)
class FutureMapCreate(MapCreate):
    """MAP_CREATE with a field that no kernel has yet."""

    novelty: int = u32(at=184, since="99.1")


def test_a_field_too_new_is_named() -> None:
    """E2BIG says which field the kernel has no room for, and since when there is one."""
    attr = FutureMapCreate(
        map_type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1, novelty=1
    )
    with pytest.raises(SyscallError, match=r"no novelty \(since Linux 99\.1\)") as caught:
        bpf.map_create(attr)
    assert caught.value.errno == errno.E2BIG
    attr.novelty = 0
    bpf.map_create(attr).close()


def test_e2big_about_something_else_names_no_field() -> None:
    """A full map is E2BIG too."""
    attr = MapCreate(map_type=MapType.HASH, key_size=4, value_size=4, max_entries=1)
    with bpf.map_create(attr) as fd:
        bpf.map_update_elem(MapElem(map_fd=fd.fileno(), key=b"aaaa", value=b"1234"))
        with pytest.raises(SyscallError, match="E2BIG: argument list too long"):
            bpf.map_update_elem(MapElem(map_fd=fd.fileno(), key=b"bbbb", value=b"1234"))


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (
            lambda common: bpf.map_create(MapCreate(map_type=9999), common=common),
            b"Invalid map_type.",
        ),
        (lambda common: bpf.prog_load(load_attr(EXIT), common=common), b"R0 !read_ok"),
        (
            lambda common: bpf.btf_load(BtfLoad(btf=bytes(30), btf_size=30), common=common),
            b"Invalid magic",
        ),
    ],
    ids=["map", "program", "btf"],
)
def test_common_attributes_explain_a_refusal(
    action: Callable[[CommonAttr], FD], text: bytes
) -> None:
    """The 5-argument form brings a log; a kernel without it says NotSupportedError."""
    log = bytearray(4096)
    common = CommonAttr(log_buf=log, log_size=len(log), log_level=1)
    with pytest.raises(SyscallError):
        action(common)
    assert text in log
    assert common.log_true_size == log.index(0) + 1


def test_an_unsupported_operation_keeps_errno_524() -> None:
    """ENOTSUPP, which no libc knows, is named."""
    attr = MapCreate(map_type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1)
    with bpf.map_create(attr) as fd, pytest.raises(SyscallError, match="ENOTSUPP") as caught:
        bpf.map_lookup_and_delete_elem(
            MapElem(map_fd=fd.fileno(), key=bytes(4), value=bytearray(4))
        )
    assert caught.value.errno == 524


def test_nobody_is_told_what_is_missing() -> None:
    """Each refusal names the capabilities that its command and kind of object need."""
    tracing = load_attr(RETURN_0, ProgType.TRACEPOINT)
    packets = load_attr(RETURN_0, ProgType.XDP)
    table = MapCreate(map_type=MapType.HASH, key_size=4, value_size=4, max_entries=1)
    sample = PerfEventAttr(type=PerfType.SOFTWARE, config=PerfSw.CPU_CLOCK)
    needed = {
        "CAP_BPF and CAP_PERFMON": lambda: bpf.prog_load(tracing),
        "CAP_BPF and CAP_NET_ADMIN": lambda: bpf.prog_load(packets),
        "CAP_BPF (": lambda: bpf.map_create(table),
        "needs CAP_SYS_ADMIN": lambda: bpf.bpf(Cmd.MAP_GET_NEXT_ID, ObjId()),
        "CAP_PERFMON": lambda: kernel.current().perf_event_open(sample, -1, 0, -1, 8),
    }
    for wanted, action in needed.items():
        text = outcome_as_nobody(action)
        assert text.startswith("PrivilegeError: ")
        assert wanted in text


def test_an_array_is_mapped_as_asked() -> None:
    """An array made for it is mapped; a kernel that refuses is a SyscallError with the size."""
    flags = MapFlag.MMAPABLE
    attr = MapCreate(
        map_type=MapType.ARRAY, key_size=4, value_size=8, max_entries=4, map_flags=flags
    )
    with bpf.map_create(attr) as fd:
        with kernel.current().mmap(fd.fileno(), 32, writable=True) as memory:
            memory[8:16] = struct.pack("=Q", 99)
        out = bytearray(8)
        key = struct.pack("=I", 1)
        bpf.map_lookup_elem(MapElem(map_fd=fd.fileno(), key=key, value=out))
        assert out == struct.pack("=Q", 99)
        with kernel.current().mmap(fd.fileno(), 32, writable=False) as memory:
            assert memory[8:16] == out
            with pytest.raises(TypeError):
                memory[0] = 1
        with pytest.raises(SyscallError, match=r"mmap: \w+: .*1073741824 bytes"):
            kernel.current().mmap(fd.fileno(), 1 << 30, writable=False)
