/* Implementations of a kernel interface (Linux 5.6): TCP congestion controls, with a link (6.4) and without.
 *
 * Only the members we use are declared, in no order of the kernel's: they are found by name.
 */
#include "bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct sock;

struct tcp_congestion_ops {
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	__u32 (*undo_cwnd)(struct sock *sk);
	void (*init)(struct sock *sk);
	void (*release)(struct sock *sk);
	__u32 flags;
	char name[16];
};

/* The same with a function, a number and text that no kernel has. */
struct tcp_congestion_ops___future {
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	__u32 (*undo_cwnd)(struct sock *sk);
	int (*foretell)(struct sock *sk);
	__u64 horizon;
	char name[16];
};

int inits, releases, avoids;

SEC("struct_ops/init")
void on_init(__u64 *ctx)
{
	atomic_add(&inits, 1);
}

SEC("struct_ops/release")
void on_release(__u64 *ctx)
{
	atomic_add(&releases, 1);
}

SEC("struct_ops/ssthresh")
__u32 on_ssthresh(__u64 *ctx)
{
	return 2;
}

SEC("struct_ops/cong_avoid")
void on_cong_avoid(__u64 *ctx)
{
	atomic_add(&avoids, 1);
}

SEC("struct_ops/undo_cwnd")
__u32 on_undo_cwnd(__u64 *ctx)
{
	return 10;
}

/* For a member that no kernel has. */
SEC("struct_ops/foretell")
int on_foretell(__u64 *ctx)
{
	return 1;
}

SEC(".struct_ops")
struct tcp_congestion_ops plain = {
	.init = (void *)on_init,
	.release = (void *)on_release,
	.ssthresh = (void *)on_ssthresh,
	.cong_avoid = (void *)on_cong_avoid,
	.undo_cwnd = (void *)on_undo_cwnd,
	.name = "pyebpf_plain",
};

SEC(".struct_ops.link")
struct tcp_congestion_ops linked = {
	.init = (void *)on_init,
	.release = (void *)on_release,
	.ssthresh = (void *)on_ssthresh,
	.cong_avoid = (void *)on_cong_avoid,
	.undo_cwnd = (void *)on_undo_cwnd,
	.name = "pyebpf_linked",
};

SEC("?.struct_ops.link")
struct tcp_congestion_ops___future newer = {
	.ssthresh = (void *)on_ssthresh,
	.cong_avoid = (void *)on_cong_avoid,
	.undo_cwnd = (void *)on_undo_cwnd,
	.foretell = (void *)on_foretell,
	.name = "pyebpf_newer",
};

SEC("?.struct_ops.link")
struct tcp_congestion_ops optional = {
	.ssthresh = (void *)on_ssthresh,
	.cong_avoid = (void *)on_cong_avoid,
	.undo_cwnd = (void *)on_undo_cwnd,
	.name = "pyebpf_linked", /* as the one it can take the place of */
};
