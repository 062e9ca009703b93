/* Functions calling functions: static, global and weak, in .text and beside the entry, several entries in one section.
 *
 * Each entry returns a sum in which every callee leaves its own digit.
 */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* .text, static: the verifier follows it into the caller */
static __noinline int units(int digit)
{
	barrier_var(digit);
	return digit;
}

/* .text, global: verified alone; calls another one */
__noinline int tens(int digit)
{
	barrier_var(digit);
	return units(digit) * 10;
}

/* .text, weak: another file linked in could replace it; alone it is an ordinary global one */
__weak __noinline int hundreds(int digit)
{
	barrier_var(digit);
	return digit * 100;
}

/* in the entries' own section */
static __noinline SEC("socket/beside") int thousands(int digit)
{
	barrier_var(digit);
	return digit * 1000;
}

SEC("socket/beside")
int first(struct __sk_buff *skb)
{
	return units(1) + tens(2) + hundreds(3) + thousands(4);
}

SEC("socket/beside")
int second(struct __sk_buff *skb)
{
	return thousands(5) + tens(6);
}

SEC("socket")
int alone(struct __sk_buff *skb)
{
	return 7;
}

SEC("xdp")
int packets(struct xdp_md *ctx)
{
	return units(1) + units(1);
}
