/* Every execve(2) of the machine as one typed record in a ring buffer, Linux 5.8.
 *
 * A full ring buffer keeps no count of what it refused, so the program counts.
 */
#include "exec_event.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

__u64 dropped = 0;

SEC("tracepoint/sched/sched_process_exec")
int on_exec(struct trace_event_raw_sched_process_exec *ctx)
{
	struct exec_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		atomic_add(&dropped, 1);
		return 0;
	}
	/* The ring's memory holds older records: what the string does not cover would show them. */
	__builtin_memset(event, 0, sizeof(*event));
	fill_exec_event(event, ctx);
	bpf_ringbuf_submit(event, 0);
	return 0;
}
