"""A map that outlives its process: the first run makes and pins it, later runs find it.

Shows:  open_or_create, which adopts a pin that fits; typed keys and values; a map as a mapping.
        With another capacity the pinned map does not fit any more and is replaced by a new one.
Needs:  root, Linux 4.13.
Run:    sudo python examples/pin_and_reopen.py [CAPACITY [DIRECTORY]]

Expected output (of the first, the second, and a third run with another capacity):

    created: {'started': 1}
    adopted: {'started': 2}
    replaced: {'started': 1}
"""

from __future__ import annotations

import pathlib
import sys

import pyebpf


def main(capacity: int, directory: pathlib.Path) -> None:
    pyebpf.ensure_bpffs(directory)
    spec = pyebpf.MapSpec(
        name="counters",
        type=pyebpf.MapType.HASH,
        key_size=16,
        value_size=8,
        max_entries=capacity,
    )
    text = (lambda data: data.rstrip(b"\0").decode(), lambda name: name.encode().ljust(16, b"\0"))
    path = directory / "example_counters"
    opened = pyebpf.open_or_create(spec, path, replace=True, key=text, value="Q")
    with opened.map as counters:
        counters["started"] = counters.get("started", 0) + 1
        print(f"{opened.found.value}: {counters.to_dict()}")


if __name__ == "__main__":
    arguments = dict(enumerate(sys.argv[1:]))
    main(int(arguments.get(0, 64)), pathlib.Path(arguments.get(1, "/sys/fs/bpf")))
