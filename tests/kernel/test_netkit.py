"""Programs of a netkit pair, by what becomes of real packets."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess

import pytest

import pyebpf
from pyebpf import AttachType, link
from pyebpf.errors import NotSupportedError
from tests.support.killed import killed
from tests.support.netns import Veth, packets
from tests.support.programs import only

DROP = 2  # NETKIT_DROP
BOTH = pytest.mark.parametrize("use_link", [None, False], ids=["link", "attach"])


@pytest.fixture
def bpf():
    """A program that decides."""
    with pyebpf.load(only("hooks_net", "classify")) as loaded:
        yield loaded


@pytest.fixture
def netkit(veth, bpf):
    """A pair between the namespaces of the cable, beside it; skips where the kernel has none."""
    try:
        subprocess.run(["ip", "link", "add", "nk", "type", "netkit"], check=True)
    except subprocess.CalledProcessError:
        with pytest.raises(NotSupportedError, match="netkit") as refused:
            link.attach_netkit(bpf.programs["classify"], veth.name)
        raise refused.value from None
    there = f"/proc/{os.getpid()}/fd/{veth.peer.fileno()}"
    subprocess.run(["ip", "link", "set", "nk0", "netns", there], check=True)
    pair = Veth("nk", "10.99.0.1", veth.peer, "nk0", "10.99.0.2")
    for here, name, address in (
        (contextlib.nullcontext(), "nk", pair.address),
        (veth.peer.entered(), "nk0", pair.peer_address),
    ):
        with here:
            subprocess.run(["ip", "link", "set", name, "addrgenmode", "none"], check=True)
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
            subprocess.run(["ip", "address", "add", f"{address}/24", "dev", name], check=True)
    return pair


@BOTH
@pytest.mark.parametrize("peer", [False, True], ids=["primary", "peer"])
def test_a_program_decides_about_what_leaves_an_end(netkit, bpf, peer, use_link):
    """Dropped while it says so, and untouched after closing; the other way is free."""
    program = bpf.programs["classify"]
    hook = AttachType.NETKIT_PEER if peer else AttachType.NETKIT_PRIMARY
    with link.attach_netkit(program, netkit.name, peer=peer, use_link=use_link) as attached:
        assert attached.info().ifindex == socket.if_nametoindex(netkit.name)
        found = pyebpf.query(netkit.name, hook)
        assert [each.program_id for each in found.programs] == [program.id]
        assert packets(netkit, 3, outward=not peer) == 3
        bpf.variables["tc_verdict"].value = DROP
        assert packets(netkit, 2, outward=not peer) == 0
        assert packets(netkit, 2, outward=peer) == 2
    assert bpf.variables["tc_hits"].value == 5
    assert packets(netkit, 2, outward=not peer) == 2
    assert bpf.variables["tc_hits"].value == 5


def test_each_chooses_its_place_and_can_be_replaced(netkit):
    """Anchors and revisions as tcx has them, an update in place, and words for what is wrong."""
    with pyebpf.load(only("hooks_net", "one", "two", "three")) as bpf:
        one, two, three = (bpf.programs[name] for name in ("one", "two", "three"))

        def order():
            bpf.variables["order"].value = 0
            packets(netkit, 1, outward=True)
            return bpf.variables["order"].value

        with link.attach_netkit(two, netkit.name) as middle:
            with (
                link.attach_netkit(one, netkit.name, before=middle),
                link.attach_netkit(three, netkit.name, after="all", use_link=False),
            ):
                assert order() == 123
                with pytest.raises(pyebpf.SyscallError, match="attached there already"):
                    link.attach_netkit(one, netkit.name)
            with pytest.raises(pyebpf.SyscallError, match="another revision"):
                link.attach_netkit(one, netkit.name, revision=1)
            with pytest.raises(pyebpf.SyscallError, match="go before or after is not attached"):
                link.attach_netkit(one, netkit.name, before=three)
            middle.update(three, expected=two)
            assert order() == 3
            middle.detach()
            assert order() == 0
        with link.attach_netkit(one, netkit.name, use_link=False) as attached:
            attached.update(two)
            assert order() == 2
            assert attached.info().program_id == two.id
        with killed(lambda: link.attach_netkit(one, netkit.name, use_link=False)) as child:
            assert [each.pid for each in link.clean_up()] == [child]
        assert order() == 0


def test_the_peer_end_is_refused(netkit, bpf):
    """Programs of both ends are attached at the primary one."""
    with (
        netkit.peer.entered(),
        pytest.raises(pyebpf.SyscallError, match="attach at its primary device"),
    ):
        link.attach_netkit(bpf.programs["classify"], netkit.peer_name)


def test_another_device_is_refused(netkit, veth, bpf):
    """A veth is none."""
    with pytest.raises(pyebpf.SyscallError, match="no netkit device"):
        link.attach_netkit(bpf.programs["classify"], veth.name)
