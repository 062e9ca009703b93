/* Maps in goebpf's layout: 40 bytes with pointers to an inner definition and to a path. Built without BTF.
 *
 * Its names of sections, too: what stands before the slash says the type, in any case; the rest is for people.
 */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct goebpf_map_def {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 flags;
	const struct goebpf_map_def *inner;
	const char *path;
};

struct goebpf_map_def SEC("maps") inner = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = 4,
	.value_size = 8,
	.max_entries = 2,
};

struct goebpf_map_def SEC("maps") outer = {
	.type = BPF_MAP_TYPE_ARRAY_OF_MAPS,
	.key_size = 4,
	.max_entries = 3,
	.inner = &inner,
};

struct goebpf_map_def SEC("maps") counts = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = 4,
	.value_size = 8,
	.max_entries = 4,
	.path = "/sys/fs/bpf/counts",
};

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u32 one = 1;
	__u64 *value = bpf_map_lookup_elem(&counts, &one);

	if (value)
		atomic_add(value, 1);
	return XDP_PASS;
}

SEC("XDP/drop")
int drop(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("socket_filter/half")
int half(struct __sk_buff *skb)
{
	return skb->len / 2;
}

SEC("tc_cls/mark")
int classify(struct __sk_buff *skb)
{
	return 1;
}

SEC("tc_act/mark")
int act(struct __sk_buff *skb)
{
	return 2;
}
