"""Answer packets in user space, past the network stack (AF_XDP).

Shows:  packets received where the kernel has put them, answers written in place, what was counted.
Needs:  root, Linux 5.9, iproute2. Nobody's network is touched: it runs in a network namespace of
        its own (unshare(1)), over a virtual cable: what is sent into `far` comes out of `near`.
Run:    sudo python examples/echo_packets.py

Expected output:

    sent     b'one' b'two' b'three'
    echoed   b'one' b'two' b'three'
    received 3, sent 3, dropped 0, frames in use 0
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pyebpf

NEAR, FAR = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
ECHO = 0x88B5  # an Ethernet protocol for local experiments
WORDS = [b"one", b"two", b"three"]


def lay_cable() -> None:
    for command in (
        "link add near address 02:00:00:00:00:01 type veth peer far address 02:00:00:00:00:02",
        # No IPv6 address: it would be announced.
        "link set near addrgenmode none",
        "link set far addrgenmode none",
        "link set near up",
        "link set far up",
    ):
        subprocess.run(["ip", *command.split()], check=True)


def echo(xsk: pyebpf.XskSocket, count: int) -> None:
    """Send so many packets back to where they came from."""
    while count:
        with xsk.lease() as packets:
            for packet in packets:
                with xsk.reserve(len(packet)) as (answer,):
                    answer[0:6], answer[6:12] = packet[6:12], packet[0:6]
                    answer[12:] = packet[12:]
            count -= len(packets)


def main() -> None:
    lay_cable()
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as far,
        pyebpf.XskSocket("near") as xsk,
    ):
        far.bind(("far", ECHO))
        for word in WORDS:
            far.send(NEAR + FAR + ECHO.to_bytes(2, "big") + word.ljust(46, b"\0"))
        print("sent    ", *WORDS)
        echo(xsk, len(WORDS))
        print("echoed  ", *(far.recv(2048)[14:].rstrip(b"\0") for _ in WORDS))
        found, used = xsk.statistics(), xsk.umem.usage()
        print(
            f"received {found.received}, sent {found.sent}, dropped {found.rx_dropped},"
            f" frames in use {used.lent + used.sending}"
        )


if __name__ == "__main__":
    if "--inside" not in sys.argv:
        os.execvp("unshare", ["unshare", "--net", sys.executable, __file__, "--inside"])
    main()
