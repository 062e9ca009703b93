"""What bpftool says, as an oracle: its JSON, or what it printed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from typing import Any, Protocol

import pytest

# Distributions put it where users' search paths do not lead.
_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


def bpftool(*arguments: str) -> str:
    """Return what bpftool prints; skip the test where there is none."""
    found = shutil.which("bpftool", path=_PATH)
    if found is None:
        pytest.skip("bpftool (Debian: bpftool) is not installed")
    return subprocess.run([found, *arguments], capture_output=True, text=True, check=True).stdout


def bpftool_json(*arguments: str) -> Any:
    """Return what bpftool prints as JSON."""
    return json.loads(bpftool("-j", *arguments))


class Listed(Protocol):
    """An object of the kernel's, opened."""

    @property
    def id(self) -> int: ...

    def close(self) -> None: ...


def missed(kind: str, listed: Iterable[Listed], *ours: Listed) -> set[int]:
    """Return the ids that a listing of ours does not have, but bpftool's before and after it do.

    Other processes make and close objects meanwhile, so nothing can be said about the rest.
    """
    wanted = {each.id for each in ours}
    before = {each["id"] for each in bpftool_json(kind, "show")}
    found = set()
    for each in listed:
        found.add(each.id)
        each.close()
    after = {each["id"] for each in bpftool_json(kind, "show")}
    return ((before & after) | wanted) - found
