"""What an object may come as."""

from __future__ import annotations

import io

import pytest

from pyebpf.elf import load_spec
from tests.support.programs import built


def test_bytes_paths_and_files_give_the_same_spec():
    """Only the name depends on where the bytes came from."""
    path = built("maps")
    data = path.read_bytes()
    specs = [load_spec(each) for each in (path, str(path), data, bytearray(data), io.BytesIO(data))]
    with path.open("rb") as file:
        specs.append(load_spec(file))
    for spec in specs:
        spec.name = ""
    assert all(each == specs[0] for each in specs)


@pytest.mark.parametrize("source", [5, None, object(), io.StringIO("text")], ids=repr)
def test_other_things_are_no_objects(source):
    """A mistake of the caller is a TypeError that says what would do."""
    with pytest.raises(TypeError, match="a path, bytes or a file opened for bytes"):
        load_spec(source)
