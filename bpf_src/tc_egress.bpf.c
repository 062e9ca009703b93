/* Counts what leaves an interface: the bytes of UDP packets, by destination port. */
#include "net.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u16);
	__type(value, __u64);
} bytes_by_port SEC(".maps");

/* The IP header is not needed beyond its protocol, so the packet is read and not mapped: fragments and all. */
SEC("tcx/egress")
int count_egress(struct __sk_buff *skb)
{
	struct udphdr udp;
	struct iphdr ip;
	__u64 *bytes, size = skb->len;
	__u16 port;

	if (bpf_skb_load_bytes(skb, sizeof(struct ethhdr), &ip, sizeof(ip)))
		return -1; /* TCX_NEXT: no opinion */
	if (ip.version_ihl != 0x45 || ip.protocol != IPPROTO_UDP)
		return -1;
	if (bpf_skb_load_bytes(skb, sizeof(struct ethhdr) + sizeof(ip), &udp, sizeof(udp)))
		return -1;
	port = bpf_ntohs(udp.dest);
	bytes = bpf_map_lookup_elem(&bytes_by_port, &port);
	if (bytes)
		atomic_add(bytes, size);
	else
		bpf_map_update_elem(&bytes_by_port, &port, &size, BPF_NOEXIST);
	return -1;
}
