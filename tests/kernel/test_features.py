"""Probes: what they say of this kernel agrees with the release that brought each feature."""

from __future__ import annotations

import dataclasses

import pytest

from pyebpf import features
from pyebpf.errors import NotSupportedError, PrivilegeError, SyscallError
from pyebpf.features.feature import Feature, accepted
from pyebpf.uapi.bpf import MapFlag, MapType, ProgType
from pyebpf.uapi.if_xdp import XdpBindFlag
from tests.support import kernel

# Beyond the release these depend on what the kernel was built with, or on a policy (see conftest).
CONFIGURED_MAPS = {MapType.UNSPEC, MapType.XSKMAP, MapType.SOCKMAP, MapType.SOCKHASH}
CONFIGURED_PROGRAMS = {ProgType.UNSPEC, ProgType.LIRC_MODE2}
POLICED_PROGRAMS = {ProgType.LSM, ProgType.EXT}


def expected(since: str | None) -> bool:
    return since is None or kernel.version() >= kernel.parse_version(since)


@pytest.mark.parametrize("kind", [each for each in MapType if each not in CONFIGURED_MAPS], ids=str)
def test_map_types_are_there_since_their_release(kind):
    """A kernel has each map type from the release on that is written down for it."""
    assert features.map_type(kind).available() == expected(kind.since)


@pytest.mark.parametrize(
    "kind",
    [each for each in ProgType if each not in CONFIGURED_PROGRAMS | POLICED_PROGRAMS],
    ids=str,
)
def test_program_types_are_there_since_their_release(kind):
    """A kernel has each program type from the release on that is written down for it."""
    assert features.program_type(kind).available() == expected(kind.since)


NEEDING_MORE = {MapFlag.PATH_FD, MapFlag.TOKEN_FD, MapFlag.VTYPE_BTF_OBJ_FD, MapFlag.CLONE}


@pytest.mark.parametrize(
    "flag", [each for each in MapFlag if each.since and each not in NEEDING_MORE], ids=str
)
def test_map_flags_are_there_since_their_release(flag):
    """All but those that need a descriptor or a kind of map that needs types."""
    assert features.map_flag(flag).available() == expected(flag.since)


@pytest.mark.parametrize(
    "feature",
    [
        features.mmapable_arrays,
        features.function_pointers,
        features.object_names,
        features.dotted_names,
        features.far_map_values,
        features.function_addresses,
        features.probe_read_kernel,
        features.expected_attach_type,
        features.function_types,
        features.af_xdp,
        features.xdp_bind_flag(XdpBindFlag.USE_NEED_WAKEUP),
        features.xdp_bind_flag(XdpBindFlag.USE_SG),
    ],
    ids=lambda each: each.name,
)
def test_abilities_are_there_since_their_release(feature):
    """Old kernels have them not, and require() says since when."""
    assert feature.available() == expected(feature.since)
    if not feature.available():
        with pytest.raises(NotSupportedError, match=feature.since):
            feature.require()


def test_kinds_of_types_are_there_since_their_release():
    """BTF kinds, as the table in `pyebpf.btf.sanitize` has them."""
    since = {
        "func": "5.0",
        "datasec": "5.2",
        "func_global": "5.6",
        "float": "5.13",
        "decl_tag": "5.16",
        "type_tag": "5.17",
        "enum64": "6.0",
        "question_mark": "6.9",
    }
    found = dataclasses.asdict(features.btf_features())
    assert {name: found[name] for name in since} == {
        name: expected(release) for name, release in since.items()
    }


def test_no_privilege_is_not_a_no():
    """What cannot be told raises, and is asked again the next time."""
    answers = iter([PrivilegeError("BPF_MAP_CREATE", 1), SyscallError("BPF_MAP_CREATE", 22)])
    calls = []

    def attempt():
        calls.append(1)
        raise next(answers)

    feature = Feature("something made up", "9.9", lambda: accepted(attempt))
    with pytest.raises(PrivilegeError):
        feature.available()
    assert not feature.available()
    assert not feature.available()
    assert len(calls) == 2
