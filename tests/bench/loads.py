"""The suite of loads: what a process pays before the first event.

    load.inprocess   the first load of a small CO-RE object, once the library is imported
    load.process     a whole process: import, load, attach, from the interpreter's start to its end
    import           importing the library, over bare Python

Every number is CPU time of a fresh process, which the peer starts; `tests.bench.load` tells more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.harness import Command
from tests.support.programs import built

__all__ = ["UNITS", "subjects"]

HERE = Path(__file__).parent
UNITS = {"load.inprocess": "ms", "load.process": "ms", "import": "ms"}


@contextmanager
def subjects(python: str) -> Iterator[tuple[list[Command], list[int]]]:
    """Say how the peers are started."""
    script, path = str(HERE / "load_subject.py"), str(built("trace_exec"))
    peers = ("libbpf", "bcc", "pylibbpf", "pyebpf")
    yield [Command(peer, [python, script, peer, path]) for peer in peers], []
