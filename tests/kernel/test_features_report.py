"""The report of all probes: beside bpftool's, and beside the releases that brought each thing."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from pyebpf import features
from pyebpf.features import Answer, Finding, Report, feature
from pyebpf.uapi.bpf import AttachType, Cmd, LinkType, MapType, ProgFlag, ProgType
from pyebpf.uapi.helpers import FuncId
from tests.support import kernel
from tests.support.amount import FEWER
from tests.support.bpftool import bpftool_json
from tests.support.children import (
    CAP_BPF,
    CAP_NET_ADMIN,
    CAP_PERFMON,
    outcome,
    outcome_as_nobody,
    outcome_with,
)

# Where programs load slowly only these types are asked for their helpers.
FEW = [
    ProgType.XDP,
    ProgType.SCHED_CLS,
    ProgType.SOCKET_FILTER,
    ProgType.TRACEPOINT,
    ProgType.CGROUP_SOCK_ADDR,
    ProgType.CGROUP_SKB,
    ProgType.SK_LOOKUP,
    ProgType.LSM,
]


@pytest.fixture(scope="module")
def report(real_kernel) -> Report:
    return features.report(helpers=True if FEWER == 1 else FEW)


def expected(since: str | None) -> bool:
    return since is None or kernel.version() >= kernel.parse_version(since)


def answers(findings) -> dict[str, str]:
    return {name: each.answer.value for name, each in findings.items()}


# --- bpftool -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs(real_kernel):
    return bpftool_json("feature", "probe", "full")


# It tries one function to attach to, which a policy, or a kernel without such functions, refuses.
NEEDING_A_TARGET = {"tracing", "ext", "lsm"}
MISC = {
    "have_large_insn_limit": ("limits", "more than 4096 instructions"),
    "have_bounded_loops": ("limits", "loops with an end"),
    "have_v2_isa_extension": ("instructions", "instruction set v2"),
    "have_v3_isa_extension": ("instructions", "instruction set v3"),
    "have_v4_isa_extension": ("instructions", "instruction set v4"),
}


def test_map_types_agree_with_bpftool(report, theirs):
    """Every type that bpftool knows."""
    ours = {
        f"have_{name.removeprefix('BPF_MAP_TYPE_').lower()}_map_type": each.answer is Answer.YES
        for name, each in report.groups["map_types"].items()
    }
    assert {name: ours[name] for name in theirs["map_types"]} == theirs["map_types"]


def test_program_types_agree_with_bpftool(report, theirs):
    """Every type that bpftool knows; where it needs a target, its "no" may be a "cannot tell"."""
    for name, available in theirs["program_types"].items():
        kind = name.removeprefix("have_").removesuffix("_prog_type")
        ours = report.groups["program_types"][f"BPF_PROG_TYPE_{kind.upper()}"]
        if kind in NEEDING_A_TARGET and not available:
            continue
        assert (ours.answer is Answer.YES) == available, name


def test_limits_and_instruction_sets_agree_with_bpftool(report, theirs):
    """Everything it calls miscellaneous."""
    for name, available in theirs["misc"].items():
        group, ours = MISC[name]
        if name == "have_v4_isa_extension" and not expected("6.6"):
            continue  # it asks for long jumps alone, which Linux 6.1's stable releases have too
        assert (report.groups[group][ours].answer is Answer.YES) == available, name


def test_helpers_agree_with_bpftool(report, theirs):
    """Name by name for every type of program."""
    found = {
        name.removesuffix("_available_helpers"): set(available)
        for name, available in theirs["helpers"].items()
    }
    if "bpf_xdp_adjust_head" in found["sk_lookup"]:
        pytest.skip("this bpftool does not understand how this kernel refuses helpers")
    known = set().union(*found.values())
    for kind, available in found.items():
        ours = report.groups.get(f"helpers/BPF_PROG_TYPE_{kind.upper()}")
        if ours is None:
            continue
        if kind in {*NEEDING_A_TARGET, "struct_ops"}:
            assert {each.answer for each in ours.values()} <= {Answer.UNKNOWN, Answer.NO}
            continue
        yes = {name for name, each in ours.items() if each.answer is Answer.YES}
        assert yes & known == available, kind


def test_settings_and_configuration_agree_with_bpftool(report, theirs):
    """Sysctls, and each option that both know."""
    for name, value in theirs["system_config"].items():
        if name.startswith("CONFIG_"):
            ours = report.groups["configuration"].get(name)
        else:
            ours = report.groups["settings"][name]
        if ours is not None and ours.answer is not Answer.UNKNOWN:
            assert ours.value == (None if value is None else str(value)), name


# --- releases ----------------------------------------------------------------------------------

# What a policy may keep a machine from telling even its root.
POLICED = {
    "BPF_TRACE_RAW_TP",
    "BPF_TRACE_FENTRY",
    "BPF_TRACE_FEXIT",
    "BPF_TRACE_FSESSION",
    "BPF_TRACE_FENTRY_MULTI",
    "BPF_TRACE_FEXIT_MULTI",
    "BPF_TRACE_FSESSION_MULTI",
    "BPF_MODIFY_RETURN",
    "BPF_LSM_MAC",
    "BPF_LINK_TYPE_TRACING_MULTI",
}
CONFIGURED = {
    "BPF_LIRC_MODE2",
    "BPF_TRACE_KPROBE_MULTI",
    "BPF_TRACE_KPROBE_SESSION",
    "BPF_NETKIT_PRIMARY",
    "BPF_NETKIT_PEER",
    "BPF_LINK_TYPE_KPROBE_MULTI",
    "BPF_LINK_TYPE_NETKIT",
}


@pytest.mark.parametrize(
    ("group", "members"),
    [
        ("commands", list(Cmd)),
        ("attach_types", list(AttachType)),
        ("link_types", [each for each in LinkType if each]),
        ("program_flags", list(ProgFlag)),
    ],
    ids=["commands", "attach_types", "link_types", "program_flags"],
)
def test_what_there_is_came_with_its_release(report, group, members):
    """Yes since then and no before, as far as it is no question of configuration or policy."""
    found = report.groups[group]
    assert set(found) == {str(each) for each in members}
    for each in members:
        finding = found[str(each)]
        if finding.answer is Answer.UNKNOWN:
            assert finding.reason
            assert str(each) in POLICED
            continue
        if str(each) in CONFIGURED and finding.answer is Answer.NO:
            continue
        if each != LinkType.STRUCT_OPS:  # the word is older than the links
            assert finding.since == each.since
        assert (finding.answer is Answer.YES) == expected(finding.since), each


@pytest.mark.parametrize("group", ["instructions", "limits", "btf_kinds"])
def test_what_programs_may_hold_came_with_its_release(report, group):
    """Instruction sets, sizes, kinds of types."""
    for name, finding in report.groups[group].items():
        assert (finding.answer is Answer.YES) == expected(finding.since), name


# These belong to types whose programs name a target, or to configurations that not all have.
RARE = {
    "probe_write_user",
    "override_return",
    "rc_repeat",
    "rc_keydown",
    "rc_pointer_rel",
    "tcp_send_ack",
    "seq_printf",
    "seq_write",
    "seq_printf_btf",
    "inode_storage_get",
    "inode_storage_delete",
    "bprm_opts_set",
    "ima_inode_hash",
    "ima_file_hash",
    "d_path",
    "get_func_arg",
    "get_func_ret",
    "get_func_arg_cnt",
}


def test_a_helper_may_be_called_by_somebody_since_its_release(report):
    """And by nobody before."""
    groups = [found for name, found in report.groups.items() if name.startswith("helpers/")]
    for each in FuncId:
        if not each:
            continue
        anybody = any(found[f"bpf_{each.name}"].answer is Answer.YES for found in groups)
        if expected(each.since) and not anybody and FEWER == 1:
            assert each.name in RARE
        if not expected(each.since):
            assert not anybody, each


@pytest.mark.parametrize(
    ("kind", "name", "answer"),
    [
        (ProgType.XDP, FuncId.redirect_map, "yes"),
        (ProgType.XDP, FuncId.skb_store_bytes, "no"),
        (ProgType.SCHED_CLS, FuncId.skb_store_bytes, "yes"),
        (ProgType.SOCKET_FILTER, FuncId.redirect, "no"),
        (ProgType.SOCKET_FILTER, FuncId.map_lookup_elem, "yes"),
        (ProgType.TRACEPOINT, FuncId.get_stackid, "yes"),
        (ProgType.CGROUP_SOCK_ADDR, FuncId.bind, "yes"),
        (ProgType.CGROUP_SKB, FuncId.bind, "no"),
        (ProgType.LSM, FuncId.map_lookup_elem, "cannot tell"),
    ],
    ids=str,
)
def test_helpers_belong_to_types(report, kind, name, answer):
    """A few that everybody knows."""
    found = report.groups[f"helpers/{kind}"][f"bpf_{name.name}"]
    if kind == ProgType.LSM and found.answer is Answer.NO:
        assert report.groups["program_types"][str(kind)].answer is Answer.NO
        return
    assert found.answer.value == answer


# --- as data -----------------------------------------------------------------------------------


def test_the_report_is_plain_data(report):
    """It goes through JSON unharmed; each answer is one of three, and "cannot tell" says why."""
    data = json.loads(json.dumps(report.to_dict()))
    assert data["release"] == os.uname().release
    assert data["machine"] == os.uname().machine
    for findings in data["groups"].values():
        for finding in findings.values():
            assert finding["answer"] in {"yes", "no", "cannot tell"}
            assert bool(finding.get("reason")) == (finding["answer"] == "cannot tell")


def test_nothing_is_left_and_nothing_is_asked_twice(report):
    """Answers are remembered (conftest looks for what is left behind)."""
    again = features.report(helpers=False)
    for name, findings in again.groups.items():
        assert answers(findings) == answers(report.groups[name])
    assert not any(name.startswith("helpers/") for name in again.groups)


def test_no_privilege_is_no_no(report):
    """As user nobody nothing turns from yes to no: it cannot be told."""

    def differences() -> str:
        known = {name: answers(found) for name, found in report.groups.items()}
        feature._answers.clear()
        mine = features.report(helpers=False).groups
        return str(
            sorted(
                (group, name, known[group][name], each.answer.value)
                for group, found in mine.items()
                for name, each in found.items()
                if each.answer is not Answer.UNKNOWN and each.answer.value != known[group][name]
            )
        )

    def as_nobody() -> None:
        raise AssertionError(differences())

    assert outcome_as_nobody(as_nobody) == "AssertionError: []"
    assert outcome(differences) == "[]"


@pytest.mark.parametrize(
    "capabilities",
    [(), (CAP_BPF,), (CAP_BPF, CAP_NET_ADMIN), (CAP_BPF, CAP_PERFMON), (CAP_NET_ADMIN,)],
    ids=str,
)
def test_half_a_privilege_is_no_no(report, capabilities):
    """Daemons have some capabilities: helpers that ask for others cannot be told."""
    kernel.needs("5.8", "CAP_BPF")

    def differences() -> str:
        feature._answers.clear()
        mine = features.report(helpers=FEW).groups
        return str(
            [
                (group, name, report.groups[group][name].answer.value, each.answer.value)
                for group, found in mine.items()
                for name, each in found.items()
                if each.answer not in (Answer.UNKNOWN, report.groups[group][name].answer)
            ]
        )

    assert outcome_with(differences, *capabilities) == "[]"


def test_an_answer_is_no_truth_value():
    """So that nobody takes "cannot tell" for yes."""
    with pytest.raises(TypeError, match="Answer"):
        bool(Answer.UNKNOWN)


def test_what_is_not_mounted_cannot_be_told(tmp_path: pathlib.Path):
    """A directory without anything in it is no "no"; one with others in it is."""
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/kptr_restrict").write_text("1\n")
    (tmp_path / "sys").mkdir()
    groups = features.report(helpers=False, root=str(tmp_path)).groups
    assert groups["settings"]["kptr_restrict"] == Finding(answer=Answer.YES, value="1")
    assert groups["settings"]["bpf_stats_enabled"].answer is Answer.NO
    assert groups["settings"]["lsm"].answer is Answer.UNKNOWN
    assert groups["configuration"]["CONFIG_BPF"].answer is Answer.UNKNOWN


def test_the_newest_types_are_in_the_report(report):
    """Every type that the headers have has a line."""
    assert set(report.groups["map_types"]) == {str(each) for each in MapType if each}
    assert set(report.groups["program_types"]) == {str(each) for each in ProgType if each}
