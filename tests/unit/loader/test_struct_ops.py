"""Fitting implementations of interfaces to a kernel's structs, here C of the tests' own."""

from __future__ import annotations

import pytest

from pyebpf.errors import LoadError, NotSupportedError
from pyebpf.loader.struct_ops import plan
from pyebpf.uapi.bpf import ProgType
from pyebpf.uapi.btf import BtfKind
from tests.unit.elf.conftest import compile_c  # noqa: F401 - a fixture

KERNEL = """
    struct module;
    struct common { int refcnt; int state; };
    struct nested { __u32 a, b; };
    struct ops {
        void *list;
        int (*init)(int);
        int (*done)(void *);
        union { struct { __u32 deep; }; };
        char name[8];
        __u64 flags;
        struct nested nested;
        __u32 bits : 3;
        struct module *owner;
    };
    struct bpf_struct_ops_ops {
        struct common common;
        struct ops data __attribute__((aligned(64)));
    };
    struct bpf_struct_ops_ops kernel;
"""

OBJECT = """
    struct nested {{ __u32 a, b; }};
    struct ops {{ {members} }};
    SEC("struct_ops/init") int on_init(void *ctx) {{ return 0; }}
    SEC("struct_ops.s/done") int on_done(void *ctx) {{ return 0; }}
    SEC("socket") int filter(void *ctx) {{ return 0; }}
    SEC(".struct_ops") struct ops mine = {{ {values} }};
"""


class Module:
    """Types that are not the kernel's own."""

    def __init__(self, types):
        self.types = types

    def fileno(self):
        return 42


class Modules:
    """Where to find them."""

    def __init__(self, *modules):
        self.modules = modules

    def find(self, name, kind):
        for each in self.modules:
            for type_id in each.types.ids(name, kind):
                yield each, type_id


@pytest.fixture
def fit(compile_c):  # noqa: F811
    """Return a function that fits an implementation of given members and values."""
    kernel = compile_c(KERNEL).btf

    def fit_(members, values, *, change=None, kernel_btf=kernel, modules=()):
        spec = compile_c(OBJECT.format(members=members, values=values))
        if change is not None:
            change(spec)
        before = spec.copy()
        found = plan(spec, lambda: kernel_btf, Modules(*modules))
        assert spec == before
        return found

    fit_.kernel = kernel
    return fit_


GOOD = (
    "__u64 flags; int (*done)(void *); char name[8]; struct nested nested; int (*init)(int);",
    '.flags = 7, .done = (void *)on_done, .name = "mine", .nested = { 1, 2 }',
)


def test_members_go_where_the_kernel_has_them(fit):
    """By name, whatever the order; what the object does not mention is zero."""
    found = fit(*GOOD)
    mine = found.maps["mine"]
    kernel = fit.kernel
    wrapper = kernel.find("bpf_struct_ops_ops", BtfKind.STRUCT)
    assert (mine.spec.btf, mine.spec.value_type_id) == (kernel, wrapper)
    assert mine.spec.value_size == kernel.size_of(wrapper) == len(mine.spec.contents)
    expected = bytearray(mine.spec.value_size)
    data = 64  # of the kernel's wrapper
    expected[data + 28 : data + 32] = b"mine"
    expected[data + 40] = 7
    expected[data + 48], expected[data + 52] = 1, 2
    assert mine.spec.contents == expected
    assert mine.functions == ((data + 16, "on_done"),)
    assert mine.module is None


def test_a_program_learns_what_it_implements(fit):
    """The kernel's struct and the number of the member in it."""
    found = fit(*GOOD)
    assert set(found.targets) == {"on_done"}
    target = found.targets["on_done"]
    assert target.type_id == fit.kernel.find("ops", BtfKind.STRUCT)
    assert (target.member, target.module, target.name) == (2, None, "ops.done")


def test_values_and_functions_can_be_set_before_the_load(fit):
    """What a spec says last is what the kernel gets."""

    def change(spec):
        mine = spec.maps["mine"]
        assert mine.functions == {"done": "on_done", "init": None}
        assert set(mine.members) == {"flags", "name", "nested"}
        assert mine.members["name"].value == "mine"
        mine.members["flags"].value = 9
        mine.functions["done"] = None
        mine.functions["init"] = "on_init"

    found = fit(*GOOD, change=change)
    assert set(found.targets) == {"on_init"}
    assert found.maps["mine"].spec.contents[64 + 40] == 9


def test_a_member_the_kernel_lacks_must_be_zero(fit):
    """Newer objects run on older kernels as long as they ask for nothing new."""
    members = "int (*init)(int); int (*later)(void *); __u32 more[2];"
    assert fit(members, ".init = (void *)on_init").targets.keys() == {"on_init"}
    with pytest.raises(LoadError, match=r'implementation "mine": member more: .*must be zero'):
        fit(members, ".more = { 0, 1 }")
    with pytest.raises(LoadError, match=r"member later: .*must be zero"):
        fit(members, ".later = (void *)on_done")

    def leave_out(spec):
        spec.maps["mine"].functions["later"] = None

    assert fit(members, ".later = (void *)on_done", change=leave_out).targets == {}


@pytest.mark.parametrize(
    ("members", "values", "message"),
    [
        ("__u32 flags;", "", "member flags: is __u32, the kernel's __u64, which has another size"),
        ("long *flags;", "", "member flags: is long \\*, the kernel's __u64"),
        ("__u64 owner;", "", "member owner: is __u64, the kernel's struct module \\*"),
        ("__u32 bits : 3;", "", "member bits: bit-fields cannot be fitted"),
        ("void *owner;", ".owner = (void *)8", "member owner: only pointers to programs"),
        (
            "int (*owner)(void);",
            ".owner = (void *)on_init",
            'member owner: program "on_init" where the kernel has no function pointer',
        ),
        (
            "__u64 flags;",
            ".flags = (__u64)on_init",
            'member flags: program "on_init" in something other than a function pointer',
        ),
        (
            "struct { int (*init)(int); int (*done)(int); } pair;",
            ".pair = { 0, (void *)on_done }",
            "member pair: the kernel's struct has none",
        ),
        (
            "struct { __u32 x; struct nested y; } nested;",
            "",
            "member nested: is struct .*, the kernel's struct nested, which has another size",
        ),
        (
            "int (*init)(int);",
            ".init = (void *)filter",
            'member init: program "filter" is of type BPF_PROG_TYPE_SOCKET_FILTER, not STRUCT_OPS',
        ),
        (
            "int (*init)(int); int (*done)(void *);",
            ".init = (void *)on_init, .done = (void *)on_init",
            'member done: program "on_init" implements ops.init already',
        ),
    ],
)
def test_what_does_not_fit_is_named(fit, members, values, message):
    """The implementation, the member and both types, before the kernel is asked."""
    with pytest.raises(LoadError, match=f'^implementation "mine": {message}') as caught:
        fit(members, values)
    assert caught.value.name == "mine"


def test_programs_that_do_not_exist_are_named(fit):
    """Also a pointer that stands where no member starts."""

    def rename(spec):
        spec.maps["mine"].functions["init"] = "nobody"

    with pytest.raises(LoadError, match='member init: there is no program "nobody"'):
        fit("int (*init)(int);", "", change=rename)

    def move(spec):
        spec.maps["mine"].entries = ((4, "on_init"),)

    with pytest.raises(LoadError, match='program "on_init" at offset 4'):
        fit("int (*init)(int);", "", change=move)

    def cut(spec):
        del spec.maps["mine"].contents[4:]

    with pytest.raises(LoadError, match="outside the implementation's contents"):
        fit("int (*init)(int);", "", change=cut)


def test_an_interface_the_kernel_does_not_have_is_not_supported(fit, compile_c):  # noqa: F811
    """Named as in C; nothing else is looked at."""
    empty = compile_c("int x;").btf
    with pytest.raises(NotSupportedError, match="struct_ops of type ops not supported"):
        fit(*GOOD, kernel_btf=empty)
    odd = compile_c("struct bpf_struct_ops_ops { int x; } x;").btf
    with pytest.raises(NotSupportedError, match="no struct bpf_struct_ops_ops"):
        fit(*GOOD, kernel_btf=odd)


def test_modules_have_interfaces_too(fit, compile_c):  # noqa: F811
    """Types and descriptor are the module's."""
    empty = compile_c("int x;").btf
    module = Module(fit.kernel)
    found = fit(*GOOD, kernel_btf=empty, modules=[Module(empty), module])
    assert found.maps["mine"].module is module
    assert found.targets["on_done"].module is module


def test_flavours_mean_the_same_interface(fit, compile_c):  # noqa: F811
    """A struct ops___v2 is fitted to struct ops."""
    source = OBJECT.format(members="int (*init)(int);", values="").replace(
        "struct ops ", "struct ops___v2 "
    )
    found = plan(compile_c(source), lambda: fit.kernel, Modules())
    assert found.maps["mine"].spec.value_size == len(found.maps["mine"].spec.contents)


def test_what_is_not_created_is_not_fitted(compile_c):  # noqa: F811
    """Nor are the kernel's types read for it."""
    spec = compile_c(
        OBJECT.format(members="int x;", values="").replace(".struct_ops", "?.struct_ops")
    )

    def unwanted():
        raise AssertionError

    assert plan(spec, unwanted, Modules()).maps == {}
    spec.maps["mine"].value_type_id = spec.btf.find("int", BtfKind.INT)
    spec.maps["mine"].autocreate = True
    with pytest.raises(LoadError, match="int is no named struct"):
        plan(spec, lambda: spec.btf, Modules())
    with pytest.raises(TypeError, match="no implementation"):
        spec.maps["mine"].members  # noqa: B018
    assert spec.programs["on_init"].type == ProgType.STRUCT_OPS
