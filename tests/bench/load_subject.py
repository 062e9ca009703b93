"""The works of loading: ``load_subject.py PEER OBJECT``; each is done by a fresh process.

PEER is libbpf, pyebpf, bcc or pylibbpf. Says what it can do, then for each line that names a work
how many nanoseconds of CPU a process took.
"""

from __future__ import annotations

import importlib.util
import json
import resource
import subprocess
import sys

from load import BUILD, PROCESSES, clean_environment  # type: ignore[import-not-found]  # beside this
from map_subject import python  # type: ignore[import-not-found]  # likewise

TIMED = """
import sys, time
{imports}
start = time.thread_time_ns()
{action}
print(time.thread_time_ns() - start)
sys.stdout.flush()
"""
ACTIONS = {  # what is imported before, what is measured
    "pyebpf": ("import pyebpf; load = pyebpf.load", "load(sys.argv[1])"),
    "pylibbpf": ("import pylibbpf", "bpf = pylibbpf.BpfObject(sys.argv[1]); bpf.load()"),
}


def main() -> None:
    peer, path = sys.argv[1:]
    works = {"load.inprocess", "load.process", "import"}
    if peer == "libbpf":
        if not (BUILD / "load").exists():
            print(json.dumps({"missing": "build/bench/load"}), flush=True)
            return
        works = {"load.inprocess", "load.process"}
    elif peer != "pyebpf" and importlib.util.find_spec(peer) is None:
        print(json.dumps({"missing": f"No module named {peer!r}"}), flush=True)
        return
    elif peer == "bcc":
        works = {"import"}  # it compiles text, with the headers of the running kernel
    said = {"works": sorted(works), "python": "" if peer == "libbpf" else python()}
    print(json.dumps(said), flush=True)
    for line in sys.stdin:
        print(json.dumps({"ns": spent(peer, line.strip(), path)}), flush=True)


def spent(peer: str, work: str, path: str) -> float:
    if work == "load.process":
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run(
            [BUILD / "load", "attach", "1", path]
            if peer == "libbpf"
            else script(PROCESSES[peer], path)
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return 1e9 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    if peer == "libbpf":
        return json.loads(run([BUILD / "load", "load", "1", path]))["loads"][0]
    imports, action = ("", f"import {peer}") if work == "import" else ACTIONS[peer]
    return float(run(script(TIMED.format(imports=imports, action=action), path)).splitlines()[-1])


def script(text: str, path: str) -> list[str]:
    return [sys.executable, "-c", text, path]


def run(command: list[object]) -> str:
    # Compiled modules of all libraries, from wherever they are.
    done = subprocess.run(
        command,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return done.stdout


if __name__ == "__main__":
    main()
