"""Where control goes: functions of a program, their basic blocks, what can be reached.

Instructions come in, a `Graph` goes out. A block is entered at its first instruction only and left
behind its last one:

    0: if r1 == 0 goto +2   ──jump──▶  3: exit          blocks 0, 1 and 3 of one function
    1: r0 = 1                           ▲
    2: goto +0              ──jump──────┘

A function begins at slot 0, and wherever a call goes or an address is taken; it ends where the next
one begins. Calls are no edges: they come back. Slots are 8 bytes; a 64-bit load takes two.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from functools import cached_property

from pyebpf.asm.assemble import target_of
from pyebpf.asm.instruction import Instruction
from pyebpf.asm.opcode import carries_jump
from pyebpf.asm.text import instruction_text
from pyebpf.errors import AsmError
from pyebpf.plain import plain
from pyebpf.uapi import insn

__all__ = ["Block", "Edge", "Function", "Graph", "graph_of"]

_JUMP = insn.JMP | insn.JA
_LONG_JUMP = insn.JMP32 | insn.JA
_INDIRECT_JUMP = insn.JMP | insn.JA | insn.X
_EXIT = insn.JMP | insn.EXIT


@plain(frozen=True)
class Edge:
    """A way from one block to another.

    Attributes:
        target: The first slot of the other block.
        taken: A jump goes there; otherwise it is simply the next instruction.
    """

    target: int
    taken: bool


@plain(frozen=True)
class Block:
    """Instructions that run one after another.

    Attributes:
        start: The slot of the first one.
        end: The slot behind the last one.
        instructions: Those, with the slot of each.
        edges: Where it goes on; nowhere behind ``exit``.
        calls: Functions of the program that it calls or takes the address of, by their slots.
    """

    start: int
    end: int
    instructions: tuple[tuple[int, Instruction], ...]
    edges: tuple[Edge, ...]
    calls: tuple[int, ...]


@plain(frozen=True)
class Function:
    """A function of the program.

    Attributes:
        name: Its name, or ``"function_N"`` by its slot.
        blocks: In the order of the code, the entry first.
    """

    name: str
    blocks: tuple[Block, ...]

    @property
    def start(self) -> int:
        """The slot it begins at."""
        return self.blocks[0].start


@plain(frozen=True, slots=False)
class Graph:
    """The control flow of a program.

    Attributes:
        functions: In the order of the code, the entry first.
    """

    functions: tuple[Function, ...]

    @cached_property
    def blocks(self) -> Mapping[int, Block]:
        """All blocks by their first slot."""
        return {block.start: block for each in self.functions for block in each.blocks}

    @cached_property
    def reachable(self) -> frozenset[int]:
        """First slots of the blocks that the program can get to, callbacks included."""
        waiting = [self.functions[0].start] if self.functions else []
        found = set(waiting)
        while waiting:
            block = self.blocks[waiting.pop()]
            for slot in (*(edge.target for edge in block.edges), *block.calls):
                if slot not in found:
                    found.add(slot)
                    waiting.append(slot)
        return frozenset(found)

    @property
    def unreachable(self) -> tuple[Block, ...]:
        """Blocks that the program never gets to; the verifier of Linux refuses or removes them."""
        return tuple(block for start, block in self.blocks.items() if start not in self.reachable)

    def dot(self) -> str:
        """Return the graph as text for Graphviz: ``dot -Tsvg``.

        A box is a block, a frame a function; ways that are taken are solid, others dashed, calls
        dotted. What is never reached is grey.
        """
        lines = ["digraph program {", '  node [shape=box, fontname="monospace"];']
        for number, function in enumerate(self.functions):
            lines += [f"  subgraph cluster_{number} {{", f"    label={_quoted(function.name)};"]
            for block in function.blocks:
                grey = "" if block.start in self.reachable else ", color=grey, fontcolor=grey"
                lines.append(f"    block_{block.start} [label={_lines(block)}{grey}];")
            lines.append("  }")
        for block in self.blocks.values():
            for edge in block.edges:
                style = "" if edge.taken else " [style=dashed]"
                lines.append(f"  block_{block.start} -> block_{edge.target}{style};")
            for slot in block.calls:
                style = " [style=dotted, constraint=false]"
                lines.append(f"  block_{block.start} -> block_{slot}{style};")
        return "\n".join([*lines, "}", ""])


def graph_of(
    instructions: Iterable[Instruction],
    *,
    functions: Mapping[int, str] | None = None,
    indirect: Iterable[int] = (),
) -> Graph:
    """Find functions and blocks.

    Args:
        instructions: The program, linked: calls have their distances, but for those with a
            ``symbol``, which leave it.
        functions: Names of functions by slot.
        indirect: Slots that indirect jumps may go to: all targets of jump tables.

    Raises:
        AsmError: A jump or call leaves the code, or lands in the middle of a 64-bit load; or the
            last instruction lets control run out of the code.
    """
    placed: dict[int, Instruction] = {}
    slot = 0
    for instruction in instructions:
        placed[slot] = instruction
        slot += instruction.slots
    if not placed:
        return Graph(())
    return _Finder(placed, slot, dict(functions or {}), sorted(set(indirect))).graph()


class _Finder:
    def __init__(
        self,
        placed: dict[int, Instruction],
        size: int,
        names: dict[int, str],
        indirect: list[int],
    ) -> None:
        self._placed = placed
        self._size = size
        self._names = names
        self._indirect = indirect

    def graph(self) -> Graph:
        entries, leaders = self._starts()
        starts = sorted(leaders)
        ends = [*starts[1:], self._size]
        blocks: dict[int, list[Block]] = {entry: [] for entry in entries}
        for start, end in zip(starts, ends, strict=True):
            home = entries[bisect_right(entries, start) - 1]
            blocks[home].append(self._block(start, end, entries))
        return Graph(
            tuple(
                Function(self._names.get(entry, f"function_{entry}"), tuple(found))
                for entry, found in blocks.items()
            )
        )

    # Where functions begin, and where blocks do.
    def _starts(self) -> tuple[list[int], set[int]]:
        entries = {0} | {self._checked(slot, slot) for slot in self._names}
        leaders = {self._checked(slot, slot) for slot in self._indirect}
        for slot, instruction in self._placed.items():
            target = _target(slot, instruction)
            if target is not None:
                self._checked(slot, target)
                (leaders if carries_jump(instruction.opcode) else entries).add(target)
            if _ends_block(instruction) and slot + 1 < self._size:
                leaders.add(slot + 1)
        return sorted(entries), leaders | entries

    def _block(self, start: int, end: int, entries: list[int]) -> Block:
        inside = [(slot, self._placed[slot]) for slot in range(start, end) if slot in self._placed]
        slot, last = inside[-1]
        edges = []
        if last.opcode not in (_JUMP, _LONG_JUMP, _INDIRECT_JUMP, _EXIT):
            if end == self._size:
                raise AsmError("control runs out of the code", where=f"slot {slot}")
            edges.append(Edge(end, taken=False))
        if last.opcode == _INDIRECT_JUMP:
            home = entries[bisect_right(entries, slot) - 1]
            edges += [
                Edge(each, taken=True)
                for each in self._indirect
                if entries[bisect_right(entries, each) - 1] == home
            ]
        elif carries_jump(last.opcode):
            target = target_of(slot, last)
            assert target is not None
            edges.append(Edge(target, taken=True))
        calls = (_target(slot, each) for slot, each in inside if not carries_jump(each.opcode))
        called = dict.fromkeys(each for each in calls if each is not None)
        return Block(start, end, tuple(inside), tuple(edges), tuple(called))

    def _checked(self, slot: int, target: int) -> int:
        if target in self._placed:
            return target
        if 0 <= target < self._size:
            raise AsmError("goes into the middle of a 64-bit load", where=f"slot {slot}")
        raise AsmError(f"goes to slot {target}, outside of the code", where=f"slot {slot}")


# Where it goes in the code; what it names is outside.
def _target(slot: int, instruction: Instruction) -> int | None:
    return target_of(slot, instruction) if instruction.symbol is None else None


def _ends_block(instruction: Instruction) -> bool:
    return carries_jump(instruction.opcode) or instruction.opcode in (_INDIRECT_JUMP, _EXIT)


def _lines(block: Block) -> str:
    texts = (
        f"{slot}: {instruction_text(each) or '<unknown>'}" for slot, each in block.instructions
    )
    return '"' + "".join(f"{_escaped(text)}\\l" for text in texts) + '"'


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
