"""What the running kernel can do, found out by trying; never by its version.

`map_type`, `map_flag`, `program_type` and the other names here are or return a `Feature`:
``available()``, ``require()``.
"""

from __future__ import annotations

from pyebpf.features.attach import attach_cookie
from pyebpf.features.btf import btf_features
from pyebpf.features.feature import Feature
from pyebpf.features.maps import (
    dotted_names,
    map_flag,
    map_type,
    mmapable_arrays,
    object_names,
)
from pyebpf.features.programs import far_map_values, function_pointers, program_type

__all__ = [
    "Feature",
    "attach_cookie",
    "btf_features",
    "dotted_names",
    "far_map_values",
    "function_pointers",
    "map_flag",
    "map_type",
    "mmapable_arrays",
    "object_names",
    "program_type",
]
