"""The structs that programs of the network are given lie as in the running kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.btf.types import Composite
from pyebpf.host.kernel_btf import kernel_btf
from pyebpf.testing.kernel_types import CONTEXTS, kernel_types
from pyebpf.uapi.btf import BtfKind

NAMES = re.findall(r"struct (\w+) \{", CONTEXTS)


def members(btf: Btf, number: int, start: int = 0) -> Iterator[tuple[str, int]]:
    found = btf.type(btf.strip(number))
    assert isinstance(found, Composite)
    for each in found.members:
        if each.name:
            yield each.name, (start + each.bit_offset) // 8
        elif isinstance(btf.type(btf.strip(each.type)), Composite):
            yield from members(btf, each.type, start + each.bit_offset)


@pytest.mark.parametrize("name", NAMES)
def test_members_are_where_the_kernel_has_them(like_this_kernel, name):
    """All that are written down."""
    types = kernel_btf()
    there = dict(members(types, types.find(name, BtfKind.STRUCT)))
    ours = kernel_types([]).layouts[name]
    assert {member: each.offset for member, each in ours.items()} == {
        member: there[member] for member in ours
    }
