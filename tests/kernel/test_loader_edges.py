"""Corners of loading: forgotten and closed collections, old kernels, long logs, test runs."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import struct
import sys
import threading

import pytest

import pyebpf
from pyebpf import MapFlag, MapType
from pyebpf.sys import kernel
from pyebpf.uapi.bpf import Cmd
from tests.support.elf_builder import EXIT, MOV_0, ElfBuilder, load_64
from tests.support.programs import built

PACKET = bytes(64)
# What add_up() of bpf_src/globals.bpf.c returns.
SUM = 1000 + 10 + 42 + 43 + 7 - 2 - 1 + 4 + ord("l")


def test_a_typo_is_told_what_there_is():
    """Names of maps, programs and variables that do not exist list those that do."""
    with pyebpf.load(built("count_syscalls")) as bpf:
        with pytest.raises(KeyError, match=r"no map 'count'; there are: .*counts"):
            bpf.maps["count"]
        with pytest.raises(KeyError, match="no program 'typo'; there are: on_sys_enter"):
            bpf.attach("typo")
        with pytest.raises(KeyError, match="no variable 'typo'"):
            bpf.variables["typo"]
        with pytest.raises(KeyError, match="no map 'typo'"):
            bpf.reader("typo")
        assert bpf.maps.get("typo") is None


def test_a_forgotten_collection_warns_once_and_detaches(tracefs):
    """One warning that names it, not one for each descriptor."""
    spec = pyebpf.load_spec(built("probes"))
    collections = [pyebpf.load(spec)]
    links = collections[0].attach()
    assert len(links) == 3
    with pytest.warns(ResourceWarning) as caught:
        collections.clear()
    assert [str(each.message).partition(":")[0] for each in caught] == [
        'unclosed <Collection "probes" 2 maps, 7 programs, 3 links, open>'
    ]
    assert all(each.closed for each in links.values())


def test_a_closed_collection_attaches_nothing(tracefs):
    """attach() after close(), and close() while another thread attaches: nothing is left on."""
    bpf = pyebpf.load(built("probes"))
    threads = [threading.Thread(target=bpf.close) for _ in range(4)]
    for thread in threads:
        thread.start()
    with contextlib.suppress(pyebpf.ClosedError):
        bpf.attach()
    for thread in threads:
        thread.join()
    assert bpf.closed
    assert all(each.closed for each in bpf.links.values())
    with pytest.raises(pyebpf.ClosedError, match='Collection "probes"'):
        bpf.attach()
    with pytest.raises(pyebpf.ClosedError, match='program "on_tracepoint" used after close'):
        pyebpf.attach(bpf.programs["on_tracepoint"])


def test_what_was_detached_by_hand_is_attached_again(tracefs):
    """attach() leaves what is attached alone, and only that."""
    with pyebpf.load(built("probes")) as bpf:
        first = bpf.attach("on_tracepoint", "on_tracepoint")
        assert bpf.attach("on_tracepoint") == {}
        first["on_tracepoint"].close()
        again = bpf.attach("on_tracepoint")
        assert list(again) == ["on_tracepoint"]
        assert bpf.links["on_tracepoint"] is again["on_tracepoint"]


def test_names_are_those_of_the_specs_mappings():
    """What the user filed under a name is found under that name, whatever it calls itself."""
    spec = pyebpf.load_spec(built("globals"))
    spec.programs["renamed"] = spec.programs["add_up"].copy()
    spec.maps[".data"].name = "renamed"
    with pyebpf.load(spec) as bpf:
        assert set(bpf.programs) == {"add_up", "renamed"}
        assert bpf.programs["add_up"].id != bpf.programs["renamed"].id
        bpf.programs["renamed"].run(PACKET)
        assert bpf.variables["total"].value


def test_variables_work_without_memory_mapping():
    """Kernels before 5.5 read, change and write back the whole section."""
    with kernel.use(Refusing(lambda cmd, attr: getattr(attr, "map_flags", 0) & MapFlag.MMAPABLE)):
        with pyebpf.load(built("globals")) as bpf:
            assert not bpf.maps[".data"].flags & MapFlag.MMAPABLE
            variables, run = bpf.variables, bpf.programs["add_up"].run
            variables["total"].value = 5000
            assert run(PACKET).retval == SUM + 4000
            assert variables["calls"].value == 1
            assert variables["tiny"].value == -1
            with pytest.raises(TypeError, match="constant"):
                variables["limit"].value = 1
            with pytest.raises(TypeError):
                variables["total"].raw = 4
        with pytest.raises(pyebpf.ClosedError, match='"calls"'):
            variables["calls"].value  # noqa: B018


def test_a_kernel_without_btf_or_links_does_without(tracefs):
    """Before 4.18 types cannot be loaded, before 5.7 there are no links: both are no failure."""
    lacking = {Cmd.BTF_LOAD, Cmd.LINK_CREATE, Cmd.MAP_FREEZE}
    spec = pyebpf.load_spec(built("probes"))
    spec.variables["target_pid"].value = os.getpid()
    spec.programs["on_tp_btf"].autoload = False
    older = Refusing(lambda cmd, _: cmd in lacking, pyebpf.NotSupportedError("it"))
    with kernel.use(older), pyebpf.load(spec) as bpf:
        bpf.attach("on_tracepoint")
        os.getppid()
        assert bpf.variables["tracepoint_hits"].value == 1
        link = bpf.links["on_tracepoint"]
        assert link.info().program_id == bpf.programs["on_tracepoint"].id
        for use in (lambda: link.pin("/sys/fs/bpf/x"), lambda: link.id):
            with pytest.raises(pyebpf.NotSupportedError, match="without a bpf_link"):
                use()


class Refusing:
    """The real kernel, but for bpf calls that a test picks."""

    def __init__(self, refuses, error=None) -> None:
        self._real = kernel.current()
        self._refuses = refuses
        self._error = error

    def __getattr__(self, name):
        return getattr(self._real, name)

    def bpf(self, cmd, attr, *, common=None):
        if self._refuses(cmd, attr):
            raise self._error or pyebpf.SyscallError(str(cmd), errno.EINVAL)
        return self._real.bpf(cmd, attr, common=common)


def test_a_data_section_can_be_shared_by_two_loads():
    """Two programs, one set of variables: .data of one load replaces that of the other."""
    with (
        pyebpf.load(built("globals")) as first,
        pyebpf.load(built("globals"), map_replacements={".data": first.maps[".data"]}) as second,
    ):
        first.variables["total"].value = 123
        assert second.variables["total"].value == 123


def test_a_long_log_is_whole():
    """Far more log than the first buffer holds, whether the program loads or not."""
    turns = 5000
    add = insn(0x07, 1, 0, 0, 1)  # r1 += 1
    body = insn(0xB7, 1, 0, 0, 0) + add * turns + insn(0xB7, 0, 0, 0, 0)
    good = pyebpf.CollectionSpec(programs={"p": program(body + insn(0x95, 0, 0, 0, 0))})
    with pyebpf.load(good, log_level=2) as bpf:
        log = bpf.programs["p"].verifier_log
    with pyebpf.load(good, log_level=2, log_size=4 << 20) as bpf:
        roomy = bpf.programs["p"].verifier_log
    assert len(log) > 70_000
    assert [each for each in log.splitlines() if "verification time" not in each] == [
        each for each in roomy.splitlines() if "verification time" not in each
    ]
    assert all(f"\n{slot}: (07) r1 += 1" in log for slot in range(1, turns + 1))
    bad = pyebpf.CollectionSpec(programs={"p": program(body + insn(0xBF, 0, 5, 0, 0))})
    bad.programs["p"].code += insn(0x95, 0, 0, 0, 0)
    for level in (0, 2):
        with pytest.raises(
            pyebpf.VerifierError, match=r'load program "p": .*R5 !read_ok'
        ) as caught:
            pyebpf.load(bad, log_level=level)
        error = caught.value
        assert (error.source, error.truncated) == (None, False)
        assert len(error.log) > 70_000
        assert "\n1: (07) r1 += 1" in error.log
        copied = pickle.loads(pickle.dumps(error))
        assert (str(copied), copied.log, copied.explain()) == (
            str(error),
            error.log,
            error.explain(),
        )


def insn(opcode: int, dst: int, src: int, offset: int, immediate: int) -> bytes:
    registers = dst | src << 4 if sys.byteorder == "little" else dst << 4 | src
    return struct.pack("=BBhi", opcode, registers, offset, immediate)


def program(code: bytes, kind=pyebpf.ProgType.SOCKET_FILTER) -> pyebpf.ProgramSpec:
    return pyebpf.ProgramSpec(
        name="p", type=kind, code=code, license="GPL", byteorder=sys.byteorder
    )


def test_a_verifier_that_was_stopped_did_not_refuse():
    """ENOMEM and signals are no verdict on the program, whatever the log says by then."""

    class Stopped(Refusing):
        def bpf(self, cmd, attr, *, common=None):
            if cmd == Cmd.PROG_LOAD and attr.log_buf is not None:
                attr.log_buf[:6] = b"0: (b7"
            return super().bpf(cmd, attr, common=common)

    spec = pyebpf.CollectionSpec(programs={"p": program(insn(0x95, 0, 0, 0, 0))})
    error = pyebpf.SyscallError("BPF_PROG_LOAD", errno.ENOMEM)
    with (
        kernel.use(Stopped(lambda cmd, _: cmd == Cmd.PROG_LOAD, error)),
        pytest.raises(pyebpf.SyscallError, match=r'load program "p": .*ENOMEM') as caught,
    ):
        pyebpf.load(spec)
    assert type(caught.value) is pyebpf.SyscallError


def test_a_context_is_given_back_and_the_callers_left_alone():
    """A syscall program writes into its context: the result has it, the caller's bytes do not."""
    code = (
        insn(0xB7, 2, 0, 0, 77)
        + insn(0x63, 1, 2, 0, 0)
        + insn(0xB7, 0, 0, 0, 0)
        + insn(0x95, 0, 0, 0, 0)
    )
    spec = pyebpf.CollectionSpec(programs={"p": program(code, pyebpf.ProgType.SYSCALL)})
    spec.programs["p"].flags = pyebpf.ProgFlag.SLEEPABLE
    given = bytes(8)
    with pyebpf.load(spec) as bpf:
        result = bpf.programs["p"].run(ctx=given)
    assert result.ctx == struct.pack("=II", 77, 0)
    assert given == bytes(8)


def test_a_raw_tracepoint_program_runs_on_the_arguments_it_is_given():
    """The context is its array of arguments; it runs once and has no packet."""
    code = insn(0x79, 0, 1, 8, 0) + insn(0x95, 0, 0, 0, 0)  # r0 = arguments[1]
    kind = pyebpf.ProgType.RAW_TRACEPOINT
    spec = pyebpf.CollectionSpec(programs={"p": program(code, kind)})
    with pyebpf.load(spec) as bpf:
        result = bpf.programs["p"].run(ctx=struct.pack("=QQ", 1, 4242))
        assert (result.retval, result.data) == (4242, b"")


def test_a_packet_may_grow_by_as_much_as_the_kernel_lets_it():
    """XDP's tail grows to the end of its page, an skb's to thousands of bytes."""
    grow_xdp = insn(0xB7, 2, 0, 0, 3000) + insn(0x85, 0, 0, 0, 65)  # bpf_xdp_adjust_tail
    grow_skb = (
        insn(0xB7, 2, 0, 0, 8000) + insn(0xB7, 3, 0, 0, 0) + insn(0x85, 0, 0, 0, 38)
    )  # bpf_skb_change_tail
    end = insn(0x95, 0, 0, 0, 0)
    spec = pyebpf.CollectionSpec(
        programs={
            "xdp": program(grow_xdp + end, pyebpf.ProgType.XDP),
            "skb": program(grow_skb + end, pyebpf.ProgType.SCHED_CLS),
        }
    )
    with pyebpf.load(spec) as bpf:
        grown = bpf.programs["xdp"].run(PACKET)
        assert (grown.retval, len(grown.data)) == (0, 64 + 3000)
        grown = bpf.programs["skb"].run(memoryview(PACKET).cast("I"))
        assert (grown.retval, len(grown.data)) == (0, 8000)
        with pytest.raises(TypeError):
            bpf.programs["xdp"].run(64)
        with pytest.raises(ValueError, match="repeat"):
            bpf.programs["xdp"].run(PACKET, repeat=-1)


def test_a_load_of_a_map_with_something_behind_it_is_refused():
    """As what loads the object elsewhere offers it to the verifier, so is it offered here."""
    builder = ElfBuilder()
    code = builder.code("socket", [load_64(4 << 32), MOV_0, EXIT])
    builder.symbol("main", code, 0, 32)
    maps = builder.section("maps", struct.pack("=5I", MapType.ARRAY, 4, 4, 1, 0))
    builder.relocate(code, 0, builder.object("numbers", maps, 0, 20))
    with pytest.raises(pyebpf.VerifierError, match="unrecognized bpf_ld_imm64 insn"):
        pyebpf.load(builder.build())
