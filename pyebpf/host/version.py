"""The kernel's version as eBPF programs see it: ``LINUX_VERSION_CODE``.

In: uname and, where a distribution's uname lies, the files that say better: Ubuntu's
``/proc/version_signature`` and Debian's build text, both of which carry the upstream release the
kernel is built from. Out: a number for ``kern_version`` and ``LINUX_KERNEL_VERSION``. It serves old
kernels, which check it, and messages; what a kernel can do is found out by probing.
"""

from __future__ import annotations

import os

from pyebpf.errors import FormatError
from pyebpf.sys import kernel

__all__ = ["code", "parse", "release", "running"]

_NUMBERS = r"(\d+)\.(\d+)(?:\.(\d+))?"
# "#1 SMP Debian 4.19.304-1": the release is 4.19.0-26-amd64, the code that of 4.19.304.
_DEBIAN = r"Debian (\d+\.\d+\.\d+)"


def code(root: str | None = None) -> int:
    """Return ``KERNEL_VERSION(major, minor, patch)`` of the running kernel.

    Args:
        root: The directory that stands for ``/``.

    Raises:
        FormatError: The kernel's release is no version.
    """
    major, minor, patch = parse(release(root))
    # Since Linux 4.14.252 and 4.19.222 the last byte saturates instead of overflowing.
    return major << 16 | minor << 8 | min(patch, 255)


def release(root: str | None = None) -> str:
    """Return the upstream release the running kernel is built from, such as ``"6.1.94"``."""
    import re  # 1 ms, and most loads ask for no more than the directories' name

    # "Ubuntu 5.15.0-91.101-generic 5.15.131"
    signature = _text(root, "proc/version_signature").split()
    if len(signature) == 3:
        return signature[2]
    build = _text(root, "proc/sys/kernel/version") or os.uname().version
    debian = re.search(_DEBIAN, build)
    if debian:
        return debian[1]
    return running(root)


def running(root: str | None = None) -> str:
    """Return the release as ``uname -r`` says it, which directories are named after."""
    return _text(root, "proc/sys/kernel/osrelease") or os.uname().release


def parse(text: str) -> tuple[int, int, int]:
    """Return the three numbers at the start of a release; the third may be missing and is 0 then.

    Raises:
        FormatError: There are none.
    """
    import re

    match = re.match(_NUMBERS, text)
    if not match:
        raise FormatError(f"not a kernel release: {text[:40]!r}")
    major, minor, patch = match.groups(default="0")
    return int(major), int(minor), int(patch)


def _text(root: str | None, path: str) -> str:
    place = os.path.join(root or kernel.current().root, path)
    try:
        with open(place, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
