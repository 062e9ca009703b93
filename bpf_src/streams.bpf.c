/* Prints to the program's own stream, by the name and the arguments that the function has in 6.18, 6.17 and 7.0. */
#include "bpf.h"

char LICENSE[] SEC("license") = "GPL";

int bpf_stream_vprintk_impl(int stream, const char *format, const void *values, __u32 size,
			    void *program) __ksym __weak;
int bpf_stream_vprintk___first(int stream, const char *format, const void *values, __u32 size,
			       void *program) __ksym __weak;
int bpf_stream_vprintk(int stream, const char *format, const void *values, __u32 size) __ksym __weak;

enum { STDERR = 2 };

SEC("tc")
int print(struct __sk_buff *ctx)
{
	static const char format[] = "packet of %u bytes\nand";
	__u64 values[] = { ctx->len };

	if (bpf_stream_vprintk_impl)
		return bpf_stream_vprintk_impl(STDERR, format, values, sizeof(values), 0);
	if (bpf_stream_vprintk___first)
		return bpf_stream_vprintk___first(STDERR, format, values, sizeof(values), 0);
	if (bpf_stream_vprintk)
		return bpf_stream_vprintk(STDERR, format, values, sizeof(values));
	return -1;
}
