"""What the kernel tells about any link; `pyebpf.link.kinds` has a class for each kind.

Alone in its file, as every load pays for what `Link` needs.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyebpf.uapi.bpf import LinkType

__all__ = ["LinkDetails"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDetails:
    """A link as the kernel describes it.

    Attributes:
        id: The kernel's id; 0 for an attachment that is no ``bpf_link``.
        type: ``enum bpf_link_type``.
        program_id: Id of the attached program.
    """

    id: int
    type: LinkType
    program_id: int
