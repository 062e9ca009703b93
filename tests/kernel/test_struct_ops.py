"""Implementations of kernel interfaces, seen by what they do: congestion controls of real TCP."""

from __future__ import annotations

import contextlib
import socket
import subprocess

import pytest

import pyebpf
from pyebpf import link
from pyebpf.link.struct_ops import StructOpsLink
from tests.support.killed import killed
from tests.support.programs import built

TCP_CONGESTION = 13


@pytest.fixture
def loopback(netns):
    """A private network namespace in which this machine can talk to itself."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@pytest.fixture
def spec(real_kernel):
    """One program for each function, three implementations of which the others are left out."""
    return pyebpf.load_spec(built("struct_ops"))


def only(spec, *names):
    """Create just these implementations."""
    for name, each in spec.maps.items():
        if each.type == pyebpf.MapType.STRUCT_OPS:
            each.autocreate = name in names
    return spec


def transfer(control, *, size=200_000):
    """Send bytes through a connection under a congestion control; say what the socket used."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.setsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, control.encode())
        client.connect(server.getsockname())
        accepted, _ = server.accept()
        with accepted:
            accepted.setblocking(False)
            client.setblocking(False)
            sent = received = 0
            while received < size:
                with contextlib.suppress(BlockingIOError):
                    sent += client.send(bytes(min(size - sent, 1 << 14))) if sent < size else 0
                with contextlib.suppress(BlockingIOError):
                    received += len(accepted.recv(1 << 16))
            used = client.getsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, 16)
    return used.rstrip(b"\0").decode()


def known_controls():
    """The congestion controls the kernel offers."""
    with open("/proc/sys/net/ipv4/tcp_available_congestion_control") as file:  # noqa: PTH123
        return set(file.read().split())


def counts(bpf):
    """How often the functions ran that count."""
    return [bpf.variables[name].value for name in ("inits", "avoids", "releases")]


def test_a_connection_runs_under_our_control(spec, loopback):
    """Registered by attach(), used by a real connection, gone when the collection closes."""
    with pyebpf.load(only(spec, "plain")) as bpf:
        assert "pyebpf_plain" not in known_controls()
        assert counts(bpf) == [0, 0, 0]
        assert set(bpf.attach()) == {"plain"}
        assert "pyebpf_plain" in known_controls()
        assert transfer("pyebpf_plain") == "pyebpf_plain"
        inits, avoids, releases = counts(bpf)
        assert inits >= 1
        assert avoids > 0
        assert releases == inits
    assert "pyebpf_plain" not in known_controls()


def test_a_link_registers_and_unregisters(spec, loopback):
    """By hand; the maps and programs may be closed meanwhile, the kernel keeps them."""
    with pyebpf.load(only(spec, "linked")) as bpf:
        attached = link.attach_struct_ops(bpf.maps["linked"])
    with attached:
        assert isinstance(attached, StructOpsLink)
        assert attached.info().type == pyebpf.LinkType.STRUCT_OPS
        assert transfer("pyebpf_linked") == "pyebpf_linked"
    assert "pyebpf_linked" not in known_controls()


def test_a_link_can_be_detached_at_once(spec):
    """Not only by closing it (Linux 6.10)."""
    with (
        pyebpf.load(only(spec, "linked")) as bpf,
        link.attach_struct_ops(bpf.maps["linked"]) as attached,
    ):
        assert "pyebpf_linked" in known_controls()
        try:
            attached.detach()
        except pyebpf.SyscallError as error:
            if error.errno == 95:  # EOPNOTSUPP
                raise pyebpf.NotSupportedError("detaching implementations", "6.10") from None
            raise
        assert "pyebpf_linked" not in known_controls()


def test_an_update_puts_another_implementation_in_place(spec, loopback):
    """Connections from then on use the new one, under the name they share."""
    with (
        pyebpf.load(only(spec, "linked", "optional")) as bpf,
        link.attach_struct_ops(bpf.maps["linked"]) as attached,
    ):
        transfer("pyebpf_linked")
        inits = bpf.variables["inits"].value
        assert inits >= 1
        attached.update(bpf.maps["optional"])
        transfer("pyebpf_linked")
        assert bpf.variables["inits"].value == inits, "the new one has no init"
        attached.update(bpf.maps["linked"])
        transfer("pyebpf_linked")
        assert bpf.variables["inits"].value > inits


def test_a_pinned_link_is_taken_over(spec, bpffs):
    """Another process finds the registration by its pin, and the map by its own."""
    path = bpffs / "control"
    with pyebpf.load(only(spec, "linked", "optional")) as bpf:
        with link.attach_struct_ops(bpf.maps["linked"]) as attached:
            attached.pin(path)
        assert "pyebpf_linked" in known_controls()
        with StructOpsLink.from_pin(path) as found:
            path.unlink()
            found.update(bpf.maps["optional"])
            assert "pyebpf_linked" in known_controls()
    assert "pyebpf_linked" not in known_controls()


def test_attach_takes_all_that_is_created(spec):
    """Implementations attach by name like programs; what was left out stays out."""
    with pyebpf.load(only(spec, "plain", "linked")) as bpf:
        assert set(bpf.maps) == {"plain", "linked", ".bss"}
        attached = bpf.attach("linked")
        assert set(attached) == {"linked"}
        assert set(bpf.attach()) == {"plain"}
        assert set(bpf.links) == {"plain", "linked"}
        assert {"pyebpf_plain", "pyebpf_linked"} <= known_controls()
        bpf.links["plain"].detach()
        assert "pyebpf_plain" not in known_controls()
    assert "pyebpf_linked" not in known_controls()


def test_values_and_functions_are_set_before_the_load(spec, loopback):
    """What the spec says is what the kernel registers."""
    plain = only(spec, "plain").maps["plain"]
    assert plain.members["name"].value == "pyebpf_plain"
    plain.members["name"].value = "pyebpf_other"
    plain.functions["init"] = None
    plain.functions["release"] = None
    with pyebpf.load(spec) as bpf:
        assert set(bpf.programs) == {"on_ssthresh", "on_cong_avoid", "on_undo_cwnd"}
        with link.attach_struct_ops(bpf.maps["plain"]):
            assert transfer("pyebpf_other") == "pyebpf_other"
        assert bpf.variables["inits"].value == 0


def test_programs_are_loaded_as_implementations_need_them(spec):
    """Whatever their autoload says: without its functions an implementation is worth nothing."""
    for each in spec.programs.values():
        each.autoload = False
    with pyebpf.load(only(spec, "plain")) as bpf:
        assert set(bpf.programs) == set(spec.programs) - {"on_foretell"}
    with pyebpf.load(only(spec)) as bpf:
        assert set(bpf.programs) == set()
        assert set(bpf.maps) == {".bss"}


def test_a_member_the_kernel_lacks_is_refused_unless_it_is_zero(spec):
    """The error says which; left out, the rest works."""
    newer = only(spec, "newer").maps["newer"]
    with pytest.raises(pyebpf.LoadError, match=r'implementation "newer": member foretell: .*zero'):
        pyebpf.load(spec)
    newer.functions["foretell"] = None
    with pyebpf.load(spec) as bpf, link.attach_struct_ops(bpf.maps["newer"]):
        assert "pyebpf_newer" in known_controls()
    newer.members["horizon"].value = 1
    with pytest.raises(pyebpf.LoadError, match="member horizon"):
        pyebpf.load(spec)


def test_the_value_can_be_read_back(spec):
    """As the kernel's own struct, typed."""
    with pyebpf.load(only(spec, "plain")) as bpf:
        implementation = bpf.maps["plain"]
        with link.attach_struct_ops(implementation):
            assert implementation[0].data.name == "pyebpf_plain"


def test_refusals_are_explained(spec):
    """A taken name, a second registration, an incomplete implementation, another kind of map."""
    with pyebpf.load(only(spec, "plain")) as bpf, pyebpf.load(only(spec, "plain")) as other:
        plain = bpf.maps["plain"]
        with link.attach_struct_ops(plain) as attached:
            with pytest.raises(
                pyebpf.SyscallError, match=r'register implementation "plain".*of that name already'
            ):
                link.attach_struct_ops(other.maps["plain"])
            with pytest.raises(pyebpf.SyscallError, match='register implementation "plain"'):
                link.attach_struct_ops(plain)
            assert "pyebpf_plain" in known_controls()
            with pytest.raises(pyebpf.NotSupportedError):
                attached.update(plain)
        with pytest.raises(TypeError, match="no implementation"):
            link.attach_struct_ops(bpf.maps[".bss"])
        with (
            pyebpf.Map.from_id(other.maps["plain"].id) as opened,
            pytest.raises(pyebpf.LoadError, match="only who loaded it"),
        ):
            link.attach_struct_ops(opened)
        with pytest.raises(pyebpf.LoadError, match="attach_struct_ops"):
            pyebpf.attach(bpf.programs["on_init"])


def test_a_link_is_updated_with_its_kind_only(spec):
    """Not with a program, nor with a map that knows no links."""
    with (
        pyebpf.load(only(spec, "linked", "plain")) as bpf,
        link.attach_struct_ops(bpf.maps["linked"]) as attached,
    ):
        with pytest.raises(TypeError, match="a map, not Program"):
            attached.update(bpf.programs["on_init"])
        with pytest.raises(TypeError, match="no implementation"):
            attached.update(bpf.maps[".bss"])
        with pytest.raises(pyebpf.LoadError, match="knows no links"):
            attached.update(bpf.maps["plain"])


def test_an_incomplete_implementation_is_the_kernels_to_refuse(spec):
    """A congestion control without its main function."""
    spec = only(spec, "plain")
    spec.maps["plain"].functions["cong_avoid"] = None
    with pyebpf.load(spec) as bpf, pytest.raises(pyebpf.SyscallError, match="EINVAL"):
        bpf.attach()


def test_a_program_that_implements_nothing_is_refused(spec):
    """The kernel could not say what to check it against."""
    spec.maps = {name: each for name, each in spec.maps.items() if name == ".bss"}
    with pytest.raises(pyebpf.LoadError, match="implements nothing"):
        pyebpf.load(spec)


def test_a_clone_registers_the_same(spec):
    """It knows the programs, too; once registered, neither needs to stay open."""
    with pyebpf.load(only(spec, "plain")) as bpf:
        with bpf.maps["plain"].clone() as clone:
            assert clone.implementation == bpf.maps["plain"].implementation
            attached = link.attach_struct_ops(clone)
        with attached:
            assert "pyebpf_plain" in known_controls()
    assert "pyebpf_plain" not in known_controls()


def test_what_is_closed_registers_nothing(spec):
    """Neither the implementation, nor one whose programs are gone."""
    with pyebpf.load(only(spec, "plain")) as bpf:
        plain, clone = bpf.maps["plain"], bpf.maps["plain"].clone()
    with clone:
        with pytest.raises(pyebpf.ClosedError, match=r'program "on_\w+" used after close'):
            clone.implementation  # noqa: B018
        with pytest.raises(pyebpf.ClosedError, match=r'register implementation "plain": program "'):
            link.attach_struct_ops(clone)
    with pytest.raises(pyebpf.ClosedError, match='register implementation "plain"'):
        link.attach_struct_ops(plain)
    assert "pyebpf_plain" not in known_controls()


def test_what_a_killed_process_registered_is_found_and_removed(spec):
    """Without a link the kernel keeps it; a name that is taken stays taken until then."""

    def register():
        bpf = pyebpf.load(only(spec, "plain"))
        return bpf, link.attach_struct_ops(bpf.maps["plain"])

    with killed(register) as child:
        assert "pyebpf_plain" in known_controls()
        (left,) = link.leftovers()
        assert (left.kind, left.program_name, left.pid) == ("struct_ops", "plain", child)
        assert "pyebpf_plain" in known_controls(), "listing leaves it"
        assert [each.pid for each in link.clean_up()] == [child]
    assert "pyebpf_plain" not in known_controls()
    assert link.leftovers() == []


def test_a_disowned_implementation_stays(spec):
    """Until somebody deletes the map's value."""
    with pyebpf.load(only(spec, "plain")) as bpf:
        attached = link.attach_struct_ops(bpf.maps["plain"])
        attached.disown()
        assert attached.closed
        assert "pyebpf_plain" in known_controls()
        assert link.leftovers() == []
        with bpf.maps["plain"].raw as raw:
            del raw[bytes(4)]
        assert "pyebpf_plain" not in known_controls()
