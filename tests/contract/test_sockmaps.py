"""Programs of maps of sockets: one for each purpose, with a link or kept by the map."""

from __future__ import annotations

import array
import errno

import pytest

from pyebpf.sys import bpf
from pyebpf.sys.fd import FD
from pyebpf.uapi.attrs import LinkCreate, LinkDetach, LinkUpdate, ProgAttach, ProgQuery
from pyebpf.uapi.bpf import AttachFlag, AttachType, MapType, ProgType
from pyebpf.uapi.info import LinkInfoSockmap, MapInfo, ProgInfo
from tests.support.contract import create, load, outcome

pytestmark = pytest.mark.usefixtures("newest")

PASS = bytes([0xB7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])
UNSUPPORTED = errno.errorcode[errno.EOPNOTSUPP]
MSG, STREAM, VERDICT, PARSER = (
    AttachType.SK_MSG_VERDICT,
    AttachType.SK_SKB_STREAM_VERDICT,
    AttachType.SK_SKB_VERDICT,
    AttachType.SK_SKB_STREAM_PARSER,
)
KINDS = [MapType.SOCKMAP, MapType.SOCKHASH]


def program(kind: AttachType = STREAM) -> FD:
    return load(
        ProgType.SK_MSG if kind == MSG else ProgType.SK_SKB, PASS, expected_attach_type=kind
    )


def attach(place: FD, what: FD, kind: AttachType = STREAM, flags: int = 0):
    attr = ProgAttach(
        target_fd=place.fileno(), attach_bpf_fd=what.fileno(), attach_type=kind, attach_flags=flags
    )
    return outcome(lambda: bpf.prog_attach(attr))


def detach(place: FD, what: FD, kind: AttachType = STREAM):
    attr = ProgAttach(target_fd=place.fileno(), attach_bpf_fd=what.fileno(), attach_type=kind)
    return outcome(lambda: bpf.prog_detach(attr))


def link(place: FD, what: FD, kind: AttachType = STREAM, **more: int):
    attr = LinkCreate(prog_fd=what.fileno(), target_fd=place.fileno(), attach_type=kind, **more)
    return outcome(lambda: bpf.link_create(attr))


def there(place: FD, kind: AttachType = STREAM):
    """Return ids, or an errno."""
    ids = array.array("I", bytes(16))
    attr = ProgQuery(target_fd=place.fileno(), attach_type=kind, prog_ids=ids, prog_cnt=4)
    return outcome(lambda: bpf.prog_query(attr)) or list(ids[: attr.prog_cnt])


def id_of(what: FD) -> int:
    info = ProgInfo()
    bpf.obj_get_info_by_fd(what.fileno(), info)
    return int(info.id)


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_keeps_a_program_for_each_purpose(kernel, kind):
    """One takes the other's place; the two verdicts keep each other out."""
    with create(kind, 4, 4, 2) as place, program() as one, program() as two, program(MSG) as msg:
        assert there(place) == []
        assert detach(place, one) == "ENOENT"
        assert attach(place, one) is None
        assert attach(place, two) is None
        assert attach(place, two) is None
        assert there(place) == [id_of(two)]
        assert attach(place, msg, MSG) is None
        with program(PARSER) as parser, program(VERDICT) as verdict:
            assert attach(place, parser, PARSER) is None
            assert attach(place, verdict, VERDICT) == "EBUSY"
            assert there(place, VERDICT) == "EBUSY"
            assert detach(place, parser, PARSER) is None
        assert detach(place, one) == "ENOENT"
        assert detach(place, msg) == "EINVAL"
        assert attach(place, msg) == "EINVAL"
        assert attach(place, one, flags=AttachFlag.ALLOW_MULTI) == "EINVAL"
        assert attach(one, one) == "EINVAL"
        assert detach(place, two) is None
        assert detach(place, msg, MSG) is None
        assert there(place) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_link_has_the_purpose_to_itself(kernel, kind):
    """And says of which map; it takes the place of what was attached without one."""
    with create(kind, 4, 4, 2) as place, program() as one, program() as two, program(MSG) as msg:
        assert attach(place, two) is None
        with link(place, one) as made:
            assert there(place) == [id_of(one)]
            assert attach(place, two) == "EBUSY"
            assert detach(place, one) == "EBUSY"
            assert link(place, two) == "EBUSY"
            number = MapInfo()
            bpf.obj_get_info_by_fd(place.fileno(), number)
            info = LinkInfoSockmap()
            bpf.obj_get_info_by_fd(made.fileno(), info)
            assert (info.map_id, info.attach_type) == (number.id, STREAM)

            def change(what: FD):
                attr = LinkUpdate(link_fd=made.fileno(), new_prog_fd=what.fileno())
                return outcome(lambda: bpf.link_update(attr))

            assert change(msg) == "EINVAL"
            assert change(two) is None
            assert there(place) == [id_of(two)]
            assert outcome(lambda: bpf.link_detach(LinkDetach(link_fd=made.fileno()))) is None
            assert there(place) == []
            bpf.obj_get_info_by_fd(made.fileno(), info)
            assert info.map_id == 0
            assert change(one) == "ENOLINK"
        assert link(place, one, flags=1) == "EINVAL"
        assert there(place) == []


def test_other_maps_have_no_such_programs(kernel):
    """EINVAL for links, EOPNOTSUPP else."""
    with create(MapType.ARRAY, 4, 4, 2) as place, program() as one:
        assert link(place, one) == "EINVAL"
        assert attach(place, one) == UNSUPPORTED
        assert detach(place, one) == UNSUPPORTED
        assert there(place) == UNSUPPORTED
