"""Drop UDP packets to one port before the network stack sees them.

Shows:  XDP on an interface, a constant of the program set before the load, per-CPU counters.
Needs:  root, Linux 5.9, iproute2. Nobody's network is touched: it runs in a network namespace of
        its own (unshare(1)), over a virtual cable: frames sent into `near` come out of `far`.
Run:    sudo python examples/xdp_drop.py

Expected output:

    sent 10 packets to port 9999 and 5 to port 8888
    dropped 10, passed 5
"""

from __future__ import annotations

import os
import pathlib
import socket
import struct
import subprocess
import sys

import pyebpf
from pyebpf import XdpAction, link

ENDIAN = "el" if sys.byteorder == "little" else "eb"
OBJECT = pathlib.Path(__file__).parents[1] / "tests" / "data" / f"xdp_drop.{ENDIAN}.o"
BLOCKED, OPEN = 9999, 8888


def lay_cable() -> None:
    for command in (
        "link add near address 02:00:00:00:00:01 type veth peer far address 02:00:00:00:00:02",
        # No IPv6 address: it would be announced, and counted.
        "link set near addrgenmode none",
        "link set far addrgenmode none",
        "link set near up",
        "link set far up",
    ):
        subprocess.run(["ip", *command.split()], check=True)


def frame(port: int) -> bytes:
    """An Ethernet frame with an empty UDP packet from 10.0.0.1 to 10.0.0.2."""
    ethernet = bytes.fromhex("020000000002 020000000001 0800")
    addresses = socket.inet_aton("10.0.0.1") + socket.inet_aton("10.0.0.2")
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 28, 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses
    udp = struct.pack("!HHHH", 1234, port, 8, 0)
    return ethernet + ip + udp


def main() -> None:
    lay_cable()
    spec = pyebpf.load_spec(OBJECT)
    spec.variables["blocked_port"].value = BLOCKED
    with (
        pyebpf.load(spec) as bpf,
        link.attach_xdp(bpf.programs["xdp_drop"], "far"),
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender,
    ):
        sender.bind(("near", 0))
        for port, count in ((BLOCKED, 10), (OPEN, 5)):
            for _ in range(count):
                sender.send(frame(port))
        print(f"sent 10 packets to port {BLOCKED} and 5 to port {OPEN}")
        counts = bpf.maps["counts"]
        dropped, passed = counts.sum(XdpAction.DROP), counts.sum(XdpAction.PASS)
        print(f"dropped {dropped}, passed {passed}")


if __name__ == "__main__":
    if "--inside" not in sys.argv:
        os.execvp("unshare", ["unshare", "--net", sys.executable, __file__, "--inside"])
    main()
