/* One program for each way of attaching; each counts how often it ran for `target_pid`. */
#include "net.h"
#include "task.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Tracing programs count only this process (thread group). */
const volatile __u32 target_pid = 0;

__u64 tracepoint_hits;
__u64 raw_tracepoint_hits;
__u64 tp_btf_hits;
__u64 uprobe_hits;
__u64 uretprobe_hits;
__u64 socket_hits;
__u64 socket_bytes;
__u64 xdp_hits;

static __always_inline void hit(__u64 *counter)
{
	if (target_pid == bpf_get_current_pid_tgid() >> 32)
		atomic_add(counter, 1);
}

SEC("tracepoint/syscalls/sys_enter_getppid")
int on_tracepoint(void *ctx)
{
	hit(&tracepoint_hits);
	return 0;
}

SEC("raw_tracepoint/sched_process_fork")
int on_raw_tracepoint(struct bpf_raw_tracepoint_args *ctx)
{
	hit(&raw_tracepoint_hits);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int on_tp_btf(__u64 *ctx)
{
	struct task_struct *parent = (void *)ctx[0];

	if (target_pid == (__u32)parent->tgid)
		atomic_add(&tp_btf_hits, 1);
	return 0;
}

/* Which file and function: told when attaching. */
SEC("uprobe")
int on_uprobe(void *ctx)
{
	hit(&uprobe_hits);
	return 0;
}

SEC("uretprobe")
int on_uretprobe(void *ctx)
{
	hit(&uretprobe_hits);
	return 0;
}

/* Keeps every packet whole. */
SEC("socket")
int on_socket(struct __sk_buff *skb)
{
	atomic_add(&socket_hits, 1);
	atomic_add(&socket_bytes, skb->len);
	return -1;
}

/* Counts and passes every IPv4 packet; others pass uncounted (IPv6 talks to itself on every new interface). */
SEC("xdp")
int on_xdp(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	atomic_add(&xdp_hits, 1);
	return XDP_PASS;
}
