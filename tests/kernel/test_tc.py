"""Classifiers on real packets: tcx with its order and revisions, clsact with its filters."""

from __future__ import annotations

import contextlib
import json
import subprocess

import pytest

import pyebpf
from pyebpf import AttachType, link
from tests.support.bpftool import bpftool_json
from tests.support.killed import killed
from tests.support.netns import packets
from tests.support.programs import only

DROP = 2  # TC_ACT_SHOT, TCX_DROP


@pytest.fixture
def bpf():
    """Three programs that write down their order, and one that decides."""
    with pyebpf.load(only("hooks_net", "one", "two", "three", "classify")) as loaded:
        yield loaded


def order(bpf: pyebpf.Collection) -> int:
    """The digits of the programs that ran since the last call."""
    value = bpf.variables["order"].value
    bpf.variables["order"].value = 0
    assert isinstance(value, int)
    return value


def tc_show(kind: str, name: str, *more: str) -> list[dict]:
    text = subprocess.run(
        ["tc", "-j", kind, "show", "dev", name, *more], capture_output=True, text=True, check=True
    )
    return json.loads(text.stdout)


@pytest.fixture(params=["tcx link", "tcx attach", "clsact", "any"])
def attach(request):
    """The ways of attaching a classifier."""
    return {
        "tcx link": link.attach_tcx,
        "tcx attach": lambda *args: link.attach_tcx(*args, use_link=False),
        "clsact": link.attach_clsact,
        "any": link.attach_tc,
    }[request.param]


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_a_classifier_decides_about_packets(bpf, veth, attach, direction):
    """Dropped while it says so, and untouched after closing."""
    program = bpf.programs["classify"]
    with attach(program, veth.name, direction) as attached:
        assert attached.info().program_id == program.id
        assert packets(veth, 3, outward=direction == "egress") == 3
        bpf.variables["tc_verdict"].value = DROP
        assert packets(veth, 2, outward=direction == "egress") == 0
        assert packets(veth, 2, outward=direction != "egress") == 2, "the other direction"
    assert bpf.variables["tc_hits"].value == 5
    assert packets(veth, 2, outward=direction == "egress") == 2
    assert bpf.variables["tc_hits"].value == 5
    assert tc_show("qdisc", veth.name)[1:] == [], "the qdisc is gone as well"


def test_each_chooses_its_place(bpf, veth):
    """Before or after a program, a link or all; links and attached programs in one list."""
    one, two, three = (bpf.programs[name] for name in ("one", "two", "three"))
    with link.attach_tcx(two, veth.name) as middle:
        packets(veth, 1)
        assert order(bpf) == 2
        with link.attach_tcx(one, veth.name, before="all"):
            with link.attach_tcx(three, veth.name, after=middle):
                packets(veth, 1)
                assert order(bpf) == 123
            with link.attach_tcx(three, veth.name, before=two, use_link=False):
                packets(veth, 1)
                assert order(bpf) == 132
            with link.attach_tcx(three, veth.name, after=one.id):
                packets(veth, 1)
                assert order(bpf) == 132
            with link.attach_tcx(three, veth.name, after="all"):
                packets(veth, 1)
                assert order(bpf) == 123
                shown = pyebpf.query(veth.name, AttachType.TCX_INGRESS)
                assert [each.program_id for each in shown.programs] == [one.id, two.id, three.id]
                assert shown.programs[1].link_id == middle.id


def test_a_revision_keeps_others_from_interfering(bpf, netns):
    """ESTALE in words, and success with the right one."""
    one, two, three = (bpf.programs[name] for name in ("one", "two", "three"))
    with link.attach_tcx(one, "lo"):
        seen = pyebpf.query("lo", AttachType.TCX_INGRESS).revision
        with link.attach_tcx(two, "lo", revision=seen):
            with pytest.raises(pyebpf.SyscallError, match="another revision"):
                link.attach_tcx(three, "lo", revision=seen)
            now = pyebpf.query("lo", AttachType.TCX_INGRESS).revision
            assert now == seen + 1


def test_tcx_says_what_is_wrong(bpf, netns):
    """In words, for what people do wrong."""
    one, two = bpf.programs["one"], bpf.programs["two"]
    with pytest.raises(pyebpf.AttachError, match="ingress"):
        link.attach_tcx(bpf.programs["classify"], "lo")
    with pytest.raises(ValueError, match="sideways"):
        link.attach_tcx(one, "lo", "sideways")
    with pytest.raises(pyebpf.SyscallError, match="not attached there"):
        link.attach_tcx(one, "lo", before=two)
    with pytest.raises(pyebpf.SyscallError, match="no network interface of index 4711"):
        link.attach_tcx(one, 4711)
    with (
        link.attach_tcx(one, "lo"),
        pytest.raises(pyebpf.SyscallError, match="attached there already"),
    ):
        link.attach_tcx(one, "lo")


def test_a_tcx_program_is_updated_in_place(bpf, veth):
    """Links and attached programs."""
    for use_link in (True, False):
        with link.attach_tcx(bpf.programs["one"], veth.name, use_link=use_link) as attached:
            attached.update(bpf.programs["two"], expected=bpf.programs["one"])
            packets(veth, 1)
            assert order(bpf) == 2
            assert attached.info().program_id == bpf.programs["two"].id
            with pytest.raises(pyebpf.SyscallError):
                attached.update(bpf.programs["three"], expected=bpf.programs["one"])
        assert pyebpf.query(veth.name, AttachType.TCX_INGRESS).programs == ()


def test_filters_run_by_priority_and_tc_shows_them(bpf, veth):
    """The lower first; tc agrees about priority, handle, name and program."""
    one, two, three = (bpf.programs[name] for name in ("one", "two", "three"))
    with (
        link.attach_clsact(two, veth.name, priority=20) as second,
        link.attach_clsact(three, veth.name, priority=30, handle=0x77) as last,
        link.attach_clsact(one, veth.name, priority=10),
    ):
        packets(veth, 1)
        assert order(bpf) == 123
        assert (second.priority, second.handle) == (20, 1)
        assert (last.priority, last.handle) == (30, 0x77)
        listed = link.tc_filters(veth.name, "ingress")
        assert [(each.at.priority, each.at.handle, each.program_id) for each in listed] == [
            (10, 1, one.id), (20, 1, two.id), (30, 0x77, three.id),
        ]  # fmt: skip
        shown = [each for each in tc_show("filter", veth.name, "ingress") if "options" in each]
        assert [
            (each["pref"], int(each["options"]["handle"], 16), each["options"]["bpf_name"])
            for each in shown
        ] == [(10, 1, "pyebpf:one"), (20, 1, "pyebpf:two"), (30, 0x77, "pyebpf:three")]
        assert [each["options"]["prog"]["id"] for each in shown] == [one.id, two.id, three.id]
    assert tc_show("qdisc", veth.name)[1:] == []


def test_a_filter_is_replaced_only_if_that_is_asked_for(bpf, veth):
    """Otherwise the error names the program that is there."""
    one, two, three = (bpf.programs[name] for name in ("one", "two", "three"))
    with link.attach_clsact(one, veth.name, priority=1, handle=1) as first:
        with pytest.raises(pyebpf.NetlinkError, match=rf'program {one.id} "one" has priority 1'):
            link.attach_clsact(two, veth.name, priority=1, handle=1)
        with link.attach_clsact(two, veth.name, priority=1, handle=1, replace=True) as second:
            packets(veth, 1)
            assert order(bpf) == 2
            second.update(three)
            packets(veth, 1)
            assert order(bpf) == 3
            with pytest.raises(pyebpf.SyscallError, match="another program"):
                first.update(one)
            first.close()  # what is there is the other's by now
            packets(veth, 1)
            assert order(bpf) == 3
            assert second.info().program_id == three.id
    assert link.tc_filters(veth.name, "ingress") == []


def test_a_qdisc_that_was_there_stays(bpf, veth):
    """Who finds clsact does not remove it, nor does anybody while filters are left."""
    subprocess.run(["tc", "qdisc", "add", "dev", veth.name, "clsact"], check=True)
    with link.attach_clsact(bpf.programs["one"], veth.name):
        pass
    assert tc_show("qdisc", veth.name)[-1]["kind"] == "clsact"
    subprocess.run(["tc", "qdisc", "del", "dev", veth.name, "clsact"], check=True)
    first = link.attach_clsact(bpf.programs["one"], veth.name)
    with link.attach_clsact(bpf.programs["two"], veth.name, "egress"):
        first.close()
        assert tc_show("qdisc", veth.name)[-1]["kind"] == "clsact"
    subprocess.run(["tc", "qdisc", "del", "dev", veth.name, "clsact"], check=True)


def test_an_ingress_qdisc_is_in_the_way(bpf, veth):
    """It is removed only if that is asked for."""
    subprocess.run(["tc", "qdisc", "add", "dev", veth.name, "ingress"], check=True)
    with pytest.raises(pyebpf.NetlinkError, match="clobber_ingress"):
        link.attach_clsact(bpf.programs["one"], veth.name)
    with link.attach_clsact(bpf.programs["one"], veth.name, clobber_ingress=True):
        packets(veth, 1)
        assert order(bpf) == 1


def test_a_qdisc_that_vanishes_takes_its_filters_along(bpf, veth):
    """Closing has nothing to do; so when the interface goes."""
    with link.attach_clsact(bpf.programs["one"], veth.name) as attached:
        subprocess.run(["tc", "qdisc", "del", "dev", veth.name, "clsact"], check=True)
    with link.attach_clsact(bpf.programs["one"], veth.name):
        subprocess.run(["ip", "link", "del", veth.name], check=True)
    assert attached.closed


@pytest.mark.parametrize("kind", ["clsact", "tcx"])
def test_what_a_killed_process_left_is_found_and_removed(bpf, netns, kind):
    """Filters and programs by PROG_ATTACH; links need no help."""
    program = bpf.programs["one"]
    kept = {
        "clsact": lambda: link.attach_clsact(program, "lo"),
        "tcx": lambda: link.attach_tcx(program, "lo", use_link=False),
    }[kind]
    with contextlib.ExitStack() as stack:
        if kind == "tcx":  # skips where there is none
            link.attach_tcx(program, "lo").close()
            stack.enter_context(killed(lambda: link.attach_tcx(program, "lo", "egress")))
        child = stack.enter_context(killed(kept))
        (left,) = link.leftovers()
        assert (left.program_id, left.program_name, left.pid) == (program.id, "one", child)
        assert left.kind == {"clsact": "tc", "tcx": "attach"}[kind]
        assert [each.pid for each in link.clean_up()] == [child]
    if kind == "tcx":
        assert pyebpf.query("lo", AttachType.TCX_INGRESS).programs == ()
        assert pyebpf.query("lo", AttachType.TCX_EGRESS).programs == ()
    assert tc_show("qdisc", "lo")[1:] == []
    assert link.leftovers() == []


def test_disowned_filters_stay(bpf, netns):
    """Until tc removes them."""
    with link.attach_clsact(bpf.programs["one"], "lo") as attached:
        attached.disown()
    assert [each.name for each in link.tc_filters("lo", "ingress")] == ["pyebpf:one"]
    assert link.leftovers() == []
    netns.run("tc", "qdisc", "del", "dev", "lo", "clsact")


def test_without_direct_action_the_verdict_is_a_class(bpf, veth):
    """The return value only says whether the packet matches; it passes in any case."""
    bpf.variables["tc_verdict"].value = DROP
    with link.attach_clsact(
        bpf.programs["classify"], veth.name, "ingress", direct_action=False, class_id=0x10001
    ):
        assert packets(veth, 2) == 2
        assert link.tc_filters(veth.name, "ingress")[0].direct is False
    assert bpf.variables["tc_hits"].value == 2


def test_an_update_keeps_the_class(bpf, netns):
    """And whether the return value is the verdict; as tc shows it."""
    one, two = bpf.programs["one"], bpf.programs["two"]
    with link.attach_clsact(one, "lo", direct_action=False, class_id=0x10002) as attached:
        attached.update(two)
        text = netns.run("tc", "filter", "show", "dev", "lo", "ingress")
        assert "flowid 1:2" in text
        assert "pyebpf:two" in text
        assert "direct-action" not in text


def test_bpftool_shows_the_same_on_the_network(bpf, netns):
    """XDP by link and netlink, tcx, clsact: what it calls them, and whose they are."""
    with (
        pyebpf.load(only("hooks_net", "xdp_one")) as xdp,
        link.attach_xdp(xdp.programs["xdp_one"], "lo", use_link=False),
        link.attach_tcx(bpf.programs["one"], "lo") as tcx,
        link.attach_clsact(bpf.programs["two"], "lo", "egress") as clsact,
    ):
        (shown,) = bpftool_json("net", "show", "dev", "lo")
        assert [each["id"] for each in shown["xdp"]] == [xdp.programs["xdp_one"].id]
        found = {each["kind"].split("/")[0]: each for each in shown["tc"]}
        assert found["clsact"]["name"] == "pyebpf:two"
        assert found["clsact"]["id"] == bpf.programs["two"].id
        assert [each["mode"] for each in shown["xdp"]] == ["generic"]
        assert link.query_xdp("lo").generic_id == shown["xdp"][0]["id"]
        if "tcx" in found:  # bpftool of Linux 6.6
            assert found["tcx"]["prog_id"] == bpf.programs["one"].id
            assert found["tcx"]["link_id"] == tcx.id
        assert clsact.info().program_id == bpf.programs["two"].id


def test_links_outlive_their_interface_as_empty_shells(bpf, veth):
    """They say so: index 0, and ENOLINK for an update."""
    with (
        pyebpf.load(only("hooks_net", "xdp_one", "xdp_two")) as xdp,
        link.attach_xdp(xdp.programs["xdp_one"], veth.name) as first,
        link.attach_tcx(bpf.programs["one"], veth.name) as second,
    ):
        subprocess.run(["ip", "link", "del", veth.name], check=True)
        assert first.info().ifindex == second.info().ifindex == 0
        with pytest.raises(pyebpf.SyscallError, match="attached to is gone"):
            first.update(xdp.programs["xdp_two"])
        with pytest.raises(pyebpf.SyscallError, match="attached to is gone"):
            second.update(bpf.programs["two"])
        with pytest.raises(pyebpf.AttachError, match="no network interface"):
            pyebpf.query(veth.name, AttachType.XDP)


def test_an_action_runs_for_every_packet(veth):
    """Through a filter that matches all; it is found again after a kill."""
    with pyebpf.load(only("hooks_net", "act")) as actions:
        program = actions.programs["act"]
        with link.attach_action(program, veth.name, "ingress", priority=3) as attached:
            assert packets(veth, 3) == 3
            assert attached.info().program_id == program.id
            (listed,) = link.tc_filters(veth.name, "ingress")
            assert (listed.kind, listed.at.priority, listed.name) == ("matchall", 3, "pyebpf:act")
            with pytest.raises(pyebpf.NotSupportedError, match="update"):
                attached.update(program)
            with pytest.raises(pyebpf.NetlinkError, match="has priority 3"):
                link.attach_action(program, veth.name, "ingress", priority=3)
        packets(veth, 2)
        assert actions.variables["action_hits"].value == 3
        with killed(lambda: link.attach_action(program, veth.name, "egress")) as child:
            assert [each.pid for each in link.clean_up()] == [child]
    assert tc_show("qdisc", veth.name)[1:] == []


@pytest.mark.parametrize("way", ["clsact", "tcx"])
def test_closing_finds_the_namespace_of_the_interface(bpf, veth, way):
    """Whichever one the caller is in by then."""
    program = bpf.programs["one"]
    with veth.peer.entered():
        if way == "clsact":
            attached = link.attach_clsact(program, veth.peer_name)
        else:
            attached = link.attach_tcx(program, veth.peer_name, use_link=False)
    with attached:
        assert packets(veth, 2, outward=True) == 2
        assert order(bpf) == 11
    assert packets(veth, 2, outward=True) == 2
    assert order(bpf) == 0
    with veth.peer.entered():
        assert tc_show("qdisc", veth.peer_name)[1:] == []
