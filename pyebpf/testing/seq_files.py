"""What programs of iterators print to: a ``seq_file``, and the helpers that know it.

context ──▶ bpf_iter_meta.seq ──▶ `Output` ◀── bpf_seq_printf, bpf_seq_write
"""

from __future__ import annotations

from collections.abc import Mapping

from pyebpf.errors import ExecutionError
from pyebpf.testing.interpreter import BytesContext, Memory, Region, Run
from pyebpf.testing.interpreter.calls import Function
from pyebpf.testing.interpreter.helpers import HELPERS as USUAL
from pyebpf.testing.interpreter.memory import ByteOrder
from pyebpf.uapi.helpers import FuncId

__all__ = ["HELPERS", "Output", "WalkContext"]

_POINTER = 8
_BUFFER = 1 << 15  # of a seq_file, more or less


class Output:
    """What a walk prints; *file* is what programs take for a ``seq_file``."""

    def __init__(self) -> None:
        self.file = Region(bytes(8), "seq_file", writable=False)
        self.text = bytearray()


class WalkContext(BytesContext):
    """What a program is given for one object.

    Args:
        pointers: The memory that its members point to, or ``None``.
        more: Memory that they lead to.
        output: Where its output goes.
    """

    def __init__(self, pointers: list[Region | None], more: list[Region], output: Output) -> None:
        super().__init__(bytes(_POINTER * len(pointers)))
        self.output = output
        self._pointers = pointers
        self._more = more

    def enter(self, memory: Memory, byteorder: ByteOrder) -> tuple[int, ...]:
        """Place everything."""
        for each in (*self._more, self.output.file):
            memory.place(each)
        for number, target in enumerate(self._pointers):
            address = memory.place(target) if target is not None else 0
            place = slice(number * _POINTER, (number + 1) * _POINTER)
            self.data[place] = address.to_bytes(_POINTER, byteorder)
        return super().enter(memory, byteorder)


def seq_printf(run: Run, file: int, form: int, size: int, arguments: int, length: int) -> int:
    """Print formatted text; 0 or a negative errno."""
    output = _output(run, file)
    room = run.memory.allocate(_BUFFER, "text of a seq_file")
    try:
        printed = USUAL[FuncId.snprintf](run, room.base, _BUFFER, form, arguments, length)
        assert isinstance(printed, int)
        if printed < 0:
            return printed
        output.text += bytes(room.data[: min(printed, _BUFFER) - 1])
    finally:
        run.memory.remove(room)
    return 0


def seq_write(run: Run, file: int, data: int, length: int) -> int:
    """Print bytes; 0."""
    _output(run, file).text += run.memory.read(data, length & 0xFFFF_FFFF)
    return 0


def _output(run: Run, file: int) -> Output:
    context = run.context
    if not isinstance(context, WalkContext) or context.output.file.base != file:
        raise ExecutionError(f"{file:#x} is not the address of a seq_file")
    return context.output


HELPERS: Mapping[int, Function] = {FuncId.seq_printf: seq_printf, FuncId.seq_write: seq_write}
"""What programs of iterators print with."""
