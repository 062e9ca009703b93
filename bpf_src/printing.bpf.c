/* A program that prints, to the kernel's trace buffer. */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* What to tell apart runs by. */
__u32 token = 0;

SEC("tc")
int print(struct __sk_buff *ctx)
{
	static const char format[] = "token %u: packet of %u bytes";

	bpf_trace_printk(format, sizeof(format), token, ctx->len);
	return 0;
}

SEC("tc")
int print_lines(struct __sk_buff *ctx)
{
	static const char format[] = "token %u: first\nsecond: line\n";

	bpf_trace_printk(format, sizeof(format), token);
	return 0;
}
