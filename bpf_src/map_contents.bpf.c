/* Maps that come with contents: maps in a map, programs in a prog array. */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} left SEC(".maps"), right SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = { .values = { [0] = &left, [2] = &right } };

/* Returns what the inner map in the slot skb->mark holds, -1 if there is none. */
SEC("socket")
int look(struct __sk_buff *skb)
{
	__u32 slot = skb->mark, zero = 0;
	__u32 *value;
	void *inner;

	inner = bpf_map_lookup_elem(&outer, &slot);
	if (!inner)
		return -1;
	value = bpf_map_lookup_elem(inner, &zero);
	return value ? *value : 0;
}

SEC("socket")
int target(struct __sk_buff *skb)
{
	return 42;
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} jump_table SEC(".maps") = { .values = { [1] = (void *)&target } };

/* Returns 42 if the jump was taken. */
SEC("socket")
int jump(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &jump_table, 1);
	return 1;
}
