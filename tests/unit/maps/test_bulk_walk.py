"""What the kernel's types must have for a program that walks over a hash."""

from __future__ import annotations

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.btf.encode import encode
from pyebpf.btf.types import Array, Func, FuncProto, Int, Member, Ptr, Struct
from pyebpf.errors import NotSupportedError
from pyebpf.maps.bulk_code import Layout
from pyebpf.maps.bulk_walk import CAST, HashLayout, hash_layout, walk


def kernel(*, without: str = "") -> Btf:
    def named(name: str) -> str:
        return "other" if name == without else name

    return Btf.decode(
        encode(
            [
                Int("int", 4, 1),
                Ptr(3),
                Struct(named("bucket"), 24, (Member("head", 2, 0),)),
                Struct(
                    named("bpf_htab"),
                    100,
                    (Member(named("buckets"), 2, 40 * 8), Member(named("n_buckets"), 1, 72 * 8)),
                ),
                Array(1, 1, 0),
                Struct(named("htab_elem"), 48, (Member(named("key"), 5, 48 * 8),)),
                FuncProto(0, ()),
                Func(named(CAST), 7),
            ]
        )
    )


def test_offsets_are_those_of_the_kernels_types() -> None:
    """Wherever they are."""
    assert hash_layout(kernel()) == HashLayout(
        buckets=40, n_buckets=72, bucket_size=24, key=48, cast=8
    )


@pytest.mark.parametrize(
    "missing", ["bucket", "bpf_htab", "buckets", "n_buckets", "htab_elem", "key", CAST]
)
def test_without_any_of_them_there_is_no_such_program(missing: str) -> None:
    """A kernel that has other hashes, or no such function."""
    with pytest.raises(NotSupportedError):
        hash_layout(kernel(without=missing))


def test_the_program_names_what_it_refers_to() -> None:
    """The map, the area, and the kernel's function."""
    code = walk(Layout(key_size=4, value_size=8, capacity=16), hash_layout(kernel()))
    assert set(code.symbols.values()) == {"map", "area", CAST}
