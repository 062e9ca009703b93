"""Maps as typed mappings, on the real kernel."""

from __future__ import annotations

import contextlib
import json
import shutil
import struct
import subprocess
import threading

import pytest

import pyebpf
from pyebpf import Map, MapFlag, MapType, UpdateFlag
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
    for name in ("left", "right", "outer"):
        del spec.maps[name]
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


@pytest.mark.skipif(shutil.which("bpftool") is None, reason="bpftool is not installed")
def test_bpftool_shows_the_same_map(maps):
    """Kind, sizes, flags and contents as the kernel's own tool reads them."""
    maps["array"][1] = -3
    info = maps["array"].info()
    shown = json.loads(
        subprocess.run(
            ["bpftool", "-j", "map", "show", "id", str(info.id)], capture_output=True, check=True
        ).stdout
    )
    assert (shown["type"], shown["bytes_key"], shown["bytes_value"]) == ("array", 4, 8)
    assert (shown["flags"], shown["max_entries"]) == (info.flags, info.max_entries)
    dumped = json.loads(
        subprocess.run(
            ["bpftool", "-j", "map", "dump", "id", str(info.id)], capture_output=True, check=True
        ).stdout
    )
    assert [each["formatted"]["value"] for each in dumped] == [0, -3, 0, 0]


def test_maps_the_kernel_holds_are_listed(maps):
    """loaded_maps() opens each; ours are among them."""
    ids = set()
    for each in pyebpf.loaded_maps():
        with each:
            ids.add(each.id)
    assert {each.id for each in maps.values()} <= ids


def test_a_data_section_is_made_mappable(maps):
    """The loader asks for memory mapping where the kernel has it."""
    with pyebpf.load(built("globals")) as bpf:
        assert bpf.maps[".data"].flags & MapFlag.MMAPABLE
        assert bpf.maps[".rodata"].flags & MapFlag.RDONLY_PROG
