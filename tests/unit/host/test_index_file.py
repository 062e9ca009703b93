"""The file of the index: read back whole, and not trusted if anybody else could have written it."""

from __future__ import annotations

import os
import pathlib
import stat

import pytest

from pyebpf.host import index_file

LIMIT = 1 << 20
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away: root")


@pytest.fixture
def directory(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "index"


def test_what_was_written_is_read(directory: pathlib.Path) -> None:
    """The newest, from a directory made for it, which is nobody else's."""
    assert index_file.read(directory, LIMIT) is None
    index_file.write(directory, b"one")
    index_file.write(directory, b"another")
    assert index_file.read(directory, LIMIT) == b"another"
    assert [each.name for each in directory.iterdir()] == [index_file.NAME]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / index_file.NAME).stat().st_mode) == 0o600


def test_what_an_interrupted_process_left_is_in_nobodys_way(directory: pathlib.Path) -> None:
    """A half-written file of a process with the same number is replaced."""
    directory.mkdir(0o700)
    (directory / f".{index_file.NAME}.{os.getpid()}").write_bytes(b"ha")
    index_file.write(directory, b"whole")
    assert index_file.read(directory, LIMIT) == b"whole"


def test_a_larger_file_is_not_read(directory: pathlib.Path) -> None:
    """It is no index; memory is not filled with it."""
    index_file.write(directory, b"12345")
    assert index_file.read(directory, 5) == b"12345"
    assert index_file.read(directory, 4) is None


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o1777])
def test_a_directory_of_everybody_is_not_used(directory: pathlib.Path, mode: int) -> None:
    """Others could put a file of theirs there."""
    index_file.write(directory, b"one")
    directory.chmod(mode)
    with pytest.raises(PermissionError, match="others may write"):
        index_file.read(directory, LIMIT)
    with pytest.raises(PermissionError, match="others may write"):
        index_file.write(directory, b"two")


@pytest.mark.parametrize("mode", [0o660, 0o602])
def test_a_file_of_everybody_is_not_used(directory: pathlib.Path, mode: int) -> None:
    """Others could have changed it."""
    index_file.write(directory, b"one")
    (directory / index_file.NAME).chmod(mode)
    with pytest.raises(PermissionError, match="others may write"):
        index_file.read(directory, LIMIT)


@needs_root
@pytest.mark.parametrize("whose", ["directory", "file"])
def test_what_belongs_to_another_user_is_not_used(directory: pathlib.Path, whose: str) -> None:
    """That user could have written anything."""
    index_file.write(directory, b"one")
    os.chown(directory if whose == "directory" else directory / index_file.NAME, 65534, 65534)
    with pytest.raises(PermissionError, match="belongs to user 65534"):
        index_file.read(directory, LIMIT)


def test_links_are_not_followed(directory: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Neither to a file nor to a directory."""
    index_file.write(directory, b"one")
    linked = tmp_path / "linked"
    linked.symlink_to(directory)
    with pytest.raises(OSError):
        index_file.read(linked, LIMIT)
    file = directory / index_file.NAME
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        index_file.read(directory, LIMIT)
    index_file.write(directory, b"two")
    assert (tmp_path / "elsewhere").read_bytes() == b"one"
    assert index_file.read(directory, LIMIT) == b"two"


def test_a_pipe_is_refused_at_once(directory: pathlib.Path) -> None:
    """Nobody waits for somebody to write into it."""
    directory.mkdir(0o700)
    os.mkfifo(directory / index_file.NAME, 0o600)
    with pytest.raises(PermissionError, match="not a plain file"):
        index_file.read(directory, LIMIT)


def test_a_file_that_cannot_be_put_there_leaves_nothing(directory: pathlib.Path) -> None:
    """The new file is taken away when it cannot get its name."""
    (directory / index_file.NAME).mkdir(parents=True)
    directory.chmod(0o700)
    with pytest.raises(IsADirectoryError):
        index_file.write(directory, b"one")
    assert [each.name for each in directory.iterdir()] == [index_file.NAME]
