"""BPF tokens: objects load in a user namespace by what its bpffs delegates, and no further."""

from __future__ import annotations

import pathlib

import pytest

import pyebpf
from pyebpf import Token, features
from pyebpf.features import Answer, feature
from pyebpf.sys import delegation
from pyebpf.uapi.bpf import Cmd, MapType, ProgType
from tests.support import kernel
from tests.support.delegated import with_delegation
from tests.support.programs import built

ALL = {
    "delegate_cmds": "any",
    "delegate_maps": "any",
    "delegate_progs": "any",
    "delegate_attachs": "any",
}
OBJECT = built("xdp_drop").read_bytes()


@pytest.fixture
def bpffs_of_child(tmp_path: pathlib.Path) -> pathlib.Path:
    kernel.needs("6.9", "BPF tokens")
    return tmp_path


def test_an_object_is_loaded_by_what_is_delegated(bpffs_of_child):
    """Its maps, types, program and probes; what is loaded is used without the token."""

    def action() -> str:
        with Token.create(bpffs_of_child) as token:
            bpf = pyebpf.load(OBJECT, token=token)
        with bpf:
            pin = bpffs_of_child / "program"
            bpf.programs["xdp_drop"].pin(pin)
            counts = bpf.maps["counts"]
            counts[0] = [7] * len(counts[0])
            return f"{len(bpf.maps)} {counts[0][0]} {pyebpf.pinning.kind_at(pin)}"

    with pyebpf.load(OBJECT) as bpf:
        maps = len(bpf.maps)
    assert with_delegation(bpffs_of_child, ALL, action) == f"{maps} 7 program"


def test_without_a_token_nothing_is_allowed(bpffs_of_child):
    """The same process, the same object."""

    def action() -> str:
        with pyebpf.load(OBJECT):
            return "loaded"

    assert with_delegation(bpffs_of_child, ALL, action).startswith("PrivilegeError: ")


def test_what_is_not_delegated_is_refused(bpffs_of_child):
    """Another type of program, another type of map."""
    rights = {**ALL, "delegate_progs": "socket_filter"}

    def action() -> str:
        with Token.create(bpffs_of_child) as token, pyebpf.load(OBJECT, token=token):
            return "loaded"

    assert with_delegation(bpffs_of_child, rights, action).startswith(
        'PrivilegeError: load program "xdp_drop": '
    )
    rights = {**ALL, "delegate_maps": "hash"}
    assert with_delegation(bpffs_of_child, rights, action).startswith("PrivilegeError: create map ")


def test_a_single_map_may_be_made_by_a_token(bpffs_of_child):
    """As a parameter, or in force for a block."""

    def action() -> str:
        shape = {"type": MapType.HASH, "key_size": 4, "value_size": 4, "max_entries": 1}
        with Token.create(bpffs_of_child) as token:
            with pyebpf.Map.create(**shape, token=token) as one:
                one[bytes(4)] = bytes(4)
            with delegation.in_force(token), pyebpf.Map.create(**shape) as other:
                other[bytes(4)] = bytes(4)
            with pytest.raises(pyebpf.PrivilegeError):
                pyebpf.Map.create(**shape)
        return "as it should be"

    assert with_delegation(bpffs_of_child, ALL, action) == "as it should be"


def test_probes_answer_for_the_token(bpffs_of_child):
    """Answers by the token's rights are no answers without it."""

    def action() -> str:
        feature._answers.clear()  # of the parent, who may have asked before
        array = features.map_type(MapType.ARRAY)
        before = array.finding().answer
        with Token.create(bpffs_of_child) as token, delegation.in_force(token):
            within = array.finding().answer
        return f"{before.value}, {within.value}, {array.finding().answer.value}"

    unknown, yes = Answer.UNKNOWN.value, Answer.YES.value
    assert with_delegation(bpffs_of_child, ALL, action) == f"{unknown}, {yes}, {unknown}"


def test_a_token_tells_what_it_allows(bpffs_of_child):
    """By the names of what was delegated."""
    kernel.needs("6.17", "information about tokens")
    rights = {
        "delegate_cmds": "prog_load:map_create",
        "delegate_maps": "array:hash",
        "delegate_progs": "xdp",
    }

    def action() -> str:
        with Token.create(bpffs_of_child) as token:
            found = token.info()
        assert found.commands == {Cmd.PROG_LOAD, Cmd.MAP_CREATE}
        assert found.map_types == {MapType.ARRAY, MapType.HASH}
        assert found.program_types == {ProgType.XDP}
        assert found.attach_types == set()
        return "as delegated"

    assert with_delegation(bpffs_of_child, rights, action) == "as delegated"


def test_a_mount_that_delegates_nothing_has_no_token(bpffs_of_child):
    """ENOENT, with the path."""

    def action() -> str:
        with Token.create(bpffs_of_child):
            return "made"

    found = with_delegation(bpffs_of_child, {}, action)
    assert found.startswith(f'SyscallError: token of "{bpffs_of_child}": BPF_TOKEN_CREATE: ENOENT')


def test_outside_of_a_user_namespace_there_are_none(bpffs, real_kernel):
    """The first namespace's processes are privileged already."""
    kernel.needs("6.9", "BPF tokens")
    with pytest.raises(pyebpf.SyscallError, match=f'token of "{bpffs}"'):
        Token.create(bpffs)
    with pytest.raises(pyebpf.SyscallError, match="no_such"):
        Token.create(bpffs / "no_such")
    with pytest.raises(pyebpf.SyscallError, match="token of"):
        Token.create("/proc")
