"""Netlink messages: bytes to and from headers and attributes. No system calls here.

    |len 4|type 2|flags 2|seq 4|pid 4|  body, padded to 4   |len|type|...   next message
                                        fixed part | attributes
    |len 2|type 2|payload, padded to 4|    an attribute; its payload may be attributes again

An answer of type ``NLMSG_ERROR`` holds minus errno (0: done as asked), the header of the request
and, with flag ``NLM_F_ACK_TLVS``, attributes in which the kernel says why (extended ack, Linux
4.12). Everything is native-endian. Layouts: ``linux/netlink.h``.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator

from pyebpf.errors import FormatError, NetlinkError, PrivilegeError, SyscallError, errno_text
from pyebpf.typed import NamedTuple
from pyebpf.uapi.cstruct import CStruct
from pyebpf.uapi.rtnetlink import (
    NLA_F_NESTED,
    NLA_TYPE_MASK,
    NetlinkFlag,
    NetlinkType,
    NlAttr,
    NlmsgerrAttr,
    NlMsgHdr,
)

__all__ = [
    "Message",
    "attribute",
    "attributes",
    "complete",
    "failure",
    "fixed",
    "message",
    "messages",
]

_HEADER = NlMsgHdr.SIZE
_ERROR_SIZE = 4 + _HEADER  # errno and the header of the request
_UNKNOWN_ERROR = errno.EPROTO  # for an answer that makes no sense


class Message(NamedTuple):
    """One message.

    Attributes:
        type: ``NLMSG_*`` or ``RTM_*``.
        flags: ``NLM_F_*``.
        sequence: Of the request it answers.
        body: What follows the header, without padding.
    """

    type: int
    flags: int
    sequence: int
    body: bytes


def fixed(struct_: CStruct) -> bytes:
    """Return the bytes of a struct without pointers: the fixed part of a body."""
    return bytes(struct_.pack(_address))


def attribute(kind: int, *payload: bytes, nested: bool = False) -> bytes:
    """Return one attribute, padded.

    Args:
        kind: ``nla_type``.
        payload: Its bytes, or whole attributes.
        nested: Set ``NLA_F_NESTED``, which says that it holds attributes.

    Raises:
        ValueError: Longer than the 16 bits of its length.
    """
    data = b"".join(payload)
    size = NlAttr.SIZE + len(data)
    if size > 0xFFFF:
        raise ValueError(f"netlink attribute {kind} of {len(data)} bytes")
    header = NlAttr(nla_len=size, nla_type=kind | (NLA_F_NESTED if nested else 0))
    return fixed(header) + data + bytes(-size % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """Return the payloads of attributes by kind; of several of a kind the last.

    Raises:
        FormatError: They do not fit *data*.
    """
    found = {}
    place = 0
    while place + NlAttr.SIZE <= len(data):
        size, kind = struct.unpack_from("=HH", data, place)
        if not NlAttr.SIZE <= size <= len(data) - place:
            raise FormatError(f"attribute of {size} bytes", f"netlink message, byte {place}")
        found[kind & NLA_TYPE_MASK] = data[place + NlAttr.SIZE : place + size]
        place += size + -size % 4
    return found


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Return one message, its body with fixed part and attributes as given."""
    header = NlMsgHdr(
        nlmsg_len=_HEADER + len(body), nlmsg_type=kind, nlmsg_flags=flags, nlmsg_seq=sequence
    )
    return fixed(header) + body


def messages(data: bytes) -> Iterator[Message]:
    """Yield the messages of one datagram.

    Raises:
        FormatError: They do not fit *data*.
    """
    place = 0
    while place < len(data):
        if len(data) - place < _HEADER:
            raise FormatError("cut short", f"netlink message at byte {place}")
        size, kind, flags, sequence = struct.unpack_from("=IHHI", data, place)
        if not _HEADER <= size <= len(data) - place:
            raise FormatError(f"message of {size} bytes", f"netlink message at byte {place}")
        yield Message(kind, flags, sequence, data[place + _HEADER : place + size])
        place += size + -size % 4


def complete(data: bytes, sequence: int) -> bool:
    """Return whether this datagram ends the answer to a request.

    An answer ends with ``NLMSG_DONE`` or ``NLMSG_ERROR``; requests always ask for one of the two.
    """
    ends = (NetlinkType.ERROR, NetlinkType.DONE)
    return any(each.type in ends for each in messages(data) if each.sequence == sequence)


def failure(command: str, answer: Message) -> SyscallError | None:
    """Return the error that an answer is, or ``None``.

    Args:
        command: What was asked for: ``"RTM_SETLINK"``.
        answer: A message; ``NLMSG_DONE`` may carry an errno, too.
    """
    if answer.type not in (NetlinkType.ERROR, NetlinkType.DONE) or len(answer.body) < 4:
        return None
    number = -struct.unpack_from("=i", answer.body)[0]
    if not number:
        return None
    if number < 0:
        return NetlinkError(command, _UNKNOWN_ERROR, "an answer that makes no sense")
    extack = _extack(answer)
    if number in (errno.EPERM, errno.EACCES):
        reason = "needs CAP_NET_ADMIN in the network namespace"
        return PrivilegeError(command, number, f"{reason}: {extack}" if extack else reason)
    error = NetlinkError(command, number, extack)
    if extack:
        error.detail = f"{errno_text(number)}: {extack}"
    return error


def _address(buffer: object) -> int:
    raise TypeError("netlink messages hold no pointers")


def _extack(answer: Message) -> str:
    if not answer.flags & NetlinkFlag.ACK_TLVS:
        return ""
    start = _ERROR_SIZE if answer.type == NetlinkType.ERROR else 4
    # Without NLM_F_CAPPED the whole request stands there, not just its header.
    if answer.type == NetlinkType.ERROR and not answer.flags & NetlinkFlag.CAPPED:
        if len(answer.body) < _ERROR_SIZE:
            return ""
        (size,) = struct.unpack_from("=I", answer.body, 4)
        start = 4 + size + -size % 4
    try:
        text = attributes(answer.body[start:]).get(NlmsgerrAttr.MSG, b"")
    except FormatError:
        return ""
    return text.rstrip(b"\0\n").decode(errors="replace")
