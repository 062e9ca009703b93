"""What follows a section's slash, and places among other programs: read, or refused in words."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.link.anchor import Anchored, place
from pyebpf.link.kprobe import parse_function
from pyebpf.link.usdt import parse_probe
from pyebpf.uapi.per_hook import AttachFlag


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("do_unlinkat", ("do_unlinkat", 0)),
        ("do_unlinkat+4", ("do_unlinkat", 4)),
        ("do_unlinkat+0x10", ("do_unlinkat", 16)),
        ("tcp_init.isra.0", ("tcp_init.isra.0", 0)),
    ],
)
def test_a_function_and_an_offset(text, expected):
    """Decimal or hexadecimal."""
    assert parse_function(text) == expected


@pytest.mark.parametrize("text", ["", "+4", "f+", "f+x", "f+1+2"])
def test_what_is_no_function_is_refused(text):
    """With the form that is wanted."""
    with pytest.raises(ValueError, match=r"not of the form function\[\+offset\]"):
        parse_function(text)


def test_a_probe_has_three_parts():
    """Whose path may have no colon."""
    assert parse_probe("/bin/x:provider:name") == ("/bin/x", "provider", "name")
    for text in ("", "a", "a:b", "a::c", ":b:c", "a:b:", "a:b:c:d"):
        with pytest.raises(ValueError, match="path:provider:name"):
            parse_probe(text)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text):
    """Never another error."""
    for parse in (parse_function, parse_probe):
        with contextlib.suppress(ValueError):
            parse(text)


def test_places_among_others():
    """By program id, or at either end; only one of the two sides."""
    assert place() == Anchored(0, 0, 0)
    assert place(before="all") == Anchored(AttachFlag.BEFORE, 0, 0)
    assert place(after="all") == Anchored(AttachFlag.AFTER, 0, 0)
    assert place(before=7) == Anchored(AttachFlag.BEFORE | AttachFlag.ID, 0, 7)
    with pytest.raises(ValueError, match="not both"):
        place(before=7, after=8)
