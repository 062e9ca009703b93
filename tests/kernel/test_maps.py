"""Maps as typed mappings, on the real kernel."""

from __future__ import annotations

import contextlib
import os
import struct
import threading

import pytest

import pyebpf
from pyebpf import Map, MapFlag, MapType, UpdateFlag
from pyebpf.maps import iterate
from pyebpf.maps.codec import BytesCodec
from pyebpf.maps.create import completed
from pyebpf.maps.types import value_codec
from pyebpf.spec import Pinning
from pyebpf.sys import kernel
from pyebpf.sys.kernel import LinuxKernel
from tests.support.bpftool import bpftool_json, missed
from tests.support.children import outcome_as_nobody
from tests.support.programs import built

HASHES = [MapType.HASH, MapType.LRU_HASH]
PER_CPU = [MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH]


@pytest.fixture
def maps():
    """Every kind of map in bpf_src/maps.bpf.c, loaded."""
    with pyebpf.load(built("maps")) as bpf:
        yield bpf.maps


def u32(number: int) -> bytes:
    return struct.pack("=I", number)


@pytest.mark.parametrize("kind", HASHES, ids=str)
def test_a_hash_is_a_mapping(kind):
    """What goes in comes out, until it is deleted."""
    with Map.create(type=kind, key_size=4, value_size=3, max_entries=64, name="m") as m:
        for number in range(10):
            m[u32(number)] = bytes([number] * 3)
        assert len(m) == 10
        assert dict(m) == {u32(n): bytes([n] * 3) for n in range(10)}
        assert dict(m.items()) == dict(m)
        assert sorted(m.values()) == sorted(dict(m).values())
        assert u32(3) in m
        del m[u32(3)]
        assert u32(3) not in m
        assert m.get(u32(3)) is None
        assert m.get(u32(3), 7) == 7
        with pytest.raises(KeyError, match=r'no key .* in map "m"'):
            m[u32(3)]
        with pytest.raises(pyebpf.KeyNotFoundError):
            del m[u32(3)]
        m.clear()
        assert list(m) == []


def test_flags_of_an_update_are_kept():
    """NOEXIST and EXIST are errors of their own kinds."""
    with Map.create(type=MapType.HASH, key_size=4, value_size=4, max_entries=2) as m:
        m.update(u32(1), u32(1), flags=UpdateFlag.NOEXIST)
        with pytest.raises(pyebpf.KeyExistsError):
            m.update(u32(1), u32(2), flags=UpdateFlag.NOEXIST)
        with pytest.raises(pyebpf.KeyNotFoundError):
            m.update(u32(2), u32(2), flags=UpdateFlag.EXIST)
        m[u32(2)] = u32(2)
        with pytest.raises(pyebpf.MapFullError, match="update map"):
            m[u32(3)] = u32(3)
        assert m[u32(1)] == u32(1)


def test_an_array_always_has_its_elements():
    """Indexes are numbers; outside them is an error that is a KeyError too."""
    with Map.create(type=MapType.ARRAY, key_size=4, value_size=4, max_entries=3) as m:
        m[1] = u32(9)
        assert dict(m) == {0: bytes(4), 1: u32(9), 2: bytes(4)}
        assert len(m) == 3
        with pytest.raises(pyebpf.KeyOutOfRangeError):
            m[3] = u32(0)
        with pytest.raises(KeyError):
            m[3]
        with pytest.raises(pyebpf.SyscallError, match="EINVAL"):
            del m[0]
        with pytest.raises(ValueError, match="not -1"):
            m[-1]


@pytest.mark.parametrize("kind", PER_CPU, ids=str)
def test_a_per_cpu_map_has_a_value_for_each_cpu(kind):
    """Lists go in and out, in order of CPU number; a wrong length is an error."""
    with Map.create(type=kind, key_size=4, value_size=5, max_entries=4) as m:
        cpus = m.value_codec.cpus
        values = [bytes([cpu] * 5) for cpu in range(cpus)]
        key = 1 if kind == MapType.PERCPU_ARRAY else u32(1)
        m[key] = values
        assert m[key] == values
        with pytest.raises(ValueError, match=f"{cpus} CPUs, not {cpus + 1}"):
            m[key] = [*values, bytes(5)]


def test_keys_and_values_are_typed_by_btf(maps):
    """Records, text, enums and numbers, by the object's own types."""
    key = maps["hash"].key_codec.decode(bytes([10, 0, 0, 1, 10, 0, 0, 2, 0, 80, 6, 0]))
    value = maps["hash"].value_codec.decode(struct.pack("=QQ16sII", 3, 400, b"eth0", 1, 0))
    maps["hash"][key] = value
    ((found_key, found),) = maps["hash"].items()
    assert (found.packets, found.bytes, found.device, found.state.name) == (3, 400, "eth0", "BUSY")
    assert (found_key.protocol, found_key) == (6, key)
    assert found == value
    maps["array"][2] = -5
    assert maps["array"][2] == -5
    maps["percpu_array"][0] = [1] * maps["percpu_array"].value_codec.cpus
    assert maps["percpu_array"].sum(0) == maps["percpu_array"].value_codec.cpus
    maps["lru_hash"][2**63] = 255
    assert dict(maps["lru_hash"]) == {2**63: 255}
    with pytest.raises((ValueError, OverflowError, pyebpf.BtfError)):
        maps["lru_hash"][1] = 256


def test_sizes_that_do_not_fit_are_stated():
    """Both sizes are in the error; nothing is cut or padded silently."""
    with Map.create(type=MapType.HASH, key_size=4, value_size=8, max_entries=1) as m:
        with pytest.raises(ValueError, match="key takes 4 bytes, not 3"):
            m[b"abc"] = bytes(8)
        with pytest.raises(ValueError, match="value takes 8 bytes, not 9"):
            m[b"abcd"] = bytes(9)
        with pytest.raises(TypeError, match="must be bytes, not int"):
            m[b"abcd"] = 1


def test_iteration_survives_deletes_and_inserts():
    """Deleting what is handed out visits everything once; inserting ends all the same."""
    with Map.create(type=MapType.HASH, key_size=4, value_size=4, max_entries=512) as m:
        for number in range(300):
            m[u32(number)] = u32(number)
        visited = []
        for key in m:
            visited.append(key)
            del m[key]
        assert sorted(visited) == sorted(u32(n) for n in range(300))
        assert len(m) == 0


def test_iteration_of_a_map_that_never_rests_gives_up():
    """Bounded work: the end, or IterationAborted; never a loop without one."""
    with Map.create(type=MapType.HASH, key_size=4, value_size=4, max_entries=8) as m:
        for number in range(4):
            m[u32(number)] = u32(0)
        visited = 0
        with contextlib.suppress(pyebpf.IterationAborted):
            for key in m:
                del m[key]
                m[u32(1000 + visited)] = u32(0)
                visited += 1
        assert 4 <= visited <= 4 * m.max_entries


def test_a_map_in_a_map_takes_maps_and_gives_ids(maps):
    """An object or descriptor goes in, the kernel's id comes out."""
    with maps["array_of_maps"].clone() as outer:
        inner_spec = pyebpf.MapSpec(
            name="i", type=MapType.ARRAY, key_size=4, value_size=8, max_entries=2
        )
        with Map.from_spec(inner_spec) as inner:
            outer[1] = inner
            assert outer[1] == inner.id
        del outer[1]
        with pytest.raises(KeyError):
            outer[1]


def test_a_prog_array_is_jumped_through():
    """A program stored in a prog array is reached by a tail call."""
    spec = pyebpf.load_spec(built("map_contents"))
    jump, table = spec.programs["jump"], spec.maps["jump_table"]
    table.entries = ()
    with pyebpf.load(spec) as bpf:
        assert jump.name == "jump"
        assert bpf.programs["jump"].run(bytes(64)).retval == 1
        bpf.maps["jump_table"][1] = bpf.programs["target"]
        assert bpf.programs["jump"].run(bytes(64)).retval == 42
        assert bpf.maps["jump_table"][1] == bpf.programs["target"].id


def test_a_frozen_map_refuses_changes():
    """freeze() is for ever, and the refusal keeps its errno."""
    with Map.create(type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1, name="f") as m:
        m[0] = u32(1)
        m.freeze()
        with pytest.raises(pyebpf.PrivilegeError, match='update map "f"'):
            m[0] = u32(2)
        assert m[0] == u32(1)


def test_the_memory_of_an_array_is_the_array(maps):
    """What is written through memory is what lookups see."""
    with maps["array"].memory() as memory:
        struct.pack_into("=q", memory, 8 * 3, -77)
        assert maps["array"][3] == -77
    with (
        Map.create(type=MapType.HASH, key_size=4, value_size=4, max_entries=1) as m,
        pytest.raises(pyebpf.SyscallError),
    ):
        m.memory()


def test_clones_and_raw_views_are_owners_of_their_own(maps):
    """Closing one leaves the others; each sees the same elements."""
    with maps["array"].clone() as clone, maps["array"].raw as raw:
        clone[0] = 258
        assert raw[u32(0)] == struct.pack("=q", 258)
        clone.close()
        with pytest.raises(pyebpf.ClosedError):
            clone[0]
        assert maps["array"][0] == 258


def test_new_like_makes_an_empty_map_of_the_same_kind(maps):
    """Goebpf's CloneTemplate: same definition, same types, nothing in it."""
    maps["lru_hash"][1] = 2
    with maps["lru_hash"].new_like() as fresh:
        assert dict(fresh) == {}
        fresh[1] = 3
        assert maps["lru_hash"][1] == 2
        assert fresh.id != maps["lru_hash"].id


def test_maps_are_opened_by_id_fd_and_pin(maps, bpffs):
    """Each way gives the same map, typed from the BTF the kernel keeps with it."""
    path = bpffs / "m"
    maps["hash"].pin(path)
    key = maps["hash"].key_codec.decode(bytes(12))
    maps["hash"][key] = maps["hash"].value_codec.decode(struct.pack("=QQ16sII", 1, 2, b"x", 0, 0))
    with (
        Map.from_id(maps["hash"].id) as by_id,
        Map.from_fd(maps["hash"].fileno()) as by_fd,
        Map.from_pin(path) as by_pin,
        Map.from_pin(path, read_only=True) as read_only,
    ):
        for each in (by_id, by_fd, by_pin, read_only):
            assert each.id == maps["hash"].id
            ((_, found),) = each.items()
            assert (found.packets, found.device) == (1, "x")
        with pytest.raises(pyebpf.PrivilegeError):
            read_only.clear()
    path.unlink()
    with pytest.raises(pyebpf.SyscallError, match="ENOENT"):
        Map.from_pin(path)


def test_pinning_elsewhere_says_what_is_wrong(maps, tmp_path, bpffs):
    """Outside a bpffs, and on a name that is taken."""
    with pytest.raises(pyebpf.SyscallError, match="is not on a bpffs"):
        maps["hash"].pin(tmp_path / "pin")
    maps["hash"].pin(bpffs / "new" / "pin")
    with pytest.raises(pyebpf.SyscallError, match="EEXIST"):
        maps["array"].pin(bpffs / "new" / "pin")
    (bpffs / "new" / "pin").unlink()
    (bpffs / "new").rmdir()


def test_a_pinned_map_is_checked_against_what_is_expected(bpffs):
    """By an explicit expectation, or by a spec, which gives its name and types as well."""
    spec = pyebpf.load_spec(built("globals")).maps[".data"]
    with pyebpf.load(built("globals")) as bpf:
        bpf.maps[".data"].pin(bpffs / "data")
        opened = pyebpf.Map.from_pin(bpffs / "data", expect=pyebpf.MapAbi(type=MapType.ARRAY))
        with opened, pyebpf.Map.from_pin(bpffs / "data", expect=spec) as typed:
            assert (typed.name, typed.btf) == (".data", spec.btf)
            assert typed.id == opened.id == bpf.maps[".data"].id
            assert typed.flags == bpf.maps[".data"].flags
    message = 'map pinned at ".*/data": key size is 4, not 8; max_entries is 1, not 7'
    with pytest.raises(pyebpf.MapIncompatibleError, match=rf"^{message}$"):
        pyebpf.Map.from_pin(bpffs / "data", expect=pyebpf.MapAbi(key_size=8, max_entries=7))
    spec.max_entries = 7
    with pytest.raises(pyebpf.MapIncompatibleError, match="max_entries is 1, not 7"):
        pyebpf.Map.from_pin(bpffs / "data", expect=spec)
    (bpffs / "data").unlink()


def test_what_a_kind_leaves_to_the_loader_is_no_difference(bpffs):
    """A perf event array has a slot for each CPU, whatever its spec says."""
    spec = pyebpf.load_spec(built("count")).maps["perf_events"]
    assert spec.max_entries == 0
    with pyebpf.Map.from_spec(spec) as created:
        created.pin(bpffs / "events")
        with pyebpf.Map.from_pin(bpffs / "events", expect=spec) as opened:
            assert opened.max_entries == created.max_entries > 0
    (bpffs / "events").unlink()


def test_pinning_by_name_shares_a_map_between_loads(bpffs):
    """The first load pins, the second reuses, an incompatible third is refused."""
    with pyebpf.load(built("maps"), pin_dir=bpffs) as first:
        assert (bpffs / "pinned").exists()
        first.maps["pinned"][1] = 100
    with pyebpf.load(built("maps"), pin_dir=bpffs) as second:
        assert second.maps["pinned"][1] == 100
    spec = pyebpf.load_spec(built("maps"))
    spec.maps["pinned"].max_entries = 17
    with pytest.raises(pyebpf.MapIncompatibleError, match=r'"pinned".*max_entries is 16, not 17'):
        pyebpf.load(spec, pin_dir=bpffs)
    (bpffs / "pinned").unlink()


def test_a_closed_map_says_so():
    """No operation reaches another file that got the same number."""
    m = Map.create(type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1)
    m.close()
    m.close()
    for use in (lambda: m[0], lambda: m.fileno(), lambda: m.update(0, u32(1)), lambda: m.info()):
        with pytest.raises(pyebpf.ClosedError):
            use()
    assert "closed" in repr(m)


def test_a_forgotten_map_warns():
    """Nobody depends on the collector silently."""
    maps = [Map.create(type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1)]
    with pytest.warns(ResourceWarning, match="unclosed"):
        maps.clear()


def test_threads_share_a_map():
    """Each call has buffers of its own: no value is ever mixed with another's."""
    wrong = []

    def work(m, number):
        value = bytes([number]) * 64
        for _ in range(300):
            m[u32(number)] = value
            if m[u32(number)] != value:
                wrong.append(number)

    with Map.create(type=MapType.HASH, key_size=4, value_size=64, max_entries=16) as m:
        threads = [threading.Thread(target=work, args=(m, number)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_bpftool_shows_the_same_map(maps):
    """Kind, sizes, flags and contents as the kernel's own tool reads them."""
    maps["array"][1] = -3
    info = maps["array"].info()
    shown = bpftool_json("map", "show", "id", str(info.id))
    assert (shown["type"], shown["bytes_key"], shown["bytes_value"]) == ("array", 4, 8)
    assert (shown["flags"], shown["max_entries"]) == (info.flags, info.max_entries)
    dumped = bpftool_json("map", "dump", "id", str(info.id))
    assert [each["formatted"]["value"] for each in dumped] == [0, -3, 0, 0]


def test_maps_the_kernel_holds_are_listed(maps):
    """loaded_maps() opens each that bpftool shows; ours are among them."""
    assert missed("map", pyebpf.loaded_maps(), *maps.values()) == set()


def test_a_data_section_is_made_mappable(maps):
    """The loader asks for memory mapping where the kernel has it."""
    with pyebpf.load(built("globals")) as bpf:
        assert bpf.maps[".data"].flags & MapFlag.MMAPABLE
        assert bpf.maps[".rodata"].flags & MapFlag.RDONLY_PROG


def test_a_descriptor_of_another_kind_is_refused(maps):
    """Information comes in the form of the descriptor's own kind, so it would be garbage."""
    with pyebpf.load(built("subprogs")) as bpf:
        program = bpf.programs["alone"]
        with pytest.raises(ValueError, match="is no map, but a program"):
            Map.from_fd(program.fileno())
        with pytest.raises(ValueError, match="is no program, but a map"):
            pyebpf.Program.from_fd(maps["array"].fileno())
        with pytest.raises(ValueError, match="is no link, but a map"):
            pyebpf.Link.from_fd(maps["array"].fileno())
    reader, writer = os.pipe()
    for kind in (Map, pyebpf.Program, pyebpf.Link):
        with pytest.raises(ValueError, match="is no "):
            kind.from_fd(reader)
    os.close(reader)
    os.close(writer)
    with pytest.raises(pyebpf.SyscallError, match="EBADF"):
        Map.from_fd(reader)


def test_errors_name_the_map(maps):
    """Whatever fails, the message says in which map."""
    events, ring = maps["perf_events"], maps["ring"]
    for use in (
        lambda: events[0],
        lambda: events.get(0),
        lambda: 0 in events,
        lambda: [*events.items()],
    ):
        with pytest.raises(pyebpf.SyscallError, match=r'lookup in map "perf_events".*ENOTSUPP'):
            use()
    with pytest.raises(pyebpf.SyscallError, match='delete from map "array"'):
        maps["array"].clear()
    with pytest.raises(pyebpf.SyscallError, match='walk over map "socket_storage"'):
        len(maps["socket_storage"])
    with pytest.raises(TypeError, match='map "ring" has no keys'):
        len(ring)
    with pytest.raises(TypeError, match=r'map "ring" .* no values'):
        ring.memory()
    with Map.create(type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1, name="c") as m:
        pass
    for use in (lambda: m[0], lambda: m.get(0), lambda: m.pin("/sys/fs/bpf/x"), lambda: m.info()):
        with pytest.raises(pyebpf.ClosedError, match='map "c"'):
            use()


def test_empty_slots_are_no_entries(maps):
    """What iteration yields can be looked up; len() counts just that."""
    outer = maps["array_of_maps"]
    spec = pyebpf.MapSpec(name="i", type=MapType.ARRAY, key_size=4, value_size=8, max_entries=2)
    assert (len(outer), list(outer), dict(outer)) == (0, [], {})
    with Map.from_spec(spec) as inner:
        outer[2] = inner
        assert (len(outer), dict(outer)) == (1, {2: inner.id})
    outer.clear()
    assert len(outer) == 0
    assert (len(maps["jump_table"]), list(maps["jump_table"])) == (0, [])


def test_a_codec_of_another_size_is_refused():
    """Keys as well as values: the kernel would read beyond the end of a short one."""
    wrong = BytesCodec(8)
    shape = {"type": MapType.HASH, "key_size": 4, "value_size": 4, "max_entries": 1}
    with pytest.raises(ValueError, match=r"key is 4 bytes, its codec's 8"):
        Map.create(**shape, key=wrong)
    with pytest.raises(ValueError, match=r"value is 4 bytes, its codec's 8"):
        Map.create(**shape, value=wrong)


def test_numbers_of_cpus_may_have_holes(tmp_path):
    """A per-CPU value has one item per possible CPU, a perf event array reaches the last."""
    possible = tmp_path / "sys/devices/system/cpu/possible"
    possible.parent.mkdir(parents=True)
    possible.write_text("0,2-3,8\n")

    class Holes:
        root = str(tmp_path)

        def __getattr__(self, name):
            return getattr(LinuxKernel(), name)

    with kernel.use(Holes()):
        shape = pyebpf.MapSpec(name="e", type=MapType.PERF_EVENT_ARRAY)
        assert completed(shape).max_entries == 9
        percpu = pyebpf.MapSpec(
            name="p", type=MapType.PERCPU_ARRAY, key_size=4, value_size=5, max_entries=1
        )
        codec = value_codec(percpu)
    assert codec.size == 4 * 8
    assert codec.decode(codec.encode([b"00000", b"22222", b"33333", b"88888"])) == [
        b"00000",
        b"22222",
        b"33333",
        b"88888",
    ]


def test_what_the_kernel_changes_is_known_before(bpffs):
    """A node and a list per CPU: a map opened again is like the one that was asked for."""
    spec = pyebpf.load_spec(built("maps"))
    for name in set(spec.maps) - {"on_node", "lru_hash", "array"}:
        spec.maps[name].autocreate = False
    for name in ("on_node", "lru_hash"):
        spec.maps[name].pinning = Pinning.BY_NAME
    spec.maps["lru_hash"].flags |= MapFlag.NO_COMMON_LRU
    spec.maps["lru_hash"].max_entries = 33
    with pyebpf.load(spec, pin_dir=bpffs) as first, pyebpf.load(spec, pin_dir=bpffs) as second:
        for name in ("on_node", "lru_hash"):
            assert first.maps[name].id == second.maps[name].id
            assert first.maps[name].max_entries == first.maps[name].info().max_entries
            assert first.maps[name].flags == first.maps[name].info().flags
            (bpffs / name).unlink()


def test_a_map_without_a_capacity_is_walked_to_its_end():
    """Storage of control groups has max_entries 0 and entries all the same."""

    class Three:
        def next_key(self, key):
            return {None: b"1", b"1": b"2", b"2": b"3", b"3": None}[key]

    assert list(iterate.keys(Three(), 0, "s")) == [b"1", b"2", b"3"]


def test_types_the_user_may_not_read_leave_bytes(maps):
    """Without CAP_SYS_ADMIN the kernel does not hand out BTF by id: the map works all the same."""
    array = maps["array"]
    array[1] = -5

    def look() -> None:
        with Map.from_fd(array.fileno()) as opened:
            found = opened.btf, opened[1]
        raise LookupError(found)

    outcome = outcome_as_nobody(look)
    if outcome.startswith("PrivilegeError: BPF_OBJ_GET_INFO_BY_FD"):
        raise pyebpf.NotSupportedError("commands on open maps for everybody", "5.19")
    assert outcome == f"LookupError: (None, {struct.pack('=q', -5)!r})"


def test_pins_are_made_in_one_step_or_not_at_all(maps, bpffs, tmp_path):
    """A directory made for a pin that fails is taken away again; names with dots are explained."""
    with pytest.raises(pyebpf.SyscallError, match=r'map "hash": pin at .*is not on a bpffs'):
        maps["hash"].pin(tmp_path / "new" / "pin")
    assert not (tmp_path / "new").exists()
    with pytest.raises(pyebpf.PrivilegeError, match="no names with dots"):
        maps["hash"].pin(bpffs / "new" / "a.b")
    assert not (bpffs / "new").exists()
    with pytest.raises(pyebpf.SyscallError, match="mkdir: ENOENT"):
        maps["hash"].pin(bpffs / "not" / "there" / "pin")
    with pytest.raises(pyebpf.SyscallError, match=r"mkdir: ENOTDIR|mkdir: EEXIST"):
        maps["hash"].pin("/dev/null/x/pin")


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "a/b", ""])
def test_a_maps_name_never_leads_out_of_the_pin_directory(bpffs, name):
    """Names come from the object, which may be anybody's."""
    spec = pyebpf.load_spec(built("maps"))
    spec.maps["pinned"].name = name
    with pytest.raises(pyebpf.LoadError, match="cannot be pinned by this name"):
        pyebpf.load(spec, pin_dir=bpffs)


def test_dots_of_a_name_become_underscores_in_its_pin(bpffs):
    """A bpffs takes no dots."""
    spec = pyebpf.load_spec(built("globals"))
    spec.maps[".data"].pinning = Pinning.BY_NAME
    with pyebpf.load(spec, pin_dir=bpffs) as first, pyebpf.load(spec, pin_dir=bpffs) as second:
        first.variables["total"].value = 77
        assert second.variables["total"].value == 77
    (bpffs / "_data").unlink()


def test_a_pin_that_leads_nowhere_ends_the_load(bpffs):
    """A dangling link is neither there nor free: no endless race with it."""
    (bpffs / "pinned").symlink_to(bpffs / "nothing")
    with pytest.raises(pyebpf.SyscallError, match="EEXIST"):
        pyebpf.load(built("maps"), pin_dir=bpffs)
    assert (bpffs / "pinned").is_symlink()
    (bpffs / "pinned").unlink()
