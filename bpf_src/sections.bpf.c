/* Section names: one nobody knows, one that asks not to be loaded, and one that is fine. */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

SEC("mystery/of/life")
int unknown(void *ctx)
{
	return 0;
}

SEC("?socket")
int optional(struct __sk_buff *skb)
{
	return 2;
}

SEC("socket")
int usual(struct __sk_buff *skb)
{
	return 1;
}
