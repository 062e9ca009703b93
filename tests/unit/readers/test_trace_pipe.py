"""Lines of the kernel's trace."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.errors import FormatError
from pyebpf.readers.trace_pipe import TraceLine, _lost, _Parser


@pytest.mark.parametrize(
    ("task", "rest", "expected"),
    [
        (
            b"a-12 [3] 9: b",
            b"-77      [011] d..31    12.5: sched_switch: prev_comm=x next=y: z",
            (77, None, 11, "d..31", 12.5, "sched_switch", "prev_comm=x next=y: z"),
        ),
        (
            b"<idle>",
            b"-0     (-------) [001] .N.     1.25: vfs_read <-ksys_read",
            (0, None, 1, ".N.", 1.25, "", "vfs_read <-ksys_read"),
        ),
        (
            b"\xff-sh",
            b"-12345   (  12345) [000]   77: tracing_mark_write: a\\x b",
            (12345, 12345, 0, "", 77.0, "tracing_mark_write", "a\\x b"),
        ),
    ],
)
def test_heads_are_read_as_the_kernel_prints_them(task, rest, expected):
    """Names with anything in them; other events than what is printed."""
    name = task.decode(errors="backslashreplace")
    assert _Parser()(task.rjust(16) + rest) == TraceLine(name, *expected)


def test_a_line_without_a_head_goes_on_with_the_message_before():
    """At the start somebody else has read what it belongs to, which is an error."""
    parse = _Parser()
    with pytest.raises(FormatError, match="without a head"):
        parse(b"second: line")
    first = parse(b"            bash-1 [000] d... 1.5: bpf_trace_printk: first")
    assert parse(b"second: line") == first._replace(message="second: line")
    with pytest.raises(FormatError, match="not a time"):
        parse(b"            bash-1 [000] d... 1.2.3: x: y")


def test_losses_are_no_records():
    """With a number, or at least one."""
    assert _lost(b"CPU:11 [LOST 2852 EVENTS]") == 2852
    assert _lost(b"CPU:1 [LOST EVENTS]") == 1
    assert _lost(b"CPU:1 [LOST 2 EVENTS] more") is None


HEAD = b"            bash-1 ( 12) [000] d..1 1.5: bpf_trace_printk: first"


@given(st.binary(max_size=80), st.integers(0, len(HEAD)), st.integers(0, len(HEAD)))
def test_any_line_is_a_value_or_an_error_of_ours(octets, start, end):
    """Also one that looks much like the kernel's."""
    for line in (octets, HEAD[:start] + octets + HEAD[end:], HEAD.replace(b"1", b"1" * 5000)):
        with contextlib.suppress(FormatError):
            assert isinstance(_Parser()(line), TraceLine)
        _lost(line)
