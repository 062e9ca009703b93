"""Perf event sources in a made /sys."""

from __future__ import annotations

import pathlib

import pytest

from pyebpf.errors import FormatError, NotSupportedError
from pyebpf.host.pmu import Bits, Pmu, probe


def made(root: pathlib.Path, **files: str) -> str:
    directory = root / "sys/bus/event_source/devices/uprobe"
    (directory / "format").mkdir(parents=True)
    for name, text in files.items():
        path = directory / ("type" if name == "type" else f"format/{name}")
        path.write_text(text + "\n")
    return str(root)


def test_a_source_says_its_type_and_bits(tmp_path: pathlib.Path) -> None:
    """The bit for return probes is set only if they are asked for."""
    root = made(tmp_path, type="8", retprobe="config:3", ref_ctr_offset="config:32-63")
    counter = Bits("config", 32, 63)
    assert probe("uprobe", root=root) == Pmu(8, 0, counter)
    assert probe("uprobe", retprobe=True, root=root) == Pmu(8, 8, counter)
    assert counter.place(5) == 5 << 32
    with pytest.raises(ValueError, match="does not fit"):
        counter.place(1 << 32)


def test_what_a_source_lacks_is_not_supported(tmp_path: pathlib.Path) -> None:
    """No PMU, no return probes, no semaphores: old kernels, or other configurations."""
    root = made(tmp_path, type="8")
    assert probe("uprobe", root=root).reference_counter is None
    with pytest.raises(NotSupportedError, match="return probes"):
        probe("uprobe", retprobe=True, root=root)
    with pytest.raises(NotSupportedError, match="kprobe perf events"):
        probe("kprobe", root=root)


@pytest.mark.parametrize(
    "files",
    [
        {"type": "eight"},
        {"type": ""},
        {"type": "8", "ref_ctr_offset": "config:63-32"},
        {"type": "8", "ref_ctr_offset": "config:0-64"},
        {"type": "8", "ref_ctr_offset": "retprobe"},
    ],
)
def test_nonsense_is_a_format_error(tmp_path: pathlib.Path, files: dict[str, str]) -> None:
    """With the file's path."""
    with pytest.raises(FormatError, match="event_source/devices/uprobe"):
        probe("uprobe", root=made(tmp_path, **files))
