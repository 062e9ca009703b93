"""`LoadRequest`: a program ready for the kernel, and what explains a refusal of it."""

from __future__ import annotations

from pyebpf.btf.btf import Btf
from pyebpf.plain import field, plain
from pyebpf.typed import Literal
from pyebpf.uapi.attrs import ProgLoad

__all__ = ["LoadRequest"]


@plain(kw_only=True)
class LoadRequest:
    """A program ready for the kernel.

    Attributes:
        attr: Everything but code, tables and log.
        code: Instructions with every reference resolved.
        func_info: ``struct bpf_func_info`` records, or empty.
        line_info: ``struct bpf_line_info`` records, or empty.
        btf: What *line_info* refers to.
        byteorder: Of the tables.
        poisoned: What was relocated to nothing, by slot: explains a refusal.
        missing: Why the program must not get there, by slot: likewise.
        log_level: ``BPF_LOG_*`` bits to ask for even when the load succeeds; 0 for none.
        log_size: Bytes to start with, or ``None`` for 64 KiB; grown as needed.
    """

    attr: ProgLoad
    code: bytes
    func_info: bytes = b""
    line_info: bytes = b""
    btf: Btf | None = None
    byteorder: Literal["little", "big"] = "little"
    poisoned: dict[int, str] = field(default_factory=dict)
    missing: dict[int, str] = field(default_factory=dict)
    log_level: int = 0
    log_size: int | None = None
