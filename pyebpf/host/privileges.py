"""Why the kernel refused, for the layers above ``sys``: see `pyebpf.sys.privileges`, which reads it.

The reading stands in ``sys`` because the errors raised there carry it already.
"""

from __future__ import annotations

from pyebpf.sys.privileges import Capabilities, explain, explain_perf

__all__ = ["Capabilities", "explain", "explain_perf"]
