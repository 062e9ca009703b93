"""LINUX_VERSION_CODE, also where uname does not tell it."""

from __future__ import annotations

import os
import pathlib

import pytest

from pyebpf.errors import FormatError
from pyebpf.host import version


@pytest.mark.parametrize(
    ("files", "release", "code"),
    [
        ({"sys/kernel/osrelease": "6.18.44-fc-v669"}, "6.18.44-fc-v669", 0x06122C),
        ({"sys/kernel/osrelease": "5.10"}, "5.10", 0x050A00),
        ({"sys/kernel/osrelease": "4.14.300"}, "4.14.300", 0x040EFF),
        (
            {
                "sys/kernel/osrelease": "4.19.0-26-amd64",
                "sys/kernel/version": "#1 SMP Debian 4.19.304-1 (2024-01-09)",
            },
            "4.19.304",
            0x0413FF,
        ),
        (
            {
                "sys/kernel/osrelease": "5.15.0-91-generic",
                "sys/kernel/version": "#101-Ubuntu SMP",
                "version_signature": "Ubuntu 5.15.0-91.101-generic 5.15.131",
            },
            "5.15.131",
            0x050F83,
        ),
        (
            {
                "sys/kernel/osrelease": "6.1.0-18-amd64",
                "sys/kernel/version": "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)",
            },
            "6.1.76",
            0x06014C,
        ),
    ],
    ids=["plain", "two numbers", "saturated", "Debian 10", "Ubuntu", "Debian 12"],
)
def test_the_release_is_the_one_the_kernel_is_built_from(
    tmp_path: pathlib.Path, files: dict[str, str], release: str, code: int
) -> None:
    """Distributions put their own numbers into uname, and the truth elsewhere."""
    # The running system's build text would be asked where the made one has none.
    for name, text in {"sys/kernel/version": "#1 SMP", **files}.items():
        path = tmp_path / "proc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert version.release(str(tmp_path)) == release
    assert version.code(str(tmp_path)) == code


@pytest.mark.parametrize("text", ["", "six", "v6.1", "6"])
def test_nonsense_is_a_format_error(text: str) -> None:
    """No version is made up."""
    with pytest.raises(FormatError):
        version.parse(text)


def test_the_running_release_is_unames() -> None:
    """Directories are named after it."""
    assert version.running() == os.uname().release
