/* Kinds of maps that need a program to see their effect; each program says in its result what it found. */
#include "bpf.h"

enum {
	BPF_MAP_TYPE_CGROUP_ARRAY = 8,
	BPF_MAP_TYPE_DEVMAP = 14,
	BPF_MAP_TYPE_CPUMAP = 16,
	BPF_MAP_TYPE_XSKMAP = 17,
	BPF_MAP_TYPE_DEVMAP_HASH = 25,
	BPF_MAP_TYPE_INODE_STORAGE = 28,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
	BPF_MAP_TYPE_CGRP_STORAGE = 32,
};

enum {
	BPF_F_STACK_BUILD_ID = 1 << 5,
	BPF_F_USER_STACK = 1 << 8,
	BPF_LOCAL_STORAGE_GET_F_CREATE = 1 << 0,
};

struct bpf_spin_lock {
	__u32 val;
};

struct bpf_sock;

/* A socket's packet, as far as its socket. */
struct packet {
	__u32 before[42];
	struct bpf_sock *sk __attribute__((aligned(8)));
};

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct visits {
	__u64 count;
	__u32 last;
	__u32 unused;
};

#define STORAGE(kind, name)                                                                                            \
	struct {                                                                                                       \
		__uint(type, kind);                                                                                    \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                                                  \
		__type(key, int);                                                                                      \
		__type(value, struct visits);                                                                          \
	} name SEC(".maps")

STORAGE(BPF_MAP_TYPE_TASK_STORAGE, task_storage);
STORAGE(BPF_MAP_TYPE_CGRP_STORAGE, cgroup_storage);
STORAGE(BPF_MAP_TYPE_SK_STORAGE, socket_storage);
STORAGE(BPF_MAP_TYPE_INODE_STORAGE, inode_storage);

struct guarded {
	struct bpf_spin_lock lock;
	__u32 left;
	__u32 right;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct guarded);
} guarded SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__uint(value_size, 4);
} cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 64);
	__uint(key_size, 4);
	__uint(value_size, 127 * 8);
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 64);
	__uint(map_flags, BPF_F_STACK_BUILD_ID);
	__uint(key_size, 4);
	__uint(value_size, 127 * 32);
} build_ids SEC(".maps");

struct target {
	__u32 number;
	__u32 program;
};

#define REDIRECTING(kind, map, slot)                                                                                   \
	struct {                                                                                                       \
		__uint(type, kind);                                                                                    \
		__uint(max_entries, 2);                                                                                \
		__type(key, __u32);                                                                                    \
		__type(value, slot);                                                                                   \
	} map SEC(".maps");                                                                                            \
                                                                                                                       \
	SEC("xdp")                                                                                                     \
	int to_##map(struct xdp_md *ctx)                                                                               \
	{                                                                                                              \
		return bpf_redirect_map(&map, 1, XDP_DROP);                                                            \
	}

REDIRECTING(BPF_MAP_TYPE_DEVMAP, devices, struct target)
REDIRECTING(BPF_MAP_TYPE_DEVMAP_HASH, device_hash, struct target)
REDIRECTING(BPF_MAP_TYPE_CPUMAP, processors, struct target)
REDIRECTING(BPF_MAP_TYPE_XSKMAP, xsks, __u32)

__u64 behind;

SEC("xdp/devmap")
int at_device(struct xdp_md *ctx)
{
	atomic_add(&behind, 1);
	return XDP_DROP;
}

SEC("xdp/cpumap")
int at_processor(struct xdp_md *ctx)
{
	atomic_add(&behind, 1);
	return XDP_DROP;
}

#define COUNT(visits)                                                                                                  \
	({                                                                                                             \
		int last = -1;                                                                                         \
		if (visits) {                                                                                          \
			visits->count++;                                                                               \
			last = visits->last;                                                                           \
			visits->last = visits->count;                                                                  \
		}                                                                                                      \
		last;                                                                                                  \
	})

SEC("syscall")
int visit_task(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct visits *visits = bpf_task_storage_get(&task_storage, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	return COUNT(visits);
}

SEC("cgroup_skb/egress")
int visit_socket(struct packet *skb)
{
	struct bpf_sock *socket = skb->sk;
	struct visits *visits;

	if (socket) {
		visits = bpf_sk_storage_get(&socket_storage, socket, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		COUNT(visits);
	}
	return 1;
}

SEC("raw_tp/sys_enter")
int under_cgroup(void *ctx)
{
	return bpf_current_task_under_cgroup(&cgroups, 1);
}

SEC("raw_tp/sys_enter")
int read_counter(void *ctx)
{
	return bpf_perf_event_read(&counters, BPF_F_CURRENT_CPU);
}

SEC("raw_tp/sys_enter")
int kernel_stack(void *ctx)
{
	return bpf_get_stackid(ctx, &stacks, 0);
}

SEC("raw_tp/sys_enter")
int user_stack(void *ctx)
{
	return bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
}

SEC("raw_tp/sys_enter")
int user_build_ids(void *ctx)
{
	return bpf_get_stackid(ctx, &build_ids, BPF_F_USER_STACK);
}
