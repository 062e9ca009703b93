/* A program on a USDT probe: how often it ran for `target_pid`, and the probe's arguments. */
#include "bpf.h"

struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
	unsigned long orig_ax, ip, cs, flags, sp, ss;
};

enum { BPF_FUNC_get_attach_cookie = 174 };

#define __TARGET_ARCH_x86
#define __VMLINUX_H__ /* the names of registers are the kernel's */
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile __u32 target_pid = 0;

__u64 usdt_hits;
__u64 usdt_cookies;
int argument_count;
__s64 arguments[8];
int errors;

SEC("usdt")
int on_usdt(struct pt_regs *ctx)
{
	long value;

	if (target_pid != bpf_get_current_pid_tgid() >> 32)
		return 0;
	atomic_add(&usdt_hits, 1);
	usdt_cookies += bpf_usdt_cookie(ctx);
	argument_count = bpf_usdt_arg_cnt(ctx);
	for (int i = 0; i < 8; i++) {
		if (i >= argument_count)
			break;
		value = 0;
		if (bpf_usdt_arg(ctx, i, &value))
			errors++;
		arguments[i] = value;
	}
	return 0;
}
