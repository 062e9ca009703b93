"""A file that keeps the index of the kernel's types, in a directory of the user's choice.

What is in it decides where types are looked for, so only files count that nobody else can have
written: directory and file belong to this process's user or root and nobody else may write to them,
no symbolic link is followed, and a new file replaces the old one at once, whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator

__all__ = ["read", "write"]

NAME = "kernel-types.index"
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def read(directory: str | os.PathLike[str], limit: int) -> bytes | None:
    """Return the file's content.

    Args:
        directory: Where it is.
        limit: Larger files are something else.

    Returns:
        ``None`` if there is no such file, or it is larger.

    Raises:
        OSError: It cannot be read; ``EPERM`` if others could have written it.
    """
    # Not blocking: a pipe, too, is something else.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with (
        contextlib.suppress(FileNotFoundError),
        _directory(directory) as place,
        os.fdopen(os.open(NAME, flags, dir_fd=place), "rb") as file,
    ):
        size = _check(file.fileno(), stat.S_ISREG)
        if size <= limit:
            return file.read(size)
    return None


def write(directory: str | os.PathLike[str], data: bytes) -> None:
    """Put *data* in the place of the file's content; the directory is made if its parent exists.

    Raises:
        OSError: That is not possible, or others could write there (``EPERM``).
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    with _directory(directory) as place:
        new = f".{NAME}.{os.getpid()}"
        # What an interrupted process of this number has left.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new, dir_fd=place)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(new, flags, 0o600, dir_fd=place)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
            os.rename(new, NAME, src_dir_fd=place, dst_dir_fd=place)
        except BaseException:
            os.unlink(new, dir_fd=place)
            raise


@contextlib.contextmanager
def _directory(path: str | os.PathLike[str]) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _check(fd, stat.S_ISDIR)
        yield fd
    finally:
        os.close(fd)


# The size of what is open, if nobody else can have written it.
def _check(fd: int, is_kind: Callable[[int], bool]) -> int:
    found = os.fstat(fd)
    if not is_kind(found.st_mode):
        raise PermissionError(errno.EPERM, "not a plain file")
    if found.st_uid not in {0, os.geteuid()}:
        raise PermissionError(errno.EPERM, f"belongs to user {found.st_uid}")
    if found.st_mode & _OTHERS_MAY_WRITE:
        raise PermissionError(errno.EPERM, "others may write to it")
    return found.st_size
