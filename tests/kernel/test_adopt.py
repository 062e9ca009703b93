"""A daemon's restart: the new one takes over the pinned link, and no packet is missed."""

from __future__ import annotations

import os
import subprocess

import pytest

import pyebpf
from pyebpf import link
from tests.support.netns import packets
from tests.support.programs import only


@pytest.fixture
def bpf():
    with pyebpf.load(only("hooks_net", "xdp_one", "xdp_two", "classify", "one")) as loaded:
        yield loaded


@pytest.fixture
def pin(bpffs):
    path = bpffs / "hook"
    yield path
    path.unlink(missing_ok=True)


def test_a_link_is_updated_in_place(bpf, veth, pin):
    """Every packet is seen by one of the two programs."""
    one, two = bpf.programs["xdp_one"], bpf.programs["xdp_two"]
    first = link.adopt(pin, one, attach=lambda: link.attach_xdp(one, veth.name))
    packets(veth, 3)
    number = first.id
    first.close()  # the old daemon ends
    with link.adopt(pin, two, expected=one) as second:
        packets(veth, 4)
        assert second.id == number, "the same link"
        assert second.info().program_id == two.id
    assert packets(veth, 2) == 2
    assert bpf.variables["xdp_one_hits"].value == 3
    assert bpf.variables["xdp_two_hits"].value == 6


def test_a_link_that_cannot_be_updated_is_replaced(bpffs, tracefs, pin):
    """The pin holds the new one from one moment to the next."""
    spec = only("probes", "on_raw_tracepoint", "on_tracepoint")
    spec.variables["target_pid"].value = os.getpid()
    with pyebpf.load(spec) as old, pyebpf.load(spec) as new:
        program = new.programs["on_tracepoint"]
        with pyebpf.attach(old.programs["on_tracepoint"]) as attached:
            attached.pin(pin)
        with pytest.raises(pyebpf.SyscallError, match="takes no other program"):
            link.adopt(pin, program)
        with link.adopt(pin, program, attach=lambda: pyebpf.attach(program)):
            os.getppid()
        os.getppid()
        assert new.variables["tracepoint_hits"].value == 2, "none is missed"
        # The kernel lets go of the old one when it gets to it.
        assert old.variables["tracepoint_hits"].value in (0, 1, 2)
        assert [each.name for each in bpffs.iterdir() if each.name.startswith("hook")] == ["hook"]
        with pytest.raises(pyebpf.AttachError, match="another type"):
            link.adopt(pin, new.programs["on_raw_tracepoint"])


def test_a_hook_that_is_gone_is_attached_anew(bpf, netns, pin):
    """An interface that was removed meanwhile, and made again."""
    one = bpf.programs["one"]
    for _ in range(2):
        subprocess.run(["ip", "link", "add", "near", "type", "veth"], check=True)
        with link.adopt(pin, one, attach=lambda: link.attach_tcx(one, "near")):
            assert len(pyebpf.query("near", pyebpf.AttachType.TCX_INGRESS).programs) == 1
        subprocess.run(["ip", "link", "del", "near"], check=True)
    with pytest.raises(pyebpf.SyscallError, match=r"gone: attach="):
        link.adopt(pin, one)


def test_nothing_to_adopt_is_said(bpf, bpffs, pin):
    """No pin; a pin of something else; a program nobody expected."""
    one, two = bpf.programs["xdp_one"], bpf.programs["xdp_two"]
    with pytest.raises(pyebpf.SyscallError, match="ENOENT"):
        link.adopt(pin, one)
    one.pin(pin)
    with pytest.raises(ValueError, match="but a program"):
        link.adopt(pin, one)
    pin.unlink()
    with link.attach_xdp(one, "lo") as attached:
        attached.pin(pin)
        with pytest.raises(pyebpf.SyscallError, match="EPERM"):
            link.adopt(pin, two, expected=two)
        attached.detach()
