/* Global variables of every section and shape; the program adds some of them up, so that a test sees what it read. */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum color { RED, GREEN = 5, BLUE = -1 };

struct point {
	__s32 x;
	__s32 y;
};

struct shapes {
	struct point corners[2];
	char name[8];
	__u8 bytes[4];
	enum color color;
	bool visible;
	__u32 low : 3;
	__s32 middle : 5;
	__u32 high : 24;
	union {
		__u64 whole; /* two equal halves below: the same on every machine */
		__u32 halves[2];
	};
	const void *address;
};

/* .rodata: constants to the verifier */
const volatile __u32 limit = 10;
const volatile bool enabled = true;
const volatile char label[8] = "label";
static const volatile __s16 hidden_constant = -2;

/* .data */
__u64 total = 1000;
__s8 tiny = -1;
struct shapes shapes = {
	.corners = { { 1, -2 }, { 3, 4 } },
	.name = "square",
	.bytes = { 1, 2, 3, 255 },
	.color = GREEN,
	.visible = true,
	.low = 5,
	.middle = -3,
	.high = 0xabcdef,
	.whole = 0x1122334411223344ULL,
};
static volatile __u32 hidden = 7;

/* .bss */
__u64 calls;
__u64 sum;
__s64 matrix[2][3];
static volatile __u32 hidden_zero;

/* sections of the user's own */
__u32 tuned SEC(".data.tuning") = 42;
const volatile __u32 fixed SEC(".rodata.tuning") = 43;

/* Returns the sum of what it saw; 0 if switched off. */
SEC("socket")
int add_up(struct __sk_buff *skb)
{
	atomic_add(&calls, 1);
	if (!enabled)
		return 0;
	hidden_zero += hidden;
	matrix[1][2] = hidden_zero;
	sum = total + limit + tuned + fixed + hidden + hidden_constant + tiny + shapes.corners[1].y;
	return (int)sum + label[0];
}
