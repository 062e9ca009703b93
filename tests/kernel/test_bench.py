"""``make bench``: it says who was measured and who is missing; results are as documented."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

from tests.support import kernel

WORKS = {
    "map.lookup",
    "map.update",
    "map.delete",
    "map.dump_numpy",
    "map.dump_dict",
    "map.get_many16",
    "map.bulk_dump",
    "map.percpu_lookup",
    "ring.copy64",
    "ring.zerocopy64",
    "ring.callback64",
    "ring.typed64",
    "ring.iter64",
    "ring.callback_var",
    "perf.copy60",
    "perf.callback60",
    "sustained.copy64",
    "sustained.callback64",
    "paced.copy64",
    "paced.zerocopy64",
    "paced.callback64",
    "paced.poll64",
    "wakeup",
    "load.inprocess",
    "load.process",
    "import",
}


def bench(tmp_path: pathlib.Path, *arguments: str) -> tuple[str, list[dict[str, object]]]:
    output = tmp_path / "bench.json"
    command = [sys.executable, "-m", "tests.bench", "--python", sys.executable, "--rounds", "1"]
    done = subprocess.run(
        [*command, "--output", str(output), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=pathlib.Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(output.read_text())


def test_every_work_is_measured(tmp_path: pathlib.Path) -> None:
    """Of us at least: a number per work, in order, with its unit."""
    printed, results = bench(tmp_path)
    ours = {one["work"]: one for one in results if one["peer"] == "pyebpf"}
    assert ours.keys() >= WORKS - ({"map.bulk_dump"} if kernel.version() < (5, 14) else set())
    for one in ours.values():
        assert one.keys() == {"work", "peer", "median", "min", "max", "unit", "rounds"}
        assert 0 < one["min"] <= one["median"] <= one["max"]
        assert one["unit"].partition("/")[0] in {"ns", "us", "ms"}
        assert one["rounds"] == 1
    assert "map.lookup" in printed


def test_who_is_missing_is_named(tmp_path: pathlib.Path) -> None:
    """Bcc comes with Debian's interpreter alone."""
    printed, results = bench(tmp_path, "--work", "map.lookup")
    for peer in ("libbpf", "bcc", "pylibbpf", "pyebpf"):
        measured = any(one["peer"] == peer for one in results)
        line = next(line for line in printed.splitlines() if line.startswith(peer))
        assert ("measured" if measured else "skipped, ") in line
    assert {one["work"] for one in results} == {"map.lookup", "map.lookup_threads"}
