/* What user space puts into a user ring buffer, taken out by a program, at most `at_once` samples a run. */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define KEPT 4096

struct {
	__uint(type, 31); /* BPF_MAP_TYPE_USER_RINGBUF */
	__uint(max_entries, 4096);
} requests SEC(".maps");

__u64 numbers[KEPT];
__u32 taken;
__u32 at_once = 1 << 30;

static long take(struct bpf_dynptr *sample, void *context)
{
	__u32 place = taken & (KEPT - 1);
	__u64 number = 0;

	bpf_dynptr_read(&number, sizeof(number), sample, 0, 0);
	numbers[place] = number;
	taken++;
	return taken % at_once == 0; /* 1 stops here */
}

SEC("syscall")
int drain(void *context)
{
	__u64 unused = 0;

	return bpf_user_ringbuf_drain(&requests, take, &unused, 0);
}
