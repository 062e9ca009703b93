"""Builds `oracle.c` against the libbpf that is to be compared with.

``LIBBPF_CFLAGS`` and ``LIBBPF_LIBS`` say where it is; without them ``pkg-config`` does.
"""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import subprocess

__all__ = ["Missing", "build"]

COMPLAINT = re.compile(r" error: |undefined reference")
SOURCE = pathlib.Path(__file__).with_name("oracle.c")


class Missing(Exception):
    """There is no libbpf to compare with; the message says what to do."""


def build(directory: pathlib.Path) -> pathlib.Path:
    """Compile the oracle into *directory* and return its path.

    Raises:
        Missing: No compiler, or no libbpf that is new enough.
    """
    program = directory / "oracle"
    # A run that is under way keeps the one it has.
    unfinished = directory / f"oracle.{os.getpid()}"
    directory.mkdir(exist_ok=True)
    command = [
        os.environ.get("CC", "cc"),
        "-O2",
        *(os.environ.get("CFLAGS", "").split()),
        *_flags("LIBBPF_CFLAGS", "--cflags"),
        str(SOURCE),
        "-o",
        str(unfinished),
        *_flags("LIBBPF_LIBS", "--libs"),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Missing(f"the compiler {command[0]} is not installed; set CC") from None
    if done.returncode:
        lines = done.stderr.splitlines()
        reason = next((each for each in lines if COMPLAINT.search(each)), done.stderr)
        raise Missing(
            "libbpf 1.6 or newer is needed to compare with; set LIBBPF_CFLAGS and LIBBPF_LIBS, or "
            f"PKG_CONFIG_PATH ({reason.strip()})"
        )
    unfinished.replace(program)
    return program


def _flags(variable: str, option: str) -> list[str]:
    given = os.environ.get(variable)
    if given is not None:
        return shlex.split(given)
    try:
        done = subprocess.run(
            ["pkg-config", option, "libbpf"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return []
    return shlex.split(done.stdout)
