/* One program for each place in networking, to be attached by hand; each counts its runs and returns what it is told. */
#include "net.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Which programs ran, in order: a decimal digit each. */
__u64 order;

__u64 tc_hits;
int tc_verdict; /* TC_ACT_OK */
__u64 xdp_one_hits;
__u64 xdp_two_hits;
int xdp_verdict = XDP_PASS;
__u64 netfilter_hits;
int netfilter_verdict = 1; /* NF_ACCEPT */
__u64 lookup_hits;
__u64 lookup_port;
__u64 dissector_hits;
__u64 reuseport_hits;
__u64 filter_hits;
__u64 filter_keep = 0xffff;
__u64 parser_hits;
__u64 skb_verdict_hits;
__u64 msg_hits;
int msg_verdict = 1; /* SK_PASS */
__u64 lwt_hits;
int lwt_verdict; /* BPF_OK */
__u64 action_hits;
__u64 lirc_hits;

static __always_inline int ran(int digit)
{
	order = order * 10 + digit;
	return -1; /* TCX_NEXT, TC_ACT_UNSPEC */
}

SEC("tcx/ingress")
int one(struct __sk_buff *skb)
{
	return ran(1);
}

SEC("tcx/ingress")
int two(struct __sk_buff *skb)
{
	return ran(2);
}

SEC("tcx/ingress")
int three(struct __sk_buff *skb)
{
	return ran(3);
}

SEC("tc")
int classify(struct __sk_buff *skb)
{
	atomic_add(&tc_hits, 1);
	return tc_verdict;
}

SEC("action")
int act(struct __sk_buff *skb)
{
	atomic_add(&action_hits, 1);
	return 0;
}

SEC("?netkit/primary")
int on_netkit(struct __sk_buff *skb)
{
	atomic_add(&tc_hits, 1);
	return tc_verdict;
}

SEC("xdp")
int xdp_one(struct xdp_md *ctx)
{
	atomic_add(&xdp_one_hits, 1);
	return xdp_verdict;
}

SEC("xdp")
int xdp_two(struct xdp_md *ctx)
{
	atomic_add(&xdp_two_hits, 1);
	return xdp_verdict;
}

/* The verifier wants to see that the verdict is 0 or 1. */
SEC("netfilter")
int on_netfilter(void *ctx)
{
	atomic_add(&netfilter_hits, 1);
	return netfilter_verdict & 1;
}

struct bpf_sk_lookup {
	union {
		void *sk;
		__u64 cookie;
	};
	__u32 family;
	__u32 protocol;
	__u32 remote_ip4;
	__u32 remote_ip6[4];
	__be16 remote_port;
	__u16 : 16;
	__u32 local_ip4;
	__u32 local_ip6[4];
	__u32 local_port;
	__u32 ingress_ifindex;
};

struct {
	__uint(type, 15); /* BPF_MAP_TYPE_SOCKMAP */
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} sockets SEC(".maps");

/* Steers `lookup_port` to the socket at index 0. */
SEC("sk_lookup")
int on_lookup(struct bpf_sk_lookup *ctx)
{
	__u32 zero = 0;
	void *sk;

	if (ctx->local_port != lookup_port)
		return 1; /* SK_PASS */
	atomic_add(&lookup_hits, 1);
	sk = bpf_map_lookup_elem(&sockets, &zero);
	if (sk) {
		bpf_sk_assign((void *)ctx, sk, 0);
		bpf_sk_release(sk);
	}
	return 1;
}

/* Leaves dissection to the kernel (BPF_FLOW_DISSECTOR_CONTINUE). */
SEC("flow_dissector")
int dissect(struct __sk_buff *skb)
{
	atomic_add(&dissector_hits, 1);
	return 129;
}

/* Makes the kernel take the packet apart. */
SEC("tc")
int rehash(struct __sk_buff *skb)
{
	bpf_set_hash_invalid(skb);
	bpf_get_hash_recalc(skb);
	return 0;
}

SEC("socket")
int keep(struct __sk_buff *skb)
{
	atomic_add(&filter_hits, 1);
	return filter_keep;
}

/* Always the second socket of the group. */
SEC("socket")
int second_socket(struct __sk_buff *skb)
{
	atomic_add(&reuseport_hits, 1);
	return 1;
}

struct sk_reuseport_md {
	void *data;
	void *data_end;
	__u32 len;
};

struct {
	__uint(type, 20); /* BPF_MAP_TYPE_REUSEPORT_SOCKARRAY */
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} group SEC(".maps");

SEC("sk_reuseport")
int select_socket(struct sk_reuseport_md *ctx)
{
	__u32 index = 1;

	atomic_add(&reuseport_hits, 1);
	bpf_sk_select_reuseport((void *)ctx, &group, &index, 0);
	return 1; /* SK_PASS */
}

SEC("sk_skb/stream_parser")
int parse(struct __sk_buff *skb)
{
	atomic_add(&parser_hits, 1);
	return skb->len;
}

/* Sends what one connection receives out through the socket at index 1. */
SEC("sk_skb/stream_verdict")
int forward(struct __sk_buff *skb)
{
	atomic_add(&skb_verdict_hits, 1);
	return bpf_sk_redirect_map(skb, &sockets, 1, 0);
}

/* Drops what any connection receives. */
SEC("sk_skb/verdict")
int swallow(struct __sk_buff *skb)
{
	atomic_add(&skb_verdict_hits, 1);
	return 0; /* SK_DROP */
}

struct sk_msg_md {
	void *data;
	void *data_end;
};

SEC("sk_msg")
int on_msg(struct sk_msg_md *msg)
{
	atomic_add(&msg_hits, 1);
	return msg_verdict;
}

SEC("lwt_xmit")
int on_xmit(struct __sk_buff *skb)
{
	atomic_add(&lwt_hits, 1);
	return lwt_verdict;
}

SEC("?lirc_mode2")
int on_lirc(void *sample)
{
	atomic_add(&lirc_hits, 1);
	return 0;
}
