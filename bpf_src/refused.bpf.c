/* Programs that the verifier refuses, each for another reason. */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

/* A lookup's result used without the check for NULL. (In an array kernels since 6.15 see that key 0 is there.) */
SEC("socket")
int unchecked_lookup(struct __sk_buff *skb)
{
	__u32 zero = 0;
	__u64 *value = bpf_map_lookup_elem(&numbers, &zero);

	return *value; /* refused here */
}

/* A packet read past the end that was checked. */
SEC("xdp")
int unchecked_packet(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;

	return data[3]; /* refused here */
}

struct record {
	__u64 head;
	__u8 body[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct record);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

const volatile int limit = 1;

/* An index nobody limits. */
SEC("socket")
int unbounded_index(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct record *record = bpf_map_lookup_elem(&records, &zero);

	if (!record)
		return 0;
	return record->body[skb->len]; /* refused here */
}

/* A reservation that one path forgets. */
SEC("socket")
int unreleased_record(struct __sk_buff *skb)
{
	__u64 *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0); /* acquired here */

	if (!event)
		return 0;
	*event = skb->len;
	if (skb->len > 100)
		return 1; /* the path */
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* A helper that other program types have. */
SEC("socket")
int foreign_helper(struct __sk_buff *skb)
{
	return bpf_xdp_adjust_head((void *)skb, 1); /* refused here */
}

/* A helper that is only for GPL compatible programs: tests take the licence away. */
SEC("kprobe/nothing")
int gpl_helper(void *ctx)
{
	__u64 word;

	return bpf_probe_read_kernel(&word, sizeof(word), ctx); /* refused here */
}

/* A loop that nothing ends. */
SEC("socket")
int endless_loop(struct __sk_buff *skb)
{
	while (skb->len != 77) /* refused here */
		asm volatile("");
	return 0;
}

static __attribute__((noinline)) int fill(int seed)
{
	volatile char room[300];

	room[seed & 255] = 1;
	return room[7];
}

/* More stack than there is, in two functions. */
SEC("socket")
int deep_stack(struct __sk_buff *skb)
{
	volatile char room[300];

	room[skb->len & 255] = 1;
	return room[7] + fill(skb->len);
}

/* More stack than there is, in one. */
SEC("socket")
int large_stack(struct __sk_buff *skb)
{
	asm volatile("*(u64 *)(r10 - 520) = %0" ::"r"(skb) : "memory"); /* refused here */
	return 0;
}

/* A number used as an address. */
SEC("socket")
int number_as_pointer(struct __sk_buff *skb)
{
	volatile int *address = (void *)(long)skb->len;

	return *address; /* refused here */
}

/* A constant written to. */
SEC("socket")
int written_constant(struct __sk_buff *skb)
{
	*(volatile int *)&limit = 2; /* refused here */
	return 0;
}

/* A field that the context does not have. */
SEC("socket")
int beyond_context(struct __sk_buff *skb)
{
	return *(volatile int *)((char *)skb + 500); /* refused here */
}

__attribute__((noinline)) int first_of(struct record *record)
{
	return record ? record->head : 0;
}

/* What a global function is not declared to take. */
SEC("socket")
int wrong_argument(struct __sk_buff *skb)
{
	return first_of((void *)skb); /* refused here */
}

static __attribute__((noinline)) int at(__u8 *bytes, int index)
{
	return bytes[index]; /* refused here */
}

/* The mistake is in a function that is verified with its caller. */
SEC("socket")
int in_function(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct record *record = bpf_map_lookup_elem(&records, &zero);

	return record ? at(record->body, skb->len) : 0;
}

/* A helper that may sleep, where nothing may. */
SEC("kprobe/nothing")
int sleeping_helper(void *ctx)
{
	__u64 word;

	return bpf_copy_from_user(&word, sizeof(word), ctx); /* refused here */
}

/* A verdict that this hook does not have. */
SEC("cgroup_skb/ingress")
int wrong_verdict(struct __sk_buff *skb)
{
	return 7; /* refused here */
}
