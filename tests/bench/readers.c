// The works of readers, done by libbpf: `readers FDS` with FDS as ring64=3:4,ringvar=5:6,perf60=7:8,
// each a map and the program that fills it.
//
// Says what it can do, then for each line that names a work how many nanoseconds of CPU an event took:
// see tests/bench/harness.py.
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EVENTS 100000
#define PAGES 4096
#define COPIES (256 << 10)

struct source {
	const char *name;
	int map, program;
};

static struct source sources[] = {{"ring64"}, {"ringvar"}, {"perf60"}};
static char copies[COPIES];
static size_t used;
static long seen;

static long now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return time.tv_sec * 1000000000L + time.tv_nsec;
}

static void keep(const void *data, size_t size)
{
	if (used + size > COPIES)
		used = 0;
	memcpy(copies + used, data, size);
	used += size;
	seen++;
}

static int copy(void *context, void *data, size_t size)
{
	keep(data, size);
	return 0;
}

static int look(void *context, void *data, size_t size)
{
	seen++;
	return 0;
}

static void copy_perf(void *context, int cpu, void *data, __u32 size)
{
	keep(data, size);
}

static void fill(int program)
{
	char packet[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet, .data_size_in = sizeof(packet), .repeat = EVENTS);

	if (bpf_prog_test_run_opts(program, &options)) {
		perror("BPF_PROG_TEST_RUN");
		exit(1);
	}
}

static double drain_ring(struct source *source, ring_buffer_sample_fn function)
{
	struct ring_buffer *ring = ring_buffer__new(source->map, function, NULL, NULL);
	long start, spent;

	if (!ring) {
		perror("ring_buffer__new");
		exit(1);
	}
	fill(source->program);
	seen = 0;
	start = now();
	ring_buffer__consume(ring);
	spent = now() - start;
	ring_buffer__free(ring);
	return seen == EVENTS ? spent / (double)EVENTS : -1;
}

static double drain_perf(struct source *source)
{
	static struct perf_buffer *buffer;
	long start;

	if (!buffer)
		buffer = perf_buffer__new(source->map, PAGES, copy_perf, NULL, NULL, NULL);
	if (!buffer) {
		perror("perf_buffer__new");
		exit(1);
	}
	fill(source->program);
	seen = 0;
	start = now();
	perf_buffer__consume(buffer);
	return seen == EVENTS ? (now() - start) / (double)EVENTS : -1;
}

int main(int argc, char **argv)
{
	char line[64], *word;

	for (word = strtok(argv[1], ","); word; word = strtok(NULL, ","))
		for (int i = 0; i < 3; i++) {
			size_t length = strlen(sources[i].name);

			if (!strncmp(word, sources[i].name, length) && word[length] == '=')
				sscanf(word + length, "=%d:%d", &sources[i].map, &sources[i].program);
		}
	puts("{\"works\": [\"ring.copy64\", \"ring.zerocopy64\", \"perf.copy60\"]}");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		double spent;

		if (!strcmp(line, "ring.copy64\n"))
			spent = drain_ring(&sources[0], copy);
		else if (!strcmp(line, "ring.zerocopy64\n"))
			spent = drain_ring(&sources[0], look);
		else
			spent = drain_perf(&sources[2]);
		printf("{\"ns\": %.2f}\n", spent);
		fflush(stdout);
	}
	return 0;
}
