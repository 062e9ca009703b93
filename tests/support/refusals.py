"""The programs of `bpf_src/refused.bpf.c`: why each is refused, and what kernels said to it.

    python -m tests.support.refusals FILE       load all of them here, and write their logs

The logs of several kernels are in `tests/data/verifier`, one file for each:

    == unchecked_lookup 13            the program, and the errno
    0: R1=ctx() R10=fp0               its log
"""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pyebpf
from tests.support.programs import DATA, SOURCES, built

LOGS = DATA / "verifier"


class Refused(NamedTuple):
    """What is known about a program of `refused.bpf.c`.

    Attributes:
        cause: Part of the cause in words.
        line: Text of the line that the error points at, ``""`` if it points at none.
        instruction: What is refused, ``""`` if that is not one instruction.
    """

    cause: str
    line: str
    instruction: str


PROGRAMS = {
    "unchecked_lookup": Refused("may be NULL", "return *value;", "r0 = *(u64 *)(r0 +0)"),
    "unchecked_packet": Refused("packet may end", "return data[3];", "r0 = *(u8 *)(r1 +3)"),
    "unbounded_index": Refused("outside of the memory", "record->body[", "r6 = *(u8 *)(r0 +8)"),
    "unreleased_record": Refused("unreleased reference", "}", "exit"),
    "foreign_helper": Refused(
        "helper not allowed for this program type",
        "bpf_xdp_adjust_head(",
        "call bpf_xdp_adjust_head#44",
    ),
    "gpl_helper": Refused(
        "licence is not GPL", "bpf_probe_read_kernel(", "call bpf_probe_read_kernel#113"
    ),
    "endless_loop": Refused("unbounded loop", "while (skb->len != 77)", "if w2 != 0x4d goto pc-2"),
    "deep_stack": Refused("stack too deep: 2 functions", "", ""),
    "large_stack": Refused("stack too deep", "r10 - 520", "*(u64 *)(r10 -520) = r1"),
    "number_as_pointer": Refused("R1 is a number", "return *address;", "r0 = *(u32 *)(r1 +0)"),
    "written_constant": Refused("read-only", "&limit = 2;", "*(u32 *)(r1 +0) = r2"),
    "beyond_context": Refused("no such field", "skb + 500", "r0 = *(u32 *)(r1 +500)"),
    "wrong_argument": Refused("verified by its argument types", "first_of((void", "call pc+1"),
    "in_function": Refused("added to a pointer", "return bytes[index];", "r1 += r2"),
    "sleeping_helper": Refused("may sleep", "bpf_copy_from_user(", "call bpf_copy_from_user#148"),
    "wrong_verdict": Refused("return value", "return 7;", "exit"),
}


def spec_of(name: str) -> pyebpf.CollectionSpec:
    """Return what loads one of them alone."""
    spec = pyebpf.load_spec(built("refused"))
    for each in spec.programs.values():
        each.autoload = each.name == name
    if name == "gpl_helper":
        spec.programs[name].license = "Proprietary"
    used = {each.symbol for each in spec.programs[name].references.values()}
    for unused in set(spec.maps) - used:
        del spec.maps[unused]
    return spec


def line_of(text: str) -> int:
    """Return the number of the first line of the source with this text."""
    source = (SOURCES / "refused.bpf.c").read_text("utf-8").splitlines()
    return next(number for number, line in enumerate(source, 1) if text in line)


def kernels() -> list[str]:
    """Return the kernels whose logs there are, oldest first."""
    names = [path.stem for path in LOGS.glob("*.txt")]
    return sorted(names, key=lambda name: [int(part) for part in name.split(".")])


def logs(kernel: str) -> Iterator[tuple[str, int, str]]:
    """Return program, errno and log of what a kernel refused."""
    text = (LOGS / f"{kernel}.txt").read_text("utf-8")
    for found in re.finditer(r"^== (\w+) (\d+)\n(.*?)(?=^== |\Z)", text, re.MULTILINE | re.DOTALL):
        yield found[1], int(found[2]), found[3]


def main(path: pathlib.Path) -> None:
    """Write the logs of this kernel."""
    with path.open("w", encoding="utf-8") as file:
        for name in PROGRAMS:
            try:
                pyebpf.load(spec_of(name)).close()
            except pyebpf.VerifierError as error:
                # Where a map lies is different each time.
                log = re.sub(r"(?<=\(18\) r\d = )0xff\w+", "0xffff888100000000", error.log)
                file.write(f"== {name} {error.errno}\n{log}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
