"""What programs take from the kernel: configuration, symbols, functions, those of modules."""

from __future__ import annotations

import contextlib
import gzip
import os
import pathlib
import subprocess

import pytest

import pyebpf
from pyebpf.sys import kernel as kernels
from pyebpf.uapi.bpf import Cmd
from tests.support import kernel
from tests.support.externs import configuration, require_function, symbols
from tests.support.programs import only

PACKET = bytes(64)
TEXT = """\
CONFIG_TEST_BOOL=y
CONFIG_TEST_TRISTATE=m
CONFIG_TEST_CHAR=m
CONFIG_TEST_BYTE=200
CONFIG_TEST_SHORT=-5
CONFIG_TEST_INT=-0x11170
CONFIG_TEST_LONG=0x8000000000000000
CONFIG_TEST_TEXT="abc"
# CONFIG_TEST_ABSENT is not set
"""
VALUES = {
    "CONFIG_TEST_BOOL": True,
    "CONFIG_TEST_TRISTATE": "m",
    "CONFIG_TEST_CHAR": "m",
    "CONFIG_TEST_BYTE": 200,
    "CONFIG_TEST_SHORT": -5,
    "CONFIG_TEST_INT": -70000,
    "CONFIG_TEST_LONG": 1 << 63,
    "CONFIG_TEST_TEXT": "abc",
    "CONFIG_TEST_ABSENT": None,
}
SEEN = {
    "got_bool": True,
    "got_tristate": 2,
    "got_char": ord("m"),
    "got_byte": 200,
    "got_short": -5,
    "got_int": -70000,
    "got_long": 1 << 63,
    "got_text": "abc",
    "got_absent": 0,
}


def seen(bpf: pyebpf.Collection, names) -> dict[str, object]:
    return {name: bpf.variables[name].value for name in names}


# ---- the configuration ------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["values", "text", "file", "gzip"])
def test_a_program_sees_the_configuration_it_is_given(form, tmp_path):
    """Every type that has values, however they are given; what is weak and unset is zero."""
    path = tmp_path / "config"
    path.write_bytes(gzip.compress(TEXT.encode()) if form == "gzip" else TEXT.encode())
    given = {"values": VALUES, "text": TEXT}.get(form, path)
    with pyebpf.load(only("externs_kconfig", "given"), kconfig=given) as bpf:
        bpf.programs["given"].run(PACKET)
        assert seen(bpf, SEEN) == SEEN


def test_the_configuration_can_be_read_like_any_variable():
    """By name and typed; it is constant."""
    with pyebpf.load(only("externs_kconfig", "given"), kconfig=TEXT) as bpf:
        names = ["CONFIG_TEST_INT", "CONFIG_TEST_TEXT", "CONFIG_TEST_TRISTATE", "CONFIG_TEST_BOOL"]
        assert list(seen(bpf, names).values()) == [-70000, "abc", 2, True]
        variable = bpf.variables["CONFIG_TEST_INT"]
        assert variable.read_only
        with pytest.raises(TypeError, match="constant"):
            variable.value = 1


def test_a_value_is_a_constant_to_the_verifier():
    """What it rules out is never looked at: the branch calls a helper that does not exist."""
    spec = only("externs_kconfig", "pruned")
    with pyebpf.load(spec, kconfig={"CONFIG_TEST_BOOL": False}) as bpf:
        assert bpf.programs["pruned"].run(PACKET).retval == 0
    with pytest.raises(pyebpf.NotSupportedError, match=r'program "pruned": helper .*999999'):
        pyebpf.load(spec, kconfig={"CONFIG_TEST_BOOL": True})


def test_what_the_user_says_goes_before_what_the_system_says():
    """Also what no configuration says, such as the kernel's version."""
    given = {"CONFIG_HZ": 12345, "CONFIG_BPF_SYSCALL": False, "LINUX_KERNEL_VERSION": 7}
    with pyebpf.load(only("externs_kconfig", "running"), kconfig=given) as bpf:
        bpf.programs["running"].run(PACKET)
        assert seen(bpf, ["hz", "has_bpf", "version"]) == {"hz": 12345, "has_bpf": 0, "version": 7}


def test_the_rest_is_the_running_kernels():
    """Looked for where systems keep it, as a test that reads it by itself finds it."""
    expected = configuration()
    if expected is None:
        pytest.skip("this system does not keep its kernel's configuration")
    with pyebpf.load(only("externs_kconfig", "running")) as bpf:
        bpf.programs["running"].run(PACKET)
        assert bpf.variables["hz"].value == int(expected["CONFIG_HZ"])
        assert bpf.variables["has_bpf"].value is (expected["CONFIG_BPF_SYSCALL"] == "y")


def test_what_is_no_configuration_is_asked_of_the_kernel():
    """Its version, cookies of attachments, wrapped system calls; a name nobody knows is zero."""
    given = {"CONFIG_HZ": 1, "CONFIG_BPF_SYSCALL": True}
    with pyebpf.load(only("externs_kconfig", "running"), kconfig=given) as bpf:
        bpf.programs["running"].run(PACKET)
        code = bpf.variables["version"].value
        assert (code >> 16, code >> 8 & 255) == kernel.version()
        assert bpf.variables["has_cookie"].value is (kernel.version() >= (5, 15))
        wrapped = any(symbols(f"__{machine}_sys_bpf") for machine in ("x64", "arm64", "s390x"))
        assert bpf.variables["has_wrapper"].value is wrapped
        assert bpf.variables["unheard_of"].value == 0


def test_a_value_that_is_needed_and_missing_is_named():
    """Before anything is made; the message says what to do. Who does not use it does not care."""
    with pytest.raises(pyebpf.ExternError, match=r"CONFIG_TEST_NEEDED is not set.*kconfig=") as no:
        pyebpf.load(only("externs_kconfig", "needed"))
    assert no.value.name == "CONFIG_TEST_NEEDED"
    with pyebpf.load(only("externs_kconfig", "needed"), kconfig="CONFIG_TEST_NEEDED=7") as bpf:
        assert bpf.programs["needed"].run(PACKET).retval == 7


# ---- symbols ----------------------------------------------------------------------------------


def test_a_function_stands_where_the_kernel_says():
    """The address is that of /proc/kallsyms; what is weak and missing is 0."""
    with pyebpf.load(only("externs", "ksym")) as bpf:
        bpf.programs["ksym"].run(PACKET)
        assert [bpf.variables["found"].value] == [each.address for each in symbols("bpf_prog_put")]
        assert bpf.variables["missing"].value == 0


def test_weak_symbols_may_be_missing_with_and_without_a_type():
    """Both read as 0."""
    with pyebpf.load(only("externs_ksyms", "weak")) as bpf:
        bpf.programs["weak"].run(PACKET)
        assert seen(bpf, ["maybe", "address"]) == {"maybe": 0, "address": 0}


@pytest.mark.parametrize(
    ("program", "symbol", "message"),
    [
        ("missing", "no_such_symbol", "not in /proc/kallsyms"),
        ("other_type", "init_task", "no variable of this name|declared as int, but the kernel has"),
        ("no_function", "bpf_no_function_at_all", "no function of this name"),
    ],
)
def test_a_symbol_that_is_needed_and_missing_is_named(program, symbol, message):
    """And so is one of another type."""
    with pytest.raises(pyebpf.ExternError, match=f'extern "{symbol}": ({message})') as caught:
        pyebpf.load(only("externs_ksyms", program))
    assert caught.value.name == symbol


def test_a_variable_of_each_cpu_is_read_through_its_type():
    """CPU 1's run queue says that it is; kernels that do not list their variables say so."""
    spec = only("externs_ksyms", "variable")
    if not symbols("runqueues"):
        with pytest.raises(pyebpf.VerifierError, match="'runqueues'") as caught:
            pyebpf.load(spec)
        assert "CONFIG_KALLSYMS_ALL" in caught.value.explain()
        return
    if kernel.version() < (5, 11):  # some that old are built without the types of variables
        with contextlib.suppress(pyebpf.ExternError):
            pyebpf.load(spec).close()
        return
    with pyebpf.load(spec) as bpf:
        bpf.attach()
        os.getppid()
        assert bpf.variables["cpu"].value == (1 if (os.cpu_count() or 1) > 1 else -1)


# ---- functions --------------------------------------------------------------------------------


def test_a_function_of_the_kernel_is_called():
    """It gives what it is asked for; of its flavours the one that fits is taken."""
    require_function("bpf_task_acquire", "6.2")
    with pyebpf.load(only("externs_ksyms", "flavours")) as bpf:
        bpf.attach()
        child = subprocess.Popen(["true"])
        child.wait()
        bpf.links["flavours"].close()
        assert seen(bpf, ["has_other", "has_same"]) == {"has_other": False, "has_same": True}
        assert bpf.variables["exited"].value > 0


def test_a_function_that_is_missing_may_be_asked_for():
    """The verifier never gets to the call."""
    with pyebpf.load(only("externs_ksyms", "guarded")) as bpf:
        bpf.attach()
        subprocess.run(["true"], check=True)
        assert bpf.variables["has_missing"].value is False


def test_a_missing_function_that_is_reached_is_explained():
    """With the line of C and what would help, in the place of the number of a helper."""
    with pytest.raises(pyebpf.VerifierError) as caught:
        pyebpf.load(only("externs_ksyms", "unguarded"))
    message = str(caught.value)
    assert "the kernel has no function bpf_no_such_function()" in message
    assert "bpf_ksym_exists(bpf_no_such_function)" in message
    assert "externs_ksyms.bpf.c:" in message


def test_a_function_of_another_prototype_is_refused():
    """Both prototypes are shown."""
    require_function("bpf_task_from_pid", "6.2")
    with pytest.raises(
        pyebpf.ExternError,
        match=r"declared as int bpf_task_from_pid\(struct task_struct \*\), but the kernel has "
        r"struct task_struct \* bpf_task_from_pid\(",
    ):
        pyebpf.load(only("externs_ksyms", "other_prototype"))


def test_a_prototype_that_only_looks_the_same_is_explained():
    """A struct that the object announces but does not define is of another kind, as for libbpf."""
    require_function("bpf_cgroup_acquire", "6.2")
    with pytest.raises(pyebpf.ExternError, match=r"\(the object announces cgroup, but does not d"):
        pyebpf.load(only("externs_ksyms", "announced"))


def conntrack_module() -> str:
    """Where the kernel has its connection tracking for programs: a module, ``""`` for itself."""
    found = symbols("bpf_skb_ct_lookup")
    if not found:
        raise pyebpf.NotSupportedError("bpf_skb_ct_lookup()", "5.18")
    return found[0].module


def test_a_function_of_a_module_is_called_like_the_kernels(record_property):
    """In either place; the program asks whether it exists."""
    record_property("module", conntrack_module())
    with pyebpf.load(only("externs_ksyms", "module_function")) as bpf:
        assert bpf.programs["module_function"].run(PACKET).retval == 1
        assert bpf.variables["has_lookup"].value is True


def test_a_function_may_be_asked_for_without_its_type():
    """Kernels before 6.4 are told its address, which is the same."""
    require_function("bpf_skb_ct_lookup", "5.18")
    spec = only("externs_ksyms", "module_function")
    with kernels.use(WithoutAddresses()), pyebpf.load(spec) as bpf:
        assert bpf.programs["module_function"].run(PACKET).retval == 1


class WithoutAddresses:
    """The real kernel, but for what it says to `features.function_addresses`."""

    def __init__(self) -> None:
        self._real = kernels.current()

    def __getattr__(self, name):
        return getattr(self._real, name)

    def bpf(self, cmd, attr, *, common=None):
        try:
            return self._real.bpf(cmd, attr, common=common)
        finally:
            if cmd == Cmd.PROG_LOAD and attr.log_buf is not None:
                attr.log_buf[:] = attr.log_buf.replace(b"KIND_FUNC", b"KIND_NONE")


def test_a_module_is_let_go_when_the_load_fails():
    """Its descriptor is open until the programs are loaded, or are not."""
    module = conntrack_module()
    before = set(pathlib.Path("/proc/self/fd").iterdir())
    spec = only("externs_ksyms", "module_function", "unguarded")
    with pytest.raises(pyebpf.VerifierError):
        pyebpf.load(spec)
    with pyebpf.load(only("externs_ksyms", "module_function")) as bpf:
        left = set(pathlib.Path("/proc/self/fd").iterdir()) - before
        names = [path.readlink() for path in left if path.exists()]
        assert len(left) >= 1, (module, names)
        bpf.close()
    assert set(pathlib.Path("/proc/self/fd").iterdir()) == before
