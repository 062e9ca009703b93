/* Function pointers: a callback for each element of a map (Linux 5.13) and for each turn of a loop (5.17). */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

static long add_element(void *map, const __u32 *key, __u64 *value, __u64 *sum)
{
	*sum += *value;
	return 0;
}

static long add_index(__u32 index, __u64 *sum)
{
	*sum += index;
	return 0;
}

/* Returns the sum of the map's values. */
SEC("socket")
int each(struct __sk_buff *skb)
{
	__u64 sum = 0;

	bpf_for_each_map_elem(&numbers, add_element, &sum, 0);
	return sum;
}

/* Returns 0 + 1 + ... + 99. */
SEC("socket")
int loop(struct __sk_buff *skb)
{
	__u64 sum = 0;

	bpf_loop(100, add_index, &sum, 0);
	return sum;
}
