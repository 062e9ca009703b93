"""Callbacks of programs that throw."""

from __future__ import annotations

import pytest

from pyebpf.elf import load_spec
from pyebpf.errors import ElfError
from tests.support import programs

SOURCE = """
    #define CALLS(name) __attribute__((btf_decl_tag("exception_callback:" name)))
    __noinline int used(int x) { barrier_var(x); return x; }
    int caught(__u64 cookie) { return used(cookie); }
    CALLS("%s") SEC("tc") int with(void *ctx) { return 1; }
    SEC("tc") int without(void *ctx) { return used(2); }
"""


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_a_callback_is_linked_though_nothing_calls_it(byteorder):
    """The kernel finds it by the tag, so it must be part of the program that names it."""
    spec = load_spec(programs.built("exceptions", byteorder))
    assert [name for _, name in spec.programs["with_callback"].functions] == [
        "with_callback",
        "caught",
    ]
    assert [name for _, name in spec.programs["without"].functions] == ["without"]
    functions = spec.programs["with_callback"].functions
    assert len(spec.programs["with_callback"].func_info) == 8 * len(functions)


def test_what_a_callback_needs_comes_along(compile_c):
    """Its own callees are linked behind it."""
    spec = compile_c(SOURCE % "caught")
    assert [name for _, name in spec.programs["with"].functions] == ["with", "caught", "used"]
    assert [name for _, name in spec.programs["without"].functions] == ["without", "used"]


def test_a_callback_that_does_not_exist_is_named(compile_c):
    """With the program that wants it."""
    with pytest.raises(ElfError, match='"with" names exception callback "nobody"'):
        compile_c(SOURCE % "nobody")


def test_a_tag_on_something_else_is_an_error(compile_c):
    """Only programs have callbacks."""
    with pytest.raises(ElfError, match='"exception_callback:caught" is not on a program'):
        compile_c('int x __attribute__((btf_decl_tag("exception_callback:caught"))) = 1;')
