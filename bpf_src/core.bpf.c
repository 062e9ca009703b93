/* CO-RE relocations of twelve kinds (core_matches has the thirteenth) against the kernel that runs.
 *
 * The programs write what they found to `found`; a test compares it with what the system says otherwise. No local
 * declaration has the kernel's layout, so an access that was not relocated gives nonsense.
 */
#include "task.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define kernel_type __attribute__((preserve_access_index))

/* The same structures as other programs might know them. Text from "___" on is no part of the name. */
struct task_struct___renamed {
	long state;   /* up to 5.13 */
	long __state; /* since 5.14 */
} kernel_type;

struct task_struct___imagined {
	int no_such_member;
} kernel_type;

/* Wider than the kernel's "unsigned int flags": a plain load must shrink. */
struct task_struct___wide {
	unsigned long long flags;
} kernel_type;

struct no_such_struct {
	int x;
} kernel_type;

/* Wrong numbers on purpose. */
enum bpf_prog_type___elsewhere {
	BPF_PROG_TYPE_XDP = 1234,
	BPF_PROG_TYPE_IMAGINED = 1235,
};

struct found {
	__u32 tgid;
	__u32 ppid;
	char comm[TASK_COMM_LEN];

	__u32 comm_size;
	__u32 task_size;
	__u32 missing_size;

	__u32 task_type_exists;
	__u32 missing_type_exists;
	__u32 comm_exists;
	__u32 missing_member_exists;
	__u32 any_state_exists;

	__u32 prio_signed;
	__u32 flags_signed;
	__u32 reset_on_fork;

	__u32 local_type_id;
	__u32 kernel_type_id;

	__u32 xdp_exists;
	__u32 imagined_exists;
	__u64 xdp_value;

	__u32 parent_flags;
	__u32 child_flags;
};

/* Only this process (thread group) counts. */
const volatile __u32 target_pid = 0;

struct found found;
__u64 runs;

static __always_inline void read_fields(struct task_struct *task)
{
	found.tgid = BPF_CORE_READ(task, tgid);
	found.ppid = BPF_CORE_READ(task, real_parent, tgid);
	BPF_CORE_READ_INTO(&found.comm, task, comm);
	found.reset_on_fork = BPF_CORE_READ_BITFIELD_PROBED(task, sched_reset_on_fork);
}

SEC("raw_tracepoint/sys_enter")
int fields(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	if (target_pid != bpf_get_current_pid_tgid() >> 32)
		return 0;
	atomic_add(&runs, 1);
	read_fields(task);

	found.comm_size = bpf_core_field_size(task->comm);
	found.comm_exists = bpf_core_field_exists(task->comm);
	found.missing_member_exists =
		bpf_core_field_exists(((struct task_struct___imagined *)task)->no_such_member);
	found.any_state_exists = bpf_core_field_exists(((struct task_struct___renamed *)task)->state) +
				 bpf_core_field_exists(((struct task_struct___renamed *)task)->__state);
	found.prio_signed = __builtin_preserve_field_info(task->prio, BPF_FIELD_SIGNED);
	found.flags_signed = __builtin_preserve_field_info(task->flags, BPF_FIELD_SIGNED);
	return 0;
}

SEC("raw_tracepoint/sys_enter")
int types(void *ctx)
{
	if (target_pid != bpf_get_current_pid_tgid() >> 32)
		return 0;
	found.task_size = bpf_core_type_size(struct task_struct);
	found.missing_size = bpf_core_type_size(struct no_such_struct);
	found.task_type_exists = bpf_core_type_exists(struct task_struct);
	found.missing_type_exists = bpf_core_type_exists(struct no_such_struct);
	found.local_type_id = bpf_core_type_id_local(struct task_struct);
	found.kernel_type_id = bpf_core_type_id_kernel(struct task_struct);
	found.xdp_exists = bpf_core_enum_value_exists(enum bpf_prog_type___elsewhere, BPF_PROG_TYPE_XDP);
	found.imagined_exists =
		bpf_core_enum_value_exists(enum bpf_prog_type___elsewhere, BPF_PROG_TYPE_IMAGINED);
	found.xdp_value = bpf_core_enum_value(enum bpf_prog_type___elsewhere, BPF_PROG_TYPE_XDP);
	return 0;
}

/* Plain loads through a pointer the verifier knows: TP_PROTO(struct task_struct *parent, struct task_struct *child). */
SEC("tp_btf/sched_process_fork")
int plain_loads(__u64 *ctx)
{
	struct task_struct *parent = (void *)ctx[0];
	struct task_struct___wide *child = (void *)ctx[1];

	if (target_pid != (__u32)parent->tgid)
		return 0;
	found.parent_flags = parent->flags;
	found.child_flags = (__u32)child->flags;
	return 0;
}
