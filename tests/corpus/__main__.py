"""Holds the loader against libbpf, over every eBPF object in a directory.

    python -m tests.corpus DIR [--stage open|prepare|load] [--types FILE] [--only TEXT] ...

DIR/PROJECT/.../x.o: the first directory names the project in the table. Each side looks at each
object in a process of its own, with limits; nothing is attached or pinned. Goes out: the table and
the differences on standard output, everything in build/corpus.json; the exit status says whether
there is something to mend: a program or object that only libbpf takes, other instructions, a
traceback, a timeout.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import functools
import hashlib
import json
import multiprocessing
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

from tests.corpus import ours as our_side
from tests.corpus import verdict
from tests.corpus.oracle import Missing, build
from tests.corpus.report import Attempt, run, run_forked, types_of
from tests.corpus.table import print_table

ROOT = pathlib.Path(__file__).parents[2]
RESULT = ROOT / "build" / "corpus.json"
EM_BPF, EM_NONE, ET_REL = 247, 0, 1
STAGES = ("open", "prepare", "load")
MEMORY = 4 << 30


def objects(directory: pathlib.Path) -> Iterator[pathlib.Path]:
    """Find every file that is a relocatable eBPF object, each content once."""
    seen = set()
    for path in sorted(directory.rglob("*")):
        if not path.is_file():
            continue
        with path.open("rb") as file:
            head = file.read(20)
            order = "big" if head[5:6] == b"\2" else "little"
            kind, machine = (int.from_bytes(head[at : at + 2], order) for at in (16, 18))
            if head[:4] != b"\x7fELF" or kind != ET_REL or machine not in (EM_BPF, EM_NONE):
                continue
            digest = hashlib.sha256(head + file.read()).hexdigest()
        if digest not in seen:
            seen.add(digest)
            yield path


def examine(
    path: pathlib.Path, oracle: pathlib.Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Run both sides on one object and compare; plain values, ready for JSON."""
    data = path.read_bytes()
    native = data[5] == (1 if sys.byteorder == "little" else 2)
    # Neither side prepares or loads what is in the other byte order.
    stage = options.stage if native else "open"
    tail = [str(path), stage, *([str(options.types)] if options.types else [])]
    limits = {"limit": options.limit, "memory": MEMORY}
    ours = run_forked(functools.partial(our_side.main, tail), **limits)
    theirs = run([str(oracle), *tail], types=types_of(ours), cwd=ROOT, **limits)
    load = stage == "load"
    names = [] if stage == "open" else list(ours.programs)
    both = ours.opened and theirs.opened
    return {
        "object": str(path.relative_to(options.directory)),
        "sha256": hashlib.sha256(data).hexdigest(),
        "category": verdict.category(ours=ours.opened, theirs=theirs.opened),
        "error": ours.error,
        "trouble": ours.trouble,
        "seconds": ours.seconds,
        "differences": verdict.differences(ours, theirs) if both else [],
        "more": verdict.more(ours, theirs) if both else [],
        "programs": {
            name: verdict.program(
                ours.attempts.get(name, Attempt()), theirs.attempts.get(name, Attempt()), load=load
            )
            for name in names
        },
        "libbpf": {"error": theirs.error, "trouble": theirs.trouble, "seconds": theirs.seconds},
    }


def wrong(result: dict[str, Any]) -> list[str]:
    """List what must be mended in how we took one object."""
    found = []
    if result["category"] == verdict.WE_FAIL:
        found.append(f"no spec: {result['error']}")
    if result["trouble"]:
        found.append(result["trouble"].strip().replace("\n", "\n        "))
    found += result["differences"]
    for name, each in result["programs"].items():
        if each["category"] == verdict.WE_FAIL:
            found.append(f"{name}: {each['error']}")
        if each["code"]:
            found.append(f"{name}: {each['code']}")
    return found


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus")
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--stage", choices=STAGES, default="load", help="how far to go")
    parser.add_argument("--types", type=pathlib.Path, help="BTF to relocate against")
    parser.add_argument("--only", default="", help="objects whose path contains this")
    parser.add_argument("--output", type=pathlib.Path, default=RESULT, help="where to write all")
    parser.add_argument("--limit", type=float, default=120, help="seconds for each side")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="objects at a time")
    return parser.parse_args()


def main() -> int:
    """Compare every object."""
    options = arguments()
    try:
        oracle = build(ROOT / "build")
    except Missing as error:
        print(f"corpus: {error}", file=sys.stderr)
        return 2
    paths = [path for path in objects(options.directory) if options.only in str(path)]
    work = functools.partial(examine, oracle=oracle, options=options)
    # Not threads: what forks must have none. What is forked need not import everything again.
    forked = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(options.jobs, mp_context=forked) as pool:
        results = []
        for result in pool.map(work, paths):
            results.append(result)
            for each in wrong(result):
                print(f"{result['object']}: {each}", flush=True)
            # Nothing is held against what it did not get to say.
            if result["libbpf"]["trouble"]:
                print(f"{result['object']}: libbpf: {result['libbpf']['trouble'].strip()}")
    options.output.write_text(json.dumps(results, indent=1))
    print_table(results)
    causes = collections.Counter(bool(wrong(result)) for result in results)
    print(f"{len(results)} objects, {causes[True]} to mend; everything is in {options.output}")
    return 1 if causes[True] else 0


if __name__ == "__main__":
    sys.exit(main())
