"""What kernels answered agrees with the releases that are written down for everything."""

from __future__ import annotations

import pytest

from pyebpf.testing.ages import Age, parse
from pyebpf.testing.ages_table import AGES
from pyebpf.uapi.attrs import LinkCreatePerfEvent, MapCreate
from pyebpf.uapi.bpf import Cmd, MapFlag, MapType, ProgType
from pyebpf.uapi.helpers import FuncId

# Beyond the release these depend on what a kernel was built with, or on a policy.
CONFIGURED = {MapType.XSKMAP, MapType.SOCKMAP, MapType.SOCKHASH, ProgType.LIRC_MODE2}
CONFIGURED |= {ProgType.LSM, ProgType.EXT}


@pytest.mark.parametrize("release", AGES)
def test_a_kernel_that_was_asked_has_what_is_as_old(release):
    """Kinds of maps and programs, and commands."""
    age = Age(release)
    for kind in MapType:
        if kind and kind not in CONFIGURED:
            assert age.has_map_type(kind) == age.reached(kind.since), kind
    for program in ProgType:
        if program and program not in CONFIGURED:
            assert age.has_program_type(program) == age.reached(program.since), program
    for cmd in Cmd:
        assert age.has_command(cmd) == age.reached(cmd.since), cmd


@pytest.mark.parametrize("release", ["4.19", "5.4", "5.15", "6.6", "6.18.7-custom", "7.9"])
def test_other_releases_have_what_has_come_by_then(release):
    """By the kernel before that was asked, and what is written down since."""
    age = Age(release)
    for member in (MapType.RINGBUF, MapType.BLOOM_FILTER, MapType.ARENA):
        assert age.has_map_type(member) == age.reached(member.since)
    assert age.has_map_flag(MapFlag.MMAPABLE) == (parse(release) >= (5, 5))
    assert age.has_command(Cmd.LINK_CREATE) == (parse(release) >= (5, 7))
    assert age.has_helper(FuncId.get_attach_cookie) == (parse(release) >= (5, 15))
    assert not age.has_helper(4242)


def test_fields_are_as_old_as_they_are():
    """A new name for an old place is no news."""
    assert Age("5.10").unknown_field(MapCreate(map_extra=1))
    assert not Age("5.16").unknown_field(MapCreate(map_extra=1))
    assert not Age("5.10").unknown_field(LinkCreatePerfEvent(prog_fd=3, target_fd=4))
