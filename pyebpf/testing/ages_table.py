"""What kernels answered when they were asked: made by ``python -m tests.support.ages``.

By release: map types, creation flags of maps, program types, commands of bpf(2), and the names of
features with underscores for blanks. Read by `pyebpf.testing.ages`.
"""

from __future__ import annotations

__all__ = ["AGES"]

AGES = {
    "6.18": (
        "HASH ARRAY PROG_ARRAY PERF_EVENT_ARRAY PERCPU_HASH PERCPU_ARRAY STACK_TRACE "
        "CGROUP_ARRAY LRU_HASH LRU_PERCPU_HASH LPM_TRIE ARRAY_OF_MAPS HASH_OF_MAPS DEVMAP "
        "SOCKMAP CPUMAP XSKMAP SOCKHASH CGROUP_STORAGE REUSEPORT_SOCKARRAY "
        "PERCPU_CGROUP_STORAGE QUEUE STACK SK_STORAGE DEVMAP_HASH STRUCT_OPS RINGBUF "
        "INODE_STORAGE TASK_STORAGE BLOOM_FILTER USER_RINGBUF CGRP_STORAGE ARENA",
        "NO_PREALLOC NO_COMMON_LRU NUMA_NODE RDONLY WRONLY STACK_BUILD_ID ZERO_SEED "
        "RDONLY_PROG WRONLY_PROG CLONE MMAPABLE PRESERVE_ELEMS INNER_MAP LINK PATH_FD "
        "VTYPE_BTF_OBJ_FD TOKEN_FD SEGV_ON_FAULT NO_USER_CONV",
        "SOCKET_FILTER KPROBE SCHED_CLS SCHED_ACT TRACEPOINT XDP PERF_EVENT CGROUP_SKB "
        "CGROUP_SOCK LWT_IN LWT_OUT LWT_XMIT SOCK_OPS SK_SKB CGROUP_DEVICE SK_MSG "
        "RAW_TRACEPOINT CGROUP_SOCK_ADDR LWT_SEG6LOCAL SK_REUSEPORT FLOW_DISSECTOR "
        "CGROUP_SYSCTL RAW_TRACEPOINT_WRITABLE CGROUP_SOCKOPT TRACING STRUCT_OPS EXT LSM "
        "SK_LOOKUP SYSCALL NETFILTER",
        "MAP_CREATE MAP_LOOKUP_ELEM MAP_UPDATE_ELEM MAP_DELETE_ELEM MAP_GET_NEXT_KEY "
        "PROG_LOAD OBJ_PIN OBJ_GET PROG_ATTACH PROG_DETACH PROG_TEST_RUN PROG_GET_NEXT_ID "
        "MAP_GET_NEXT_ID PROG_GET_FD_BY_ID MAP_GET_FD_BY_ID OBJ_GET_INFO_BY_FD PROG_QUERY "
        "RAW_TRACEPOINT_OPEN BTF_LOAD BTF_GET_FD_BY_ID TASK_FD_QUERY "
        "MAP_LOOKUP_AND_DELETE_ELEM MAP_FREEZE BTF_GET_NEXT_ID MAP_LOOKUP_BATCH "
        "MAP_LOOKUP_AND_DELETE_BATCH MAP_UPDATE_BATCH MAP_DELETE_BATCH LINK_CREATE "
        "LINK_UPDATE LINK_GET_FD_BY_ID LINK_GET_NEXT_ID ENABLE_STATS ITER_CREATE "
        "LINK_DETACH PROG_BIND_MAP TOKEN_CREATE PROG_STREAM_READ_BY_FD",
        "cookies_of_attachments names_with_dots expected_attach_types "
        "addresses_of_kernel_functions function_pointers_in_programs types_of_functions "
        "memory_mapping_of_array_maps names_of_maps_and_programs "
        "reads_that_say_whose_memory BTF_functions BTF_data_sections "
        "BTF_linkage_of_functions BTF_floating-point_types BTF_tags_of_declarations "
        "BTF_tags_of_types BTF_64-bit_enumerations BTF_optional_data_sections",
    ),
}
