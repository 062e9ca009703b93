/* Drops UDP packets to one port before the network stack sees them, and counts what it passed and dropped. */
#include "net.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* The port in host byte order, set before the load: the verifier then sees a constant. */
const volatile __u16 blocked_port = 9;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps"); /* by enum xdp_action */

static __always_inline enum xdp_action verdict(void *data, void *end)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if (ip->protocol != IPPROTO_UDP || ip->version_ihl != 0x45)
		return XDP_PASS;
	udp = (void *)(ip + 1);
	if ((void *)(udp + 1) > end)
		return XDP_PASS;
	return udp->dest == bpf_htons(blocked_port) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int xdp_drop(struct xdp_md *ctx)
{
	__u32 action = verdict((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	__u64 *count = bpf_map_lookup_elem(&counts, &action);

	if (count)
		*count += 1;
	return action;
}
