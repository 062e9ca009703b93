/* The one member of a BTF map that 5.10 does not know: map_extra (Linux 5.16), here a bloom filter's number of hashes. */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 100);
	__uint(map_extra, 3);
	__type(value, __u32);
} seen SEC(".maps");
