/* Maps in iproute2's layout: nine words, with an id that other maps of the file refer to. Built without BTF. */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct bpf_elf_map {
	__u32 type;
	__u32 size_key;
	__u32 size_value;
	__u32 max_elem;
	__u32 flags;
	__u32 id;
	__u32 pinning; /* 0 none, 1 per object, 2 global */
	__u32 inner_id;
	__u32 inner_idx;
};

struct bpf_elf_map SEC("maps") counts = {
	.type = BPF_MAP_TYPE_ARRAY,
	.size_key = 4,
	.size_value = 8,
	.max_elem = 4,
};

struct bpf_elf_map SEC("maps") shared = {
	.type = BPF_MAP_TYPE_HASH,
	.size_key = 4,
	.size_value = 4,
	.max_elem = 10,
	.id = 7,
	.pinning = 2,
};

SEC("classifier")
int count(struct __sk_buff *skb)
{
	__u32 one = 1;
	__u64 *value = bpf_map_lookup_elem(&counts, &one);

	if (value)
		atomic_add(value, 1);
	return 0;
}
