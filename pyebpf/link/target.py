"""What a section's name says about where a program goes: ``SEC("kprobe/do_unlinkat+4")``."""

from __future__ import annotations

from collections.abc import Callable

from pyebpf.errors import LoadError
from pyebpf.programs.program import Program
from pyebpf.typed import TypeVar

__all__ = ["parsed", "section_head", "section_target"]

_Parsed = TypeVar("_Parsed")


def section_head(program: Program) -> str:
    """Return the part of the section's name before the first slash, ``""`` without a section."""
    return program.spec.section.partition("/")[0] if program.spec is not None else ""


def section_target(program: Program) -> str:
    """Return the part behind it."""
    return program.spec.attach_to if program.spec is not None else ""


def parsed(program: Program, parse: Callable[[str], _Parsed]) -> _Parsed:
    """Return the part behind it, parsed.

    Raises:
        LoadError: It has not the form that *parse* wants.
    """
    try:
        return parse(section_target(program))
    except ValueError as error:
        raise LoadError(program.name, f'program "{program.name}": {error}') from None
