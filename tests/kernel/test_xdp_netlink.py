"""XDP through netlink: attached, replaced, queried, taken off, and found after a kill."""

from __future__ import annotations

import json
import subprocess

import pytest

import pyebpf
from pyebpf import link
from tests.support.killed import killed
from tests.support.netns import packets
from tests.support.programs import only


@pytest.fixture
def programs():
    """Two XDP programs, that pass everything."""
    with pyebpf.load(only("hooks_net", "xdp_one", "xdp_two")) as bpf:
        yield bpf


def shown(name: str) -> dict:
    """What ip says about the XDP program of an interface."""
    text = subprocess.run(["ip", "-j", "link", "show", name], capture_output=True, text=True)
    return json.loads(text.stdout)[0].get("xdp", {})


@pytest.mark.parametrize(
    "mode", [pyebpf.XdpMode.AUTO, pyebpf.XdpMode.GENERIC, pyebpf.XdpMode.DRIVER], ids=str
)
def test_it_sees_packets_while_it_is_open(programs, veth, mode):
    """Exactly those that came between attaching and closing."""
    program = programs.programs["xdp_one"]
    packets(veth, 2)
    with link.attach_xdp(program, veth.name, mode=mode, use_link=False) as attached:
        assert packets(veth, 3) == 3
        assert shown(veth.name)["prog"]["id"] == program.id
        assert attached.info().program_id == program.id
        assert link.query_xdp(veth.name).program_id == program.id
    packets(veth, 2)
    assert programs.variables["xdp_one_hits"].value == 3
    assert link.query_xdp(veth.name).attached == 0
    assert shown(veth.name) == {}


def test_update_and_replace_change_the_program_without_a_gap(programs, netns):
    """Either by the link that put it there, or naming the program that is there."""
    one, two = programs.programs["xdp_one"], programs.programs["xdp_two"]
    with link.attach_xdp(one, "lo", use_link=False) as attached:
        attached.update(two)
        assert link.query_xdp("lo").program_id == two.id
        with pytest.raises(pyebpf.SyscallError, match="another XDP program"):
            link.attach_xdp(one, "lo", replace=one)
        with link.attach_xdp(one, "lo", replace=two):
            assert link.query_xdp("lo").program_id == one.id
            attached.close()  # what is there is another's by now
            assert link.query_xdp("lo").program_id == one.id
    assert link.query_xdp("lo").program_id == 0


def test_a_conflict_names_what_is_there(programs, netns):
    """Whichever of the two ways the programs were attached."""
    one, two = programs.programs["xdp_one"], programs.programs["xdp_two"]
    for first, second in ((True, False), (False, True), (False, False)):
        with (
            link.attach_xdp(one, "lo", use_link=first),
            pytest.raises(pyebpf.SyscallError, match=f'program {one.id} "xdp_one"'),
        ):
            link.attach_xdp(two, "lo", use_link=second)


def test_disowned_programs_stay(programs, netns):
    """The interface keeps it; ip can take it off."""
    program = programs.programs["xdp_one"]
    attached = link.attach_xdp(program, "lo", use_link=False)
    attached.disown()
    assert attached.closed
    assert link.query_xdp("lo").program_id == program.id
    netns.run("ip", "link", "set", "lo", "xdp", "off")
    assert link.leftovers() == []


def test_an_interface_that_vanishes_takes_its_program_along(programs, veth):
    """Closing then has nothing to do, and asking says what happened."""
    with link.attach_xdp(programs.programs["xdp_one"], veth.name, use_link=False) as attached:
        subprocess.run(["ip", "link", "delete", veth.name], check=True)
        with pytest.raises(pyebpf.NetlinkError, match="ENODEV"):
            attached.info()


def test_the_kernels_own_words_are_in_the_error(programs, netns):
    """Loopback has no driver for XDP."""
    with pytest.raises(pyebpf.NetlinkError, match=r"EOPNOTSUPP.*native mode") as caught:
        link.attach_xdp(
            programs.programs["xdp_one"], "lo", mode=pyebpf.XdpMode.DRIVER, use_link=False
        )
    assert "native" in caught.value.extack.lower()


def test_an_index_of_no_interface_is_named(programs, netns):
    """By index or name alike."""
    with pytest.raises(pyebpf.SyscallError, match="no network interface of index 4711"):
        link.attach_xdp(programs.programs["xdp_one"], 4711)
    with pytest.raises(pyebpf.AttachError, match="there are: lo"):
        link.attach_xdp(programs.programs["xdp_one"], "eth77")


def test_what_a_killed_process_left_is_found_and_removed(programs, netns):
    """Signal 9 leaves the program on the interface; clean_up() takes just that one off."""
    program = programs.programs["xdp_one"]
    with killed(lambda: link.attach_xdp(program, "lo", use_link=False)) as child:
        assert link.query_xdp("lo").program_id == program.id
        (left,) = link.leftovers()
        assert (left.kind, left.program_id, left.pid) == ("xdp", program.id, child)
        assert [each.program_id for each in link.clean_up()] == [program.id]
        assert link.query_xdp("lo").program_id == 0
        assert link.leftovers() == []


def test_what_a_living_process_attached_is_no_leftover(programs, netns):
    """Nor is what this very process attached."""
    with link.attach_xdp(programs.programs["xdp_one"], "lo", use_link=False):
        assert link.leftovers() == []
        assert link.clean_up() == []
        assert link.query_xdp("lo").program_id


def test_closing_finds_the_namespace_of_the_interface(programs, veth):
    """Whichever one the caller is in by then; so do asking and updating."""
    one, two = programs.programs["xdp_one"], programs.programs["xdp_two"]
    with veth.peer.entered():
        attached = link.attach_xdp(one, veth.peer_name, use_link=False)
    with attached:
        assert attached.info().program_id == one.id
        attached.update(two)
        with veth.peer.entered():
            assert link.query_xdp(veth.peer_name).program_id == two.id
    with veth.peer.entered():
        assert link.query_xdp(veth.peer_name).program_id == 0
