/* A program that throws (Linux 6.7), and what the kernel calls then: nothing in the code does. */
#include "bpf.h"

char LICENSE[] SEC("license") = "GPL";

void bpf_throw(__u64 cookie) __ksym;

__noinline int caught(__u64 cookie)
{
	return cookie + 1;
}

/* Returns 42 through its callback when the packet is longer than 100 bytes, 1 otherwise. */
__attribute__((btf_decl_tag("exception_callback:caught")))
SEC("tc")
int with_callback(struct __sk_buff *skb)
{
	if (skb->len > 100)
		bpf_throw(41);
	return 1;
}

/* Without one, a program that throws returns what was thrown. */
SEC("tc")
int without(struct __sk_buff *skb)
{
	if (skb->len > 100)
		bpf_throw(3);
	return 2;
}
