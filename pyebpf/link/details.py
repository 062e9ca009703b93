"""What the kernel tells about any link; `pyebpf.link.kinds` has a class for each kind."""

from __future__ import annotations

from pyebpf.plain import plain
from pyebpf.uapi.bpf import LinkType

__all__ = ["LinkDetails", "OtherDetails"]


class LinkDetails:
    """A link as the kernel describes it: what all kinds have in common.

    Attributes:
        id: The kernel's id; 0 for an attachment that is no ``bpf_link``.
        type: ``enum bpf_link_type``.
        program_id: Id of the attached program.
    """

    __slots__ = ()

    id: int
    type: LinkType
    program_id: int


@plain(frozen=True, kw_only=True)
class OtherDetails(LinkDetails):
    """A link of a kind that is newer than this library, or that has nothing more to tell."""

    id: int
    type: LinkType
    program_id: int
