/* Records of 64 bytes with their number and the time, for runs that last; one caller at a time. */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct event {
	__u64 sequence;
	__u64 time; /* ns, CLOCK_MONOTONIC */
	__u64 unused[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 * 1024 * 1024);
} events SEC(".maps");

__u64 produced = 0;
__u64 dropped = 0;

SEC("tc")
int produce(struct __sk_buff *ctx)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	produced++;
	if (!event) {
		dropped++;
		return 0;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->sequence = produced;
	event->time = bpf_ktime_get_ns();
	bpf_ringbuf_submit(event, 0);
	return 0;
}
