"""AF_XDP sockets in trouble: what cannot be had is a typed error that says why; nothing is lost."""

from __future__ import annotations

import contextlib
import errno
import gc
import shutil
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from pyebpf import Umem, XskMode, XskSocket
from pyebpf.errors import AttachError, ClosedError, SyscallError
from tests.support.children import outcome, outcome_as_nobody
from tests.support.frames import PATIENCE, frame, numbers


@contextlib.contextmanager
def refused(number: int, said: str):
    """Expect a SyscallError of this errno whose message says so."""
    with pytest.raises(SyscallError, match=said) as caught:
        yield
    assert caught.value.errno == number


def test_a_queue_has_one_socket(cable):
    """Another one is told so; once the first is closed, the next one comes in at once."""
    with XskSocket(cable.name, map=False), refused(errno.EBUSY, "another AF_XDP socket is bound"):
        XskSocket(cable.name, map=False)
    for _ in range(5):
        XskSocket(cable.name).close()


def test_there_must_be_such_a_queue(wide):
    """The message names it, with memory of its own and with shared memory."""
    with refused(errno.EINVAL, "socket on queue 2 of near: bind: EINVAL: near has no queue 2"):
        XskSocket(wide.name, 2)
    with Umem(8192) as umem, XskSocket(wide.name, 0, umem=umem):
        with refused(errno.EINVAL, "near has no queue 9"):
            XskSocket(wide.name, 9, umem=umem, map=False)
        assert umem.usage() == (6144, 2048, 0, 0, 0)


def test_there_must_be_such_an_interface(netns):
    """By name the near ones are told."""
    with pytest.raises(AttachError, match="no network interface 'nothing'"):
        XskSocket("nothing")
    with refused(errno.ENODEV, "no interface 99"):
        XskSocket(99)


def test_zero_copy_is_the_drivers_to_give(cable):
    """A cable has none: AUTO copies, ZERO_COPY is refused, and nothing is left of it."""
    with XskSocket(cable.name) as xsk:
        assert not xsk.zero_copy
    with Umem(mode=XskMode.ZERO_COPY) as umem:
        with refused(errno.EOPNOTSUPP, "the driver of near cannot do without copying"):
            XskSocket(cable.name, umem=umem)
        assert umem.usage() == (4096, 0, 0, 0, 0)


def test_one_program_redirects(wide):
    """A second built-in one is refused, and the socket with it; sharing the map is the way."""
    with Umem(8192) as umem, XskSocket(wide.name, 0, umem=umem):
        with refused(errno.EBUSY, 'another XDP program is attached.*"xsk_redirect"'):
            XskSocket(wide.name, 1, umem=umem)
        assert umem.usage() == (6144, 2048, 0, 0, 0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rx_size": 3}, "rx_size must be a power of two: 3"),
        ({"tx_size": -2}, "tx_size must be a power of two: -2"),
        ({"rx_size": 0, "tx_size": 0}, "both 0"),
        ({"fill_size": 0}, "fill_size of a socket that receives, is 0"),
        ({"fill_size": 8192}, "fill_size is 8192, but the memory has 4096 free frames"),
    ],
)
def test_sizes_have_to_fit(netns, given, said):
    """Each is checked before the kernel sees it, or names itself."""
    with pytest.raises(ValueError, match=said):
        XskSocket("lo", **given)


def test_packets_have_to_fit(cable):
    """Nothing is sent if one of many does not."""
    with XskSocket(cable.name) as xsk:
        for packet in (b"", bytes(2049)):
            with pytest.raises(ValueError, match=f"packet 1 has {len(packet)} bytes; .* 1 to 2048"):
                xsk.send([frame(0), packet])
        with pytest.raises(ValueError, match="count must be 1 to tx_size, 2048: 4000"):
            xsk.reserve(64, count=4000).__enter__()
        with pytest.raises(TypeError):
            xsk.send(["text"])  # type: ignore[list-item]
        with pytest.raises(ValueError, match="timeout must be"):
            xsk.receive(-1)
        with pytest.raises(ValueError, match="limit must be 1 or more: 0"):
            xsk.receive(limit=0)
        assert xsk.statistics().sent == 0


def test_packets_of_other_memory_are_not_forwarded(cable, far):
    """Their frames mean nothing there."""
    with XskSocket(cable.name) as source:
        with cable.peer.entered():
            target = XskSocket(cable.peer_name, map=False, rx_size=0)
        far.send([1])
        with target, source.lease(PATIENCE) as lease:
            with pytest.raises(ValueError, match="only packets of the same memory"):
                target.forward(lease)
            assert source.umem.usage().lent == 1


def test_half_a_socket(cable, netns):
    """One that only sends does not receive, and the other way round."""
    with XskSocket(cable.name, rx_size=0) as sender:
        assert sender.umem.usage().filled == 0
        with pytest.raises(ValueError, match="without an RX ring"):
            sender.receive(0)
    with XskSocket(cable.name, tx_size=0) as receiver:
        with pytest.raises(ValueError, match="without a TX ring"):
            receiver.send(frame(1))
        assert receiver.receive(0) == []


def test_without_privilege(cable):
    """The capability is named."""
    said = outcome_as_nobody(lambda: XskSocket(cable.name))
    assert said.startswith("PrivilegeError: ")
    assert "CAP_NET_RAW" in said


def test_the_limit_of_locked_memory_is_named(cable):
    """Without CAP_IPC_LOCK the memory counts; a limit that cannot be raised is told."""
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (util-linux) is not installed")
    code = """
        import pyebpf
        try:
            pyebpf.XskSocket("near")
        except pyebpf.SyscallError as error:
            print(error)
    """
    without = "-ipc_lock,-sys_resource"
    command = ["prlimit", "--memlock=65536:65536", "setpriv", "--bounding-set", without]
    command += ["--inh-caps", without, sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "ENOBUFS: 8388608 bytes are more than RLIMIT_MEMLOCK allows" in done.stdout


def test_closing_wakes_who_waits(cable):
    """From another thread; the waiting one gets ClosedError, as all later calls do."""
    xsk = XskSocket(cable.name)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            xsk.receive()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    xsk.close()
    thread.join(PATIENCE)
    assert [type(error) for error in errors] == [ClosedError]
    for call in (xsk.receive, xsk.fileno, xsk.flush, lambda: xsk.send(frame(1)), xsk.wait):
        with pytest.raises(ClosedError):
            call()
    with pytest.raises(ClosedError):
        xsk.lease().__enter__()
    xsk.close()
    assert xsk.closed
    assert xsk.statistics().received == 0


def test_a_signal_handler_may_close(cable):
    """Also the socket that its own thread is waiting for."""
    xsk = XskSocket(cable.name)
    before = signal.signal(signal.SIGUSR1, lambda *_: xsk.close())
    # Sent by another thread, as soon as this one sleeps or a little earlier.
    thread = threading.Thread(target=lambda: signal.pthread_kill(main, signal.SIGUSR1))
    main = threading.get_ident()
    try:
        thread.start()
        with pytest.raises(ClosedError):
            xsk.receive()
    finally:
        thread.join(PATIENCE)
        signal.signal(signal.SIGUSR1, before)
    assert xsk.umem.closed


def test_a_socket_may_be_closed_while_frames_are_leased(cable, far):
    """What was leased can be read until the block ends, then its frames are free."""
    with Umem() as umem:
        xsk = XskSocket(cable.name, umem=umem)
        far.send(range(5))
        with xsk.lease(PATIENCE, limit=2) as lease:
            xsk.close()
            assert numbers(lease) == [0, 1]
            assert umem.usage() == (4094, 0, 0, 2, 0)
            with XskSocket(cable.name, umem=umem) as another:
                assert umem.usage() == (2046, 2048, 0, 2, 0)
                far.send([7])
                assert numbers(another.receive(PATIENCE)) == [7]
            assert numbers(lease) == [0, 1]
        assert umem.usage() == (4096, 0, 0, 0, 0)
        assert xsk.statistics().received == 2


def test_memory_may_be_closed_while_frames_are_leased(cable, far):
    """It goes when nobody looks at it any more."""
    with XskSocket(cable.name) as xsk:
        far.send(range(2))
        with xsk.lease(PATIENCE) as lease:
            xsk.close()
            assert numbers(lease) == [0, 1]
            inside = lease[0][:10]
    assert bytes(inside) == frame(0)[:10]


def test_a_socket_closed_while_frames_are_written_sends_nothing(cable):
    """The block's end says so, and the frames are free."""
    with Umem() as umem:
        xsk = XskSocket(cable.name, umem=umem)
        with pytest.raises(ClosedError), xsk.reserve(64, count=3):
            xsk.close()
        assert umem.usage() == (4096, 0, 0, 0, 0)


def test_memory_closed_before_its_sockets_goes_with_them(cable, far):
    """Sockets go on; there are no new ones."""
    umem = Umem()
    with XskSocket(cable.name, umem=umem) as xsk:
        umem.close()
        far.send([3])
        assert numbers(xsk.receive(PATIENCE)) == [3]
        with pytest.raises(ClosedError):
            XskSocket(cable.name, 1, umem=umem)
    with pytest.raises(ValueError, match="closed"):
        umem.frames.memory[0]


def test_a_child_leaves_the_parents_socket_alone(cable, far):
    """Its calls are refused, its close is its own; the parent goes on."""
    with XskSocket(cable.name) as xsk:
        far.send(range(3))

        def use() -> str:
            try:
                xsk.receive(0)
            except ClosedError as error:
                xsk.close()
                xsk.umem.close()
                return str(error)
            return "received"

        assert "child of the process" in outcome(use)
        assert numbers(xsk.receive(PATIENCE)) == [0, 1, 2]
        xsk.send(frame(4))
        assert far.receive(1) == [4]


def test_an_interface_that_is_down_is_told(cable, netns):
    """Packets stay in the ring and go out when it is up again."""
    with XskSocket(cable.name) as xsk:
        netns.run("ip", "link", "set", cable.name, "down")
        with refused(errno.ENETDOWN, "queue 0 of near: sendto: ENETDOWN: near is down"):
            xsk.send([frame(1), frame(2)])
        netns.run("ip", "link", "set", cable.name, "up")
        assert xsk.flush(PATIENCE)
        assert xsk.statistics().sent == 2


def test_an_interface_that_goes_is_told(cable, netns):
    """Also to who waits already; and the frames come back."""
    with Umem() as umem, XskSocket(cable.name, umem=umem) as xsk:
        netns.run("ip", "link", "delete", cable.name)
        with refused(errno.ENXIO, "near has gone"):
            xsk.receive(PATIENCE)
        with refused(errno.ENXIO, "near has gone"):
            xsk.send(frame(1))
        xsk.close()
        assert xsk.statistics().unsent == 1
        assert umem.usage() == (4096, 0, 0, 0, 0)


def test_what_was_not_sent_is_told_at_the_end(cable, netns):
    """Packets in the TX ring that the kernel never looked at."""
    with Umem() as umem, XskSocket(cable.name, umem=umem) as xsk:
        netns.run("ip", "link", "set", cable.name, "down")
        with refused(errno.ENETDOWN, "down"):
            xsk.send([frame(number) for number in range(5)])
        assert umem.usage().sending == 5
        xsk.close()
        assert (xsk.statistics().sent, xsk.statistics().unsent) == (0, 5)
        assert umem.usage() == (4096, 0, 0, 0, 0)


def test_a_forgotten_socket_warns(cable):
    """And is closed."""

    def forget() -> None:
        XskSocket(cable.name, map=False)
        gc.collect()

    with pytest.warns(ResourceWarning, match="unclosed"):
        forget()
    XskSocket(cable.name, map=False).close()
