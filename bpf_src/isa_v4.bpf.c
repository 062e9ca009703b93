/* Instructions of -mcpu=v4 (Linux 6.6): signed division and loads, byte swaps, long jumps; and may_goto (6.9). */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

int dividend = -17;
short narrow = -3;
__u64 wide = 0x0102030405060708;

/* Returns -17 / 5 + -17 % 5 + -3 = -8. */
SEC("socket")
int signed_numbers(struct __sk_buff *skb)
{
	int divisor = 5;

	barrier_var(divisor);
	return dividend / divisor + dividend % divisor + narrow;
}

/* Returns 8, the lowest byte turned to the top and back. */
SEC("socket")
int swapped(struct __sk_buff *skb)
{
	return __builtin_bswap64(wide) >> 56;
}

/* Counts until the kernel's patience ends or the limit is reached: returns 1000. */
SEC("socket")
int loop(struct __sk_buff *skb)
{
	__u64 turns = 0;
	__u64 limit = 1000;

	asm volatile("1:\n"
		     "may_goto 2f\n"
		     "%[turns] += 1\n"
		     "if %[turns] < %[limit] goto 1b\n"
		     "2:\n"
		     : [turns] "+r"(turns)
		     : [limit] "r"(limit));
	return turns;
}

/* Jumps of 32 bits, there and back: returns 3. */
SEC("socket")
int far(struct __sk_buff *skb)
{
	int result = 1;

	asm volatile("gotol 2f\n"
		     "1:\n"
		     "%[result] += 2\n"
		     "goto 3f\n"
		     "2:\n"
		     "gotol 1b\n"
		     "3:\n"
		     : [result] "+r"(result));
	return result;
}
