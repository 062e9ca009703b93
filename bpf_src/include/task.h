/* The kernel's own structures, cut down to the members our programs use.
 *
 * Neither the order nor the offsets below are the kernel's: `preserve_access_index` makes clang record every access by
 * name (CO-RE), and the loader puts in the offsets of the kernel that runs.
 */
#ifndef INCLUDE_TASK_H
#define INCLUDE_TASK_H

#include "bpf.h"

#include <bpf/bpf_core_read.h>

#define TASK_COMM_LEN 16

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct task_struct {
	char comm[TASK_COMM_LEN];
	int tgid;
	int pid;
	struct task_struct *real_parent;
	unsigned int flags;
	int prio;
	unsigned int sched_reset_on_fork : 1;
};

struct trace_entry {
	int pid;
};

/* The context of tracepoint sched/sched_process_exec. */
struct trace_event_raw_sched_process_exec {
	struct trace_entry ent;
	__u32 __data_loc_filename; /* length << 16 | offset from the start of the context */
	int pid;
};

/* The context of tracepoint sched/sched_switch. */
struct trace_event_raw_sched_switch {
	struct trace_entry ent;
	int prev_pid;
	int next_pid;
};

#pragma clang attribute pop

#endif
