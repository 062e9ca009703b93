/* How many system calls each process makes: process id -> its name and a count. */
#include "task.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct process {
	__u64 count;
	char comm[TASK_COMM_LEN];
};

/* Full of processes that have ended, it forgets those that were quiet longest. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct process);
} processes SEC(".maps");

SEC("raw_tracepoint/sys_enter")
int on_sys_enter(void *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct process *found = bpf_map_lookup_elem(&processes, &pid), fresh = {.count = 1};

	if (found) {
		atomic_add(&found->count, 1);
		return 0;
	}
	bpf_get_current_comm(fresh.comm, sizeof(fresh.comm));
	bpf_map_update_elem(&processes, &pid, &fresh, BPF_ANY);
	return 0;
}
