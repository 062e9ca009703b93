"""Fields that are IP addresses: which ones the user says, since C calls them just numbers.

    struct flow { __be32 source; __u8 target[16]; }   with_addresses(btf, id, {"source", "target"})
    record.source == IPv4Address("10.0.0.1")          record.target == IPv6Address("::1")

Four bytes are IPv4, sixteen IPv6, both in network order. Encoding takes text, `ipaddress` objects,
and bytes.
"""

from __future__ import annotations

from collections.abc import Collection

from pyebpf.btf.btf import Btf
from pyebpf.btf.codec import Codec
from pyebpf.btf.records import RecordCodec
from pyebpf.btf.types import Composite
from pyebpf.btf.values import codec, places
from pyebpf.errors import BtfError
from pyebpf.typed import TYPE_CHECKING

if TYPE_CHECKING:
    import ipaddress

__all__ = ["with_addresses"]


def with_addresses(btf: Btf, type_id: int, fields: Collection[str]) -> RecordCodec:
    """Return the codec of a struct of which some fields are IP addresses.

    Args:
        btf: Where the type is.
        type_id: A struct, union or typedef of one.
        fields: Names; those the struct has not are left alone.

    Raises:
        BtfError: It is no struct, or such a field has neither 4 nor 16 bytes.
    """
    plain = codec(btf, type_id)
    found = btf.type(btf.strip(type_id))
    if not isinstance(plain, RecordCodec) or not isinstance(found, Composite):
        raise BtfError(f"{btf.describe(type_id)} has no fields", f"type {type_id}")
    changed = []
    for place in places(btf, found):
        if place.name in fields:
            if place.width or place.codec.size not in (4, 16):
                raise BtfError(f"field {place.name!r} of {plain.type_name} is no IP address")
            place = place._replace(codec=_address(btf, place.codec))
        changed.append(place)
    name = plain.record.__name__
    made = RecordCodec(plain.type_name, btf.byteorder, plain.size, name, changed)
    made.type_id = type_id
    return made


def _address(btf: Btf, inner: Codec) -> Codec:
    import ipaddress

    size = inner.size
    kind = ipaddress.IPv4Address if size == 4 else ipaddress.IPv6Address

    def get(raw: bytes) -> object:
        return kind(raw)

    def put(value: str | bytes | ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
        packed = value if isinstance(value, bytes) else ipaddress.ip_address(value).packed
        if len(packed) != size:
            raise ValueError(f"{value!r} is no IPv{4 if size == 4 else 6} address")
        return packed

    return Codec(inner.type_name, btf.byteorder, f"{size}s", get=get, put=put)
