"""Object files: `load_spec` reads what ``clang -target bpf`` writes into a `CollectionSpec`."""

from __future__ import annotations

from pyebpf.elf.collect import load_spec

__all__ = ["load_spec"]
