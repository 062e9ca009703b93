"""`XskStatistics` and `UmemUsage`: what went through, what was lost, who has the frames."""

from __future__ import annotations

from pyebpf.typed import NamedTuple

__all__ = ["UmemUsage", "XskStatistics"]


class XskStatistics(NamedTuple):
    """Totals of a socket; those that begin with ``rx`` and ``tx`` are the kernel's own.

    Attributes:
        received: Packets taken out of the RX ring.
        sent: Packets handed to the kernel to send.
        refused: Of these, packets that the interface has refused and said so (``EBUSY``, in copy
            mode). Not all drivers do; its own count of dropped packets has them all.
        unsent: Packets that the kernel had not looked at when the socket was closed; not in *sent*.
        rx_dropped: Packets dropped because no frame was in the fill ring, they were longer than a
            frame, or the like.
        rx_invalid_descs: Frames in the fill ring that the kernel could not use.
        tx_invalid_descs: Packets in the TX ring that the kernel could not use.
        rx_ring_full: Packets dropped because the RX ring was full; ``None`` before Linux 5.9.
        rx_fill_ring_empty_descs: How often the fill ring was empty; ``None`` before Linux 5.9.
        tx_ring_empty_descs: How often the kernel found the TX ring empty, which is no loss;
            ``None`` before Linux 5.9.
    """

    received: int
    sent: int
    refused: int
    unsent: int
    rx_dropped: int | None
    rx_invalid_descs: int | None
    tx_invalid_descs: int | None
    rx_ring_full: int | None
    rx_fill_ring_empty_descs: int | None
    tx_ring_empty_descs: int | None


class UmemUsage(NamedTuple):
    """Where the frames of a `Umem` are; each is in one place, so they add up to all.

    Attributes:
        free: Not in use.
        filled: The kernel's, to receive into, or with packets that wait in an RX ring.
        sending: The kernel's, to send.
        lent: In leases.
        retired: Out of use because the kernel may still look at them; see `XskSocket.close`.
    """

    free: int
    filled: int
    sending: int
    lent: int
    retired: int
