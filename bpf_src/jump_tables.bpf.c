/* Indirect jumps (Linux 6.19): what clang 22 and newer make of a large switch with -mcpu=v4.
 *
 * Written by hand, so that every compiler makes them. An entry of a table counts bytes from the start of the section
 * that its function stands in.
 */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define GOTO_R3 ".byte 0x0d, 0x03, 0, 0, 0, 0, 0, 0\n"
#else
#define GOTO_R3 ".byte 0x0d, 0x30, 0, 0, 0, 0, 0, 0\n"
#endif

/* Returns 10, 20 or 30 as r1 is 0, 1 or 2, and 7 for anything else; base names the section's first function. */
#define PICK(name, base)                                 \
	"r0 = 7\n"                                       \
	"if r1 > 2 goto " name "_end\n"                  \
	"r1 <<= 3\n"                                     \
	"r3 = BPF.JT." name " ll\n"                      \
	"r3 += r1\n"                                     \
	"r3 = *(u64 *)(r3 + 0)\n" GOTO_R3                \
	name "_0: r0 = 10\n"                             \
	"goto " name "_end\n"                            \
	name "_1: r0 = 20\n"                             \
	"goto " name "_end\n"                            \
	name "_2: r0 = 30\n"                             \
	name "_end: exit\n"                              \
	".pushsection .jumptables,\"\",@progbits\n"      \
	".globl BPF.JT." name "\n"                       \
	".type BPF.JT." name ", @object\n"               \
	".size BPF.JT." name ", 24\n"                    \
	"BPF.JT." name ":\n"                             \
	".quad " name "_0 - " base "\n"                  \
	".quad " name "_1 - " base "\n"                  \
	".quad " name "_2 - " base "\n"                  \
	".popsection\n"

#define __naked __attribute__((naked))

/* Stands first, so that no table's targets start at 0. */
__noinline int first(void)
{
	return 1;
}

/* Takes which one; says void because naked functions have no names for what they take. Hidden, hence static to the kernel,
 * which then looks at it with what it is called with rather than alone, with nothing.
 */
__hidden __naked __noinline int callee(void)
{
	asm volatile(PICK("callee", "first"));
}

/* A table in a function that it calls. */
SEC("socket")
int both(struct __sk_buff *skb)
{
	return ((int (*)(__u64))(void *)callee)(skb->mark & 3) + first();
}

SEC("socket")
__naked int alone(void)
{
	asm volatile("r1 = *(u32 *)(r1 + 8)\n" PICK("alone", "both"));
}
