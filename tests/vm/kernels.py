"""Debian's kernels, for `guest.py`: unpacked into a cache directory, one directory a version.

    python -m tests.vm.kernels 5.10 6.1 6.12 newest

Each version is the newest such kernel that any Debian suite has; one that is there already stays.
Without versions, there will be any.
The archive is the one that this machine's apt uses, with a state of its own for other suites: the
machine's packages and sources are left alone. Packages are verified and unpacked, not installed:
this needs apt and dpkg-deb, and no root.
"""

from __future__ import annotations

import functools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable

# Old ones for old kernels, sid for the newest; what is not on the mirror is passed over.
SUITES = (
    "bullseye",
    "bullseye-security",
    "bookworm",
    "bookworm-security",
    "trixie",
    "trixie-security",
    "trixie-backports",
    "sid",
)
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
NEWEST = "newest"
ANY = "6.12"
FLAVOUR = "amd64"  # the cloud flavour is smaller, but has no 9P


class UnavailableError(Exception):
    """What keeps a kernel from running here, in words."""


def cache() -> pathlib.Path:
    """Return the directory of unpacked kernels: ``PYEBPF_KERNELS`` or below the user's cache."""
    default = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "pyebpf-kernels")
    return pathlib.Path(os.environ.get("PYEBPF_KERNELS") or default).expanduser()


def cached() -> list[str]:
    """Return the versions in the cache."""
    return [path.name for path in cache().glob("[!.]*")]


def numbers(text: str) -> list[int]:
    """Return the numbers in a version, which order as versions do."""
    return [int(each) for each in re.findall(r"\d+", text)]


def main(versions: list[str]) -> None:
    """Get these kernels; those that cannot be had are named, with the reason."""
    missing = [version for version in versions if version not in cached()]
    if not versions and not cached():
        missing = [ANY]
    if not missing:
        return
    cache().mkdir(parents=True, exist_ok=True)
    failures = []
    # Beside the others: renamed when it is whole.
    with tempfile.TemporaryDirectory(dir=cache(), prefix=".new-") as name:
        directory = pathlib.Path(name)
        for version in missing:
            try:
                print(f"{version}: {archive(directory).unpack(version)}", flush=True)
                (directory / version).rename(cache() / version)
            except UnavailableError as error:
                failures.append(f"Linux {version}: {error}")
    if failures:
        sys.exit("\n".join(failures))


@functools.cache
def archive(directory: pathlib.Path) -> Archive:
    """Return the archive whose state is in this directory."""
    return Archive(directory)


class Archive:
    """Debian's archive through apt, with sources and a state of their own in a directory."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self._debs = directory / "debs"
        self._options = options(directory)
        (directory / "sources.list").write_text("".join(sources()), "utf-8")
        self._run("apt-get", "-qq", "update", check=False)  # some suites may be gone
        self._names = self._run("apt-cache", "pkgnames", "linux-").split()

    def unpack(self, version: str) -> str:
        """Unpack a kernel with its modules below the directory; return its package's name."""
        release = newest(self._names, version)
        # Since 6.19 linux-image is empty and depends on the others.
        parts = [f"linux-{part}-{release}" for part in ("image", "binary", "modules", "base")]
        self._debs.mkdir()
        self._run("apt-get", "-qq", "download", *set(parts).intersection(self._names))
        for deb in self._debs.iterdir():
            run("dpkg-deb", "-x", str(deb), str(self._directory / version))
        shutil.rmtree(self._debs)
        return parts[0]

    def _run(self, tool: str, *arguments: str, check: bool = True) -> str:
        where = self._debs if self._debs.exists() else None
        return run(tool, *self._options, *arguments, check=check, cwd=where)


def run(*command: str, check: bool = True, cwd: pathlib.Path | None = None) -> str:
    try:
        done = subprocess.run(command, text=True, capture_output=True, check=False, cwd=cwd)
    except FileNotFoundError:
        raise UnavailableError(f"no {command[0]} on this machine, which is not a Debian") from None
    if check and done.returncode:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise UnavailableError(f"{command[0]}: {said[-1]}")
    return done.stdout


def sources() -> list[str]:
    """Return apt's lines for all suites, on the mirrors that this machine's apt uses."""
    listed = run("apt-get", "indextargets", "--format", "$(ORIGIN) $(SUITE) $(REPO_URI)")
    mirrors = {}
    for line in listed.splitlines():
        origin, _, rest = line.partition(" ")
        suite, _, uri = rest.partition(" ")
        if origin == "Debian":
            mirrors[suite.endswith("-security")] = uri
    if set(mirrors) != {False, True}:
        raise UnavailableError(
            "apt has no archive of Debian here with its security updates (before apt-get update?)"
        )
    return [
        f"deb [signed-by={KEYRING}] {mirrors[suite.endswith('-security')]} {suite} main\n"
        for suite in SUITES
    ]


def options(directory: pathlib.Path) -> list[str]:
    """Return the options with which apt keeps to a directory."""
    for below in ("state/lists/partial", "cache/archives/partial", "empty"):
        (directory / below).mkdir(parents=True)
    values = {
        "Dir::Etc::SourceList": directory / "sources.list",
        "Dir::Etc::SourceParts": directory / "empty",
        "Dir::Etc::Preferences": directory / "empty" / "none",
        "Dir::Etc::PreferencesParts": directory / "empty",
        "Dir::State": directory / "state",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": directory / "cache",
        "APT::Architecture": FLAVOUR,
        "APT::Architectures::": FLAVOUR,
        "APT::Sandbox::User": "",  # it could not enter a directory of ours
        "Acquire::Languages": "none",
        "Acquire::Check-Valid-Until": "false",  # of suites past their end of life
        "Acquire::Retries": "3",
    }
    return [part for name, value in values.items() for part in ("-o", f"{name}={value}")]


def newest(names: Iterable[str], version: str) -> str:
    """Return the newest release of this version, such as ``6.1.0-18-amd64``, among packages."""
    pattern = re.compile(rf"linux-image-(\d+\.\d+\.\d+[^-]*(?:-\d[\w.]*)?-{FLAVOUR})")
    found = [match[1] for match in map(pattern.fullmatch, names) if match]
    if version != NEWEST:
        wanted = numbers(version)
        found = [each for each in found if numbers(each)[: len(wanted)] == wanted]
    if not found:
        raise UnavailableError(f"no Linux {version} in the suites of Debian that can be read here")
    return max(found, key=numbers)


if __name__ == "__main__":
    main(sys.argv[1:])
