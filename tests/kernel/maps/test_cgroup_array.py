"""Cgroup arrays: is the current task in the group of a slot?"""

from __future__ import annotations

import os

import pytest

import pyebpf
from pyebpf.sys.fd import FD
from tests.support.cgroups import joined
from tests.support.programs import only_used


def test_a_program_sees_whether_its_task_is_in_the_group(cgroup):
    """It is, and is not once it has left, by the group's open directory."""
    with pyebpf.load(only_used("map_kinds", "under_cgroup")) as bpf:
        groups, program = bpf.maps["cgroups"], bpf.programs["under_cgroup"]
        assert program.run().retval == -11 & 0xFFFFFFFF  # EAGAIN: an empty slot
        with joined(cgroup) as group:
            groups[1] = group
            assert program.run().retval == 1
        assert program.run().retval == 0
        with pytest.raises(pyebpf.SyscallError, match='lookup in map "cgroups"'):
            groups[1]
        del groups[1]
        assert program.run().retval == -11 & 0xFFFFFFFF


def test_only_groups_of_version_two_are_taken():
    """Anything else is EBADF, named."""
    with (
        pyebpf.load(only_used("map_kinds", "under_cgroup")) as bpf,
        FD(os.open("/", os.O_RDONLY | os.O_DIRECTORY)) as directory,
        pytest.raises(pyebpf.SyscallError, match=r'update map "cgroups".*EBADF'),
    ):
        bpf.maps["cgroups"][0] = directory
