"""`Age`: what a kernel of a given release can do, as a table made by probing such kernels says it.

`pyebpf.testing.ages_table` has one entry for each kernel that was asked. For other releases what
has come since the kernel before is told by the ``since`` of ours, which the tests compare with real
kernels, too.
"""

from __future__ import annotations

import errno
import re
from functools import cached_property

from pyebpf.testing.ages_table import AGES
from pyebpf.typed import NamedTuple
from pyebpf.uapi import attrs
from pyebpf.uapi.bpf import Cmd, MapFlag, MapType, ProgType
from pyebpf.uapi.cstruct import CStruct
from pyebpf.uapi.helpers import FuncId

__all__ = ["USUAL", "Age", "Answers"]

USUAL = "6.18"
"""The release that the tests compare the made-up kernel with, call by call."""

Release = tuple[int, int]

# What is as old as this has no release written down.
_OLDEST = (4, 18)
_NOTHING = ("", "", "", "", "")


class Answers(NamedTuple):
    """What one kernel answered, by the kernel's names without prefix, and by names of features.

    What it has not, although it is new enough, is a matter of its configuration.
    """

    map_types: frozenset[str]
    map_flags: frozenset[str]
    program_types: frozenset[str]
    commands: frozenset[str]
    abilities: frozenset[str]


def parse(version: str) -> Release:
    """Return the first two numbers of a release.

    Raises:
        ValueError: There are none.
    """
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None:
        raise ValueError(f"not a kernel release: {version!r}")
    return int(match[1]), int(match[2])


class Age:
    """What kernels of a release can do.

    Args:
        version: Such as ``"5.10"``.

    Raises:
        ValueError: It is older than what is written down.
    """

    def __init__(self, version: str) -> None:
        self.release = parse(version)
        if self.release < _OLDEST:
            raise ValueError(f"Linux {version}: what kernels before 4.18 can do is not known")
        older = [each for each in AGES if parse(each) <= self.release]
        source = max(older, key=parse, default="")
        self._asked = parse(source) if source else None
        columns = AGES.get(source, _NOTHING)
        self._answers = Answers(*(frozenset(each.split()) for each in columns))

    def has_command(self, cmd: Cmd) -> bool:
        """Whether bpf(2) has a command."""
        return self._has(cmd.name, cmd.since, self._answers.commands)

    def has_map_type(self, kind: MapType) -> bool:
        """Whether there are such maps."""
        return self._has(kind.name, kind.since, self._answers.map_types)

    def has_program_type(self, kind: ProgType) -> bool:
        """Whether there are such programs."""
        return self._has(kind.name, kind.since, self._answers.program_types)

    def has_map_flag(self, flag: MapFlag) -> bool:
        """Whether maps can be created with a flag."""
        return self._has(flag.name or "", flag.since, self._answers.map_flags)

    def has_ability(self, name: str, since: str) -> bool:
        """Whether it can do what a feature of this name (blanks as ``_``) is about."""
        return self._has(name.replace(" ", "_"), since, self._answers.abilities)

    def has_helper(self, number: int) -> bool:
        """Whether programs can call a helper."""
        helper = FuncId(number)
        return not helper.name.startswith("UNKNOWN_") and self.reached(helper.since)

    def reached(self, since: str | None) -> bool:
        """Whether the release is that one or newer."""
        return since is None or parse(since) <= self.release

    def unknown_field(self, attr: CStruct) -> int:
        """Return the errno for a field that is set and that this release does not know, or 0.

        Within what it takes for the union it is ``EINVAL``, beyond ``E2BIG``.
        """
        # A newer name for an older place is no news.
        known = {field.offset for field in attr.FIELDS if self.reached(field.since)}
        unknown = [
            field.offset
            for field in attr.FIELDS
            if field.offset not in known and getattr(attr, field.name)
        ]
        if not unknown:
            return 0
        return errno.E2BIG if max(unknown) >= self._attr_size else errno.EINVAL

    # sizeof(union bpf_attr): as long as its longest member.
    @cached_property
    def _attr_size(self) -> int:
        kinds = [getattr(attrs, name) for name in attrs.__all__]
        end = max(
            field.offset + field.size
            for kind in kinds
            if isinstance(kind, type) and issubclass(kind, CStruct) and kind.SIZE == attrs.ATTR_SIZE
            if self.reached(kind.SINCE)
            for field in kind.FIELDS
            if self.reached(field.since)
        )
        return end + 7 & ~7

    # What came after the kernel that was asked is there if its release has been reached.
    def _has(self, name: str, since: str | None, answers: frozenset[str]) -> bool:
        if name in answers:
            return True
        if self._asked is None:
            return self.reached(since)
        return since is not None and parse(since) > self._asked and self.reached(since)
