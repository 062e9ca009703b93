"""A process that attaches something and is killed before it can detach it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

from tests.support.children import fork


@contextlib.contextmanager
def killed(action: Callable[[], object]) -> Iterator[int]:
    """Run *action* in a child, kill the child with signal 9, and yield its process id.

    The child's objects are never closed: neither destructors nor exit handlers run.
    """
    reader, writer = os.pipe()
    child = fork()
    if not child:
        try:
            kept = action()  # noqa: F841 - it must live until the end
            os.write(writer, b"done")
            signal.pause()
        except BaseException as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    try:
        told = os.read(reader, 4096)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
    assert told == b"done", told
    yield child
