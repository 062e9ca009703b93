"""The package's table for who knows cilium's pkg/bpf: what it names exists."""

from __future__ import annotations

import re

import pyebpf
from pyebpf import daemon, pinning
from pyebpf.maps.map import Map

WORD = re.compile(r"\b(?:Map|CachedMap|CachedEntry|pinning|pyebpf)\.(\w+)|\b([a-z]+_[a-z_]+)\b")


def test_every_name_is_there():
    """Each public name resolves, once, and has a docstring."""
    assert sorted(set(daemon.__all__)) == daemon.__all__
    for name in daemon.__all__:
        value = getattr(daemon, name)
        assert value.__doc__, name


def test_what_the_table_names_exists():
    """The right column is no wish."""
    table = (daemon.__doc__ or "").split("names and what stands")[1].split("and goebpf's")[0]
    owners = (daemon, Map, daemon.CachedMap, pinning, pyebpf)
    keywords = {"missing_ok", "max_errors", "from_id"}
    missing = []
    for line in table.splitlines():
        for dotted, plain in WORD.findall(line[40:]):
            word = dotted or plain
            known = any(hasattr(owner, word) for owner in owners)
            fields = daemon.CachedEntry.__dataclass_fields__
            if not known and word not in fields and word not in keywords:
                missing.append(word)
    assert missing == []
