/* Symbols of the kernel, with and without types: found, missing, of another type, in a module. One program each. */
#include "task.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* As libbpf's newer headers have it. */
#define exists(symbol) (!!(symbol))

struct rq {
	unsigned int nr_running;
	int cpu;
} __attribute__((preserve_access_index));

extern const void no_such_symbol __ksym;
extern const void maybe_no_symbol __ksym __attribute__((weak));
extern const struct rq runqueues __ksym;
extern const struct rq no_such_variable __ksym __attribute__((weak));
extern const int init_task __ksym;

struct task_struct *bpf_task_acquire(struct task_struct *task) __ksym;
/* The first is how no kernel has it, the second how all do. */
struct task_struct *bpf_task_acquire___other(struct task_struct *task, int more) __ksym __attribute__((weak));
struct task_struct *bpf_task_acquire___same(struct task_struct *task) __ksym __attribute__((weak));
void bpf_task_release(struct task_struct *task) __ksym;
void bpf_no_such_function(struct task_struct *task) __ksym __attribute__((weak));
void bpf_no_function_at_all(struct task_struct *task) __ksym;
int bpf_task_from_pid(struct task_struct *task) __ksym;

/* Those of nf_conntrack, which may be a module. Structs that are only announced would be of another kind. */
struct nf_conn {
	unsigned long status;
};

struct bpf_sock_tuple {
	__u8 bytes[12];
};

struct bpf_ct_opts {
	__s32 netns_id;
	__s32 error;
	__u8 l4proto;
	__u8 dir;
	__u8 reserved[2];
};

/* Announced all the same. */
struct cgroup;
struct cgroup *bpf_cgroup_acquire(struct cgroup *cgroup) __ksym;

struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 tuple_size,
				  struct bpf_ct_opts *opts, __u32 opts_size) __ksym __attribute__((weak));
void bpf_ct_release(struct nf_conn *conn) __ksym __attribute__((weak));

__u64 maybe = 1;
__u64 address = 1;
int cpu = -1;
bool has_other = true;
bool has_same;
bool has_missing = true;
bool has_lookup;
int exited;

SEC("socket")
int missing(struct __sk_buff *skb)
{
	address = (__u64)&no_such_symbol;
	return 0;
}

SEC("socket")
int weak(struct __sk_buff *skb)
{
	maybe = (__u64)&maybe_no_symbol;
	address = (__u64)&no_such_variable;
	return 0;
}

/* Needs a kernel that lists its variables (CONFIG_KALLSYMS_ALL). */
SEC("raw_tp/sys_enter")
int variable(struct bpf_raw_tracepoint_args *ctx)
{
	struct rq *rq = (struct rq *)bpf_per_cpu_ptr(&runqueues, 1);

	if (rq)
		cpu = rq->cpu;
	return 0;
}

SEC("raw_tp/sys_enter")
int other_type(struct bpf_raw_tracepoint_args *ctx)
{
	return init_task;
}

SEC("tp_btf/sched_process_exit")
int flavours(__u64 *ctx)
{
	struct task_struct *task = 0;

	has_other = exists(bpf_task_acquire___other);
	has_same = exists(bpf_task_acquire___same);
	if (exists(bpf_task_acquire___other))
		task = bpf_task_acquire___other((void *)ctx[0], 0);
	else if (exists(bpf_task_acquire___same))
		task = bpf_task_acquire___same((void *)ctx[0]);
	if (task) {
		exited = task->pid;
		bpf_task_release(task);
	}
	return 0;
}

SEC("tp_btf/sched_process_exit")
int guarded(__u64 *ctx)
{
	has_missing = exists(bpf_no_such_function);
	if (exists(bpf_no_such_function))
		bpf_no_such_function((void *)ctx[0]);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int unguarded(__u64 *ctx)
{
	bpf_no_such_function((void *)ctx[0]);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int no_function(__u64 *ctx)
{
	bpf_no_function_at_all((void *)ctx[0]);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int other_prototype(__u64 *ctx)
{
	return bpf_task_from_pid((void *)ctx[0]);
}

SEC("tp_btf/sched_process_exit")
int announced(__u64 *ctx)
{
	bpf_cgroup_acquire((void *)ctx[0]);
	return 0;
}

SEC("tc")
int module_function(struct __sk_buff *skb)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_ct_opts opts = {};
	struct nf_conn *conn;

	has_lookup = exists(bpf_skb_ct_lookup);
	if (!exists(bpf_skb_ct_lookup) || !exists(bpf_ct_release))
		return 0;
	conn = bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple), &opts, sizeof(opts));
	if (conn)
		bpf_ct_release(conn);
	return 1;
}
