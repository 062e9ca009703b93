"""Which functions of the kernel a pattern takes: those that a trampoline can pass on."""

from __future__ import annotations

import sys

import pytest

from pyebpf.btf import types as t
from pyebpf.btf.btf import Btf
from pyebpf.btf.encode import encode
from pyebpf.btf.types import Param
from pyebpf.link.tracing_multi import _passes

NUMBER, LARGE, SMALL, VOID = 1, 2, 3, 0
TYPES = [
    t.Int("int", 4, 1),
    t.Struct("large", 24, (t.Member("a", NUMBER, 0, 0),)),
    t.Struct("small", 16, (t.Member("a", NUMBER, 0, 0),)),
    t.Typedef("small_t", SMALL),
]


@pytest.mark.parametrize(
    ("result", "arguments", "passes"),
    [
        (VOID, [], True),
        (NUMBER, [NUMBER] * 12, True),
        (NUMBER, [NUMBER] * 13, False),
        (NUMBER, [SMALL], True),
        (NUMBER, [LARGE], False),
        (NUMBER, [NUMBER, 0], False),
        (SMALL, [], False),
        (4, [], False),
    ],
    ids=str,
)
def test_what_a_trampoline_passes_on(result, arguments, passes):
    """By number and size of the arguments, and what is returned."""
    names = (f"a{number}" if kind else "" for number, kind in enumerate(arguments))
    prototype = t.FuncProto(result, tuple(map(Param, names, arguments)))
    blob = encode([*TYPES, prototype, t.Func("f", 5)], byteorder=sys.byteorder)
    assert _passes(Btf.decode(blob), 6) == passes


def test_what_is_no_function_does_not_pass():
    """A struct."""
    assert not _passes(Btf.decode(encode(TYPES, byteorder=sys.byteorder)), LARGE)
