"""Where a daemon's pins are: a bpffs that is mounted, and paths on it.

ensure_bpffs() ──▶ /sys/fs/bpf, checked, or mounted            one directory, one bpffs
map_path("flows") ──▶ /sys/fs/bpf/tc/globals/flows             where iproute2 looks, too
local_map_name("calls_", 42) ──▶ "calls_00042"                 one of many of its kind
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pyebpf.errors import SyscallError
from pyebpf.host import mounts
from pyebpf.sys.failures import failure
from pyebpf.sys.mount import BPF_FS_MAGIC, magic, mount

__all__ = [
    "DEFAULT_ROOT",
    "GLOBALS",
    "BpffsError",
    "ensure_bpffs",
    "environment",
    "local_map_name",
    "map_path",
]

DEFAULT_ROOT = "/sys/fs/bpf"
#: Below the root: where iproute2 pins maps that are for everybody.
GLOBALS = "tc/globals"


class BpffsError(SyscallError):
    """A directory is not what pins need: another file system, or several mounts upon each other."""


def ensure_bpffs(
    root: str | os.PathLike[str] = DEFAULT_ROOT,
    *,
    fallback: str | os.PathLike[str] | None = None,
    options: str = "mode=700",
) -> Path:
    """Make sure that a bpffs is mounted at *root*, and nothing is hidden below it.

    Args:
        root: Where; made if its last part is missing.
        fallback: Where else, if something other than a bpffs is mounted at *root* (cilium uses
            ``/run/cilium/bpffs``).
        options: Of the mount, if one is made.

    Returns:
        The directory: *root* or *fallback*.

    Raises:
        BpffsError: Another file system is mounted there, or more than one.
        PrivilegeError: Mounting needs ``CAP_SYS_ADMIN``.
        SyscallError: Anything else.

    Since Linux 4.4.
    """
    path = Path(root)
    here = [each.type for each in mounts.mounts() if each.point == str(path)]
    if here and here[-1] != "bpf":
        if fallback is not None:
            return ensure_bpffs(fallback, options=options)
        raise BpffsError("mount", 16, f"{path} is a {here[-1]}, not a bpffs")
    if here.count("bpf") > 1:
        raise BpffsError("mount", 16, f"{here.count('bpf')} bpffs are mounted on {path}")
    if here:
        return path
    # Nothing is mounted right here, but the directory may be one of a bpffs.
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise failure("mkdir", error.errno, str(path)) from None
    if magic(path) != BPF_FS_MAGIC:
        mount("bpf", path, source="bpffs", options=options)
    return path


def map_path(name: str, *, root: str | os.PathLike[str] = DEFAULT_ROOT) -> Path:
    """Return where a map is pinned that is for everybody: below ``tc/globals``.

    Args:
        name: The map's; no path.
        root: The bpffs.

    Raises:
        ValueError: The name would lead elsewhere, or a bpffs does not take it.
    """
    if not name or "/" in name or "." in name or "\0" in name:
        raise ValueError(f"{name!r} cannot be the name of a pin")
    return Path(root, GLOBALS, name)


def local_map_name(name: str, number: int) -> str:
    """Return the name of one of many maps of a kind, such as that of an endpoint.

    Args:
        name: Of the kind.
        number: Which; at least five digits are written.
    """
    return f"{name}{number:05d}"


def environment(
    root: str | os.PathLike[str] = DEFAULT_ROOT, base: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment for children such as iproute2, which then pin and look in *root*.

    Args:
        root: The bpffs.
        base: Variables to add to; this process's by default.
    """
    return {**(os.environ if base is None else base), "TC_BPF_MNT": os.fspath(root)}
