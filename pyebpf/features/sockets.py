"""Probes of sockets: AF_XDP, and how they may be bound."""

from __future__ import annotations

import errno

from pyebpf.errors import NotSupportedError
from pyebpf.features.feature import Feature
from pyebpf.sys import xdp_socket
from pyebpf.uapi.if_xdp import XdpBindFlag

__all__ = ["af_xdp", "xdp_bind_flag"]


def xdp_bind_flag(flag: XdpBindFlag) -> Feature:
    """Return the feature "AF_XDP sockets may be bound with this flag"."""
    return Feature(str(flag), flag.since, lambda: _try_flag(flag))


# Flags are looked at before the interface, and there is none of index 0.
def _try_flag(flag: XdpBindFlag) -> bool:
    try:
        with xdp_socket.open_socket() as socket:
            return xdp_socket.bind(socket.fileno(), 0, 0, flags=flag) != errno.EINVAL
    except NotSupportedError:
        return False


def _try_socket() -> bool:
    try:
        xdp_socket.open_socket().close()
    except NotSupportedError:
        return False
    return True


af_xdp = Feature("AF_XDP", "4.18", _try_socket)
