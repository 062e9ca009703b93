/* Producers that keep their own books: what they handed to the ring, and what the ring's helper refused.
 *
 * Each getppid(2) of `target_pid` (any system call whose number is `target_syscall`) makes `burst` records of
 * `size` bytes: so a test decides how many there are, on which CPU, and whether they fit.
 */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define PAYLOAD 232
#define MAX_BURST 64

struct sample {
	__u64 number; /* of this producer, from 0: also refused ones have one */
	__u64 time;   /* CLOCK_MONOTONIC, nanoseconds */
	__u32 cpu;
	__u32 size; /* of this record in bytes */
	__u8 payload[PAYLOAD];
};

const struct sample *keep_sample __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} perf_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring_events SEC(".maps");

/* A sample is too big to build on the stack twice; one per CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sample);
} scratch SEC(".maps");

const volatile __u32 target_pid = 0;
const volatile __u32 target_syscall = 0;
const volatile __u32 burst = 1;
const volatile __u32 size = 24;

__u64 produced; /* calls of the output helper */
__u64 refused;  /* of those, how many it refused */

static __always_inline bool wanted(struct bpf_raw_tracepoint_args *ctx)
{
	return target_pid == bpf_get_current_pid_tgid() >> 32 && target_syscall == (__u32)ctx->args[1];
}

static __always_inline void fill(struct sample *sample)
{
	sample->number = produced;
	sample->time = bpf_ktime_get_ns();
	sample->cpu = bpf_get_smp_processor_id();
	sample->size = size;
	sample->payload[0] = (__u8)produced;
	sample->payload[PAYLOAD - 1] = (__u8)produced;
}

static __always_inline void keep_books(long error)
{
	atomic_add(&produced, 1);
	if (error)
		atomic_add(&refused, 1);
}

SEC("raw_tracepoint/sys_enter")
int to_perf(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 zero = 0, i;
	struct sample *sample = bpf_map_lookup_elem(&scratch, &zero);

	if (!sample || !wanted(ctx) || size > sizeof(*sample))
		return 0;
	for (i = 0; i < MAX_BURST && i < burst; i++) {
		fill(sample);
		keep_books(bpf_perf_event_output(ctx, &perf_events, BPF_F_CURRENT_CPU, sample, size));
	}
	return 0;
}

SEC("raw_tracepoint/sys_enter")
int to_ring(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 zero = 0, i;
	struct sample *sample = bpf_map_lookup_elem(&scratch, &zero);

	if (!sample || !wanted(ctx) || size > sizeof(*sample))
		return 0;
	for (i = 0; i < MAX_BURST && i < burst; i++) {
		fill(sample);
		keep_books(bpf_ringbuf_output(&ring_events, sample, size, 0));
	}
	return 0;
}

/* Reserves, and gives every second record back: the reader must step over those. */
SEC("raw_tracepoint/sys_enter")
int to_ring_discarding(struct bpf_raw_tracepoint_args *ctx)
{
	struct sample *sample;
	__u32 i;

	if (!wanted(ctx))
		return 0;
	for (i = 0; i < MAX_BURST && i < burst; i++) {
		sample = bpf_ringbuf_reserve(&ring_events, sizeof(*sample), 0);
		if (sample)
			fill(sample);
		if (sample && i % 2) {
			bpf_ringbuf_discard(sample, 0);
			continue;
		}
		if (sample)
			bpf_ringbuf_submit(sample, 0);
		keep_books(!sample);
	}
	return 0;
}
