r"""The virtual bpffs: a real directory in which pins are small files, so that paths are real ones.

    /sys/fs/bpf/NAME ──place()──▶ DIRECTORY/NAME   a file that says "pin 7\\n" ──▶ 7 ──▶ object

The process makes and removes directories and removes and renames pins as it would on a bpffs; an
object is held as long as a file with its number is there.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from pyebpf.testing.files import KernelObject
from pyebpf.testing.mounts import Mount
from pyebpf.testing.refusal import Refused

__all__ = ["Pins"]

_MARK = b"pin "


class Pins:
    """All pins of one kernel.

    Attributes:
        mount: Where they are.
    """

    def __init__(self) -> None:
        self.mount = Mount("/sys/fs/bpf", "bpffs")
        self._objects: dict[int, KernelObject] = {}
        self._last = 0

    def pin(self, path: str, what: KernelObject) -> None:
        """Give an object a name: bpf_obj_do_pin.

        Raises:
            Refused: ``EEXIST``, ``ENOENT``, ``EPERM``: not a bpffs, or a name with a dot.
        """
        real = Path(self.mount.place(path))
        if real.is_symlink() or real.exists():
            raise Refused(errno.EEXIST)
        if not real.parent.exists():
            raise Refused(errno.ENOENT)
        if not self.mount.contains(str(real.parent)) or "." in real.name:
            raise Refused(errno.EPERM)
        self._last += 1
        try:
            fd = os.open(real, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Refused(error.errno or errno.EACCES) from None
        try:
            os.write(fd, b"%s%d\n" % (_MARK, self._last))
        finally:
            os.close(fd)
        self._objects[self._last] = what

    def get(self, path: str) -> KernelObject:
        """Return what is pinned at a path: bpf_obj_do_get.

        Raises:
            Refused: ``ENOENT``; ``EACCES``: it is no pin.
        """
        number = _number(self.mount.place(path))
        found = self._objects.get(number)
        if found is None:
            raise Refused(errno.EACCES)
        return found

    def sweep(self) -> None:
        """Let go of objects whose pins were removed."""
        if not self._objects:
            return
        there = set()
        for parent, _, files in os.walk(self.mount.directory):
            for name in files:
                try:
                    there.add(_number(f"{parent}/{name}"))
                except Refused:
                    continue
        for number in self._objects.keys() - there:
            del self._objects[number]

    def holds(self, what: KernelObject) -> bool:
        """Whether an object is pinned."""
        return any(each is what for each in self._objects.values())

    def close(self) -> None:
        """Remove everything."""
        self._objects.clear()
        self.mount.remove()


# 0 for a file that is no pin.
def _number(path: str) -> int:
    try:
        with open(path, "rb") as file:
            data = file.read(64)
    except OSError as error:
        # bpf_obj_do_get refuses directories so.
        number = errno.EACCES if error.errno == errno.EISDIR else error.errno
        raise Refused(number or errno.ENOENT) from None
    digits = data.removeprefix(_MARK).strip()
    return int(digits) if data.startswith(_MARK) and digits.isdigit() else 0
