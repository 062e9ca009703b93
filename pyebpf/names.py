"""Names that the kernel takes for maps and programs: ``BPF_OBJ_NAME_LEN`` and its letters.

    "http filter"  ──sanitize_name()──▶ "httpfilter"
    "http filter"  ──kernel_name()────▶ b"http_filter"     at most 15 bytes

Letters, digits and ``_`` are allowed since Linux 4.15, dots since 5.2.
"""

from __future__ import annotations

__all__ = ["kernel_name", "sanitize_name"]

NAME_BYTES = 15  # BPF_OBJ_NAME_LEN less the terminator


def sanitize_name(name: str, replacement: str = "") -> str:
    """Replace every character that the kernel does not take in the name of a map or program.

    For names made at run time. Letters and digits of ASCII, ``_`` and ``.`` are kept; the result is
    not cut, which happens when the name is used: the kernel keeps 15 bytes.

    Args:
        name: Any text.
        replacement: What each such character becomes; by default nothing.

    Raises:
        ValueError: The replacement would have to be replaced itself.
    """
    if not all(map(_allowed, replacement)):
        raise ValueError(f"{replacement!r} does not belong in a name either")
    return "".join(each if _allowed(each) else replacement for each in name)


def kernel_name(name: str) -> bytes:
    """Return the name the kernel is given: a debugging aid, so cut and cleaned rather than refused.

    What it does not take becomes ``_``; at most 15 bytes are kept.
    """
    return sanitize_name(name, "_").encode()[:NAME_BYTES]


def _allowed(character: str) -> bool:
    return character.isascii() and (character.isalnum() or character in "_.")
