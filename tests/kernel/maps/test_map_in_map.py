"""Maps of maps: objects in, ids out, and the way back to an object."""

from __future__ import annotations

import pytest

import pyebpf
from pyebpf import Map, MapSpec, MapType

INNER = MapSpec(name="inner", type=MapType.HASH, key_size=4, value_size=8, max_entries=4)
KINDS = [(MapType.ARRAY_OF_MAPS, 1), (MapType.HASH_OF_MAPS, 0xABCDEF)]


@pytest.mark.parametrize(("kind", "key"), KINDS, ids=str)
def test_objects_go_in_and_come_out_by_id(kind, key):
    """A slot holds the very map; deleting it leaves that alone."""
    with (
        Map.create(type=kind, key="I", max_entries=4, inner=INNER, name="outer") as outer,
        Map.from_spec(INNER, key="I", value="Q") as inner,
    ):
        inner[1] = 100
        outer[key] = inner
        assert outer[key] == inner.id
        with Map.from_id(outer[key], key="I", value="Q") as found:
            assert found[1] == 100
        assert dict(outer) == {key: inner.id}
        del outer[key]
        assert (len(outer), inner[1]) == (0, 100)


def test_the_model_may_be_a_map_opened_by_id():
    """Nothing need be known of it but its number, as when another process made it."""
    with (
        Map.from_spec(INNER) as first,
        Map.from_id(first.id) as model,
        Map.create(type=MapType.HASH_OF_MAPS, key="I", max_entries=2, inner=model) as outer,
    ):
        outer[5] = first
        assert outer[5] == first.id
        assert outer.spec.inner.value_size == 8


def test_a_map_of_maps_without_a_model_says_so():
    """The kernel's EINVAL or EBADF would not."""
    with pytest.raises(pyebpf.SyscallError, match="inner is missing"):
        Map.create(type=MapType.ARRAY_OF_MAPS, max_entries=1)
    with pytest.raises(ValueError, match=r'map "h" .* holds no maps'):
        Map.create(type=MapType.HASH, key="I", value="I", max_entries=1, inner=INNER, name="h")
    with (
        Map.create(type=MapType.ARRAY_OF_MAPS, max_entries=1, inner=INNER) as outer,
        Map.from_id(outer.id) as opened,
        pytest.raises(pyebpf.SyscallError, match="inner is missing"),
    ):
        opened.new_like()


def test_a_map_unlike_the_model_is_refused():
    """The error names the outer map; the slot stays as it was."""
    with (
        Map.create(type=MapType.ARRAY_OF_MAPS, max_entries=1, inner=INNER, name="outer") as outer,
        Map.create(type=MapType.ARRAY, value="Q", max_entries=4) as other,
    ):
        with pytest.raises(pyebpf.SyscallError, match=r'update map "outer".*EINVAL'):
            outer[0] = other
        assert dict(outer) == {}
        with pytest.raises(TypeError, match="needs an open object or a descriptor, not str"):
            outer[0] = "inner"
        with pytest.raises(ValueError, match="-1 is not a descriptor"):
            outer[0] = -1
