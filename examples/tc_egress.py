"""Count the bytes that leave an interface, by UDP port.

Shows:  a classifier on an interface (tcx, or a clsact filter on kernels before 6.6), the list of
        what is attached, a hash map read like a dict.
Needs:  root, Linux 4.5. Nobody's network is touched: it runs in a network namespace of its own
        (unshare(1)), and looks at its loopback.
Run:    sudo python examples/tc_egress.py

Expected output:

    programs on lo: count_egress
    port 5000: 420 bytes
    port 6000: 10420 bytes
    detached: nothing is left on lo
"""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys

import pyebpf
from pyebpf import AttachType, link

ENDIAN = "el" if sys.byteorder == "little" else "eb"
OBJECT = pathlib.Path(__file__).parents[1] / "tests" / "data" / f"tc_egress.{ENDIAN}.o"


def attached() -> list[int]:
    """Ids of the programs on lo, whichever way they were attached."""
    try:
        return [each.program_id for each in pyebpf.query("lo", AttachType.TCX_EGRESS).programs]
    except pyebpf.SyscallError:  # no tcx before Linux 6.6
        return [each.program_id for each in link.tc_filters("lo", "egress")]


def main() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with pyebpf.load(OBJECT) as bpf, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        # SEC("tcx/egress") says which direction.
        with link.attach_tc(bpf.programs["count_egress"], "lo"):
            for number in attached():
                with pyebpf.Program.from_id(number) as program:
                    print(f"programs on lo: {program.name}")
            for _ in range(10):
                sender.sendto(b"", ("127.0.0.1", 5000))
                sender.sendto(bytes(1000), ("127.0.0.1", 6000))
        for port, count in sorted(bpf.maps["bytes_by_port"].items()):
            print(f"port {port}: {count} bytes")
        print("detached: nothing is left on lo" if not attached() else "still attached")


if __name__ == "__main__":
    if "--inside" not in sys.argv:
        os.execvp("unshare", ["unshare", "--net", sys.executable, __file__, "--inside"])
    main()
