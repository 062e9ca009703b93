"""Ethernet frames with numbers in them, past the network stack of one end of a cable.

In: numbers to send, or an end to listen at. Out: the numbers that arrived, in order.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

from tests.support.netns import Veth

PROTOCOL = 0x88B5  # for local experiments: nobody else's traffic has it
PATIENCE = 20
_SO_RCVBUFFORCE = 33  # as SO_RCVBUF, whatever sysctl net.core.rmem_max says
_HEADER = bytes.fromhex("02000000000102000000000288b5")


def frame(number: int, length: int = 64) -> bytes:
    """Return a frame that carries a number."""
    return (_HEADER + struct.pack("!I", number)).ljust(length, b"\x5a")


def number_of(packet: bytes | bytearray | memoryview) -> int:
    """Return the number that a frame carries, after checking what else is in it."""
    octets = bytes(packet)
    number = int(struct.unpack_from("!I", octets, 14)[0])
    assert octets == frame(number, len(octets))
    return number


def numbers(packets: Iterable[bytes | memoryview]) -> list[int]:
    """Return the numbers of frames."""
    return [number_of(packet) for packet in packets]


class FarEnd:
    """A raw socket at the far end of a cable, which sends frames here and receives those from here.

    Args:
        veth: The cable.
    """

    def __init__(self, veth: Veth) -> None:
        with veth.peer.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 25)
            self._socket.settimeout(PATIENCE)
            with veth.peer.entered():
                self._socket.bind((veth.peer_name, PROTOCOL))
        except BaseException:
            self._socket.close()
            raise

    def send(self, wanted: Iterable[int], length: int = 64) -> None:
        """Send frames with these numbers."""
        for number in wanted:
            self._socket.send(frame(number, length))

    def receive(self, count: int) -> list[int]:
        """Wait for so many frames and return their numbers."""
        return [number_of(self._socket.recv(1 << 16)) for _ in range(count)]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
