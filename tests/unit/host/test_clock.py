"""The kernel's clocks and the wall's: there and back again."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.errors import FormatError, SyscallError
from pyebpf.host import clock as clocks
from pyebpf.host.clock import KtimeClock
from tests.support import properties as properties

MILLISECOND = 1_000_000


@pytest.mark.parametrize("clock", list(KtimeClock), ids=lambda each: each.value)
def test_now_is_now_on_every_clock(clock):
    """Within a millisecond of the wall clock, and of itself on the way back."""
    number = {
        KtimeClock.MONOTONIC: time.CLOCK_MONOTONIC,
        KtimeClock.BOOT: time.CLOCK_BOOTTIME,
        KtimeClock.TAI: time.CLOCK_TAI,
    }[clock]
    ns = time.clock_gettime_ns(number)
    now = time.time_ns()
    assert abs(clocks.ktime_to_unix_ns(ns, clock=clock) - now) < 50 * MILLISECOND
    assert abs(clocks.unix_ns_to_ktime(now, clock=clock) - ns) < 50 * MILLISECOND
    when = clocks.ktime_to_datetime(ns, clock=clock)
    assert abs(when - datetime.now(timezone.utc)) < timedelta(milliseconds=50)
    assert abs(clocks.datetime_to_ktime(when, clock=clock) - ns) < MILLISECOND


@given(st.integers(0, 10**18), st.sampled_from(KtimeClock), st.integers(0, 10**12))
def test_distances_are_kept(ns, clock, later):
    """Two readings are as far apart in one time as in the other."""
    distance = clocks.ktime_to_unix_ns(ns + later, clock=clock) - clocks.ktime_to_unix_ns(
        ns, clock=clock
    )
    assert abs(distance - later) < MILLISECOND


def test_boot_time_counts_sleep_and_monotonic_time_does_not():
    """Boot time is never behind."""
    before = clocks.monotonic_ns()
    assert clocks.boot_ns() >= before


def test_a_time_without_a_zone_is_no_time():
    """It could be anything."""
    with pytest.raises(ValueError, match="has no time zone"):
        clocks.datetime_to_ktime(datetime(2026, 1, 1))


def test_jiffies_are_read_where_they_are(tmp_path):
    """Of timer_list, else of schedstat; what says nothing is an error."""
    proc = tmp_path / "proc"
    proc.mkdir()
    with pytest.raises(SyscallError, match=r"open: ENOENT.*schedstat"):
        clocks.jiffies(str(tmp_path))
    (proc / "schedstat").write_text("version 15\ntimestamp 4295192411\ncpu0 0\n")
    assert clocks.jiffies(str(tmp_path)) == 4295192411
    (proc / "timer_list").write_text("Timer List\ncpu: 0\njiffies: 77\ncpu: 1\njiffies: 77\n")
    assert clocks.jiffies(str(tmp_path)) == 77
    (proc / "timer_list").write_text("nothing\n")
    with pytest.raises(FormatError, match="no jiffies"):
        clocks.jiffies(str(tmp_path))
