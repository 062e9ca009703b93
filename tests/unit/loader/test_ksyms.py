"""Symbols of the kernel, looked up in files of a kernel that is made up."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.errors import ExternError, NotSupportedError
from pyebpf.host.kernel_btf import kernel_btf
from pyebpf.host.modules import Modules
from pyebpf.loader.ksyms import Resolved, Use, resolve
from pyebpf.sys import kernel
from tests.support.btf_builder import SIGNED, BtfBuilder
from tests.support.made_kernel import MadeKernel

STRONG, WEAK = Use(weak=False, called=False), Use(weak=True, called=False)
CALLED, MAYBE_CALLED = Use(weak=False, called=True), Use(weak=True, called=True)
EXTERN = 2

KALLSYMS = """\
ffffffff81000000 T one
ffffffff81000010 t twice
ffffffff81000020 t twice
ffffffff81000030 T alias
ffffffff81000030 T alias
"""


# Types 1 int, 2 struct task, 3 a pointer to it; then what each test adds.
def head() -> BtfBuilder:
    builder = BtfBuilder()
    builder.int("int", 4, SIGNED)
    builder.struct("task", 4, ("pid", 1, 0))
    builder.ptr(2)
    return builder


def vmlinux() -> BtfBuilder:
    builder = head()
    builder.var("runqueues", 2)  # 4
    builder.var("number", 1)  # 5
    builder.func("acquire", builder.func_proto(3, ("task", 3)))  # 7
    builder.func("release", builder.func_proto(0, ("task", 3)))  # 9
    return builder


BASE = Btf.decode(vmlinux().build())


def module() -> BtfBuilder:
    builder = BtfBuilder(ids=len(BASE), strings=BASE.strings_length)
    builder.func("ct_get", builder.func_proto(1, ("task", 3)))
    builder.var("ct_count", 1)
    return builder


@pytest.fixture
def files(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The files of a kernel with one module and a broken one."""
    directory = tmp_path / "sys/kernel/btf"
    directory.mkdir(parents=True)
    (directory / "vmlinux").write_bytes(bytes(BASE.raw))
    (directory / "conntrack").write_bytes(module().build())
    (directory / "broken").write_bytes(b"nonsense")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/kallsyms").write_text(KALLSYMS)
    with kernel.use(MadeKernel(tmp_path)):
        yield tmp_path


def declared(kind: str, name: str, *types: int) -> Btf:
    """An object's types: a variable of a type, or a function of (returned, parameters…)."""
    builder = head()
    builder.add(10, "", 0)  # 4: const void
    builder.func_proto(0)  # 5
    builder.ptr(builder.add(7, "task"))  # 7: to a struct that is only announced
    if kind == "var":
        symbol = builder.var(name, types[0], EXTERN)
    else:
        proto = builder.func_proto(types[0], *(("", each) for each in types[1:]))
        symbol = builder.func(name, proto, EXTERN)
    builder.datasec(".ksyms", 0, (symbol, 0, 0))
    return Btf.decode(builder.build())


def find(local: Btf | None, name: str, use: Use) -> Resolved | None:
    with Modules(kernel_btf) as modules:
        found = resolve({name: use}, local, modules)[name]
        # A closed module compares by what it was.
        return found and found._replace(module=found.module and found.module.name)


VOID_CONST = 4


@pytest.mark.parametrize(
    ("local", "name", "use", "expected"),
    [
        (declared("var", "one", 0), "one", STRONG, Resolved(address=0xFFFFFFFF81000000)),
        (declared("var", "one", VOID_CONST), "one", STRONG, Resolved(address=0xFFFFFFFF81000000)),
        (None, "one", STRONG, Resolved(address=0xFFFFFFFF81000000)),
        (declared("var", "alias", 0), "alias", STRONG, Resolved(address=0xFFFFFFFF81000030)),
        (declared("var", "gone", 0), "gone", WEAK, None),
        (declared("var", "runqueues", 2), "runqueues", STRONG, Resolved(type_id=4)),
        (declared("var", "number", 1), "number", WEAK, Resolved(type_id=5)),
        (declared("var", "gone", 1), "gone", WEAK, None),
        (declared("func", "acquire", 3, 3), "acquire", CALLED, Resolved(type_id=7)),
        (declared("func", "release", 0, 3), "release", STRONG, Resolved(type_id=9)),
        (declared("func", "acquire___v2", 3, 3), "acquire___v2", CALLED, Resolved(type_id=7)),
        (declared("func", "acquire___v1", 3), "acquire___v1", MAYBE_CALLED, None),
        (declared("func", "gone", 3), "gone", MAYBE_CALLED, None),
    ],
    ids=str,
)
def test_symbols_of_the_kernel(
    files: pathlib.Path, local: Btf, name: str, use: Use, expected: Resolved | None
) -> None:
    """Addresses without a type, ids with one; what is weak may be missing."""
    assert find(local, name, use) == expected


@pytest.mark.parametrize("kind", ["func", "var"])
def test_modules_have_what_the_kernel_has_not(files: pathlib.Path, kind: str) -> None:
    """A broken module among them does not matter."""
    if kind == "func":
        local, name, use = declared("func", "ct_get", 1, 3), "ct_get", CALLED
    else:
        local, name, use = declared("var", "ct_count", 1), "ct_count", STRONG
    found = find(local, name, use)
    assert found == (0, len(BASE) + (1 if kind == "func" else 2), "conntrack")


@pytest.mark.parametrize(
    ("local", "name", "use", "message"),
    [
        (declared("var", "gone", 0), "gone", STRONG, r"not in /proc/kallsyms, .*KALLSYMS_ALL"),
        (
            declared("var", "twice", 0),
            "twice",
            WEAK,
            "ambiguous: the kernel has it at 0xffffffff81000010 and 0xffffffff81000020",
        ),
        (declared("var", "gone", 1), "gone", STRONG, r"no variable of this name .*module broken"),
        (declared("func", "gone", 0), "gone", CALLED, r"no function of this name .*broken was ski"),
        (
            declared("var", "runqueues", 1),
            "runqueues",
            WEAK,
            "declared as int, but the kernel has struct task",
        ),
        (
            declared("func", "acquire", 0, 3, 1),
            "acquire",
            CALLED,
            r"declared as void acquire\(struct task \*, int\), but the kernel has "
            r"struct task \* acquire\(struct task \*\)",
        ),
        (
            declared("func", "ct_get", 0),
            "ct_get",
            CALLED,
            r"declared as void ct_get\(void\), but module conntrack has int ct_get\(",
        ),
        (
            declared("func", "release", 0, 7),
            "release",
            CALLED,
            r"declared as void release\(struct task \*\), but the kernel has "
            r"void release\(struct task \*\) \(the object announces task, but does not define it\)",
        ),
        (declared("var", "one", 0), "one", CALLED, "called, but not declared as a function"),
        (None, "gone", CALLED, "no function of this name"),
        (None, "gone", STRONG, "not in /proc/kallsyms"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_by_name(
    files: pathlib.Path, local: Btf, name: str, use: Use, message: str
) -> None:
    """The message says what was looked for and what is there."""
    with pytest.raises(ExternError, match=f'extern "{name}": {message}') as caught:
        find(local, name, use)
    assert caught.value.name == name


def test_what_nothing_declares_is_as_the_kernel_declares_it(files: pathlib.Path) -> None:
    """Assembled programs have names only: of functions, typed variables, others by address."""
    assert find(None, "acquire", CALLED) == find(
        declared("func", "acquire", 3, 3), "acquire", CALLED
    )
    assert find(None, "runqueues", STRONG) == find(
        declared("var", "runqueues", 2), "runqueues", STRONG
    )
    assert find(None, "one", STRONG) == find(declared("var", "one", 0), "one", STRONG)
    assert find(None, "gone", MAYBE_CALLED) is None


def test_hidden_addresses_are_an_error_not_a_zero(files: pathlib.Path) -> None:
    """A program would read address 0; one for which the symbol is weak expects that."""
    lines = "".join(f"{'0' * 16}{line[16:]}\n" for line in KALLSYMS.splitlines())
    (files / "proc/kallsyms").write_text(lines)
    with pytest.raises(ExternError, match=r'extern "one": .*kptr_restrict'):
        find(None, "one", STRONG)
    assert find(None, "one", WEAK) is None


def test_a_kernel_without_types_has_only_addresses(files: pathlib.Path) -> None:
    """What is weak is missing there; what is not says what the kernel lacks."""
    (files / "sys/kernel/btf/vmlinux").unlink()
    assert find(declared("func", "acquire", 3, 3), "acquire", MAYBE_CALLED) is None
    assert find(declared("var", "one", 0), "one", STRONG) is not None
    with pytest.raises(NotSupportedError, match='extern "acquire": kernel BTF'):
        find(declared("func", "acquire", 3, 3), "acquire", CALLED)
