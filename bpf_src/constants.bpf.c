/* Named constants: symbols that nothing defines, loaded by inline assembly and set before the program is loaded.
 *
 * And two maps alike, so that a program can be made to use the other one.
 */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define CONSTANT(name)                                  \
	({                                              \
		__u64 _value;                           \
		asm("%0 = " name " ll" : "=r"(_value)); \
		_value;                                 \
	})

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} first SEC(".maps"), second SEC(".maps");

static __noinline __u64 scaled(__u64 value)
{
	return value * CONSTANT("SCALE");
}

/* SUMMAND * SCALE + SUMMAND, whose upper half tells whether all 64 bits arrived. */
SEC("socket")
int add_up(struct __sk_buff *skb)
{
	__u64 sum = scaled(CONSTANT("SUMMAND")) + CONSTANT("SUMMAND");

	return (__u32)sum + (__u32)(sum >> 32);
}

/* Four bytes behind the constant. */
SEC("socket")
int behind(struct __sk_buff *skb)
{
	return CONSTANT("SUMMAND + 4");
}

/* The verifier takes it only if the constant is an index of the buffer. */
SEC("socket")
int pick(struct __sk_buff *skb)
{
	volatile char buffer[3];

	buffer[0] = 'a';
	buffer[1] = 'b';
	buffer[2] = 'c';
	return buffer[CONSTANT("INDEX")];
}

SEC("socket")
int count(struct __sk_buff *skb)
{
	__u32 zero = 0;
	__u32 *counter = bpf_map_lookup_elem(&first, &zero);

	if (!counter)
		return 0;
	return ++*counter;
}
