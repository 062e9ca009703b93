/* Programs that look at functions of another eBPF program, and one that takes a function's place: those of subprogs. */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

int entries;
int digit = -1;
int returned = -1;

/* Before an entry of the other object. */
SEC("fentry/alone")
int on_entry(__u64 *ctx)
{
	atomic_add(&entries, 1);
	return 0;
}

/* Before a function that an entry calls; sees what it is called with. */
SEC("fentry/hundreds")
int on_call(__u64 *ctx)
{
	digit = ctx[0];
	return 0;
}

/* After an entry; sees what it returns. */
SEC("fexit/alone")
int on_exit(__u64 *ctx)
{
	returned = ctx[1];
	return 0;
}

/* Instead of a function. */
SEC("freplace/tens")
int nine_more(int digit)
{
	return digit * 10 + 9;
}
