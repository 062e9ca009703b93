"""What the running kernel can do, found out by trying; never by its version.

`map_type`, `map_flag`, `program_type` and the other names here are or return a `Feature`:
``available()``, ``require()``. They are looked up when they are first used: most loads ask for two.
"""

from __future__ import annotations

from pyebpf.features.attach import (
    attach_cookie,
    uprobe_multi,
    uprobe_multi_process,
    uprobe_session,
)
from pyebpf.features.btf import btf_features
from pyebpf.features.feature import Feature
from pyebpf.features.maps import (
    accepted_name,
    dotted_names,
    map_flag,
    map_type,
    mmapable_arrays,
    object_names,
    one_cpu_values,
)
from pyebpf.features.programs import (
    expected_attach_type,
    far_map_values,
    function_addresses,
    function_pointers,
    function_types,
    probe_read_kernel,
    program_type,
)

__all__ = [
    "Feature",
    "accepted_name",
    "attach_cookie",
    "btf_features",
    "dotted_names",
    "expected_attach_type",
    "far_map_values",
    "function_addresses",
    "function_pointers",
    "function_types",
    "map_flag",
    "map_type",
    "mmapable_arrays",
    "object_names",
    "one_cpu_values",
    "probe_read_kernel",
    "program_type",
    "uprobe_multi",
    "uprobe_multi_process",
    "uprobe_session",
]
