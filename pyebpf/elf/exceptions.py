"""Exception callbacks: what the kernel calls when a program throws (``bpf_throw``).

BTF and its tags come in, the callback of each program goes out. A program names its callback by a
tag; nothing in the code calls it, so linking would not find it:

    __attribute__((btf_decl_tag("exception_callback:on_throw"))) SEC("tc") int main_program(...)

Since Linux 6.7.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyebpf.btf.btf import Btf
from pyebpf.btf.types import Func
from pyebpf.elf.functions import CodeSections, Function
from pyebpf.errors import ElfError

__all__ = ["callbacks"]

_TAG = "exception_callback:"


def callbacks(
    btf: Btf | None, tags: Mapping[int, tuple[str, ...]], code: CodeSections
) -> dict[str, Function]:
    """Return the exception callbacks by the name of the program that has one.

    Args:
        btf: The object's BTF.
        tags: ``btf_decl_tag`` texts by type id.
        code: The functions.

    Raises:
        ElfError: A tag names no global function.
    """
    found: dict[str, Function] = {}
    if btf is None:
        return found
    for type_id, texts in tags.items():
        named = [text.removeprefix(_TAG) for text in texts if text.startswith(_TAG)]
        if not named:
            continue
        program = btf.type(type_id)
        if not isinstance(program, Func):
            raise ElfError(f'tag "{_TAG}{named[0]}" is not on a program', where="section .BTF")
        callback = code.definition(named[0])
        if callback is None:
            raise ElfError(
                f'program "{program.name}" names exception callback "{named[0]}",'
                " which is no global function",
                where="section .BTF",
            )
        # Of several the kernel refuses all; its message is the better one.
        found.setdefault(program.name, callback)
    return found
