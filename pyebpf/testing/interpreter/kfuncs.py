"""Kernel functions by name, for programs that call them."""

from __future__ import annotations

from pyebpf.testing.interpreter.calls import Function
from pyebpf.testing.interpreter.run import Run

__all__ = ["KFUNCS", "Thrown"]


class Thrown(Exception):
    """A program threw: ``bpf_throw`` unwinds all of its functions at once."""

    def __init__(self, cookie: int) -> None:
        super().__init__(cookie)
        self.cookie = cookie

    def value(self, run: Run) -> int:
        """Return what the program returns then."""
        return self.cookie


def bpf_throw(run: Run, cookie: int) -> int:
    """Leave the program at once; its return value is *cookie*."""
    raise Thrown(cookie)


KFUNCS: dict[str, Function] = {"bpf_throw": bpf_throw}
