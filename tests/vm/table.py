"""The guide's table of features and kernels, made of what tests did there.

    python -m tests.vm.table RELEASE=RESULTS...   take these runs in, then write the page
    python -m tests.vm.table                      write the page again

RESULTS are what ``make test-kernel`` leaves in build/vm, and what ``pytest --junitxml`` writes of
this machine's own kernel; a RELEASE is a column's head. Of several runs of a release, which may be
of some tests only, the last one counts. `KEPT` holds for every feature whether its tests passed, or
why one of them was skipped; failures are not taken in.
"""

from __future__ import annotations

import json
import pathlib
import re
import sys
from collections.abc import Mapping
from xml.etree import ElementTree as ET

ROOT = pathlib.Path(__file__).parents[2]
KEPT = ROOT / "tests" / "data" / "kernels.json"
PAGE = ROOT / "pyebpf" / "guide" / "kernels.md"
YES, FAILED = "yes", "failed"

# Group -> feature -> tests below tests/kernel that show it by its effect. A name without brackets
# stands for all its parameters.
FEATURES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Maps": {
        "hashes of every kind, with look-up and deletion in one": (
            "maps/test_hash.py::test_every_kind_of_hash_is_a_mapping",
        ),
        "array as memory (`Map.memory`)": (
            "maps/test_array.py::test_memory_is_the_array_itself_and_outlives_the_map",
        ),
        "longest prefix match": ("maps/test_lpm_trie.py::test_the_longest_prefix_wins",),
        "queue and stack": ("maps/test_queue.py::test_values_come_out_in_the_kinds_order",),
        "bloom filter": ("maps/test_queue.py::test_a_bloom_filter_knows_what_it_may_hold",),
        "maps of maps": ("maps/test_map_in_map.py::test_objects_go_in_and_come_out_by_id",),
        "tail calls": (
            "maps/test_prog_array.py::test_a_tail_call_is_taken_to_the_program_in_the_slot",
        ),
        "task storage": (
            "maps/test_local_storage.py::"
            "test_a_program_and_this_process_share_the_storage_of_a_task",
        ),
        "socket storage": (
            "maps/test_local_storage.py::"
            "test_a_program_and_this_process_share_the_storage_of_a_socket",
        ),
        "cgroup storage": ("maps/test_cgroup_storage.py::test_each_attachment_has_a_value",),
        "stack traces": (
            "maps/test_stack_trace.py::test_kernel_frames_have_the_names_of_kallsyms",
        ),
        "redirection to devices": (
            "maps/test_redirect.py::test_a_devmap_sends_packets_to_its_device",
        ),
        "programs of device and CPU maps, in live test runs": (
            "maps/test_redirect.py::test_a_program_of_a_devmap_sees_what_is_redirected",
            "maps/test_redirect.py::test_a_program_of_a_cpumap_sees_what_is_redirected",
        ),
        "in-kernel copies and look-ups of many keys": (
            "maps/test_bulk.py::test_a_signal_handler_may_use_it_too",
        ),
        "arena": ("test_arena.py::test_programs_and_python_see_the_same_globals",),
    },
    "Programs": {
        "globals, functions, many sections": tuple(
            f"test_loader.py::test_programs_return_what_their_source_says[{each}]"
            for each in ("globals", "subprogs", "sections")
        ),
        "callbacks": ("test_loader.py::test_programs_return_what_their_source_says[callbacks]",),
        "signed division, byte swaps, far jumps": tuple(
            f"test_newer_instructions.py::test_a_program_returns_what_its_source_says[{each}-6.6]"
            for each in ("signed_numbers--8", "swapped-8", "far-3")
        ),
        "`may_goto`": (
            "test_newer_instructions.py::"
            "test_a_program_returns_what_its_source_says[loop-1000-6.9]",
        ),
        "exceptions": ("test_exceptions.py::test_what_is_thrown_is_what_is_returned",),
        "jump tables": ("test_jump_tables.py::test_each_case_is_its_own",),
        "kernel functions (`bpf_task_acquire`)": (
            "test_externs.py::test_a_function_of_the_kernel_is_called",
        ),
        "functions of modules (`nf_conntrack`)": (
            "test_externs.py::test_a_function_of_a_module_is_called_like_the_kernels",
        ),
        "typed variables of the kernel": (
            "test_externs.py::test_a_variable_of_each_cpu_is_read_through_its_type",
        ),
        "loads by token": ("test_token.py::test_an_object_is_loaded_by_what_is_delegated",),
        "struct_ops": ("test_struct_ops.py::test_a_connection_runs_under_our_control",),
        "struct_ops by link": ("test_struct_ops.py::test_a_link_registers_and_unregisters",),
        "streams of programs": ("test_sys_bpf.py::test_a_silent_program_has_an_empty_stream",),
    },
    "Tracing": {
        "kprobe, kretprobe": ("test_kprobes.py::test_a_kprobe_counts_calls",),
        "ksyscall": ("test_kprobes.py::test_a_ksyscall_needs_just_the_calls_name",),
        "kprobe.multi": ("test_kprobes.py::test_many_functions_by_pattern_and_by_name",),
        "kprobe.session": ("test_kprobes.py::test_a_session_runs_at_entry_and_return",),
        "uprobe, uretprobe": ("test_links.py::test_a_uprobe_sees_calls_of_a_library_function",),
        "uprobe.multi": ("test_tracing_hooks.py::test_one_link_holds_many_places_of_a_library",),
        "uprobe.session": ("test_tracing_hooks.py::test_a_session_runs_at_entry_and_return",),
        "USDT in every process": ("test_usdt.py::test_arguments_are_read_where_they_are[each]",),
        "tracepoint, raw_tracepoint, tp_btf": (
            "test_links.py::test_a_section_name_says_where_to_attach",
        ),
        "fexit": ("test_kprobes.py::test_a_program_at_the_entry_or_return_of_a_function[fexit]",),
        "fentry, with its cookie": (
            "test_kprobes.py::test_a_program_at_the_entry_or_return_of_a_function[fentry]",
        ),
        "fentry, fexit of other programs": (
            "test_attach_target.py::test_the_entry_of_another_program_is_seen",
            "test_attach_target.py::test_what_another_program_returns_is_seen",
        ),
        "fentry of a module's function": (
            "test_attach_target.py::test_a_function_of_a_module_is_seen",
        ),
        "cookies of tracing programs": ("test_kprobes.py::test_a_tracing_program_has_a_cookie",),
        "fmod_ret": ("test_rarer_hooks.py::test_a_function_returns_what_a_program_says",),
        "fsession": (
            "test_rarer_hooks.py::test_a_session_runs_at_the_entry_and_the_return_of_a_function",
        ),
        "freplace": (
            "test_kprobes.py::test_a_program_takes_the_place_of_another_programs_function",
        ),
        "LSM": ("test_kprobes.py::test_a_security_program_denies",),
        "LSM, sleepable": ("test_rarer_hooks.py::test_a_security_program_may_sleep",),
        "LSM of a cgroup": (
            "test_rarer_hooks.py::test_a_security_program_watches_one_control_group",
        ),
        "writable raw tracepoint": (
            "test_rarer_hooks.py::test_a_raw_tracepoint_writes_what_it_is_given",
        ),
        "perf events by link": (
            "test_tracing_hooks.py::test_a_software_counter_runs_a_program_at_each_event",
        ),
        "perf events of a cgroup": (
            "test_tracing_hooks.py::test_only_a_cgroups_processes_are_counted",
        ),
        "iterators over tasks": (
            "test_tracing_hooks.py::test_an_iterator_over_tasks_is_read_like_a_file",
        ),
        "iterators over one process": (
            "test_tracing_hooks.py::test_an_iterator_over_one_process_sees_its_threads_alone",
        ),
        "iterators over a map": (
            "test_tracing_hooks.py::test_an_iterator_walks_the_elements_of_a_map",
        ),
    },
    "Networking": {
        "XDP by link": ("test_links.py::test_xdp_sees_the_packets_of_an_interface",),
        "XDP by netlink": ("test_xdp_netlink.py::test_it_sees_packets_while_it_is_open",),
        "tcx": (
            "test_tc.py::test_a_classifier_decides_about_packets[tcx link-ingress]",
            "test_tc.py::test_a_classifier_decides_about_packets[tcx link-egress]",
        ),
        "clsact": (
            "test_tc.py::test_a_classifier_decides_about_packets[clsact-ingress]",
            "test_tc.py::test_a_classifier_decides_about_packets[clsact-egress]",
        ),
        "tc actions": ("test_tc.py::test_an_action_runs_for_every_packet",),
        "netfilter": ("test_net_hooks.py::test_a_netfilter_program_drops_packets",),
        "socket filter": ("test_links.py::test_a_socket_filter_sees_what_the_socket_receives",),
        "reuseport": ("test_net_hooks.py::test_a_program_chooses_among_sockets_of_a_port",),
        "socket look-up": ("test_net_hooks.py::test_a_lookup_steers_a_port_nobody_listens_on",),
        "flow dissector": ("test_net_hooks.py::test_a_flow_dissector_takes_packets_apart",),
        "sockmap: parser and verdict": (
            "test_net_hooks.py::test_a_parser_and_a_verdict_send_data_elsewhere[attach]",
        ),
        "sockmap: verdict without parser, by link": (
            "test_net_hooks.py::test_a_verdict_without_a_parser",
        ),
        "sockmap: messages": ("test_net_hooks.py::test_a_verdict_on_what_is_sent[attach]",),
        "netkit": ("test_netkit.py::test_a_program_decides_about_what_leaves_an_end",),
        "light-weight tunnels": (
            "test_net_hooks.py::test_light_weight_tunnels_take_a_pinned_program",
        ),
        "AF_XDP": (
            "xsk/test_packets.py::test_every_frame_is_received_in_order",
            "xsk/test_packets.py::test_every_frame_is_sent_in_order",
        ),
        "AF_XDP without copying (`virtio_net`)": (
            "xsk/test_zero_copy.py::test_every_frame_comes_and_goes_in_order",
        ),
    },
    "cgroups": {
        **{
            label: tuple(
                f"test_cgroup.py::test_a_hook_sees_and_decides[{hook}-{way}]"
                for hook in hooks.split()
                for way in ("link", "attach")
            )
            for label, hooks in {
                "ingress, egress": "ingress egress",
                "socket create, bind": "sock_create bind4 bind6 post_bind4 post_bind6",
                "socket release": "sock_release",
                "connect, sendmsg, recvmsg": (
                    "connect4 connect6 sendmsg4 sendmsg6 recvmsg4 recvmsg6"
                ),
                "getpeername, getsockname": ("getpeername4 getpeername6 getsockname4 getsockname6"),
                "the same for Unix sockets": (
                    "connect_unix sendmsg_unix recvmsg_unix getpeername_unix getsockname_unix"
                ),
                "getsockopt, setsockopt": "getsockopt setsockopt",
                "sysctl, device": "sysctl dev",
            }.items()
        },
        "sock_ops": ("test_cgroup.py::test_sock_ops_see_a_connection",),
        "order by anchors": ("test_cgroup.py::test_programs_are_ordered_by_anchors",),
    },
    "Readers": {
        "perf ring": ("test_readers_perf.py::test_every_record_comes_in_order_with_its_content",),
        "ring buffer": ("test_readers_ring.py::test_every_record_comes_in_order_with_its_content",),
        "user ring buffer": ("test_user_ring.py::test_samples_arrive_in_order",),
        "trace pipe": ("test_trace_pipe.py::test_a_line_says_who_printed_it",),
    },
}

HEAD = """\
# Features and kernels

What was seen to work, feature by feature: each *yes* is a test that passed under that kernel by the
feature's effect. **no** is a kernel older than the feature; **off** one that is new enough but was
built without it, or whose policy forbids it. Either way the library raises `NotSupportedError` or
`PrivilegeError` that names the feature, and its tests see that.

This page is written by `python -m tests.vm.table` from runs of the kernel tests; do not edit it.
"""


def outcomes(results: pathlib.Path) -> dict[str, str]:
    """Return what became of each test of a run: `YES`, `FAILED`, or why it was skipped."""
    found = {}
    for case in ET.parse(results).iter("testcase"):
        path = case.get("classname", "").replace("tests.kernel.", "", 1).replace(".", "/")
        skipped = case.find("skipped")
        outcome = YES if skipped is None else skipped.get("message", "skipped")
        failed = case.find("failure") is not None or case.find("error") is not None
        found[f"{path}.py::{case.get('name')}"] = FAILED if failed else outcome
    return found


def taken(found: Mapping[str, str]) -> dict[str, str]:
    """Return what is kept of the outcomes under one kernel."""
    failed = [test for test, outcome in found.items() if outcome == FAILED]
    if failed:
        sys.exit(f"failed, so mend first: {', '.join(failed)}")
    features = {}
    for tests in FEATURES.values():
        for feature, names in tests.items():
            chosen = [found[test] for name in names for test in found if matches(test, name)]
            if not chosen:
                sys.exit(f"no test of {feature!r} has run")
            features[feature] = next((each for each in chosen if each != YES), YES)
    return features


def matches(test: str, name: str) -> bool:
    """Say whether a test is the named one, or that one with parameters."""
    return test == name or test.startswith(f"{name}[")


def cell(release: str, outcome: str) -> str:
    """Return what the table says."""
    if outcome == YES:
        return YES
    since = re.search(r"\(since Linux ([0-9.]+)\)", outcome)
    return "no" if since and numbers(release) < numbers(since[1]) else "off"


def numbers(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version."""
    return tuple(int(each) for each in re.findall(r"\d+", version)[:2])


def page(kept: Mapping[str, Mapping[str, str]]) -> str:
    """Return the guide's page of what is kept of each kernel."""
    releases = sorted(kept, key=numbers)
    lines = [HEAD]
    lines.append("| | " + " | ".join(releases) + " |")
    lines.append("|---|" + "---|" * len(releases))
    for group, tests in FEATURES.items():
        lines.append(f"| **{group}** |" + " |" * len(releases))
        for feature in tests:
            cells = (cell(each, kept[each][feature]) for each in releases)
            lines.append(f"| {feature} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Take runs in, and write the page."""
    kept = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
    found: dict[str, dict[str, str]] = {}
    for argument in arguments:
        release, _, results = argument.partition("=")
        found.setdefault(release, {}).update(outcomes(pathlib.Path(results)))
    kept |= {release: taken(each) for release, each in found.items()}
    KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(kept), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
