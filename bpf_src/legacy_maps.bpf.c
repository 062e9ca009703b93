/* Maps as they were defined before BTF: libbpf's struct bpf_map_def in a section "maps". Built without BTF. */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct bpf_map_def {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 map_flags;
};

struct bpf_map_def SEC("maps") counts = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = 4,
	.value_size = 8,
	.max_entries = 4,
};

struct bpf_map_def SEC("maps") seen = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = 16,
	.value_size = 1,
	.max_entries = 100,
	.map_flags = BPF_F_NO_PREALLOC,
};

/* Counts its runs in counts[1]. */
SEC("socket")
int count(struct __sk_buff *skb)
{
	__u32 one = 1;
	__u64 *value = bpf_map_lookup_elem(&counts, &one);

	if (value)
		atomic_add(value, 1);
	return 0;
}
