"""Private network namespaces and veth pairs: real packets, and nobody's network is touched.

`setns` moves only the calling thread and leaves its mounts alone; ``ip netns exec`` would remount
/sys and hide bpffs, tracefs and cgroups.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support import kernel


class Namespace:
    """A network namespace that lives until it is closed; its lo is up."""

    def __init__(self) -> None:
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.unshare(kernel.CLONE_NEWNET)
            try:
                self._fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            finally:
                kernel.setns(home, kernel.CLONE_NEWNET)
        finally:
            os.close(home)
        self.run("ip", "link", "set", "lo", "up")

    def fileno(self) -> int:
        """Return the descriptor, for ``setns``."""
        return self._fd

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Move the calling thread into the namespace for a ``with`` block."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.setns(self._fd, kernel.CLONE_NEWNET)
            try:
                yield
            finally:
                kernel.setns(home, kernel.CLONE_NEWNET)
        finally:
            os.close(home)

    def run(self, *command: str) -> str:
        """Run a command inside; return what it printed."""
        with self.entered():
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def close(self) -> None:
        """Let the kernel end the namespace once nothing uses it."""
        os.close(self._fd)


@dataclass(frozen=True)
class Veth:
    """A cable between two namespaces that carries nothing but what a test sends.

    Addresses are set and neighbours known, so there is no ARP; there is no IPv6.

    Attributes:
        name: The interface at this end, and the other's at its end.
        address: IPv4 address of this end.
        peer: The other end's namespace.
        peer_name: The interface over there.
        peer_address: IPv4 address of the other end.
    """

    name: str
    address: str
    peer: Namespace
    peer_name: str
    peer_address: str


def connect(here: Namespace, there: Namespace, *, queues: int = 1) -> Veth:
    """Lay a veth pair between two namespaces; each end has so many queues in each direction."""
    veth = Veth("near", "10.98.0.1", there, "far", "10.98.0.2")
    near, far = "02:00:00:00:00:01", "02:00:00:00:00:02"
    lanes = ["numtxqueues", str(queues), "numrxqueues", str(queues)]
    pair = ["ip", "link", "add", "near", "address", near, *lanes, "type", "veth"]
    there_path = f"/proc/{os.getpid()}/fd/{there.fileno()}"
    here.run(*pair, "peer", "name", "far", "address", far, *lanes, "netns", there_path)
    for end, name, address, other_address, other in (
        (here, "near", veth.address, veth.peer_address, far),
        (there, "far", veth.peer_address, veth.address, near),
    ):
        # In one command the kernel would bring it up first, make an address and announce it.
        end.run("ip", "link", "set", name, "addrgenmode", "none")
        end.run("ip", "link", "set", name, "up")
        end.run("ip", "address", "add", f"{address}/24", "dev", name)
        end.run("ip", "neighbour", "add", other_address, "lladdr", other, "dev", name)
    return veth


def plug(here: Namespace, near: str, there: Namespace, far: str) -> Veth:
    """Move two network cards that are joined into two namespaces; they have no addresses."""
    for end, name in ((here, near), (there, far)):
        namespace = f"/proc/{os.getpid()}/fd/{end.fileno()}"
        # The calling thread may be in another namespace already.
        subprocess.run(
            ["nsenter", "--net=/proc/1/ns/net", "ip", "link", "set", name, "netns", namespace],
            check=True,
        )
        end.run("ip", "link", "set", name, "addrgenmode", "none")
        end.run("ip", "link", "set", name, "promisc", "on", "up")
    return Veth(near, "", there, far, "")


def packets(veth: Veth, count: int, *, port: int = 4242, outward: bool = False) -> int:
    """Send datagrams over the cable; return how many arrived.

    Returns as soon as all have, so waits only for those that do not come.

    Args:
        veth: The caller is in its near end's namespace.
        count: How many to send.
        port: Where to.
        outward: From here to the far end, else from there to here.
    """
    address = veth.peer_address if outward else veth.address
    near, far = contextlib.nullcontext(), veth.peer.entered()
    with contextlib.ExitStack() as stack:
        with far if outward else near:
            receiver = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            receiver.bind((address, port))
            receiver.setblocking(False)
        with near if outward else far:
            sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for _ in range(count):
            # A classifier's drop on the way out shows as ENOBUFS in some kernels.
            with contextlib.suppress(OSError):
                sender.sendto(b"packet", (address, port))
        arrived = 0
        # A veth delivers in the sender's softirq, but NAPI may finish a moment later.
        while arrived < count and select.select([receiver], [], [], 0.5)[0]:
            receiver.recv(2048)
            arrived += 1
        return arrived
