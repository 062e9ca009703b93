"""The report of all probes, on made-up kernels: without root, and each by its age."""

from __future__ import annotations

import json

import pytest

from pyebpf import features
from pyebpf.features import Answer, Finding
from pyebpf.testing import FakeKernel
from pyebpf.uapi.bpf import MapType, ProgType


@pytest.mark.parametrize("age", ["5.10", "6.1", "6.12"])
def test_a_made_up_kernel_has_what_is_as_old(age):
    """Types of maps and programs by their releases; the whole is data."""
    limit = tuple(map(int, age.split(".")))
    with FakeKernel(age):
        report = features.report(helpers=False)
    for kinds, group in ((MapType, "map_types"), (ProgType, "program_types")):
        for kind in kinds:
            if kind and kind.since is not None:
                known = tuple(map(int, kind.since.split("."))) <= limit
                assert (report.groups[group][str(kind)].answer is Answer.YES) == known, kind
    assert json.loads(json.dumps(report.to_dict()))["release"] == report.release


def test_what_is_not_modelled_cannot_be_told():
    """It is no "no", and says what is missing."""
    with FakeKernel():
        found = features.report(helpers=False).groups["commands"]["BPF_TOKEN_CREATE"]
    assert found.answer is Answer.UNKNOWN
    assert "BPF_TOKEN_CREATE" in found.reason


def test_a_finding_is_shown_without_what_is_not_said():
    """Ready for JSON."""
    assert Finding(answer=Answer.NO).to_dict() == {"answer": "no"}
    assert Finding(answer=Answer.YES, since="5.8", value="2").to_dict() == {
        "answer": "yes",
        "since": "5.8",
        "value": "2",
    }
    assert Finding(answer=Answer.UNKNOWN, reason="EPERM").to_dict() == {
        "answer": "cannot tell",
        "reason": "EPERM",
    }
