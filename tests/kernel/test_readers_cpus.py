"""PerfReader while CPUs go offline and come online: what is read, refused and lost adds up."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import time
from collections.abc import Iterator

import pytest

from pyebpf.maps.map import Map
from pyebpf.readers.perf import PerfReader
from pyebpf.readers.perf_history import PerfHistory
from pyebpf.uapi.bpf import MapType
from tests.support.pairs import sequence
from tests.support.producers import Producer

CPU = 1
SWITCH = pathlib.Path(f"/sys/devices/system/cpu/cpu{CPU}/online")
PATIENCE = 60.0
DESCRIPTORS = pathlib.Path("/proc/self/fd")


@pytest.fixture(autouse=True)
def switchable() -> Iterator[None]:
    """A CPU that can be switched off, and is on afterwards."""
    if "PYEBPF_MACHINE_IS_OURS" not in os.environ:
        # Threads that are bound to it would never be again.
        pytest.skip("a machine whose CPUs may be switched off: PYEBPF_MACHINE_IS_OURS")
    if not os.access(SWITCH, os.W_OK):
        pytest.skip(f"a second CPU that can be switched off: {SWITCH}")
    try:
        yield
    finally:
        switch("1")


def switch(to: str) -> None:
    try:
        SWITCH.write_text(to)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EBUSY, errno.EOPNOTSUPP):
            pytest.skip(f"a second CPU that can be switched off: {error}")
        raise


@contextlib.contextmanager
def pair(**options) -> Iterator[tuple[Producer, PerfReader]]:
    with (
        Map.create(
            type=MapType.PERF_EVENT_ARRAY, key_size=4, value_size=4, max_entries=CPU + 1, name="e"
        ) as made,
        Producer("perf", made.fileno()) as producer,
        PerfReader(made, **options) as reader,
    ):
        yield producer, reader


def noticed(producer: Producer, reader: PerfReader) -> int:
    """Put records out until one is taken; return how many came."""
    end, found = time.monotonic() + PATIENCE, 0
    while time.monotonic() < end:
        before = producer.other
        producer.run(1, cpu=CPU)
        found += len(reader.poll(0.1))
        if producer.other == before:
            return found
    pytest.fail(f"CPU {CPU} is not read")


@pytest.mark.parametrize("held", [False, True], ids=["alone", "fileno"])
def test_a_cpu_that_comes_back_is_read_again(held):
    """As often as it does; what waited in its ring comes too, and descriptors do not pile up."""
    descriptors = []
    with pair() as (producer, reader):
        if held:
            reader.fileno()
        received = 0
        for _ in range(3):
            producer.run(5, cpu=CPU)
            switch("0")
            switch("1")
            received += noticed(producer, reader)
            producer.run(1, cpu=CPU)
            received += len([reader.read(PATIENCE)])
            descriptors.append(sum(1 for _ in DESCRIPTORS.iterdir()))
        assert received == producer.produced - producer.other == reader.stats().received
        assert (producer.full, reader.stats().lost) == (0, 0)
        assert {each.cpu: each.received for each in reader.stats().per_cpu}[CPU] == received
    assert descriptors[0] == descriptors[1] == descriptors[2]


@pytest.mark.parametrize("held", [False, True], ids=["alone", "fileno"])
def test_a_cpu_that_is_new_is_read(held):
    """It was offline when the reader was made; its records wake the reader."""
    switch("0")
    with pair() as (producer, reader):
        if held:
            reader.fileno()
        assert [each.cpu for each in reader.stats().per_cpu] == [0]
        switch("1")
        received = noticed(producer, reader)
        producer.run(1, cpu=CPU)
        assert reader.read(PATIENCE)
        assert received + 1 == producer.produced - producer.other
        assert [each.cpu for each in reader.stats().per_cpu] == [0, CPU]


def test_losses_are_those_of_all_the_time():
    """Of the event before and the one after."""
    with pair(pages=1) as (producer, reader):
        received = 0
        for _ in range(2):
            producer.run(1000, cpu=CPU)
            switch("0")
            switch("1")
            received += noticed(producer, reader)
        producer.run(1000, cpu=CPU)
        received += len(reader.drain())
        producer.run(1, cpu=CPU)  # lets LOST records in, on old kernels
        received += len(reader.drain())
        assert producer.full == reader.stats().lost > 0
        assert producer.produced == received + producer.full + producer.other


def test_a_paused_reader_stays_paused():
    """On a CPU that is new, too."""
    switch("0")
    with pair() as (producer, reader):
        reader.pause()
        switch("1")
        end = time.monotonic() + PATIENCE
        while len(reader.stats().per_cpu) < CPU + 1 and time.monotonic() < end:
            assert reader.poll(0.1) == []
        producer.run(1, cpu=CPU)
        assert reader.drain() == []
        reader.resume()
        producer.run(1, cpu=CPU)
        assert len(reader.drain()) == 1


def test_cpus_that_were_not_asked_for_stay_out():
    """A subset stays that subset."""
    switch("0")
    with pair(cpus=[0]) as (producer, reader):
        switch("1")
        end = time.monotonic() + 2.5  # more than the second that it may take
        while time.monotonic() < end:
            producer.run(1, cpu=CPU)
            assert reader.poll(0.1) == []
        assert producer.other == producer.produced
        assert [each.cpu for each in reader.stats().per_cpu] == [0]


def test_a_history_follows_cpus_and_keeps_what_was_there():
    """Of one that comes back, with what was before; of one that is new."""
    with (
        Map.create(
            type=MapType.PERF_EVENT_ARRAY, key_size=4, value_size=4, max_entries=CPU + 1, name="e"
        ) as made,
        Producer("perf", made.fileno()) as producer,
    ):
        with PerfHistory(made, pages=8) as history:
            descriptors = []
            for round_ in range(1, 4):
                producer.run(5, cpu=CPU)
                switch("0")
                switch("1")
                assert len(history.snapshot()[CPU]) == 5 * round_
                descriptors.append(sum(1 for _ in DESCRIPTORS.iterdir()))
            producer.run(5, cpu=CPU)
            assert [sequence(each) for each in history.snapshot()[CPU]] == list(range(1, 21))
            assert (producer.other, producer.full) == (0, 0)
            assert len(set(descriptors)) == 1
        switch("0")
        with PerfHistory(made, pages=8) as history:
            assert list(history.snapshot()) == [0]
            switch("1")
            assert list(history.snapshot()) == [0, CPU]
            producer.run(5, cpu=CPU)
            assert len(history.snapshot()[CPU]) == 5
