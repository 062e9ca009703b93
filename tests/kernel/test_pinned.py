"""Collections that stay in the kernel by their pins, and are opened again."""

from __future__ import annotations

import os
import shutil
import time

import pytest

import pyebpf
from pyebpf import CollectionAbi, MapAbi, MapType, ProgramAbi, ProgType
from tests.support.programs import built

PACKET = bytes(64)


@pytest.fixture
def place(bpffs):
    """A directory for pins that is cleaned up, and nothing beside it."""
    path = bpffs / "mine"
    yield path
    shutil.rmtree(path, ignore_errors=True)


def fork():
    """Passes the tracepoint of new processes."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def stops(hits):
    """Whether a counter of new processes stands still, soon: the kernel detaches when it can."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        before = hits.value
        fork()
        if hits.value == before:
            return True
    return False


def files(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_a_collection_survives_its_process_and_is_opened_as_it_was(place):
    """Maps, programs and variables by their own names, shared with what runs."""
    spec = pyebpf.load_spec(built("globals"))
    with pyebpf.load(spec) as bpf:
        bpf.pin(place)
        names = set(bpf.maps), set(bpf.programs), set(bpf.variables)
        ids = {name: each.id for name, each in (bpf.maps | bpf.programs).items()}
        expected = bpf.programs["add_up"].run(PACKET).retval
    assert "maps/_rodata" in files(place)
    with pyebpf.load_pinned(place, spec) as again:
        assert names == (set(again.maps), set(again.programs), set(again.variables))
        assert {name: each.id for name, each in (again.maps | again.programs).items()} == ids
        assert again.programs["add_up"].run(PACKET).retval == expected
        assert again.variables["calls"].value == 2
        again.variables["total"].value += 4000
        assert again.programs["add_up"].run(PACKET).retval == expected + 4000
        assert again.variables["limit"].read_only
        assert again.maps[".data"].btf is not None
    with pyebpf.load_pinned(place, spec) as once_more:
        assert once_more.variables["calls"].value == 3


def test_without_expectations_everything_pinned_is_opened(place):
    """Under the names of the pins, typed by what the kernel knows."""
    with pyebpf.load(built("maps")) as bpf:
        bpf.maps["pinned"][1] = 11
        bpf.pin(place)
        maps = {name.replace(".", "_") for name in bpf.maps}
        programs = set(bpf.programs)
    with pyebpf.load_pinned(place) as again:
        assert (set(again.maps), set(again.programs)) == (maps, programs)
        assert again.maps["pinned"][1] == 11
        assert (again.variables, again.links, again.name) == ({}, {}, "mine")


def test_pins_of_a_load_are_opened_too(bpffs):
    """They lie flat in the directory, as libbpf's do, whatever they are."""
    with pyebpf.load(built("maps"), pin_dir=bpffs) as bpf:
        program = next(iter(bpf.programs))
        bpf.programs[program].pin(bpffs / program)
        abi = CollectionAbi(maps={"pinned": MapAbi()}, programs={program: ProgramAbi()})
        with pyebpf.load_pinned(bpffs, abi) as again:
            assert list(again.maps) == ["pinned"]
            assert list(again.programs) == [program]
            assert again.maps["pinned"].id == bpf.maps["pinned"].id
    (bpffs / "pinned").unlink()
    (bpffs / program).unlink()


def test_an_attached_program_goes_on_running(place):
    """Its link is pinned and opened with it; detaching it then ends it."""
    spec = pyebpf.load_spec(built("probes"))
    for each in spec.programs.values():
        each.autoload = each.name == "on_raw_tracepoint"
    spec.variables["target_pid"].value = os.getpid()
    with pyebpf.load(spec) as bpf:
        bpf.attach()
        bpf.pin(place)
    fork()
    with pyebpf.load_pinned(place, spec) as again:
        assert list(again.links) == ["on_raw_tracepoint"]
        hits = again.variables["raw_tracepoint_hits"]
        before = hits.value
        fork()
        assert hits.value > before > 0
        assert again.attach() == {}  # attached already
        again.links["on_raw_tracepoint"].close()
        (place / "links" / "on_raw_tracepoint").unlink()
    with pyebpf.load_pinned(place, spec) as again:
        assert again.links == {}
        assert stops(again.variables["raw_tracepoint_hits"])


def test_links_can_be_left_out_of_pinning(place):
    """Closing the collection then detaches."""
    spec = pyebpf.load_spec(built("probes"))
    for each in spec.programs.values():
        each.autoload = each.name == "on_raw_tracepoint"
    with pyebpf.load(spec) as bpf:
        bpf.attach()
        bpf.pin(place, links=False)
    assert not (place / "links").exists()


def test_an_arenas_globals_are_found_again(place):
    """At the address that the definition gives: pointers in it count from there."""
    spec = pyebpf.load_spec(built("arena"))
    spec.maps["arena"].map_extra = 1 << 44
    with pyebpf.load(spec) as bpf:
        bpf.pin(place)
        values = {name: each.raw for name, each in bpf.variables.items()}
    with pyebpf.load_pinned(place, spec) as again:
        assert {name: each.raw for name, each in again.variables.items()} == values


def test_everything_that_is_missing_or_different_is_listed(place):
    """By kind and name, and nothing stays open."""
    spec = pyebpf.load_spec(built("globals"))
    with pyebpf.load(spec) as bpf:
        bpf.pin(place)
    spec.maps[".bss"].max_entries = 2
    spec.programs["add_up"].type = ProgType.XDP
    spec.maps["extra"] = pyebpf.MapSpec(name="extra", type=MapType.HASH)
    with pytest.raises(pyebpf.IncompatibleError) as caught:
        pyebpf.load_pinned(place, spec)
    message = str(caught.value)
    assert message.startswith(f'collection pinned at "{place}": ')
    for part in (
        'map ".bss": max_entries is 1, not 2',
        'map "extra": not pinned',
        "type is BPF_PROG_TYPE_SOCKET_FILTER, not BPF_PROG_TYPE_XDP",
    ):
        assert part in message
    abi = CollectionAbi(maps={"_bss": MapAbi(key_size=8)})
    with pytest.raises(pyebpf.MapIncompatibleError, match=r'map "_bss": .*key size is 4, not 8'):
        pyebpf.load_pinned(place, abi)
    spec.maps[".bss"].max_entries = 1
    spec.programs["add_up"].type = ProgType.SOCKET_FILTER
    spec.maps["extra"].autocreate = False
    pyebpf.load_pinned(place, spec).close()


def test_a_pin_of_another_kind_is_an_error(place):
    """A program where a map should be, in a directory of maps or beside all."""
    with pyebpf.load(built("subprogs")) as bpf:
        bpf.programs["alone"].pin(place)
        place.unlink()
        place.mkdir()
        bpf.programs["alone"].pin(place / "flat")
        bpf.programs["alone"].pin(place / "maps" / "nested")
    for name in ("flat", "nested"):
        abi = CollectionAbi(maps={name: MapAbi()})
        message = rf'map "{name}": what is pinned at .*/{name} is a program'
        with pytest.raises(pyebpf.IncompatibleError, match=message):
            pyebpf.load_pinned(place, abi)
    with pytest.raises(pyebpf.IncompatibleError, match='map "nested"'):
        pyebpf.load_pinned(place)


def test_a_directory_that_is_not_there_is_an_error(place):
    """An empty collection would hide it."""
    with pytest.raises(pyebpf.SyscallError, match="ENOENT"):
        pyebpf.load_pinned(place)
    place.mkdir()
    with pyebpf.load_pinned(place) as empty:
        assert (empty.maps, empty.programs) == ({}, {})


def test_pinning_is_all_or_nothing(place):
    """A name that is taken leaves no pin of this call, and the one that was there."""
    with pyebpf.load(built("globals")) as bpf, pyebpf.load(built("globals")) as other:
        last = list(bpf.programs)[-1]
        (place / "programs").mkdir(parents=True)
        other.programs[last].pin(place / "programs" / last)
        before = files(place)
        with pytest.raises(pyebpf.SyscallError, match=f'program "{last}".*EEXIST'):
            bpf.pin(place)
        assert files(place) == before
        with pyebpf.Program.from_pin(place / "programs" / last) as kept:
            assert kept.id == other.programs[last].id


def test_pinning_twice_changes_nothing(place):
    """The second call is refused and leaves the pins of the first."""
    with pyebpf.load(built("globals")) as bpf:
        bpf.pin(place)
        before = files(place)
        with pytest.raises(pyebpf.SyscallError, match="EEXIST"):
            bpf.pin(place)
        assert files(place) == before
    with pytest.raises(pyebpf.ClosedError, match="used after close"):
        bpf.pin(place)


def test_no_directory_is_left_where_nothing_can_be_pinned(tmp_path):
    """Outside of a bpffs, directories would be made and pins refused."""
    with pyebpf.load(built("globals")) as bpf:
        with pytest.raises(pyebpf.SyscallError, match="is not on a bpffs"):
            bpf.pin(tmp_path / "pins")
        assert files(tmp_path) == []


def test_a_program_is_opened_as_its_spec_says(bpffs):
    """Then it attaches by its section's name; another type is refused."""
    spec = pyebpf.load_spec(built("probes")).programs["on_raw_tracepoint"]
    with pyebpf.load(built("probes")) as bpf:
        bpf.programs["on_raw_tracepoint"].pin(bpffs / "program")
    with pyebpf.Program.from_pin(bpffs / "program", expect=spec) as program:
        assert (program.name, program.spec) == ("on_raw_tracepoint", spec)
        pyebpf.attach(program).close()
    with pyebpf.Program.from_pin(
        bpffs / "program", expect=ProgramAbi(type=ProgType.RAW_TRACEPOINT)
    ) as program:
        assert program.spec is None
    message = 'program pinned at ".*/program": type is BPF_PROG_TYPE_RAW_TRACEPOINT, not'
    with pytest.raises(pyebpf.IncompatibleError, match=message):
        pyebpf.Program.from_pin(bpffs / "program", expect=ProgramAbi(type=ProgType.XDP))
    (bpffs / "program").unlink()


def test_goebpfs_paths_lead_into_the_pin_directory(bpffs):
    """By their last part: names come from the object, which may be anybody's."""
    spec = pyebpf.load_spec(built("legacy_goebpf"))
    assert spec.maps["counts"].pin_path == "/sys/fs/bpf/counts"
    before = files(bpffs)
    with pyebpf.load(spec):
        assert files(bpffs) == before
    spec.maps["counts"].pin_path = "/elsewhere/my.counts"
    with pyebpf.load(spec, pin_dir=bpffs) as bpf, pyebpf.load(spec, pin_dir=bpffs) as other:
        assert bpf.maps["counts"].id == other.maps["counts"].id
        bpf.programs["count"].run(PACKET)
        other.programs["count"].run(PACKET)
        assert (
            int.from_bytes(bpf.maps["counts"][(1).to_bytes(4, spec.byteorder)], spec.byteorder) == 2
        )
    (bpffs / "my_counts").unlink()
