"""Why the kernel refused: `pyebpf.sys.privileges`, under the name the layers above look for.

The reading stands in ``sys`` because the errors raised there carry it already.
"""

from __future__ import annotations

from pyebpf.sys.privileges import Capabilities, explain, explain_perf, lockdown

__all__ = ["Capabilities", "explain", "explain_perf", "lockdown"]
