"""What /proc tells about descriptors: numbers of every notation, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.errors import SyscallError
from pyebpf.host.fdinfo import fdinfo, parse
from tests.support import properties as properties

TEXT = """pos:\t0
flags:\t02000002
map_type:\t1
map_flags:\t0x81
memlock:\t40960
frozen:\t0
owner:\tnobody
scm_fds: 0
"""


def test_numbers_are_read_in_their_notation():
    """Octal with a zero in front, hexadecimal with 0x; text is left out."""
    found = parse(TEXT)
    assert found["flags"] == 0o2000002
    assert (found["map_flags"], found["memlock"], found["pos"]) == (0x81, 40960, 0)
    assert "owner" not in found


def test_our_own_descriptors_may_be_unknown(tmp_path):
    """Without /proc nothing is told; of another process that is an error."""
    assert fdinfo("self", 0, str(tmp_path)) == {}
    with pytest.raises(SyscallError, match="open: ENOENT"):
        fdinfo("1", 0, str(tmp_path))


@given(st.text())
def test_any_text_is_numbers_or_nothing(text):
    """No error comes out."""
    assert all(isinstance(value, int) for value in parse(text).values())
