"""Whatever call fails, and whenever Ctrl-C comes: nothing stays open, pinned, attached or mapped.

A kernel stands in that is the real one but for its n-th call, for every n there is. Emulated, each
call fails in one of the ways.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import os
import pathlib
import shutil
import socket
import warnings
from collections.abc import Callable, Iterator

import pytest

import pyebpf
from pyebpf import daemon, link
from pyebpf.sys import kernel
from pyebpf.uapi.bpf import Cmd
from tests.support.amount import FEWER
from tests.support.leaks import young_garbage
from tests.support.programs import built, only

# Those that return a descriptor.
OPENING = {
    "perf_event_open",
    "open",
    "route_socket",
    Cmd.MAP_CREATE,
    Cmd.PROG_LOAD,
    Cmd.BTF_LOAD,
    Cmd.OBJ_GET,
    Cmd.MAP_GET_FD_BY_ID,
    Cmd.PROG_GET_FD_BY_ID,
    Cmd.BTF_GET_FD_BY_ID,
    Cmd.LINK_GET_FD_BY_ID,
    Cmd.LINK_CREATE,
    Cmd.ITER_CREATE,
    Cmd.RAW_TRACEPOINT_OPEN,
}
# Those that return something to close.
MAPPING = ("mmap", "mapping", "elements")
NETLINK = ("route_socket", "rtnetlink")
CALLS = ("bpf", "perf_event_open", "ioctl", "open", "setsockopt", *NETLINK, *MAPPING)


class FailingOnce:
    """The real kernel, but for its n-th call, which raises instead.

    Args:
        number: Which call, counting from 0.
        error: Makes what it raises, given the call's name.
        afterwards: Make the call nevertheless, before raising.
    """

    def __init__(
        self, number: int, error: Callable[[str], BaseException], *, afterwards: bool
    ) -> None:
        self._real = kernel.current()
        self._afterwards = afterwards
        self._left = number
        self._error = error
        self.failed = False

    def __getattr__(self, name: str):
        value = getattr(self._real, name)
        if name not in CALLS:
            return value

        def call(*arguments, **options):
            self._left -= 1
            if self._left != -1:
                return value(*arguments, **options)
            self.failed = True
            if self._afterwards:
                result = value(*arguments, **options)
                # As the real kernel does when a signal handler raises.
                if name in MAPPING:
                    result.close()
                elif name in OPENING or (name == "bpf" and arguments[0] in OPENING):
                    os.close(result)
            raise self._error(str(arguments[0]) if name == "bpf" else name)

        return call


def refusing(number: int) -> Callable[[str], BaseException]:
    kind = pyebpf.PrivilegeError if number == errno.EPERM else pyebpf.SyscallError
    return lambda call: kind(call, number)


def late_interrupt(call: str) -> BaseException:
    return KeyboardInterrupt(call)


FAILURES = {
    "ENOMEM": refusing(errno.ENOMEM),
    "EINVAL": refusing(errno.EINVAL),
    "EPERM": refusing(errno.EPERM),
    "not supported": lambda call: pyebpf.NotSupportedError(call, "99.0"),
    "Ctrl-C": KeyboardInterrupt,
    "Ctrl-C afterwards": late_interrupt,
}


def each_call_failing(error: Callable[[str], BaseException]) -> Iterator[FailingOnce]:
    """Yield kernels until there is one whose failing call is never reached."""
    first, step = (list(FAILURES.values()).index(error), len(FAILURES)) if FEWER > 1 else (0, 1)
    for number in itertools.count(first, step):
        failing = FailingOnce(number, error, afterwards=error is late_interrupt)
        with kernel.use(failing):
            yield failing
        if not failing.failed:
            assert number > 0
            return


def descriptors() -> set[str]:
    return {each.name for each in pathlib.Path("/proc/self/fd").iterdir()}


def assert_harmless(error: Callable[[str], BaseException], action: Callable[[], None]) -> None:
    """Run *action* once for each call it makes, with that call failing."""
    action()  # what is kept for good (the kernel's own types) is open from here on
    before = descriptors()
    with young_garbage():
        for _ in each_call_failing(error):
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".* loaded without type info", RuntimeWarning)
                with contextlib.suppress(pyebpf.EbpfError, KeyboardInterrupt):
                    action()
            gc.collect()  # what was forgotten warns now, and a warning is an error
            assert descriptors() == before


# Name of an object: the programs to load, if not all.
LOADED: dict[str, tuple[str, ...]] = {
    "globals": (),
    "callbacks": (),
    "count": (),
    "maps": (),
    "probes": (),
    "externs": ("ksym", "kconfig"),
    "externs_ksyms": ("weak", "guarded", "module_function"),
    "arena": (),
    "map_contents": (),
    "struct_ops": (),
    "jump_tables": (),
}
# Values that some systems do not keep.
KCONFIG = {"CONFIG_BPF_SYSCALL": True}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("name", LOADED)
def test_a_load_is_whole_or_nothing(name, failure, bpffs):
    """Descriptors, pins and mappings of a load that fails at any call are given back."""
    spec = only(name, *LOADED[name]) if LOADED[name] else pyebpf.load_spec(built(name))
    pins = bpffs / "new"

    def load() -> None:
        try:
            with pyebpf.load(spec, pin_dir=pins, kconfig=KCONFIG):
                for pin in pins.glob("*"):
                    pin.unlink()
                if pins.exists():
                    pins.rmdir()
        except BaseException:
            assert not pins.exists(), list(pins.glob("*"))
            raise

    assert_harmless(FAILURES[failure], load)


@pytest.mark.parametrize("failure", FAILURES)
def test_reusing_a_pinned_map_leaves_it_pinned(failure, bpffs):
    """A load that finds its map pinned never removes that pin, however it ends."""
    spec = pyebpf.load_spec(built("maps"))
    for name in set(spec.maps) - {"pinned", "array"}:
        spec.maps[name].autocreate = False
    with pyebpf.load(spec, pin_dir=bpffs):
        pass

    def load() -> None:
        with pyebpf.load(spec, pin_dir=bpffs):
            pass

    try:
        assert_harmless(FAILURES[failure], load)
        assert [each.name for each in bpffs.glob("pin*")] == ["pinned"]
    finally:
        (bpffs / "pinned").unlink()


def _one_program() -> pyebpf.CollectionSpec:
    spec = pyebpf.load_spec(built("probes"))
    for each in spec.programs.values():
        each.autoload = each.name == "on_raw_tracepoint"
    return spec


@pytest.mark.parametrize("failure", FAILURES)
def test_pinning_a_collection_is_whole_or_nothing(failure, bpffs):
    """Maps, programs and links: no pin and no directory of a call that fails is left."""
    place = bpffs / "all"
    with pyebpf.load(_one_program()) as bpf:
        bpf.attach("on_raw_tracepoint")

        def pin() -> None:
            try:
                bpf.pin(place)
            except BaseException:
                assert not place.exists(), list(place.rglob("*"))
                raise
            shutil.rmtree(place)

        assert_harmless(FAILURES[failure], pin)


@pytest.mark.parametrize("expected", [True, False])
@pytest.mark.parametrize("failure", FAILURES)
def test_opening_a_pinned_collection_is_whole_or_nothing(failure, expected, bpffs):
    """With a spec and without; pins stay whatever happens."""
    spec = _one_program()
    place = bpffs / "all"
    with pyebpf.load(spec) as bpf:
        bpf.attach("on_raw_tracepoint")
        bpf.pin(place)
        before = sorted(place.rglob("*"))

        def open_all() -> None:
            with pyebpf.load_pinned(place, spec if expected else None) as again:
                assert len(again.links) == 1

        try:
            assert_harmless(FAILURES[failure], open_all)
            assert sorted(place.rglob("*")) == before
        finally:
            shutil.rmtree(place)


@pytest.mark.parametrize("failure", FAILURES)
def test_attaching_is_whole_or_nothing(failure, tracefs):
    """attach() of several programs that fails at any call leaves none of them attached."""
    spec = pyebpf.load_spec(built("probes"))
    spec.variables["target_pid"].value = os.getpid()
    spec.programs["on_uprobe"].section = "uprobe/libc.so.6:getuid"
    spec.programs["on_uprobe"].attach_to = "libc.so.6:getuid"
    with pyebpf.load(spec) as bpf:

        def attach() -> None:
            try:
                links = bpf.attach()
            except BaseException:
                seen = bpf.variables["tracepoint_hits"].value
                os.getppid()
                assert bpf.variables["tracepoint_hits"].value == seen
                assert bpf.links == {}
                raise
            assert len(links) == 4
            for each in links.values():
                each.close()
            bpf.links.clear()

        assert_harmless(FAILURES[failure], attach)


@pytest.mark.parametrize("failure", FAILURES)
def test_attaching_to_a_device_or_socket_is_whole_or_nothing(failure, netns):
    """XDP and socket filters by hand, likewise."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with left, right, pyebpf.load(built("probes")) as bpf:

        def attach() -> None:
            with (
                link.attach_xdp(bpf.programs["on_xdp"], "lo"),
                link.attach_socket(bpf.programs["on_socket"], right),
            ):
                pass

        assert_harmless(FAILURES[failure], attach)


@pytest.mark.parametrize("failure", FAILURES)
def test_opening_is_whole_or_nothing(failure, bpffs):
    """Maps, programs and links by descriptor, id and pin; their information; lists of them."""
    with pyebpf.load(built("probes")) as bpf:
        section, program = bpf.maps[".bss"], bpf.programs["on_raw_tracepoint"]
        with pyebpf.attach(program) as attached:
            ids = section.id, program.id, attached.id
            owners = {pyebpf.Map: section, pyebpf.Program: program, pyebpf.Link: attached}
            paths: dict[type, pathlib.Path] = {}
            for kind, owner in owners.items():
                paths[kind] = bpffs / kind.__name__
                owner.pin(paths[kind])

            def open_all() -> None:
                for (kind, owner), number in zip(owners.items(), ids, strict=True):
                    with (
                        kind.from_fd(owner.fileno()) as by_fd,
                        kind.from_id(number),
                        kind.from_pin(paths[kind]),
                    ):
                        by_fd.info()
                with section.clone(), section.raw, section.new_like():
                    pass

            try:
                assert_harmless(FAILURES[failure], open_all)
            finally:
                for path in paths.values():
                    path.unlink()


@pytest.mark.parametrize("failure", FAILURES)
def test_registering_an_implementation_is_whole_or_nothing(failure):
    """With a link and without: what could not be registered is not."""
    spec = pyebpf.load_spec(built("struct_ops"))
    available = pathlib.Path("/proc/sys/net/ipv4/tcp_available_congestion_control")
    with pyebpf.load(spec) as bpf:

        def register() -> None:
            try:
                links = bpf.attach()
            except BaseException:
                assert bpf.links == {}
                raise
            for each in links.values():
                each.close()
            bpf.links.clear()

        assert_harmless(FAILURES[failure], register)
        assert "pyebpf" not in available.read_text()


@pytest.mark.parametrize("failure", FAILURES)
def test_an_arena_is_mapped_or_not(failure):
    """Memory whose mapping failed can be mapped later; no range of addresses is lost."""
    with pyebpf.load(built("arena")) as bpf:
        arena = bpf.maps["arena"]

        def clone() -> None:
            with arena.clone() as other, other.memory() as memory:
                assert len(memory) == len(arena.memory())

        assert_harmless(FAILURES[failure], clone)


SHAPES: dict[str, dict[str, object]] = {
    "plain": {"type": pyebpf.MapType.HASH, "key": "I", "value": "Q", "max_entries": 4},
    "storage": {"type": pyebpf.MapType.TASK_STORAGE, "value": "Q"},
    "of maps": {
        "type": pyebpf.MapType.ARRAY_OF_MAPS,
        "max_entries": 2,
        "inner": pyebpf.MapSpec(
            name="i", type=pyebpf.MapType.ARRAY, key_size=4, value_size=4, max_entries=1
        ),
    },
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("failure", FAILURES)
def test_making_a_map_is_whole_or_nothing(failure, shape):
    """With the types and the model it is made with; and all that is made from it."""

    def make() -> None:
        with pyebpf.Map.create(**SHAPES[shape]) as made, made.new_like() as fresh:
            with made.with_types(value=bytes), fresh.clone():
                pass
            with contextlib.suppress(pyebpf.SyscallError):
                made.lookup_batch()

    assert_harmless(FAILURES[failure], make)


@pytest.mark.parametrize("failure", FAILURES)
def test_pins_of_a_daemon_are_never_lost(failure, bpffs):
    """Replaced or in parallel: at the end there is one pin or the other, and none in between."""
    place = bpffs / "flows"
    small = pyebpf.MapSpec(
        name="flows", type=pyebpf.MapType.HASH, key_size=4, value_size=8, max_entries=4
    )
    large = small.copy()
    large.max_entries = 8
    fits = {4: large, 8: small}

    def change() -> None:
        with pyebpf.Map.from_pin(place) as before:
            spec = fits[before.max_entries]
        try:
            with daemon.open_or_create(spec, place, replace=True).map:
                pass
            with daemon.open_parallel(spec, place):
                daemon.end_parallel(place)
        finally:
            assert place.exists()

    with daemon.open_or_create(small, place).map:
        pass
    try:
        assert_harmless(FAILURES[failure], change)
        assert {each.name for each in bpffs.glob("flows*")} <= {"flows", "flows:pending"}
    finally:
        for each in bpffs.glob("flows*"):
            each.unlink()
