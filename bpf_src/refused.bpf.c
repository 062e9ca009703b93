/* Programs that the verifier refuses, each for another reason. */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

/* A lookup's result used without the check for NULL. (In an array kernels since 6.15 see that key 0 is there.) */
SEC("socket")
int unchecked_lookup(struct __sk_buff *skb)
{
	__u32 zero = 0;
	__u64 *value = bpf_map_lookup_elem(&numbers, &zero);

	return *value; /* refused here */
}

/* A packet read past the end that was checked. */
SEC("xdp")
int unchecked_packet(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;

	return data[3]; /* refused here */
}
