/* How often each system call is made: number -> count, a value per CPU so that CPUs never wait for each other. */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

/* Count only this process (thread group), 0: all. Set before the load. */
const volatile __u32 target_pid = 0;

SEC("raw_tracepoint/sys_enter")
int on_sys_enter(struct bpf_raw_tracepoint_args *ctx)
{
	/* TP_PROTO(struct pt_regs *regs, long id) */
	__u32 number = (__u32)ctx->args[1];
	__u64 one = 1, *count;

	if (target_pid && target_pid != bpf_get_current_pid_tgid() >> 32)
		return 0;
	count = bpf_map_lookup_elem(&counts, &number);
	if (count)
		*count += 1;
	else
		bpf_map_update_elem(&counts, &number, &one, BPF_ANY);
	return 0;
}
