"""Codecs of keys and values, without a kernel: what goes in comes out, and has the size it says."""

from __future__ import annotations

import ipaddress
import struct
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.maps import dtypes
from pyebpf.maps.lpm import IPV4, IPV4_NETWORK, IPV6, IPV6_NETWORK, lpm
from pyebpf.maps.objects import (
    CgroupKey,
    CgroupKeyCodec,
    FdCodec,
    OwnerCodec,
    Target,
    TargetCodec,
)
from pyebpf.maps.stack_format import BuildIdFrame, StackCodec
from pyebpf.maps.user_codec import StructCodec, as_codec
from pyebpf.uapi.bpf import AttachType
from tests.support import properties as properties

WORDS = st.integers(0, 2**32 - 1)
PREFIXES = st.sampled_from(["", "@", "=", "<", ">", "!"])
CODES = st.lists(
    st.tuples(st.sampled_from(["", "1", "2", "3", "0"]), st.sampled_from("xcbBhHiIlLqQefds?")),
    min_size=1,
    max_size=6,
)


@given(WORDS, st.integers(0, 32))
def test_networks_come_back(address, prefix):
    """Text, object and bytes make the same key, and the key is the network again."""
    network = ipaddress.ip_network((address, prefix), strict=False)
    key = IPV4_NETWORK.encode(network)
    assert key == IPV4_NETWORK.encode(str(network)) == IPV4_NETWORK.encode(key) == lpm(network)
    assert IPV4_NETWORK.decode(key) == network
    assert len(key) == IPV4_NETWORK.size
    assert lpm(network, key_size=12) == key + bytes(4)


@given(st.integers(0, 2**128 - 1), st.integers(0, 128))
def test_networks_of_version_6_come_back(address, prefix):
    """The same with sixteen bytes."""
    network = ipaddress.IPv6Network((address, prefix), strict=False)
    key = IPV6_NETWORK.encode(network)
    assert IPV6_NETWORK.decode(key) == network
    assert key == struct.pack("=I", network.prefixlen) + network.network_address.packed


@given(st.one_of(WORDS.map(ipaddress.IPv4Address), st.builds(ipaddress.IPv6Address, WORDS)))
def test_addresses_come_back(address):
    """And the other version is refused."""
    codec, other = (IPV4, IPV6) if address.version == 4 else (IPV6, IPV4)
    assert codec.decode(codec.encode(str(address))) == address
    with pytest.raises(ValueError, match=f"is no IPv{10 - address.version} address"):
        other.encode(address)


@given(st.lists(st.integers(1, 2**64 - 1), max_size=8))
def test_stacks_come_back(addresses):
    """As many frames as there are, the rest is zero."""
    codec = StackCodec(64, build_ids=False)
    data = codec.encode(addresses)
    assert len(data) == 64
    assert codec.decode(data) == tuple(addresses)


@given(st.lists(st.builds(BuildIdFrame, st.binary(min_size=20, max_size=20), WORDS), max_size=4))
def test_stacks_of_build_ids_come_back(frames):
    """Frames without one keep their address."""
    codec = StackCodec(128, build_ids=True)
    assert codec.decode(codec.encode(frames)) == tuple(frames)
    plain = [BuildIdFrame(b"", frame.offset) for frame in frames]
    assert codec.decode(codec.encode(plain)) == tuple(plain)


def test_stacks_that_do_not_fit_are_refused():
    """By the number of frames."""
    with pytest.raises(ValueError, match="9 frames do not fit 64 bytes"):
        StackCodec(64, build_ids=False).encode([1] * 9)
    with pytest.raises(TypeError, match="needs a sequence of frames, not int"):
        StackCodec(64, build_ids=False).encode(1)


class Open:
    def fileno(self):
        return 7


@pytest.mark.parametrize("size", [4, 8])
def test_open_objects_are_their_descriptors(size):
    """As values, as keys, beside a number."""
    assert (
        FdCodec(size).encode(Open()) == FdCodec(size).encode(7) == (7).to_bytes(size, sys.byteorder)
    )
    assert FdCodec(size).decode((7).to_bytes(size, sys.byteorder)) == 7
    assert OwnerCodec().decode(OwnerCodec().encode(Open())) == 7
    targets = TargetCodec(8, devices=True)
    assert targets.decode(targets.encode((3, Open()))) == Target(3, 7)
    assert targets.decode(targets.encode(3)) == Target(3, None)
    assert TargetCodec(4, devices=False).decode(TargetCodec(4, devices=False).encode(9)) == 9
    for bad in (-1, 1 << 64, "7", None, 1.5, True):
        with pytest.raises((TypeError, ValueError)):
            FdCodec(size).encode(bad)


def test_keys_of_cgroups_come_back():
    """With an attach type and without."""
    whole = CgroupKeyCodec(16)
    key = CgroupKey(1 << 40, AttachType.CGROUP_INET_EGRESS)
    assert whole.decode(whole.encode(key)) == key
    assert CgroupKeyCodec(8).decode(CgroupKeyCodec(8).encode(5)) == 5


@given(PREFIXES, CODES, st.data())
def test_formats_mean_the_same_to_struct_and_numpy(prefix, codes, data):
    """Every item at its place, padding included; a codec's value is the row."""
    text = prefix + "".join(count + code for count, code in codes)
    size = struct.calcsize(text)
    items = len(struct.unpack(text, bytes(size))) if size else 0
    if not size or not items or "0s" in text:
        return
    codec = StructCodec(text, "value")
    raw = data.draw(st.binary(min_size=size, max_size=size))
    array = dtypes.array(codec, bytearray(raw), None)
    assert array.dtype.itemsize == codec.size == size
    expected = struct.unpack(text, raw)
    row = array[0]
    found = [row[name] for name in array.dtype.names] if array.dtype.names else [row]
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        if isinstance(other, bytes):
            assert one.tobytes().ljust(len(other), b"\0") == other
        else:
            assert repr(one.item()) == repr(other)
    value = codec.decode(raw)
    assert repr(codec.decode(codec.encode(value))) == repr(value)


def test_what_is_no_codec_is_refused():
    """A TypeError that shows it."""
    for bad in (7, object(), [1], int, str):
        with pytest.raises(TypeError, match="value= cannot be"):
            as_codec(bad, 4, btf=None, what="value")
    with pytest.raises(ValueError, match="value is 4 bytes, its codec's 2"):
        as_codec(np.uint16, 4, btf=None, what="value")
