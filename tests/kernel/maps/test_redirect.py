"""Maps that packets are redirected through: devmap, devmap_hash, cpumap, xskmap."""

from __future__ import annotations

import contextlib
import socket

import pytest

import pyebpf
from pyebpf import MapType
from pyebpf.maps.map import Map
from pyebpf.maps.objects import Target
from pyebpf.uapi import bpf as uapi
from pyebpf.uapi.if_xdp import AF_XDP, SOL_XDP, XdpSocketOption
from tests.support.programs import built, only, only_used

XDP_DROP, XDP_REDIRECT = 1, 4
PACKET = bytes(64)
LIVE = uapi.TestRunFlag.XDP_LIVE_FRAMES


@pytest.mark.parametrize(
    ("name", "kind"),
    [("devices", MapType.DEVMAP), ("device_hash", MapType.DEVMAP_HASH)],
    ids=str,
)
def test_a_devmap_sends_packets_to_its_device(veth, name, kind):
    """A full slot redirects, an empty one does what the program says; names are interfaces."""
    with pyebpf.load(only_used("map_kinds", f"to_{name}")) as bpf:
        devices, program = bpf.maps[name], bpf.programs[f"to_{name}"]
        assert devices.type == kind
        assert program.run(PACKET).retval == XDP_DROP
        devices[1] = veth.name
        assert devices[1] == Target(socket.if_nametoindex(veth.name), None)
        assert program.run(PACKET).retval == XDP_REDIRECT
        assert list(devices) == [1]
        del devices[1]
        assert program.run(PACKET).retval == XDP_DROP
        with pytest.raises(pyebpf.SyscallError, match=r'if_nametoindex.*"nothing"'):
            devices[1] = "nothing"


def run_live(program):
    """Send 16 frames that really travel through a program."""
    # Older kernels do not look at the flag, and tell what the program has returned.
    if program.run(PACKET, repeat=16, flags=LIVE).retval == XDP_REDIRECT:
        raise pyebpf.NotSupportedError("test runs with live frames", "5.18")


def test_a_program_of_a_devmap_sees_what_is_redirected(veth):
    """It runs for each frame that is sent to the device; its id is what a lookup tells."""
    spec = only("map_kinds", "to_devices", "at_device")
    for name in set(spec.maps) - {"devices", ".bss"}:
        spec.maps[name].autocreate = False
    with (
        pyebpf.load(spec) as bpf,
        pyebpf.load(built("xdp_drop")) as receiver,
        contextlib.ExitStack() as attached,
    ):
        # A veth sends redirected frames only if its peer can take them.
        (drop,) = receiver.programs.values()
        with veth.peer.entered():
            attached.enter_context(pyebpf.link.attach_xdp(drop, veth.peer_name))
        devices, program = bpf.maps["devices"], bpf.programs["at_device"]
        devices[1] = (veth.name, program)
        assert devices[1] == Target(socket.if_nametoindex(veth.name), program.id)
        run_live(bpf.programs["to_devices"])
        assert bpf.variables["behind"].value == 16


def test_a_program_of_a_cpumap_sees_what_is_redirected(veth):
    """Frames go through the CPU's own queue, where its program counts them."""
    spec = only("map_kinds", "to_processors", "at_processor")
    for name in set(spec.maps) - {"processors", ".bss"}:
        spec.maps[name].autocreate = False
    with pyebpf.load(spec) as bpf:
        processors, program = bpf.maps["processors"], bpf.programs["at_processor"]
        assert bpf.programs["to_processors"].run(PACKET).retval == XDP_DROP
        processors[1] = (128, program)
        assert processors[1] == Target(128, program.id)
        run_live(bpf.programs["to_processors"])
        del processors[1]  # which waits until the queue is empty
        assert bpf.variables["behind"].value == 16


def test_an_xskmap_takes_af_xdp_sockets(netns):
    """Only those; what is in a slot the kernel does not tell."""
    with (
        pyebpf.load(only_used("map_kinds", "to_xsks")) as bpf,
        socket.socket(AF_XDP, socket.SOCK_RAW) as xsk,
        socket.socket() as other,
    ):
        sockets, program = bpf.maps["xsks"], bpf.programs["to_xsks"]
        assert program.run(PACKET).retval == XDP_DROP
        with pytest.raises(pyebpf.SyscallError, match=r'update map "xsks".*EOPNOTSUPP'):
            sockets[1] = other
        xsk.setsockopt(SOL_XDP, XdpSocketOption.RX_RING, 64)  # newer kernels want to see one
        sockets[1] = xsk
        assert program.run(PACKET).retval == XDP_REDIRECT
        with pytest.raises(pyebpf.SyscallError, match="EOPNOTSUPP"):
            sockets[1]
        del sockets[1]
        assert program.run(PACKET).retval == XDP_DROP


def test_values_say_what_they_take():
    """A small value has no room for a program; a CPU has no name; nothing is guessed."""
    with Map.create(type=MapType.CPUMAP, max_entries=1, name="c") as m:
        with pytest.raises(ValueError, match="no place for a program"):
            m[0] = (64, 5)
        with pytest.raises(TypeError, match="needs a number, not str"):
            m[0] = "lo"
        m[0] = 64
        assert m[0] == 64
        assert m.max_entries == 1
    with Map.create(type=MapType.CPUMAP, value_size=8) as m:
        assert m.max_entries == m.info().max_entries > 0
