"""PerfReader on the real kernel: every record produced is either received or counted as lost."""

from __future__ import annotations

import errno
import os
import struct
import threading
from collections.abc import Iterator

import pytest

from pyebpf.errors import BtfError, FormatError, PrivilegeError, ReaderTimeout, SyscallError
from pyebpf.maps.map import Map
from pyebpf.readers.perf import PerfReader
from pyebpf.readers.perf_events import Opener, store
from pyebpf.sys import perf_event
from pyebpf.sys.kernel import LinuxKernel, use
from pyebpf.sys.rings import PerfRing, read_counts
from pyebpf.uapi.bpf import Cmd, MapFlag, MapType
from pyebpf.uapi.perf import ReadFormat
from tests.support import kernel
from tests.support.producers import Producer, on_cpu

CPUS = sorted(os.sched_getaffinity(0))
PATIENCE = 20.0

PERF_FORMAT_LOST_SINCE = (6, 0)


@pytest.fixture
def array() -> Iterator[Map]:
    """A perf event array with an entry per CPU."""
    with Map.create(
        type=MapType.PERF_EVENT_ARRAY,
        key_size=4,
        value_size=4,
        max_entries=max(CPUS) + 1,
        name="events",
    ) as created:
        yield created


@pytest.fixture
def producer(array: Map) -> Iterator[Producer]:
    """A program that fills the array's rings with records of 16 bytes."""
    with Producer("perf", array.fileno()) as made:
        yield made


def sequence(record: bytes) -> int:
    (number,) = struct.unpack_from("=Q", record)
    return number


def test_every_record_comes_in_order_with_its_content(array, producer):
    """What one CPU puts out arrives whole and in order; bytes may end in padding."""
    with PerfReader(array) as reader:
        producer.run(100, cpu=CPUS[0])
        records = reader.drain()
    assert [sequence(record) for record in records] == list(range(1, 101))
    for record in records:
        assert record[8:16] == b"\xab" * 8
        assert len(record) == 20  # 4 of padding: 12 + 20 is a multiple of 8
    assert reader.stats().received == producer.produced == 100
    assert reader.stats().lost == 0


def test_records_of_every_cpu_come_and_are_counted_by_cpu(array, producer):
    """The map's key is the CPU's number."""
    with PerfReader(array) as reader:
        for index, cpu in enumerate(CPUS):
            producer.run(10 + index, cpu=cpu)
        assert len(reader.drain()) == producer.produced
        counts = {each.cpu: each.received for each in reader.stats().per_cpu if each.received}
    assert counts == {cpu: 10 + index for index, cpu in enumerate(CPUS)}


def test_losses_of_a_full_ring_are_counted_exactly(array, producer):
    """Produced = received + lost = received + full, with a ring of one page."""
    with PerfReader(array, pages=1) as reader:
        received = 0
        for burst in (1000, 1, 500, 7, 3000):
            producer.run(burst, cpu=CPUS[0])
            received += len(reader.drain())
        producer.run(1, cpu=CPUS[0])  # lets LOST records of the last burst in, on old kernels
        received += len(reader.drain())
        stats = reader.stats()
    assert producer.full > 0
    assert producer.other == 0
    assert stats.received == received
    assert producer.full == stats.lost
    assert producer.produced == stats.received + stats.lost


def test_losses_at_the_tail_show_although_no_record_tells_them(array, producer):
    """Nothing is written after the last loss: the event itself has counted it."""
    if kernel.version() < PERF_FORMAT_LOST_SINCE:
        pytest.skip("PERF_FORMAT_LOST, since Linux 6.0")
    with PerfReader(array, pages=1) as reader:
        producer.run(1000, cpu=CPUS[0])
        received = len(reader.drain())
        while_open = reader.stats().lost
    assert producer.full > 0
    assert while_open == reader.stats().lost == producer.full
    assert producer.produced == received + producer.full


@pytest.mark.parametrize("pages", [1, 2, 8])
def test_records_of_all_sizes_survive_many_wraps(array, producer, pages):
    """Sizes from 8 to 519 bytes, until the ring has wrapped a hundred times."""
    producer.resize(8, 511)
    size = os.sysconf("SC_PAGESIZE") * pages
    burst = size // 600
    numbers: list[int] = []
    with on_cpu(CPUS[0]), PerfReader(array, pages=pages) as reader:
        while reader.stats().bytes < 100 * size:
            producer.run(burst)
            for record in reader.poll(PATIENCE):
                number = sequence(record)
                wanted = 8 + (number & 511)
                assert 0 <= len(record) - wanted < 8
                assert record[8:wanted] == b"\xab" * (wanted - 8)
                numbers.append(number)
        assert reader.stats().lost == 0
    assert numbers == list(range(1, producer.produced + 1))


def test_nothing_is_lost_or_invented_while_both_sides_run(array, producer):
    """Two producers on two CPUs against one reader with small rings: the books agree."""
    with (
        Producer("perf", array.fileno(), base=8, mask=127) as other,
        PerfReader(array, pages=2) as reader,
    ):
        threads = [
            threading.Thread(target=lambda p=p, cpu=cpu: p.run(200_000, cpu=cpu))
            for p, cpu in ((producer, CPUS[0]), (other, CPUS[-1]))
        ]
        for thread in threads:
            thread.start()
        received = 0
        while any(thread.is_alive() for thread in threads):
            received += len(reader.poll(0.05))
        for thread in threads:
            thread.join()
        # Makes the rings tell their last losses, where only LOST records tell.
        received += len(reader.drain())
        for cpu in {CPUS[0], CPUS[-1]}:
            producer.run(1, cpu=cpu)
        received += len(reader.drain())
        stats = reader.stats()
        assert stats.received == received
        assert stats.lost == producer.full + other.full
        assert producer.produced + other.produced == stats.received + stats.lost
        assert stats.unknown == 0


def test_the_largest_record_comes_whole(array, producer):
    """65516 bytes of payload are the limit of perf's 16-bit record size."""
    producer.resize(65516)
    with PerfReader(array) as reader:
        producer.run(3, cpu=CPUS[0])
        assert [len(record) for record in reader.drain()] == [65516] * 3


def test_a_record_over_64_kib_is_an_error_and_not_the_end(array, producer):
    """The kernel writes such records with a wrong size; the reader says so and goes on."""
    producer.resize(65536)
    with PerfReader(array) as reader:
        producer.run(1, cpu=CPUS[0])
        with pytest.raises(FormatError, match=r"65516 bytes\); skipped"):
            reader.drain()
        producer.resize(16)
        producer.run(2, cpu=CPUS[0])
        assert [sequence(record) for record in reader.drain()] == [1, 2]
        assert reader.stats().unknown == 1


def test_the_reader_outlives_the_map_that_made_it():
    """Closing a perf event array takes out the events put in through it; the reader's stay."""
    with (
        Map.create(
            type=MapType.PERF_EVENT_ARRAY, key_size=4, value_size=4, max_entries=max(CPUS) + 1
        ) as own,
        Producer("perf", own.fileno()) as producer,
        PerfReader(own) as reader,
    ):
        own.close()
        producer.run(3, cpu=CPUS[0])
        assert len(reader.drain()) == 3


def test_a_closed_reader_leaves_nothing_in_the_map(array, producer):
    """Programs are refused with ENOENT then, as before there was a reader, not with a full ring."""
    with PerfReader(array):
        pass
    producer.run(5, cpu=CPUS[0])
    assert (producer.full, producer.other) == (0, 5)


def test_closing_an_old_reader_leaves_its_successor_alone(array, producer):
    """A second reader takes over; the first takes only its own events with it."""
    old = PerfReader(array)
    with PerfReader(array) as new:
        old.close()
        producer.run(4, cpu=CPUS[0])
        assert len(new.drain()) == 4


def test_a_map_that_preserves_its_elements_can_be_read_again():
    """BPF_F_PRESERVE_ELEMS keeps events in the map; the next reader replaces them."""
    with (
        Map.create(
            type=MapType.PERF_EVENT_ARRAY,
            key_size=4,
            value_size=4,
            max_entries=max(CPUS) + 1,
            flags=MapFlag.PRESERVE_ELEMS,
        ) as kept,
        Producer("perf", kept.fileno()) as own,
    ):
        for _ in range(2):
            with PerfReader(kept) as reader:
                own.run(3, cpu=CPUS[0])
                assert len(reader.drain()) == 3


def test_chosen_cpus_are_the_only_ones_read(array, producer):
    """The others are refused to the program."""
    with PerfReader(array, cpus=[CPUS[0]]) as reader:
        producer.run(2, cpu=CPUS[0])
        if len(CPUS) > 1:
            producer.run(3, cpu=CPUS[1])
        assert len(reader.drain()) == 2
        assert [each.cpu for each in reader.stats().per_cpu] == [CPUS[0]]
    assert producer.other == producer.produced - 2


class WithoutCpu(LinuxKernel):
    """The real kernel, but with one CPU offline."""

    def __init__(self, absent: int) -> None:
        super().__init__()
        self.absent = absent

    def perf_event_open(self, attr, pid, cpu, group_fd, flags):
        if cpu == self.absent:
            raise SyscallError("perf_event_open", errno.ENODEV)
        return super().perf_event_open(attr, pid, cpu, group_fd, flags)


def test_cpus_that_are_offline_are_skipped_and_chosen_ones_refused(array):
    """The kernel answers ENODEV for them; only who asked for one by number has to know."""
    absent = CPUS[-1]
    with use(WithoutCpu(absent)):
        with pytest.raises(SyscallError, match=f"CPU {absent}: perf_event_open: ENODEV"):
            PerfReader(array, cpus=[absent])
        with PerfReader(array) as reader:
            assert [each.cpu for each in reader.stats().per_cpu] == CPUS[:-1]


class WithoutIds(LinuxKernel):
    """The real kernel for a process that may not open maps by their id."""

    def bpf(self, cmd, attr, *, common=None):
        if cmd == Cmd.MAP_GET_FD_BY_ID:
            raise PrivilegeError(cmd.c_name, errno.EPERM)
        return super().bpf(cmd, attr, common=common)


def test_without_the_privilege_to_open_maps_by_id_the_reader_shares_the_open_file(array, producer):
    """Reading is the same; but events stay in the map, with no ring behind them."""
    with use(WithoutIds()), PerfReader(array) as reader:
        producer.run(3, cpu=CPUS[0])
        assert len(reader.drain()) == 3
    producer.run(5, cpu=CPUS[0])
    assert (producer.full, producer.other) == (5, 0)


class BeforeLinux6(LinuxKernel):
    """The real kernel, but without PERF_FORMAT_LOST."""

    def perf_event_open(self, attr, pid, cpu, group_fd, flags):
        if attr.read_format & ReadFormat.LOST:
            raise SyscallError("perf_event_open", errno.EINVAL)
        return super().perf_event_open(attr, pid, cpu, group_fd, flags)


def test_before_linux_6_losses_are_counted_as_records_tell_them(array, producer):
    """All but those at the tail, which show as soon as another record fits."""
    with use(BeforeLinux6()), PerfReader(array, pages=1) as reader:
        producer.run(1000, cpu=CPUS[0])
        received = len(reader.drain())
        assert reader.stats().lost == 0
        producer.run(1, cpu=CPUS[0])
        received += len(reader.drain())
        assert reader.stats().lost == producer.full > 0
        assert producer.produced == received + producer.full


def test_a_watermark_wakes_only_when_so_much_waits(array, producer):
    """Below it a sleeping reader sleeps on, but a timeout's end looks at the ring."""
    with PerfReader(array, pages=2, watermark=1000) as reader:
        producer.run(3, cpu=CPUS[0])
        poller = reader._source.poller
        assert not poller.wait(0)
        producer.run(40, cpu=CPUS[0])
        assert poller.wait(PATIENCE)
        assert len(reader.drain()) == 43


def test_read_gives_one_record_at_a_time_and_then_times_out(array, producer):
    """Records read ahead wait for the next call."""
    with PerfReader(array) as reader:
        producer.run(2, cpu=CPUS[0])
        assert sequence(reader.read(0)) == 1
        assert sequence(reader.read(timeout=PATIENCE)) == 2
        with pytest.raises(ReaderTimeout, match='read map "events": no record within 0 s'):
            reader.read(0)
        with pytest.raises(TimeoutError):
            reader.read(0.01)
        assert reader.poll(0.01) == []


def test_records_can_be_typed(array, producer):
    """A struct format, a callable; trailing padding does not matter."""
    for record, wanted in (("=QQ", (1, 0xABABABABABABABAB)), (len, 20)):
        producer.resize(16)
        with PerfReader(array, record=record) as reader:
            producer.run(1, cpu=CPUS[0])
            assert reader.drain() == [wanted]


def test_a_record_too_short_for_its_type_is_an_error_once(array, producer):
    """Those before and behind it arrive."""
    producer.resize(4, 8)  # 4 bytes, padded to 4; or 12, padded to 12
    with PerfReader(array, record="=QI") as reader:
        producer.run(24, cpu=CPUS[0])
        with pytest.raises(FormatError, match="4 bytes where format '=QI' has 12"):
            reader.drain()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pages": 3}, "power of two"),
        ({"pages": 0}, "power of two"),
        ({"watermark": 0}, "watermark"),
        ({"pages": 1, "watermark": 1 << 20}, "watermark"),
        ({"cpus": []}, "empty"),
        ({"cpus": [1 << 20]}, "entries"),
        ({"cpus": [-1]}, "entries"),
    ],
)
def test_wrong_options_are_refused_with_their_name(array, options, message):
    """Before anything is opened."""
    with pytest.raises(ValueError, match=message):
        PerfReader(array, **options)


def test_a_type_without_btf_is_an_error_and_nothing_stays_open(array):
    """The leak check of every test watches."""
    with pytest.raises(BtfError, match='record type "exec_event" for map "events"'):
        PerfReader(array, record="exec_event")


def test_another_kind_of_map_is_refused():
    """The message names both kinds."""
    with (
        Map.create(type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1) as wrong,
        pytest.raises(ValueError, match="BPF_MAP_TYPE_ARRAY, not a BPF_MAP_TYPE_PERF"),
    ):
        PerfReader(wrong)


def test_an_event_can_write_into_the_ring_of_another(array, producer):
    """Which stays when that one's descriptor closes; the reader's own losses are not mixed up."""
    opener = Opener(1, 1)
    cpu = CPUS[0]
    with opener.open(cpu, must=True) as first, opener.open(cpu, must=True) as second:
        with pytest.raises(SyscallError, match="EINVAL"):
            perf_event.redirect(second.fileno(), first.fileno())  # nobody has mapped it
        ring = PerfRing(first.fileno(), 1)
        try:
            perf_event.redirect(second.fileno(), first.fileno())
            store(array, cpu, second)
            producer.run(3, cpu=cpu)
            assert ring.available() > 0
            producer.run(1000, cpu=cpu)
            before, after = (read_counts(event.fileno()) for event in (first, second))
            if kernel.version() >= PERF_FORMAT_LOST_SINCE:
                assert (before[1], after[1]) == (0, producer.full)
            again = read_counts(second.fileno())
            assert again[0] > after[0]  # its CPU is online
        finally:
            ring.close()
