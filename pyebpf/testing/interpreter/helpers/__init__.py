"""Helpers by number, each a Python function; one module for each kind.

Not modelled, and so ending a program with an error: timers, user ring buffers, sockets and their
options, tunnels, and what works on other types of context than packets.
"""

from __future__ import annotations

from pyebpf.testing.interpreter import dynptrs
from pyebpf.testing.interpreter.calls import Function
from pyebpf.testing.interpreter.helpers import (
    control,
    maps,
    packets,
    reading,
    reshaping,
    rings,
    storage,
    system,
    text,
    xdp,
)

__all__ = ["HELPERS"]

HELPERS: dict[int, Function] = {
    **maps.HELPERS,
    **storage.HELPERS,
    **system.HELPERS,
    **reading.HELPERS,
    **control.HELPERS,
    **text.HELPERS,
    **rings.HELPERS,
    **dynptrs.HELPERS,
    **packets.HELPERS,
    **reshaping.HELPERS,
    **xdp.HELPERS,
}
