/* Memory shared by programs and processes (Linux 6.9): globals in it, pointers between them. */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define __arena __attribute__((address_space(1)))

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16); /* pages */
} arena SEC(".maps");

struct node {
	struct node __arena *next;
	int value;
};

int __arena counter = 5;
static int __arena private_counter = 3;
__u64 __arena history[4];
struct node __arena head;
struct node __arena tail = { .value = 100 };

/* Counts in the arena, links two nodes, and returns 5 + 3 + 100 and two more each time. */
SEC("socket")
int bump(struct __sk_buff *skb)
{
	history[counter & 3] = counter;
	counter++;
	private_counter++;
	head.value = private_counter;
	head.next = &tail;
	return counter - 1 + head.value - 1 + head.next->value;
}
