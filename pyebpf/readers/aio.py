"""Sleeping in asyncio until a reader has something: what ``async for event in reader`` stands on.

    reader.fileno() ──loop.add_reader──▶ the task that sleeps     close(), from any thread ──▶ all

asyncio takes 40 ms to import, and is there already whenever this runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress

from pyebpf.sys.fd import FD

__all__ = ["Sleepers"]


class Sleepers:
    """The tasks that sleep, of all event loops."""

    __slots__ = ("_wakes",)

    def __init__(self) -> None:
        self._wakes: dict[object, Callable[[], object]] = {}

    async def sleep(self, fd: int, seconds: float, over: Callable[[], bool]) -> None:
        """Sleep until *fd* is readable or `wake` is called.

        Args:
            fd: A duplicate is watched, so it may be closed meanwhile.
            seconds: If not 0, sleep for so long, whether *fd* is readable or not.
            over: Whether there is no point in sleeping; asked when `wake` would be heard.
        """
        import asyncio

        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def go_on() -> None:
            if not future.done():
                future.set_result(None)

        self._wakes[future] = lambda: loop.call_soon_threadsafe(go_on)
        try:
            if over():
                return
            with ExitStack() as stack:
                if seconds:
                    stack.callback(loop.call_later(seconds, go_on).cancel)
                else:
                    watched = stack.enter_context(FD(os.dup(fd)))
                    loop.add_reader(watched.fileno(), go_on)
                    stack.callback(loop.remove_reader, watched.fileno())
                await future
        finally:
            del self._wakes[future]

    async def let_others_run(self) -> None:
        """Give the other tasks of the loop a turn."""
        import asyncio

        await asyncio.sleep(0)

    def wake(self) -> None:
        """Let all go on; from any thread."""
        for wake in list(self._wakes.values()):
            with suppress(RuntimeError):  # its loop was closed, and the task never goes on
                wake()
