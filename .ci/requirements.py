"""Print what pip must install for some dependency groups of pyproject.toml, one requirement a line.

pip learnt ``--group`` in 25.1 only, and Debian 12 has 23.0: this reads the same table for any pip.
Arguments: names of groups; without any, only the project's own dependencies.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib


def requirements(groups: dict[str, list[Any]], name: str) -> list[str]:
    """Return the requirements of a group, of included groups too."""
    found: list[str] = []
    for entry in groups[name]:
        found += [entry] if isinstance(entry, str) else requirements(groups, entry["include-group"])
    return found


def main() -> None:
    """Print the requirements of the groups named by the arguments."""
    text = pathlib.Path(__file__).parents[1].joinpath("pyproject.toml").read_text("utf-8")
    project = tomllib.loads(text)
    wanted = list(project["project"]["dependencies"])
    for name in sys.argv[1:]:
        wanted += requirements(project["dependency-groups"], name)
    print("\n".join(dict.fromkeys(wanted)))


if __name__ == "__main__":
    main()
