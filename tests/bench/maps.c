// The works of maps, done by libbpf: `maps FDS` with FDS as hot=3,big=4,small=5,percpu=6,mapped=7.
//
// Says what it can do, then for each line that names a work how many nanoseconds of CPU an operation
// took: see tests/bench/harness.py.
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define HOT 1024
#define PASSES 10
#define KEYS 16
#define CHUNK 4096
#define MAX_CPUS 4096
#define MAPPED 100000

static int hot, big, small, percpu, mapped;
static __u64 sink;

static long now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return time.tv_sec * 1000000000L + time.tv_nsec;
}

static double lookup(void)
{
	__u64 value;
	long start = now();

	for (int pass = 0; pass < PASSES; pass++)
		for (__u32 key = 0; key < HOT; key++)
			if (!bpf_map_lookup_elem(hot, &key, &value))
				sink += value;
	return (now() - start) / (double)(PASSES * HOT);
}

static double update(void)
{
	long start = now();

	for (int pass = 0; pass < PASSES; pass++)
		for (__u32 key = 0; key < HOT; key++) {
			__u64 value = key * 3;
			bpf_map_update_elem(hot, &key, &value, BPF_ANY);
		}
	return (now() - start) / (double)(PASSES * HOT);
}

static double delete(void)
{
	long spent = 0, start;

	for (int pass = 0; pass < PASSES; pass++) {
		start = now();
		for (__u32 key = 0; key < HOT; key++)
			bpf_map_delete_elem(hot, &key);
		spent += now() - start;
		for (__u32 key = 0; key < HOT; key++) {
			__u64 value = key * 3;
			bpf_map_update_elem(hot, &key, &value, BPF_ANY);
		}
	}
	return spent / (double)(PASSES * HOT);
}

// All entries into buffers that are new each time, as those of everybody else are.
static double batch(int fd, __u32 room)
{
	__u32 place, count, number = 0;
	void *from = NULL;
	int failed;
	long start = now();
	__u32 *keys = malloc(room * sizeof(__u32));
	__u64 *values = malloc(room * sizeof(__u64));

	do {
		count = room - number < CHUNK ? room - number : CHUNK;
		failed = bpf_map_lookup_batch(fd, from, &place, keys + number, values + number, &count, NULL);
		number += count;
		from = &place;
	} while (!failed);
	sink += keys[number - 1] + values[number - 1];
	free(keys);
	free(values);
	return errno == ENOENT ? (now() - start) / (double)number : -1;
}

static double batch_big(void)
{
	return batch(big, 131072);
}

static double batch_small(void)
{
	double sum = 0;

	for (int pass = 0; pass < PASSES; pass++)
		sum += batch(small, 8192);
	return sum / PASSES;
}

static double get_many(void)
{
	__u64 value;
	long start = now();

	for (int pass = 0; pass < PASSES; pass++)
		for (__u32 first = 0; first < HOT; first += KEYS)
			for (__u32 key = first; key < first + KEYS; key++)
				if (!bpf_map_lookup_elem(hot, &key, &value))
					sink += value;
	return (now() - start) / (double)(PASSES * HOT);
}

static double percpu_lookup(void)
{
	static __u64 values[MAX_CPUS];
	long start = now();

	for (int pass = 0; pass < PASSES; pass++)
		for (__u32 key = 0; key < HOT; key++)
			if (!bpf_map_lookup_elem(percpu, &key, values))
				sink += values[0];
	return (now() - start) / (double)(PASSES * HOT);
}

static double memory_copy(void)
{
	static __u64 *memory;
	__u64 *copy;
	long start;

	if (!memory)
		memory = mmap(NULL, MAPPED * sizeof(*memory), PROT_READ, MAP_SHARED, mapped, 0);
	if (memory == MAP_FAILED)
		return -1;
	start = now();
	for (int pass = 0; pass < PASSES; pass++) {
		copy = malloc(MAPPED * sizeof(*copy));
		memcpy(copy, memory, MAPPED * sizeof(*copy));
		sink += copy[MAPPED / 2];
		free(copy);
	}
	return (now() - start) / (double)(PASSES * MAPPED);
}

static const struct {
	const char *name;
	double (*run)(void);
} works[] = {
	{"map.lookup", lookup},
	{"map.update", update},
	{"map.delete", delete},
	{"map.dump_numpy", batch_big},
	{"map.dump_dict", batch_big},
	{"map.get_many16", get_many},
	{"map.bulk_dump", batch_big},
	{"map.bulk_dump_small", batch_small},
	{"map.percpu_lookup", percpu_lookup},
	{"map.memory_copy", memory_copy},
};

#define WORKS (sizeof(works) / sizeof(works[0]))

int main(int count, char **arguments)
{
	char line[256];

	if (count != 2 || sscanf(arguments[1], "hot=%d,big=%d,small=%d,percpu=%d,mapped=%d", &hot, &big,
				 &small, &percpu, &mapped) != 5)
		return 2;
	printf("{\"works\": [");
	for (size_t i = 0; i < WORKS; i++)
		printf("%s\"%s\"", i ? ", " : "", works[i].name);
	printf("]}\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = 0;
		for (size_t i = 0; i < WORKS; i++)
			if (!strcmp(line, works[i].name))
				printf("{\"ns\": %.2f}\n", works[i].run());
		fflush(stdout);
	}
	return sink == 1;
}
