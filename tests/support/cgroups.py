"""Control groups: this process in one of them for a while."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator

from pyebpf.sys.fd import FD


@contextlib.contextmanager
def joined(cgroup: pathlib.Path) -> Iterator[FD]:
    """Move this process into a control group for a ``with`` block; gives the group, opened."""
    lines = pathlib.Path("/proc/self/cgroup").read_text("utf-8").splitlines()
    (home,) = (line.removeprefix("0::") for line in lines if line.startswith("0::"))
    with FD(os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)) as group:
        (cgroup / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield group
        finally:
            place = cgroup.parent / home.lstrip("/") / "cgroup.procs"
            place.write_text(str(os.getpid()))
