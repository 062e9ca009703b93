"""Numbers of BTF: ``linux/btf.h``, and the kinds of CO-RE relocations.

    header   0     2   3     4       8        12       16      20      24         28
             |magic|ver|flags|hdr_len|type_off|type_len|str_off|str_len|layout_off|layout_len|

Offsets count from the end of the header; the last two fields came with Linux 7.1.
"""

from __future__ import annotations

from pyebpf.uapi.cenum import CEnum, CFlag, c_enum, c_flags

__all__ = [
    "BTF_MAGIC",
    "BTF_MAX_NAME_OFFSET",
    "BTF_MAX_TYPE",
    "BTF_VERSION",
    "BtfKind",
    "BtfIntEncoding",
    "BtfFuncLinkage",
    "BtfVarLinkage",
    "CoreReloKind",
]

BTF_MAGIC = 0xEB9F
BTF_VERSION = 1

# The kernel takes no more types and string bytes than these.
BTF_MAX_TYPE = 0xFFFFF
BTF_MAX_NAME_OFFSET = 0xFFFFFF


@c_enum(
    "",
    prefix="BTF_KIND_",
    since={
        "FUNC": "5.0",
        "FUNC_PROTO": "5.0",
        "VAR": "5.2",
        "DATASEC": "5.2",
        "FLOAT": "5.13",
        "DECL_TAG": "5.16",
        "TYPE_TAG": "5.17",
        "ENUM64": "6.0",
    },
    header="linux/btf.h",
)
class BtfKind(CEnum):
    """Kinds of types."""

    UNKN = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


@c_flags("", prefix="BTF_INT_", header="linux/btf.h", macros=True)
class BtfIntEncoding(CFlag):
    """What an ``INT`` is besides a number of bits."""

    SIGNED = 1 << 0
    CHAR = 1 << 1
    BOOL = 1 << 2


@c_enum(
    "btf_func_linkage",
    prefix="BTF_FUNC_",
    since={"STATIC": "5.6", "GLOBAL": "5.6", "EXTERN": "5.6"},
    header="linux/btf.h",
)
class BtfFuncLinkage(CEnum):
    """Linkage of a ``FUNC``, in its vlen."""

    STATIC = 0
    GLOBAL = 1
    EXTERN = 2


@c_enum(
    "",
    prefix="BTF_VAR_",
    since={"STATIC": "5.2", "GLOBAL_ALLOCATED": "5.2", "GLOBAL_EXTERN": "5.6"},
    header="linux/btf.h",
)
class BtfVarLinkage(CEnum):
    """Linkage of a ``VAR``."""

    STATIC = 0
    GLOBAL_ALLOCATED = 1
    GLOBAL_EXTERN = 2


@c_enum(
    "bpf_core_relo_kind",
    prefix="BPF_CORE_",
    since={
        "FIELD_BYTE_OFFSET": "5.17",
        "FIELD_BYTE_SIZE": "5.17",
        "FIELD_EXISTS": "5.17",
        "FIELD_SIGNED": "5.17",
        "FIELD_LSHIFT_U64": "5.17",
        "FIELD_RSHIFT_U64": "5.17",
        "TYPE_ID_LOCAL": "5.17",
        "TYPE_ID_TARGET": "5.17",
        "TYPE_EXISTS": "5.17",
        "TYPE_SIZE": "5.17",
        "ENUMVAL_EXISTS": "5.17",
        "ENUMVAL_VALUE": "5.17",
        "TYPE_MATCHES": "6.0",
    },
)
class CoreReloKind(CEnum):
    """What a CO-RE relocation asks of the target's types."""

    FIELD_BYTE_OFFSET = 0
    FIELD_BYTE_SIZE = 1
    FIELD_EXISTS = 2
    FIELD_SIGNED = 3
    FIELD_LSHIFT_U64 = 4
    FIELD_RSHIFT_U64 = 5
    TYPE_ID_LOCAL = 6
    TYPE_ID_TARGET = 7
    TYPE_EXISTS = 8
    TYPE_SIZE = 9
    ENUMVAL_EXISTS = 10
    ENUMVAL_VALUE = 11
    TYPE_MATCHES = 12
