/* Symbols that the loader must find: the kernel's configuration, its symbols and its functions. One program each. */
#include "task.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

extern int LINUX_KERNEL_VERSION __kconfig;
extern bool CONFIG_BPF_SYSCALL __kconfig;
extern const int CONFIG_NO_SUCH_THING __kconfig __attribute__((weak));

extern const void bpf_prog_put __ksym;
extern const void no_such_symbol __ksym __attribute__((weak));

struct task_struct *bpf_task_acquire(struct task_struct *task) __ksym;
void bpf_task_release(struct task_struct *task) __ksym;

__u64 found;
__u64 missing;

SEC("socket")
int kconfig(struct __sk_buff *skb)
{
	return LINUX_KERNEL_VERSION + CONFIG_BPF_SYSCALL + CONFIG_NO_SUCH_THING;
}

SEC("socket")
int ksym(struct __sk_buff *skb)
{
	found = (__u64)&bpf_prog_put;
	missing = (__u64)&no_such_symbol;
	return 0;
}

SEC("tp_btf/sched_process_exit")
int kfunc(__u64 *ctx)
{
	struct task_struct *task = bpf_task_acquire((void *)ctx[0]);

	if (task)
		bpf_task_release(task);
	return 0;
}
