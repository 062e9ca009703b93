// What libbpf takes for what tests/bench/subject.py measures of pyebpf: `load load COUNT OBJECT`; or
// with `attach` for the first word, where the programs are attached, too.
//
// Prints one line of JSON: nanoseconds of CPU of every load (opened, loaded; closing is not
// counted), and the process's peak memory. (Not getrusage's: that remembers what the process was
// before it became this program.)
#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int silent(enum libbpf_print_level level, const char *format, va_list arguments)
{
	return 0;
}

static long now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return time.tv_sec * 1000000000L + time.tv_nsec;
}

static int attach(struct bpf_object *object)
{
	struct bpf_program *program;
	int failed = 0;

	bpf_object__for_each_program(program, object)
		failed |= !bpf_program__attach(program); // until the process ends
	return failed;
}

static int load(const char *path, int attached, long *spent)
{
	long start = now();
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	int failed = object ? bpf_object__load(object) : -1;
	if (!failed && attached)
		failed = attach(object);
	*spent = now() - start;
	bpf_object__close(object);
	return failed;
}

static long peak(void)
{
	char line[256];
	long found = 0;
	FILE *file = fopen("/proc/self/status", "r");

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "VmHWM: %ld kB", &found) == 1)
			break;
	if (file)
		fclose(file);
	return found * 1024;
}

int main(int count_of_arguments, char **arguments)
{
	long spent;
	int count = count_of_arguments == 4 ? atoi(arguments[2]) : 0;

	libbpf_set_print(silent);
	if (count < 1)
		return 2;
	printf("{\"loads\": [");
	for (int i = 0; i < count; i++) {
		if (load(arguments[3], !strcmp(arguments[1], "attach"), &spent))
			return 1;
		printf("%s%ld", i ? ", " : "", spent);
	}
	printf("], \"peak\": %ld}\n", peak());
	return 0;
}
