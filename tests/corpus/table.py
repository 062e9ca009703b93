"""The table of a run: one line for each project, programs and objects by category."""

from __future__ import annotations

import collections
from typing import Any

from tests.corpus.verdict import AGREE, BOTH_FAIL, LIBBPF_FAILS, WE_FAIL

__all__ = ["print_table"]

CATEGORIES = (AGREE, BOTH_FAIL, LIBBPF_FAILS, WE_FAIL)


def print_table(results: list[dict[str, Any]]) -> None:
    """Print how many objects and programs of each project fall into which category."""
    projects: dict[str, collections.Counter[str]] = {}
    for result in results:
        project = result["object"].split("/")[0] if "/" in result["object"] else "."
        for line in (projects.setdefault(project, collections.Counter()), _total(projects)):
            _count(line, result)
    heads = ["objects", *(f"o {each}" for each in CATEGORIES)]
    heads += ["programs", *(f"p {each}" for each in CATEGORIES), "code same", "other", "trouble"]
    width = max((len(name) for name in projects), default=0)
    print(" " * width, *heads, sep="  ")
    for name in sorted(projects, key=lambda name: (name == "all", name)):
        cells = (f"{projects[name][head]:{len(head)}}" for head in heads)
        print(f"{name:{width}}", *cells, sep="  ")


def _total(projects: dict[str, collections.Counter[str]]) -> collections.Counter[str]:
    return projects.setdefault("all", collections.Counter())


def _count(line: collections.Counter[str], result: dict[str, Any]) -> None:
    line["objects"] += 1
    line[f"o {result['category']}"] += 1
    line["trouble"] += bool(result["trouble"])
    for each in result["programs"].values():
        line["programs"] += 1
        line[f"p {each['category']}"] += 1
        line["code same"] += each["code"] == ""
        line["other"] += bool(each["code"])
