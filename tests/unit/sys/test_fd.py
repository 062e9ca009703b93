"""FD owns one descriptor: closes it once, never loses it, never uses it after."""

from __future__ import annotations

import fcntl
import gc
import os
import resource
import threading

import pytest

from pyebpf.errors import ClosedError, SyscallError
from pyebpf.sys.fd import FD


def opened() -> int:
    return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


def is_open(raw: int) -> bool:
    try:
        fcntl.fcntl(raw, fcntl.F_GETFD)
    except OSError:
        return False
    return True


def test_closing_twice_closes_once() -> None:
    """The second close does not hit whoever has the number by then."""
    fd = FD(opened())
    raw = fd.fileno()
    fd.close()
    assert not is_open(raw)
    heir = opened()
    fd.close()
    assert is_open(heir)
    os.close(heir)


def test_a_closed_descriptor_is_an_error_to_use() -> None:
    """Every use after close or take is a ClosedError, which is a ValueError."""
    fd = FD(opened())
    fd.close()
    assert fd.closed
    for use in (fd.fileno, fd.dup, fd.take):
        with pytest.raises(ClosedError):
            use()
    assert "closed" in repr(fd)


def test_taking_leaves_the_descriptor_open() -> None:
    """take() hands the number over; its new owner closes it."""
    fd = FD(opened())
    raw = fd.take()
    assert fd.closed
    fd.close()
    assert is_open(raw)
    os.close(raw)


def test_a_duplicate_has_a_life_of_its_own() -> None:
    """dup() shares the file, is close-on-exec and survives the original."""
    with FD(opened()) as fd:
        other = fd.dup()
    with other:
        assert is_open(other.fileno())
        assert fcntl.fcntl(other.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_a_block_closes_at_its_end() -> None:
    """Also when it is left by an error."""
    fd = FD(opened())
    with pytest.raises(KeyError), fd:
        raise KeyError
    assert fd.closed


def test_standard_streams_are_never_owned() -> None:
    """A number of 0, 1 or 2 is moved up, and the low one is free again."""
    saved = os.dup(0)
    os.close(0)
    assert opened() == 0
    with FD(0) as fd:
        assert fd.fileno() >= 3
        assert fcntl.fcntl(fd.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        assert not is_open(0)
    os.dup2(saved, 0)
    os.close(saved)


def test_a_stream_that_cannot_be_moved_is_closed() -> None:
    """EMFILE while moving a low number up: an error, and nothing stays open."""
    saved = os.dup(0)
    os.close(0)
    raw = opened()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(SyscallError, match="fcntl: E"):
            FD(raw)
        assert not is_open(raw)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.dup2(saved, 0)
        os.close(saved)


def test_a_negative_number_is_refused() -> None:
    """A failed call's -1 must not become an owner."""
    with pytest.raises(ValueError, match="-1"):
        FD(-1)


def forget(raw: int) -> None:
    FD(raw)
    gc.collect()


def test_a_forgotten_descriptor_warns_and_is_closed() -> None:
    """ResourceWarning, and no leak."""
    raw = opened()
    with pytest.warns(ResourceWarning, match=f"unclosed <FD {raw}>"):
        forget(raw)
    assert not is_open(raw)


def test_many_threads_close_it_once() -> None:
    """Of eight closers at once one gets the number; none closes what is opened meanwhile."""
    for _ in range(100):
        fd = FD(opened())
        start = threading.Barrier(8)
        heirs: list[int] = []

        def work(fd: FD = fd, start: threading.Barrier = start, heirs: list[int] = heirs) -> None:
            start.wait()
            fd.close()
            heirs.append(opened())

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(map(is_open, heirs))
        assert len(set(heirs)) == 8
        for heir in heirs:
            os.close(heir)
