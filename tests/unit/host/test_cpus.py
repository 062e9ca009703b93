"""Possible and online CPUs, from made files."""

from __future__ import annotations

import os
import pathlib

import pytest

from pyebpf.errors import FormatError, SyscallError
from pyebpf.host import cpus


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0\n", (0,)),
        ("0-3\n", (0, 1, 2, 3)),
        ("0,2-3\n", (0, 2, 3)),
        ("2-3,0", (0, 2, 3)),
        ("0-1,1-2", (0, 1, 2)),
        ("127", (127,)),
    ],
)
def test_a_list_is_its_numbers(text: str, numbers: tuple[int, ...]) -> None:
    """Ranges and single numbers, sorted, each once."""
    assert cpus.parse(text) == numbers


@pytest.mark.parametrize(
    "text", ["", "\n", "-1", "1-", "3-1", "a", "0,,1", "0-99999999999", "\u0661", "0x1", "0 1"]
)
def test_nonsense_is_a_format_error(text: str) -> None:
    """And never a huge tuple."""
    with pytest.raises(FormatError):
        cpus.parse(text)


def test_missing_numbers_take_no_value_but_a_slot(tmp_path: pathlib.Path) -> None:
    """A per-CPU value per possible CPU; arrays by CPU number reach to the highest."""
    directory = tmp_path / "sys/devices/system/cpu"
    directory.mkdir(parents=True)
    (directory / "possible").write_text("0,2-3\n")
    (directory / "online").write_text("0,2\n")
    root = str(tmp_path)
    assert cpus.possible(root) == 3
    assert cpus.possible_numbers(root) == (0, 2, 3)
    assert cpus.slots(root) == 4
    assert cpus.online(root) == (0, 2)
    (directory / "possible").write_text("?")
    with pytest.raises(FormatError, match=r"cpu/possible"):
        cpus.possible(root)


def test_without_the_file_it_is_a_syscall_error(tmp_path: pathlib.Path) -> None:
    """Which names it."""
    with pytest.raises(SyscallError, match="cpu/online"):
        cpus.online(str(tmp_path))


def test_a_stamp_changes_with_those_online_and_with_announcements(tmp_path: pathlib.Path) -> None:
    """And is empty where nothing is shown."""
    root = str(tmp_path)
    assert cpus.stamp(root) == ""
    online = tmp_path / "sys/devices/system/cpu/online"
    announcements = tmp_path / "sys/kernel/uevent_seqnum"
    online.parent.mkdir(parents=True)
    announcements.parent.mkdir(parents=True)
    stamps = [cpus.stamp(root)]
    for file, text in [(online, "0"), (announcements, "7"), (announcements, "8"), (online, "0-1")]:
        file.write_text(text)
        stamps.append(cpus.stamp(root))
    assert len(set(stamps)) == len(stamps)
    assert cpus.stamp(root) == stamps[-1]


def test_this_machine_is_what_the_c_library_says() -> None:
    """Oracle: sysconf."""
    if not pathlib.Path("/sys/devices/system/cpu/online").exists():
        pytest.skip("no sysfs")
    assert len(cpus.online()) == os.sysconf("SC_NPROCESSORS_ONLN")
    assert set(cpus.online()) <= set(cpus.possible_numbers())


def test_a_thread_passes_over_a_cpu_and_stays_where_it_may_be():
    """One that there is not cannot be passed over."""
    before = os.sched_getaffinity(0)
    assert all(cpus.pass_over(cpu) for cpu in before)
    assert not cpus.pass_over(1 << 15)
    assert os.sched_getaffinity(0) == before
