"""What is measured, in a process of its own so that nothing is warm; one line of JSON goes out.

    subject.py nothing               nothing: the memory of a bare interpreter
    subject.py import                nanoseconds of importing the package
    subject.py names                 of finding twenty types of the kernel, twice
    subject.py load COUNT OBJECT     of each load of an object, and of what it imports before

Times are the thread's own CPU time, so that others on the machine count little; ``peak`` is the
process's memory.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time
from collections.abc import Callable

NAMES = (
    "task_struct", "sock", "sk_buff", "file", "inode", "dentry", "mm_struct", "vm_area_struct",
    "cred", "nsproxy", "pid", "super_block", "net_device", "bio", "request", "page", "kmem_cache",
    "cgroup", "css_set", "path",
)  # fmt: skip


def main() -> None:
    what, *arguments = sys.argv[1:]
    found = {"import": imports, "names": names, "load": load, "nothing": dict}[what](*arguments)
    print(json.dumps({**found, "peak": peak()}))


def peak() -> int:
    # Not getrusage's: that remembers what the process was before it became this program.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def spent(action: Callable[[], object]) -> int:
    start = time.thread_time_ns()
    action()
    return time.thread_time_ns() - start


def imports() -> dict[str, object]:
    def run() -> None:
        import pyebpf  # noqa: F401 -- which is what is measured

    return {"import": spent(run)}


def names() -> dict[str, object]:
    from pyebpf.host.kernel_btf import kernel_btf

    def run() -> None:
        types = kernel_btf()
        for name in NAMES:
            assert [types.type(each) for each in types.flavours(name)]

    return {"cold": spent(run), "warm": spent(run)}


def load(count: str, path: str) -> dict[str, object]:
    import pyebpf

    imported = spent(lambda: pyebpf.load)
    loads = []
    for _ in range(int(count)):
        start = time.thread_time_ns()
        collection = pyebpf.load(path)
        loads.append(time.thread_time_ns() - start)
        collection.close()
    return {"import": imported, "loads": loads}


if __name__ == "__main__":
    main()
