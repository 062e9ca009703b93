"""The running kernel's own types, for CO-RE: found, mapped and kept for the next load.

In: ``/sys/kernel/btf/vmlinux``, or where distributions keep it for kernels that do not show it; a
path the user names. Each is raw BTF or an ELF file with a ``.BTF`` section. Out: a `Btf`, read as
far as types are asked for. One is kept per file, for as long as the file stays the same, because
finding types takes 5 ms for a few, and 20 ms and 3 MB for many; `flush` gives that back.

Short-lived processes can share the index: in a directory given for it (``index_dir=``, or
``PYEBPF_INDEX_DIR`` in the environment) the first leaves it for the others, which begin after 2 ms.
Until the next boot that is all; then every byte of the types is compared by a checksum, 2 ms more.
Off unless asked for: a library writes no files on its own, and a daemon reads the types once.
Nobody but root and the process's own user may be able to write to the directory, as to those in
``/var/cache``; others are not used, with a warning (`pyebpf.host.index_file`).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import warnings

from pyebpf.btf.btf import Btf
from pyebpf.errors import BtfError, NotSupportedError, SyscallError
from pyebpf.host import version
from pyebpf.sys import kernel
from pyebpf.typed import BinaryIO

__all__ = ["flush", "kernel_btf", "read_btf"]

# In the order of libbpf and the distributions it knows; {release} is uname's.
_PLACES = (
    "sys/kernel/btf/vmlinux",
    "boot/vmlinux-{release}",
    "lib/modules/{release}/vmlinux-{release}",
    "lib/modules/{release}/build/vmlinux",
    "usr/lib/modules/{release}/kernel/vmlinux",
    "usr/lib/debug/boot/vmlinux-{release}",
    "usr/lib/debug/boot/vmlinux-{release}.debug",
    "usr/lib/debug/lib/modules/{release}/vmlinux",
)
_ELF_MAGIC = b"\x7fELF"
# Kernels have 4 to 10 MB of BTF; more than this is something else.
_MAX_SIZE = 1 << 28
_BOOT_SIZE = 16  # bytes of a UUID
_MAX_SECTIONS = 0xFFFF  # what fits e_shnum

_Identity = tuple[int, int, int, int]
_kept: dict[str, tuple[_Identity, Btf]] = {}


def kernel_btf(root: str | None = None, *, index_dir: str | os.PathLike[str] | None = None) -> Btf:
    """Return the types of the running kernel; the same object while the file is the same.

    Args:
        root: The directory that stands for ``/``.
        index_dir: Where processes leave the index for each other; ``None``: where
            ``PYEBPF_INDEX_DIR`` in the environment says, or nowhere.

    Raises:
        NotSupportedError: The kernel was built without ``CONFIG_DEBUG_INFO_BTF`` and none of the
            other places has its types.
        BtfError: The file is malformed.

    Since Linux 5.4 (``/sys/kernel/btf``).
    """
    top = root or kernel.current().root
    release = version.running(root)
    for place in _PLACES:
        path = os.path.join(top, place.format(release=release))
        try:
            return _remembered(path, top, index_dir or os.environ.get("PYEBPF_INDEX_DIR"))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        except _NoBtfSection:
            continue
        except OSError as error:
            raise SyscallError("open", error.errno or 0, path) from None
    raise NotSupportedError(
        "kernel BTF",
        "5.4",
        f"no {os.path.join(top, _PLACES[0])} (CONFIG_DEBUG_INFO_BTF), nor a vmlinux file",
    )


def read_btf(path: str | os.PathLike[str], *, base: Btf | None = None) -> Btf:
    """Return the types in a file: raw BTF, such as BTFHub's, or an ELF file with ``.BTF``.

    Args:
        path: The file.
        base: The kernel's types, if these are a module's. Not for one built outside the kernel's
            tree, which brings what it needs of them along (``.BTF.base``): the kernel fits it to
            its own when it loads the module, and shows the result in ``/sys/kernel/btf``.

    Raises:
        BtfError: Malformed, an ELF file without BTF, or with a base of its own besides *base*.
        SyscallError: The file cannot be read.
    """
    try:
        return _read(os.fspath(path), base)
    except OSError as error:
        raise SyscallError("open", error.errno or 0, os.fspath(path)) from None


def flush() -> None:
    """Forget the kernel's types; they are read again when needed. Those in use stay usable."""
    _kept.clear()


class _NoBtfSection(BtfError):
    """An ELF file without ``.BTF``."""


def _remembered(path: str, top: str, index_dir: str | os.PathLike[str] | None) -> Btf:
    found = os.stat(path)
    identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    kept = _kept.get(path)
    if kept is not None and kept[0] == identity:
        return kept[1]
    btf = _read(path)
    if index_dir is not None:
        # What the kernel shows of itself is the same until the next boot; files may change.
        _share_index(btf, index_dir, _boot(top) if found.st_dev == _device("/sys") else None)
    _kept[path] = (identity, btf)
    return btf


def _share_index(btf: Btf, directory: str | os.PathLike[str], boot: bytes | None) -> None:
    from pyebpf.btf import saved_index
    from pyebpf.host import index_file

    stamp = boot or saved_index.NO_STAMP
    try:
        data = index_file.read(directory, saved_index.largest(btf))
        if data is None or not saved_index.restore(btf, data, stamp):
            data = saved_index.save(btf, stamp)
            saved_index.restore(btf, data, stamp)
            index_file.write(directory, data)
        elif stamp != saved_index.NO_STAMP and (data := saved_index.stamped(data, stamp)):
            # Some may read the directory and not write to it.
            with contextlib.suppress(OSError):
                index_file.write(directory, data)
    except OSError as error:
        reason = error.strerror or str(error)
        warnings.warn(
            f"{os.fspath(directory)} is not used for the index of the kernel's types: {reason}",
            RuntimeWarning,
            stacklevel=4,
        )


# The number the kernel draws when it boots.
def _boot(top: str) -> bytes | None:
    try:
        with open(os.path.join(top, "proc/sys/kernel/random/boot_id"), encoding="ascii") as file:
            found = bytes.fromhex(file.read().strip().replace("-", ""))
    except (OSError, ValueError):
        return None
    return found if len(found) == _BOOT_SIZE else None


def _read(path: str, base: Btf | None = None) -> Btf:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(4)
        if start == _ELF_MAGIC:
            found = _btf_sections(path, file)
            data: bytes | mmap.mmap = found[".BTF"]
            base = _own_base(path, found[".BTF.base"], base) if ".BTF.base" in found else base
        else:
            _check_size(path, size)
            data = _mapped(file.fileno(), size)
            if not isinstance(data, mmap.mmap):
                file.seek(0)
                # Python fetches room for all it is asked for before it reads.
                data = file.read(size or _MAX_SIZE)
    try:
        return Btf.decode(data, base=base)
    except BtfError as error:
        error.context.insert(0, path)
        raise


# Costs nothing until pages are looked at. sysfs files can be mapped since Linux 6.16, and 6.18 does
# it for this one; before, ENODEV. Nothing else can be read through a mapping of a file that
# somebody shortens (SIGBUS), so ordinary files are read.
def _mapped(fd: int, size: int) -> bytes | mmap.mmap:
    if not size or os.fstat(fd).st_dev != _device("/sys"):
        return b""
    try:
        return mmap.mmap(fd, size, mmap.MAP_PRIVATE, mmap.PROT_READ)
    except (OSError, ValueError):
        return b""


def _device(path: str) -> int:
    try:
        return os.stat(path).st_dev
    except OSError:
        return -1


def _check_size(path: str, size: int) -> None:
    if size > _MAX_SIZE:
        raise BtfError(f"{size} bytes are too many for BTF", path)


def _own_base(path: str, data: bytes, base: Btf | None) -> Btf:
    # pahole writes it since 1.28: the types a module uses, without their members.
    if base is not None:
        reason = "its types build on its own .BTF.base, and do not fit this kernel's"
        raise BtfError(f"{reason}: use /sys/kernel/btf of the loaded module", path)
    try:
        return Btf.decode(data)
    except BtfError as error:
        error.context.insert(0, f"{path}, .BTF.base")
        raise


# What .BTF holds, and .BTF.base if it is there.
def _btf_sections(path: str, file: BinaryIO) -> dict[str, bytes]:
    from elftools.elf.elffile import ELFFile

    places: dict[str, tuple[int, int]] = {}
    try:
        elf = ELFFile(file)
        if elf.num_sections() > _MAX_SECTIONS:
            raise ValueError("too many sections")
        for name in (".BTF", ".BTF.base"):
            section = elf.get_section_by_name(name)
            if section is not None:
                places[name] = int(section["sh_offset"]), int(section["sh_size"])
    except Exception as error:  # pyelftools lets anything out of a broken file
        raise BtfError(f"not a readable ELF file: {error}", path) from None
    if ".BTF" not in places:
        raise _NoBtfSection("no .BTF section", path)
    contents = {}
    for name, (offset, size) in places.items():
        _check_size(path, size)
        file.seek(offset)
        contents[name] = file.read(size)
    return contents
