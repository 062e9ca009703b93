/* A record type that clang leaves out of the BTF, because only a local variable has it. */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct local_only {
	__u64 value;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} events SEC(".maps");

SEC("socket")
int produce(struct __sk_buff *skb)
{
	struct local_only record = { .value = skb->len };

	bpf_perf_event_output(skb, &events, BPF_F_CURRENT_CPU, &record, sizeof(record));
	return 0;
}
