"""Keys of LPM tries: networks, as ``struct bpf_lpm_trie_key`` has them; and plain IP addresses.

prefix length u32, native order | address: 4 or 16 bytes, network order | more, if there is more

`lpm` makes one key, whatever types the trie has: ``trie[lpm("10.0.0.0/8")]``. With the codecs keys
go in as text or `ipaddress` objects and come out as `ipaddress` objects:

    Map.create(type=MapType.LPM_TRIE, key=IPV4_NETWORK, value="I", max_entries=100)
    m.with_types(key=IPV6)
"""

from __future__ import annotations

import ipaddress
import struct

from pyebpf.typed import TypeAlias

__all__ = ["IPV4", "IPV4_NETWORK", "IPV6", "IPV6_NETWORK", "AddressCodec", "NetworkCodec", "lpm"]

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Bytes: TypeAlias = bytes | bytearray | memoryview

_PREFIX = struct.Struct("=I")


def lpm(network: str | Network | Address, *, key_size: int = 0) -> bytes:
    """Return the key of an LPM trie for a network.

    Args:
        network: ``"10.0.0.0/8"``, ``"2001:db8::1"`` (all bits count), or an `ipaddress` object.
            Bits behind the prefix must be zero, as `ipaddress` wants it.
        key_size: Bytes of the key, if it has more than the address; the rest is zero.

    Raises:
        ValueError: No network, or *key_size* is too small for it.
    """
    found = ipaddress.ip_network(network)
    key = _PREFIX.pack(found.prefixlen) + found.network_address.packed
    if key_size and key_size < len(key):
        raise ValueError(f"{found} takes a key of {len(key)} bytes, not {key_size}")
    return key.ljust(key_size, b"\0")


class NetworkCodec:
    """Keys of an LPM trie as networks.

    Args:
        version: 4 or 6.
    """

    def __init__(self, version: int) -> None:
        self._version = version
        self._kind = ipaddress.IPv4Network if version == 4 else ipaddress.IPv6Network
        self.size = _PREFIX.size + (4 if version == 4 else 16)

    def decode(self, buffer: Bytes) -> Network:
        """Return the network."""
        (prefix,) = _PREFIX.unpack_from(buffer)
        address = int.from_bytes(buffer[_PREFIX.size : self.size], "big")
        return self._kind((address, prefix), strict=False)

    def encode(self, value: object) -> bytes:
        """Return the key of a network, given as text, object, or raw bytes.

        Raises:
            ValueError: It is not one, or of the other version.
        """
        raw = isinstance(value, (bytes, bytearray, memoryview))
        # What a network may be given as is ipaddress's business.
        key = bytes(value) if raw else lpm(value)  # type: ignore[call-overload, arg-type]
        if len(key) != self.size:
            raise ValueError(f"{value!r} is no IPv{self._version} network")
        return key


class AddressCodec:
    """IP addresses in network order.

    Args:
        version: 4 or 6.
    """

    def __init__(self, version: int) -> None:
        self._version = version
        self._kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
        self.size = 4 if version == 4 else 16

    def decode(self, buffer: Bytes) -> Address:
        """Return the address."""
        return self._kind(bytes(buffer[: self.size]))

    def encode(self, value: object) -> bytes:
        """Return an address, given as text, object, or raw bytes.

        Raises:
            ValueError: It is not one, or of the other version.
        """
        if isinstance(value, (bytes, bytearray, memoryview)):
            packed = bytes(value)
        else:
            packed = ipaddress.ip_address(value).packed  # type: ignore[arg-type]
        if len(packed) != self.size:
            raise ValueError(f"{value!r} is no IPv{self._version} address")
        return packed


IPV4, IPV6 = AddressCodec(4), AddressCodec(6)
IPV4_NETWORK, IPV6_NETWORK = NetworkCodec(4), NetworkCodec(6)
