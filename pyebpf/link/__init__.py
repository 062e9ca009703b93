"""Attaching programs to hooks, one module a hook; every function returns a `Link`.

Names are looked up when they are first used: a load needs none of the hooks, and attaching one.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as in the package's own __init__
if TYPE_CHECKING:
    from pyebpf.link.auto import attach as attach
    from pyebpf.link.base import Link as Link
    from pyebpf.link.base import LinkDetails as LinkDetails
    from pyebpf.link.base import loaded_links as loaded_links
    from pyebpf.link.raw_tracepoint import attach_raw_tracepoint as attach_raw_tracepoint
    from pyebpf.link.socket import attach_socket as attach_socket
    from pyebpf.link.struct_ops import attach_struct_ops as attach_struct_ops
    from pyebpf.link.tracepoint import attach_tracepoint as attach_tracepoint
    from pyebpf.link.tracing import attach_tracing as attach_tracing
    from pyebpf.link.uprobe import attach_uprobe as attach_uprobe
    from pyebpf.link.xdp import XdpMode as XdpMode
    from pyebpf.link.xdp import attach_xdp as attach_xdp

_HOMES = {
    "Link": "base",
    "LinkDetails": "base",
    "XdpMode": "xdp",
    "attach": "auto",
    "attach_raw_tracepoint": "raw_tracepoint",
    "attach_socket": "socket",
    "attach_struct_ops": "struct_ops",
    "attach_tracepoint": "tracepoint",
    "attach_tracing": "tracing",
    "attach_uprobe": "uprobe",
    "attach_xdp": "xdp",
    "loaded_links": "base",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
