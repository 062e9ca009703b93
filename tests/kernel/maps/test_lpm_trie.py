"""LPM tries: the longest prefix that matches, with keys from networks."""

from __future__ import annotations

import ipaddress

import pytest

import pyebpf
from pyebpf import Map, MapType, lpm
from pyebpf.maps.lpm import IPV4_NETWORK, IPV6_NETWORK
from tests.support.programs import only_used


def test_the_longest_prefix_wins():
    """Networks go in as text or objects; an address finds the smallest one around it."""
    with Map.create(
        type=MapType.LPM_TRIE, key=IPV4_NETWORK, value="I", max_entries=16, name="routes"
    ) as m:
        m["0.0.0.0/0"] = 0
        m[ipaddress.ip_network("10.0.0.0/8")] = 8
        m["10.1.0.0/16"] = 16
        looked_up = {"10.1.2.3": 16, "10.2.0.0/16": 8, "192.168.0.1": 0}
        assert {address: m[address] for address in looked_up} == looked_up
        assert {str(key) for key in m} == {"0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16"}
        del m["10.1.0.0/16"]
        assert m["10.1.2.3"] == 8
        with pytest.raises(ValueError, match="no IPv4 network"):
            m["2001:db8::/32"] = 1
        with pytest.raises(ValueError, match="has host bits set"):
            m["10.0.0.1/8"] = 1


def test_ipv6_networks():
    """Sixteen bytes of address, the same rules."""
    with Map.create(type=MapType.LPM_TRIE, key=IPV6_NETWORK, value="I", max_entries=4) as m:
        m["2001:db8::/32"] = 32
        m["2001:db8:1::/48"] = 48
        assert (m["2001:db8:1::5"], m["2001:db8:2::"]) == (48, 32)
        assert "2002::1" not in m


def test_a_full_trie_refuses():
    """ENOSPC of a trie is a full map like any other."""
    with Map.create(type=MapType.LPM_TRIE, key=IPV4_NETWORK, value="I", max_entries=1) as m:
        m["10.0.0.0/8"] = 1
        with pytest.raises(pyebpf.MapFullError):
            m["11.0.0.0/8"] = 1
        assert dict(m) == {ipaddress.ip_network("10.0.0.0/8"): 1}


def test_lpm_makes_keys_for_any_type():
    """Of a map whose keys are records of BTF, and of one whose keys are bytes with more in them."""
    spec = only_used("maps")
    spec.maps["lpm_trie"].autocreate = True
    with pyebpf.load(spec) as bpf:
        trie = bpf.maps["lpm_trie"]
        trie[lpm("10.0.0.0/8")] = 7
        assert trie[lpm("10.9.9.9")] == 7
        ((key, value),) = trie.items()
        assert (key.prefix_length, key.bytes, value) == (8, bytes([10, 0, 0, 0]), 7)
    assert lpm("::/0", key_size=24) == bytes(24)
    with pytest.raises(ValueError, match="takes a key of 20 bytes, not 8"):
        lpm("::/0", key_size=8)
