/* Where a process waits: the time that its threads are off the CPU, added up by stack.
 *
 *   sched_switch, thread leaves:  waiting[thread] = {now, its stacks}
 *   sched_switch, thread comes:   asleep[stacks] += now - then
 */
#include "task.h"

enum { BPF_F_USER_STACK = 1 << 8 };

#define DEPTH 127

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Numbers of stacks; below 0 if there is none (-EFAULT: a kernel thread) or no room (-EEXIST). */
struct stack_pair {
	__s32 kernel;
	__s32 user;
};

struct pause {
	__u64 since;
	struct stack_pair where;
};

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 16384);
	__uint(key_size, 4);
	__uint(value_size, DEPTH * 8);
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct pause);
} waiting SEC(".maps");

/* In ns. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct stack_pair);
	__type(value, __u64);
} asleep SEC(".maps");

/* The process (thread group); set before the load. */
const volatile __u32 target_pid = 0;

static __always_inline void leave(void *ctx)
{
	__u64 current = bpf_get_current_pid_tgid();
	__u32 thread = (__u32)current;
	struct pause pause;

	if (current >> 32 != target_pid)
		return;
	pause.since = bpf_ktime_get_ns();
	pause.where.kernel = bpf_get_stackid(ctx, &stacks, 0);
	pause.where.user = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	bpf_map_update_elem(&waiting, &thread, &pause, BPF_ANY);
}

static __always_inline void come(__u32 thread)
{
	struct pause *pause = bpf_map_lookup_elem(&waiting, &thread);
	struct stack_pair where;
	__u64 duration, *total;

	if (!pause)
		return;
	where = pause->where;
	duration = bpf_ktime_get_ns() - pause->since;
	total = bpf_map_lookup_elem(&asleep, &where);
	if (total)
		atomic_add(total, duration);
	else
		bpf_map_update_elem(&asleep, &where, &duration, BPF_ANY);
	bpf_map_delete_elem(&waiting, &thread);
}

SEC("tracepoint/sched/sched_switch")
int on_switch(struct trace_event_raw_sched_switch *ctx)
{
	come(ctx->next_pid);
	leave(ctx);
	return 0;
}
