"""What `tests/vm` is made of, as far as no virtual machine is needed."""

from __future__ import annotations

import re

import pytest

from tests.vm import __main__ as vm
from tests.vm import guest, kernels

PACKAGES = [
    "linux-image-amd64",
    "linux-image-6.1.0-9-amd64",
    "linux-image-6.1.0-10-amd64",
    "linux-image-6.1.0-10-cloud-amd64",
    "linux-image-6.1.0-11-amd64-unsigned",
    "linux-image-6.12.9+deb13-amd64",
    "linux-image-6.12.88+deb13-amd64",
    "linux-image-6.19~rc4-amd64",
    "linux-image-7.3.4+deb13-amd64",
    "linux-image-7.4.1-1~exp1-amd64",
]


@pytest.mark.parametrize(
    ("version", "found"),
    [
        ("6.1", "6.1.0-10-amd64"),
        ("6.12", "6.12.88+deb13-amd64"),
        ("6.12.9", "6.12.9+deb13-amd64"),
        ("newest", "7.3.4+deb13-amd64"),
    ],
)
def test_the_newest_package_of_a_version_is_found(version, found):
    """Versions are ordered as numbers; other flavours are left alone."""
    assert kernels.newest(PACKAGES, version) == found


def test_a_version_that_debian_lacks_is_named():
    """As what keeps its kernel from running."""
    with pytest.raises(kernels.UnavailableError, match=r"Linux 5\.4"):
        kernels.newest(PACKAGES, "5.4")


def test_a_kernel_that_is_not_there_is_skipped(tmp_path, monkeypatch, capsys):
    """Loudly; and nothing fails."""
    monkeypatch.setenv("PYEBPF_KERNELS", str(tmp_path))
    monkeypatch.setattr(vm, "prepare", lambda directory: [])
    assert vm.main(["6.1"]) == 0
    assert vm.main([]) == 0
    first, reason, second, other = capsys.readouterr().out.splitlines()
    assert (first, second) == ("== Linux 6.1", "== Linux (the newest in the cache)")
    assert re.match(r"== SKIPPED: Linux 6\.1 cannot run here: it is not in the cache", reason)
    assert re.match(r"== SKIPPED: .*no kernel is in the cache", other)


def test_tests_that_were_skipped_are_run_again(tmp_path):
    """By their names, as pytest takes them; unit tests are not among them."""
    (tmp_path / "results.xml").write_text(
        """<testsuites><testsuite>
        <testcase classname="tests.kernel.maps.test_a" name="test_one[x.y-1]"><skipped/></testcase>
        <testcase classname="tests.kernel.test_b" name="test_two"/>
        <testcase classname="tests.test_examples" name="test_three"><skipped/></testcase>
        <testcase classname="tests.unit.test_c" name="test_four"><skipped/></testcase>
        </testsuite></testsuites>"""
    )
    assert vm.skipped(tmp_path / "results.xml") == [
        "tests/kernel/maps/test_a.py::test_one[x.y-1]",
        "tests/test_examples.py::test_three",
    ]


def test_an_archive_is_what_cpio_reads(tmp_path):
    """Names, contents and an end; all parts at multiples of four bytes."""
    archive = guest.cpio([("bin", 0o040755, b""), ("bin/sh", 0o100755, b"#!")])
    assert len(archive) % 4 == 0
    assert archive.count(b"070701") == 3
    assert b"bin/sh\0" in archive
    assert archive.rstrip(b"\0").endswith(b"TRAILER!!!")
    at = archive.index(b"#!")
    assert at % 4 == 0
