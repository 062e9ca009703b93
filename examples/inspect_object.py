"""Show what an eBPF object holds, without loading it: no root, no kernel, any operating system.

Shows: `load_spec`, and that specs are plain data.
Needs: nothing.
Run:   python examples/inspect_object.py [OBJECT]

Expected output for the default object (tests/data/xdp_drop):

    maps
      counts            BPF_MAP_TYPE_PERCPU_ARRAY     key 4  value 8  entries 3
      .rodata           BPF_MAP_TYPE_ARRAY            key 4  value 2  entries 1
    programs
      xdp_drop          BPF_PROG_TYPE_XDP             SEC("xdp")  38 instructions
    variables
      blocked_port      .rodata+0                     9
"""

from __future__ import annotations

import pathlib
import sys

import pyebpf

DATA = pathlib.Path(__file__).parents[1] / "tests" / "data"


def main(path: str) -> None:
    spec = pyebpf.load_spec(path)
    print("maps")
    for each in spec.maps.values():
        sizes = f"key {each.key_size}  value {each.value_size}  entries {each.max_entries}"
        print(f"  {each.name:17} {each.type!s:29} {sizes}")
    print("programs")
    for program in spec.programs.values():
        length = f"{len(program.code) // 8} instructions"
        print(f'  {program.name:17} {program.type!s:29} SEC("{program.section}")  {length}')
    print("variables")
    for variable in spec.variables.values():
        place = f"{variable.map.name}+{variable.offset}"
        print(f"  {variable.name:17} {place:29} {variable.value}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(DATA / "xdp_drop.el.o"))
