/* One program for each kind of tracing hook; each counts its runs for `target_pid`. */
#include "task.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile __u32 target_pid = 0;

__u64 sample_hits;
__u64 sample_cpus; /* a bit each */
__u64 kprobe_hits;
__u64 kretprobe_hits;
__u64 ksyscall_hits;
__u64 kprobe_multi_hits;
__u64 kprobe_session_hits;
__u64 uprobe_multi_hits;
__u64 uprobe_session_hits;
__u64 cookies; /* of all runs, added up */
__u64 fentry_hits;
__u64 fexit_hits;
__u64 fmod_ret_hits;
__u64 lsm_hits;
int lsm_verdict;

static __always_inline bool hit(__u64 *counter)
{
	if (target_pid != bpf_get_current_pid_tgid() >> 32)
		return false;
	atomic_add(counter, 1);
	return true;
}

SEC("perf_event")
int on_sample(void *ctx)
{
	if (hit(&sample_hits))
		sample_cpus |= 1ULL << (bpf_get_smp_processor_id() & 63);
	return 0;
}

SEC("kprobe")
int on_kprobe(void *ctx)
{
	hit(&kprobe_hits);
	return 0;
}

SEC("kretprobe")
int on_kretprobe(void *ctx)
{
	hit(&kretprobe_hits);
	return 0;
}

SEC("ksyscall/getpgid")
int on_ksyscall(void *ctx)
{
	hit(&ksyscall_hits);
	return 0;
}

SEC("kprobe.multi/__x64_sys_getp*id")
int on_kprobe_multi(void *ctx)
{
	hit(&kprobe_multi_hits);
	return 0;
}

SEC("kprobe.session/__x64_sys_getpgid")
int on_kprobe_session(void *ctx)
{
	hit(&kprobe_session_hits);
	return 0;
}

SEC("uprobe.multi")
int on_uprobe_multi(void *ctx)
{
	if (hit(&uprobe_multi_hits))
		cookies += bpf_get_attach_cookie(ctx);
	return 0;
}

/* At the entry and, since it returns 0, at the return. */
SEC("uprobe.session")
int on_uprobe_session(void *ctx)
{
	hit(&uprobe_session_hits);
	return 0;
}

SEC("?fentry/__x64_sys_getpgid")
int on_fentry(__u64 *ctx)
{
	if (hit(&fentry_hits))
		cookies += bpf_get_attach_cookie(ctx);
	return 0;
}

SEC("?fexit/__x64_sys_getpgid")
int on_fexit(__u64 *ctx)
{
	hit(&fexit_hits);
	return 0;
}

/* One of the functions whose return value the kernel lets programs choose. */
SEC("?fmod_ret/__x64_sys_getpgid")
int on_fmod_ret(__u64 *ctx)
{
	hit(&fmod_ret_hits);
	return 0;
}

/* Denies what lsm_verdict says (minus errno) to this process. */
SEC("?lsm/path_mkdir")
int on_lsm(__u64 *ctx)
{
	if (hit(&lsm_hits) && lsm_verdict == -1) {
		/* A branch of its own: Linux 6.12 checks the range of what is returned, and follows no negation. */
		asm volatile("");
		return -1;
	}
	return 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
};

struct iter_task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct iter_element {
	struct bpf_iter_meta *meta;
	void *map;
	__u32 *key;
	__u64 *value;
};

SEC("iter/task")
int on_task(struct iter_task *ctx)
{
	struct task_struct *task = ctx->task;
	static const char format[] = "%d %d\n";
	__u64 arguments[2];

	if (!task)
		return 0;
	arguments[0] = task->tgid;
	arguments[1] = task->pid;
	bpf_seq_printf(ctx->meta->seq, format, sizeof(format), arguments, sizeof(arguments));
	return 0;
}

SEC("iter/bpf_map_elem")
int on_element(struct iter_element *ctx)
{
	static const char format[] = "%d=%d\n";
	__u64 arguments[2];

	if (!ctx->key || !ctx->value)
		return 0;
	arguments[0] = *ctx->key;
	arguments[1] = *ctx->value;
	bpf_seq_printf(ctx->meta->seq, format, sizeof(format), arguments, sizeof(arguments));
	return 0;
}
