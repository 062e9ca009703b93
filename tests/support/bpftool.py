"""What bpftool says, as an oracle: its JSON, or what it printed."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

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
