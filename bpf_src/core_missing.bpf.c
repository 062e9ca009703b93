/* Fields and types that no kernel has: fine behind a check, refused by the verifier where they are used. */
#include "task.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct task_struct___imagined {
	int no_such_member;
} __attribute__((preserve_access_index));

__u32 value;

/* Loads: the access is dead code once the check is known to be 0. */
SEC("raw_tracepoint/sys_enter")
int guarded(void *ctx)
{
	struct task_struct___imagined *task = (void *)bpf_get_current_task();

	value = 1;
	if (bpf_core_field_exists(task->no_such_member))
		value = BPF_CORE_READ(task, no_such_member);
	return 0;
}

/* Does not load, and the message must name task_struct and no_such_member. */
SEC("raw_tracepoint/sys_enter")
int used(void *ctx)
{
	struct task_struct___imagined *task = (void *)bpf_get_current_task();

	value = BPF_CORE_READ(task, no_such_member);
	return 0;
}
