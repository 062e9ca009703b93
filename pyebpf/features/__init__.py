"""What the running kernel can do, found out by trying; never by its version.

`map_type`, `map_flag`, `program_type` and most names here are or return a `Feature`:
``available()``, ``require()``, ``finding()``; `report` is all of them at once, as data. They are
looked up when they are first used: most loads ask for two.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as in the package's own __init__
if TYPE_CHECKING:
    from pyebpf.features.attach import attach_cookie as attach_cookie
    from pyebpf.features.attach import uprobe_multi as uprobe_multi
    from pyebpf.features.attach import uprobe_multi_process as uprobe_multi_process
    from pyebpf.features.attach import uprobe_session as uprobe_session
    from pyebpf.features.btf import btf_features as btf_features
    from pyebpf.features.commands import command as command
    from pyebpf.features.feature import Answer as Answer
    from pyebpf.features.feature import Feature as Feature
    from pyebpf.features.feature import Finding as Finding
    from pyebpf.features.helpers import helper as helper
    from pyebpf.features.instructions import INSTRUCTIONS as INSTRUCTIONS
    from pyebpf.features.instructions import LIMITS as LIMITS
    from pyebpf.features.links import attach_type as attach_type
    from pyebpf.features.links import kprobe_session as kprobe_session
    from pyebpf.features.links import link_type as link_type
    from pyebpf.features.maps import accepted_name as accepted_name
    from pyebpf.features.maps import dotted_names as dotted_names
    from pyebpf.features.maps import map_flag as map_flag
    from pyebpf.features.maps import map_programs as map_programs
    from pyebpf.features.maps import map_type as map_type
    from pyebpf.features.maps import mmapable_arrays as mmapable_arrays
    from pyebpf.features.maps import object_names as object_names
    from pyebpf.features.maps import one_cpu_values as one_cpu_values
    from pyebpf.features.programs import expected_attach_type as expected_attach_type
    from pyebpf.features.programs import far_map_values as far_map_values
    from pyebpf.features.programs import function_addresses as function_addresses
    from pyebpf.features.programs import function_pointers as function_pointers
    from pyebpf.features.programs import function_types as function_types
    from pyebpf.features.programs import probe_read_kernel as probe_read_kernel
    from pyebpf.features.programs import program_flag as program_flag
    from pyebpf.features.programs import program_type as program_type
    from pyebpf.features.reporting import Report as Report
    from pyebpf.features.reporting import report as report
    from pyebpf.features.sockets import af_xdp as af_xdp
    from pyebpf.features.sockets import xdp_bind_flag as xdp_bind_flag

_HOMES = {
    "Answer": "feature",
    "Feature": "feature",
    "Finding": "feature",
    "INSTRUCTIONS": "instructions",
    "LIMITS": "instructions",
    "Report": "reporting",
    "accepted_name": "maps",
    "af_xdp": "sockets",
    "attach_cookie": "attach",
    "attach_type": "links",
    "btf_features": "btf",
    "command": "commands",
    "dotted_names": "maps",
    "expected_attach_type": "programs",
    "far_map_values": "programs",
    "function_addresses": "programs",
    "function_pointers": "programs",
    "function_types": "programs",
    "helper": "helpers",
    "kprobe_session": "links",
    "link_type": "links",
    "map_flag": "maps",
    "map_programs": "maps",
    "map_type": "maps",
    "mmapable_arrays": "maps",
    "object_names": "maps",
    "one_cpu_values": "maps",
    "probe_read_kernel": "programs",
    "program_flag": "programs",
    "program_type": "programs",
    "report": "reporting",
    "uprobe_multi": "attach",
    "uprobe_multi_process": "attach",
    "uprobe_session": "attach",
    "xdp_bind_flag": "sockets",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
