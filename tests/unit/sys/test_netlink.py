"""Netlink's bytes: what is put in comes out, and of rubbish comes a FormatError at most."""

from __future__ import annotations

import contextlib
import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.errors import FormatError, NetlinkError, PrivilegeError
from pyebpf.sys import netlink
from pyebpf.uapi.rtnetlink import NetlinkFlag, NetlinkType, NlmsgerrAttr

ERROR = NetlinkType.ERROR
KINDS = st.integers(0, 0x3FFF)
NUMBERS = st.integers(0, 0xFFFFFFFF)


@given(st.dictionaries(KINDS, st.binary(max_size=40)), st.booleans())
def test_attributes_come_out_as_they_went_in(given_attributes, nested):
    """Whatever their length; each starts at a multiple of four."""
    parts = [netlink.attribute(k, v, nested=nested) for k, v in given_attributes.items()]
    assert all(len(part) % 4 == 0 for part in parts)
    assert netlink.attributes(b"".join(parts)) == given_attributes


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), NUMBERS, st.binary(max_size=40))))
def test_messages_come_out_as_they_went_in(given_messages):
    """Several of them in one datagram, padded in between."""
    datagram = b""
    for kind, sequence, body in given_messages:
        datagram += netlink.message(kind, 0, sequence, body)
        datagram += bytes(-len(datagram) % 4)
    assert [(m.type, m.sequence, m.body) for m in netlink.messages(datagram)] == given_messages


@given(st.binary(max_size=200))
def test_rubbish_is_a_format_error(data):
    """Any bytes."""
    for parse in (netlink.attributes, lambda each: list(netlink.messages(each))):
        with contextlib.suppress(FormatError):
            parse(data)
    netlink.failure("RTM_X", netlink.Message(ERROR, NetlinkFlag.ACK_TLVS, 1, data))


def answer(number: int, text: bytes = b"", *, whole: bytes = b"", flags: int = 0):
    request = struct.pack("=IHHII", 16 + len(whole), 19, 0, 1, 0) + whole
    said = netlink.attribute(NlmsgerrAttr.MSG, text + b"\0") if text else b""
    flags |= NetlinkFlag.ACK_TLVS if text else 0
    return netlink.Message(ERROR, flags, 1, struct.pack("=i", -number) + request + said)


@pytest.mark.parametrize("flags", [0, NetlinkFlag.CAPPED], ids=["whole request", "its header"])
def test_the_kernels_explanation_is_found(flags):
    """Behind the request, or behind its header alone."""
    whole = b"" if flags else bytes(24)
    error = netlink.failure(
        "RTM_SETLINK", answer(errno.EINVAL, b"bad flag", whole=whole, flags=flags)
    )
    assert isinstance(error, NetlinkError)
    assert error.extack == "bad flag"
    assert str(error) == "RTM_SETLINK: EINVAL: invalid argument: bad flag"


def test_acknowledgements_and_refusals_are_told_apart():
    """0 is none; EPERM names the capability; the errno alone is an error, too."""
    assert netlink.failure("RTM_SETLINK", answer(0)) is None
    assert netlink.failure("RTM_SETLINK", netlink.Message(16, 0, 1, bytes(20))) is None
    refused = netlink.failure("RTM_SETLINK", answer(errno.EPERM))
    assert isinstance(refused, PrivilegeError)
    assert "CAP_NET_ADMIN" in str(refused)
    plain = netlink.failure("RTM_SETLINK", answer(errno.ENODEV))
    assert isinstance(plain, NetlinkError)
    assert plain.extack == ""


def test_an_attribute_that_is_too_long_is_refused():
    """Its length has 16 bits."""
    with pytest.raises(ValueError, match="65536 bytes"):
        netlink.attribute(1, bytes(65536))
