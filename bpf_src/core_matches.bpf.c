/* The thirteenth CO-RE relocation, BPF_TYPE_MATCHES: does the kernel's type have the members and types written here?
 *
 * Known to clang since 15.
 */
#include "task.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct trace_entry___other {
	__u64 pid; /* the kernel's is an int */
} __attribute__((preserve_access_index));

__u32 matches;
__u32 mismatches;

/* Returns 1 if the first matches and the second does not. */
SEC("socket")
int compare(struct __sk_buff *skb)
{
	matches = __builtin_preserve_type_info(*(struct trace_entry *)0, BPF_TYPE_MATCHES);
	mismatches = __builtin_preserve_type_info(*(struct trace_entry___other *)0, BPF_TYPE_MATCHES);
	return matches && !mismatches;
}
