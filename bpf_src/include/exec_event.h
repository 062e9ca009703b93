/* The record of trace_exec and trace_exec_ring: what is known of a process that has just called execve(2). */
#ifndef INCLUDE_EXEC_EVENT_H
#define INCLUDE_EXEC_EVENT_H

#include "task.h"

#define FILENAME_LEN 256

struct exec_event {
	__u32 pid;
	__u32 ppid;
	__u32 uid;
	char comm[TASK_COMM_LEN];
	char filename[FILENAME_LEN];
};

/* clang leaves a type out of the BTF unless something visible uses it. This pointer is that use. */
const struct exec_event *keep_exec_event __attribute__((unused));

static __always_inline void fill_exec_event(struct exec_event *event,
					    struct trace_event_raw_sched_process_exec *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u32 filename = ctx->__data_loc_filename & 0xffff;

	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->ppid = BPF_CORE_READ(task, real_parent, tgid);
	event->uid = (__u32)bpf_get_current_uid_gid();
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	bpf_probe_read_kernel_str(event->filename, sizeof(event->filename), (void *)ctx + filename);
}

#endif
