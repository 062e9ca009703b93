"""What is attached where: a `Hook` is a place, its attachments are the programs that run there.

    link ─────────▶ Attachment ─▶ program          Hook "tcx/1/ingress"
    event ────────▶     ▲                            attachments  in the order they run
    PROG_ATTACH         └────────── Hook ◀── fire    flags        BPF_F_ALLOW_* of a cgroup
    RTM_NEWTFILTER                                   revision     counts changes

Everything that attaches puts an attachment on a hook, so firing, querying and asking about a link
all look at one list. Who put it there takes it off: a link when it goes, the others on request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pyebpf.testing.objects import ProgramObject
from pyebpf.typed import ClassVar
from pyebpf.uapi.bpf import LinkType

__all__ = ["Attachment", "Hook", "Link"]


@dataclass(eq=False, kw_only=True)
class Attachment:
    """One program at one place.

    Attributes:
        program: What runs.
        cookie: What ``bpf_get_attach_cookie`` returns there.
        flags: As it was attached.
        priority: Lower ones run first, where the hook has such an order.
        link_id: Of the link that holds it, or 0.
        group: The control group's inode and the attach type, of programs of such groups.
        attached: Whether it is on a hook.
        returned: What the program returned there last.
        started: Of a session's end: its start, which says by returning 0 that the end matters.
    """

    program: ProgramObject
    cookie: int = 0
    flags: int = 0
    priority: int = 0
    link_id: int = 0
    group: tuple[int, int] | None = None
    attached: bool = False
    returned: int | None = None
    started: Attachment | None = None


class Hook:
    """A place that programs are attached to.

    Args:
        name: What tells it from others, and what `FakeKernel.fire` makes of a hook's name.

    Attributes:
        attachments: In the order they run.
        flags: What attachments have in common: ``BPF_F_ALLOW_*``.
        revision: Counts changes, from 1.
        forgets: Whether it counts anew once nothing is attached.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.attachments: list[Attachment] = []
        self.flags = 0
        self.revision = 1
        self.forgets = False

    def put(self, attachment: Attachment, index: int | None = None) -> None:
        """Attach at a place in the order; by default last."""
        place = len(self.attachments) if index is None else index
        self.attachments.insert(place, attachment)
        attachment.attached = True
        self.revision += 1

    def remove(self, attachment: Attachment) -> None:
        """Detach; nothing happens if it is not there."""
        if attachment in self.attachments:
            self.attachments.remove(attachment)
            attachment.attached = False
            self.revision += 1
        if not self.attachments:
            self.flags = 0
            self.revision = 1 if self.forgets else self.revision

    def clear(self) -> None:
        """Detach all: the place is gone."""
        for each in list(self.attachments):
            self.remove(each)

    def holding(self, program: ProgramObject | None) -> Attachment | None:
        """Return the first attachment of a program."""
        return next((each for each in self.attachments if each.program is program), None)


@dataclass(eq=False, kw_only=True)
class Link:
    """An object that keeps attachments of one program where they are, until it goes.

    Attributes:
        places: Its attachments, and where they are.
        details: What ``struct bpf_link_info`` says besides, by the fields' names: numbers, text
            for a pointer to a buffer, several numbers for one to an array.
        forgotten: Details that are zero once it is detached.
        holds: What it keeps alive: the perf event.
    """

    FILE_NAME: ClassVar[str] = "anon_inode:bpf_link"

    type: LinkType
    program: ProgramObject
    places: list[tuple[Hook, Attachment]] = field(default_factory=list)
    details: Mapping[str, int | bytes | Sequence[int]] = field(default_factory=dict)
    forgotten: str = ""
    holds: object = None
    id: int = 0

    @property
    def attached(self) -> bool:
        """Whether it is: not detached by hand, and its place is there."""
        return any(each.attached for _, each in self.places)

    def put(self, program: ProgramObject) -> None:
        """Put another program in the place of its own."""
        self.program = program
        for _, each in self.places:
            each.program = program

    def detach(self) -> None:
        """Take its program off."""
        for hook, each in self.places:
            hook.remove(each)

    def __del__(self) -> None:
        self.detach()
