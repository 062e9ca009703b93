"""Kinds that this library or this kernel does not know: bytes in, bytes out, or a clear refusal."""

from __future__ import annotations

import pytest

import pyebpf
from pyebpf import Map, MapSpec, MapType
from pyebpf.maps.codec import BytesCodec
from pyebpf.maps.types import key_codec, value_codec
from pyebpf.sys import kernel
from pyebpf.sys.kernel import LinuxKernel
from pyebpf.uapi.attrs import MapCreate
from pyebpf.uapi.info import MapInfo

NEWER = 99


class NewerKernel(LinuxKernel):
    """The real kernel with one more kind of map, which works like a hash."""

    __slots__ = ()

    def bpf(self, cmd, attr, *, common=None):
        newer = isinstance(attr, MapCreate) and attr.map_type == NEWER
        if newer:
            attr.map_type = MapType.HASH
        result = super().bpf(cmd, attr, common=common)
        info = getattr(attr, "info", None)
        if isinstance(info, MapInfo) and info.type == MapType.HASH:
            info.type = NEWER
        return result


def test_a_newer_kind_passes_through_as_bytes():
    """Created, opened by id, walked, cloned: by its number, without any notion of its values."""
    with (
        kernel.use(NewerKernel()),
        Map.create(type=NEWER, key_size=4, value_size=8, max_entries=3, name="n") as m,
        Map.from_id(m.id) as opened,
    ):
        assert opened.type == NEWER
        assert str(opened.type) == "BPF_MAP_TYPE_UNKNOWN_99"
        opened[b"abcd"] = b"12345678"
        assert dict(m) == {b"abcd": b"12345678"}
        with m.new_like() as fresh:
            assert dict(fresh) == {}


def test_this_kernel_refuses_kinds_it_does_not_know():
    """By name where there is one, by number otherwise."""
    with pytest.raises(pyebpf.EbpfError, match="BPF_MAP_TYPE_UNKNOWN_99"):
        Map.create(type=NEWER, key_size=4, value_size=8, max_entries=3)


@pytest.mark.parametrize("kind", [MapType.RHASH, MapType.INSN_ARRAY], ids=str)
def test_kinds_newer_than_this_kernel_say_since_when(kind):
    """NotSupportedError with the release; where the kernel has it, the map is made."""
    shape = {} if kind == MapType.INSN_ARRAY else {"value_size": 8}
    with Map.create(type=kind, key_size=4, max_entries=2, **shape) as m:
        assert m.info().type == kind


def test_unknown_kinds_have_plain_codecs():
    """Even with sizes that would mean something elsewhere."""
    spec = MapSpec(name="x", type=MapType(NEWER), key_size=4, value_size=4, max_entries=1)
    assert isinstance(key_codec(spec), BytesCodec)
    assert isinstance(value_codec(spec), BytesCodec)
