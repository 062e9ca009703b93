// The works of readers, done by libbpf: `readers FDS` with FDS as ring64=3:4,ringvar=5:6,perf60=7:8,
// each a map and the program that fills it.
//
// Says what it can do, then for each line that names a work how many nanoseconds of CPU an event took:
// see tests/bench/harness.py, and reader_subject.py for what is done.
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 100000
#define PAGES 4096
#define COPIES (256 << 10)
#define MOST_COPIES (1 << 20) // what comes in a look's time
#define FLOOD 2000000
#define LOOK 1000 // us
#define WAKES 200
#define PAUSE 500 // us

struct source {
	const char *name;
	int map, program;
};

static struct source sources[] = {{"ring64"}, {"ringvar"}, {"perf60"}, {"wake"}};
static char copies[MOST_COPIES];
static size_t used, copies_size = COPIES;
static long seen;

static long late[WAKES];

static long clocked(clockid_t clock)
{
	struct timespec time;
	clock_gettime(clock, &time);
	return time.tv_sec * 1000000000L + time.tv_nsec;
}

static long now(void)
{
	return clocked(CLOCK_THREAD_CPUTIME_ID);
}

static void keep(const void *data, size_t size)
{
	if (used + size > copies_size)
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

static int wake(void *context, void *data, size_t size)
{
	if (seen < WAKES)
		late[seen++] = clocked(CLOCK_MONOTONIC) - ((long *)data)[1];
	return 0;
}

static void run(int program, int repeat)
{
	char packet[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet, .data_size_in = sizeof(packet), .repeat = repeat);

	if (bpf_prog_test_run_opts(program, &options)) {
		perror("BPF_PROG_TEST_RUN");
		exit(1);
	}
}

// Runs the program in a child on another CPU.
static pid_t produce(int program, int repeat, int times, int pause)
{
	pid_t child = fork();
	cpu_set_t cpus;

	if (child)
		return child;
	CPU_ZERO(&cpus);
	CPU_SET(atoi(getenv("BENCH_PRODUCER_CPU")), &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	for (int i = 0; i < times; i++) {
		usleep(pause);
		run(program, repeat);
	}
	_exit(0);
}

static struct ring_buffer *opened(struct source *source, ring_buffer_sample_fn function)
{
	struct ring_buffer *ring = ring_buffer__new(source->map, function, NULL, NULL);

	if (!ring) {
		perror("ring_buffer__new");
		exit(1);
	}
	seen = 0;
	return ring;
}

static void sustain(struct source *source)
{
	struct ring_buffer *ring = opened(source, copy);
	pid_t child = produce(source->program, FLOOD, 1, 0);
	struct rusage used;
	long start = now(), spent;
	int ended;

	copies_size = MOST_COPIES;
	do {
		ended = wait4(child, NULL, WNOHANG, &used);
		usleep(LOOK);
		ring_buffer__consume(ring);
	} while (!ended);
	spent = now() - start;
	copies_size = COPIES;
	ring_buffer__free(ring);
	printf("{\"ns\": %.2f, \"note\": \"%.1f M events/s came, %ld lost\"}\n", spent / (double)seen,
	       FLOOD / (used.ru_stime.tv_sec * 1e6 + used.ru_stime.tv_usec + used.ru_utime.tv_sec * 1e6 +
			used.ru_utime.tv_usec),
	       FLOOD - seen);
}

static int compared(const void *one, const void *other)
{
	long left = *(const long *)one, right = *(const long *)other;

	return left < right ? -1 : left > right;
}

static double woken(struct source *source)
{
	struct ring_buffer *ring = opened(source, wake);
	pid_t child = produce(source->program, 1, WAKES, PAUSE);

	while (seen < WAKES)
		ring_buffer__poll(ring, 1000);
	waitpid(child, NULL, 0);
	ring_buffer__free(ring);
	qsort(late, WAKES, sizeof(late[0]), compared);
	return late[WAKES / 2];
}

static double drain_ring(struct source *source, ring_buffer_sample_fn function)
{
	struct ring_buffer *ring = opened(source, function);
	long start, spent;

	run(source->program, EVENTS);
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
	run(source->program, EVENTS);
	seen = 0;
	start = now();
	perf_buffer__consume(buffer);
	return seen == EVENTS ? (now() - start) / (double)EVENTS : -1;
}

int main(int argc, char **argv)
{
	char line[64], *word;

	for (word = strtok(argv[1], ","); word; word = strtok(NULL, ","))
		for (int i = 0; i < 4; i++) {
			size_t length = strlen(sources[i].name);

			if (!strncmp(word, sources[i].name, length) && word[length] == '=')
				sscanf(word + length, "=%d:%d", &sources[i].map, &sources[i].program);
		}
	puts("{\"works\": [\"ring.copy64\", \"ring.zerocopy64\", \"perf.copy60\", \"sustained.copy64\", \"wakeup\"]}");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		double spent;

		if (!strcmp(line, "sustained.copy64\n")) {
			sustain(&sources[0]);
			fflush(stdout);
			continue;
		}
		if (!strcmp(line, "wakeup\n"))
			spent = woken(&sources[3]);
		else if (!strcmp(line, "ring.copy64\n"))
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
