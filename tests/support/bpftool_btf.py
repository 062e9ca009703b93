"""BTF as bpftool reads it: the oracle for our own reading.

A file goes in, one dict per type comes out; `described` gives ours in the same form.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess

import pytest

from pyebpf.btf import types as t
from pyebpf.btf.btf import Btf
from pyebpf.uapi.btf import BtfKind

_LINKAGES = {
    BtfKind.FUNC: ("static", "global", "extern"),
    BtfKind.VAR: ("static", "global", "extern"),
}


def dump(path: pathlib.Path) -> list[dict]:
    """Return the types in a file as bpftool says, or skip without it."""
    if shutil.which("bpftool") is None:
        pytest.skip("bpftool")
    command = ["bpftool", "-j", "btf", "dump", "file", str(path), "format", "raw"]
    text = subprocess.run(command, check=True, capture_output=True).stdout
    types = json.loads(text)["types"]
    for entry in types:
        if entry["kind"] == "ENUM" and entry["encoding"] == "UNSIGNED":
            # bpftool 7.1 gives unsigned values a sign.
            for one in entry["values"]:
                one["val"] &= 0xFFFFFFFF
    return types


def described(btf: Btf) -> list[dict]:
    """Return all types as bpftool's JSON has them."""
    return [{"id": number} | _entry(btf.type(number)) for number in range(1, len(btf))]


def _entry(found: t.Type) -> dict[str, object]:
    entry: dict[str, object] = {"kind": found.kind.name, "name": found.name or "(anon)"}
    if isinstance(found, t.Int):
        encodings = {0: "(none)", 1: "SIGNED", 2: "CHAR", 4: "BOOL"}
        entry |= {"size": found.size, "bits_offset": found.offset, "nr_bits": found.bits}
        entry["encoding"] = encodings[found.encoding]
    elif isinstance(found, t.Array):
        entry |= {"type_id": found.element, "index_type_id": found.index}
        entry["nr_elems"] = found.length
    elif isinstance(found, t.Composite):
        entry |= {"size": found.size, "vlen": len(found.members)}
        entry["members"] = [_member(one) for one in found.members]
    elif isinstance(found, t.Enumeration):
        entry |= {"size": found.size, "encoding": "SIGNED" if found.signed else "UNSIGNED"}
        entry["vlen"] = len(found.values)
        entry["values"] = [{"name": one.name, "val": one.value} for one in found.values]
    elif isinstance(found, t.Fwd):
        entry["fwd_kind"] = "union" if found.union else "struct"
    elif isinstance(found, t.FuncProto):
        params = [{"name": one.name or "(anon)", "type_id": one.type} for one in found.params]
        entry |= {"ret_type_id": found.return_type, "vlen": len(params), "params": params}
    elif isinstance(found, t.Datasec):
        entry |= {"size": found.size, "vlen": len(found.variables)}
        fields = ("type_id", "offset", "size")
        entry["vars"] = [dict(zip(fields, one, strict=True)) for one in found.variables]
    elif isinstance(found, t.Float):
        entry["size"] = found.size
    else:
        entry["type_id"] = found.type  # type: ignore[attr-defined]
    if isinstance(found, (t.Func, t.Var)):
        entry["linkage"] = _LINKAGES[found.kind][found.linkage]
    if isinstance(found, t.DeclTag):
        entry["component_idx"] = found.component
    return entry


def _member(one: t.Member) -> dict[str, object]:
    entry = {"name": one.name or "(anon)", "type_id": one.type, "bits_offset": one.bit_offset}
    return entry | ({"bitfield_size": one.bitfield_size} if one.bitfield_size else {})
