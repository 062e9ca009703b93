/*
 * What libbpf makes of one object file, as lines of tab-separated fields on standard output.
 *
 *   oracle FILE open|prepare|load [TYPES]
 *
 *   open     0 or errno      message
 *   map      name            type      key_size      value_size      max_entries      flags
 *   program  name            section   type          attach_type     flags            autoload
 *   made     program         0 or errno              seconds         message
 *   loaded   program         0 or errno              seconds         message
 *   fd       program         map       number
 *   code     program         instructions in hex, every relocation applied
 *
 * Programs are made ("prepare") and loaded each on its own, from an object opened anew with all other
 * programs left out: one refused program must not hide what becomes of the next. Nothing is attached or
 * pinned. TYPES is a BTF file to relocate against instead of the running kernel's.
 *
 * What objects leave to the user is made up: maps get the smallest sizes, and a hash as inner map.
 * Large hashes are made smaller, which saves seconds for each program. Standard input says in lines
 * "program type attach_type" what to make of programs whose sections libbpf does not know.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_SIZE 1024
#define MAX_GIVEN 16384
#define MAX_INNER 64
#define MOST_ENTRIES 1024

/* The last warnings since forget(): the end of a verifier's log says more than its beginning. */
static char message[MESSAGE_SIZE];

static void forget(void)
{
	message[0] = '\0';
}

static int remember(enum libbpf_print_level level, const char *format, va_list arguments)
{
	static char text[1 << 20];
	int length, kept = strlen(message), surplus;

	if (level != LIBBPF_WARN)
		return 0;
	length = vsnprintf(text, sizeof(text), format, arguments);
	if (length >= (int)sizeof(text))
		length = sizeof(text) - 1;
	if (length >= MESSAGE_SIZE) {
		memcpy(message, text + length - (MESSAGE_SIZE - 1), MESSAGE_SIZE);
		return 0;
	}
	surplus = kept + length - (MESSAGE_SIZE - 1);
	if (surplus > 0) {
		memmove(message, message + surplus, kept - surplus + 1);
		kept -= surplus;
	}
	memcpy(message + kept, text, length + 1);
	return 0;
}

/* One field: text without the characters that separate fields and lines. */
static void put_text(const char *text)
{
	putchar('\t');
	for (; *text; text++)
		putchar(*text == '\n' || *text == '\t' || *text == '\r' ? ' ' : *text);
}

static double seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec - start->tv_sec + (now.tv_nsec - start->tv_nsec) / 1e9;
}

static void put_verdict(const char *what, const char *program, int error, double seconds)
{
	printf("%s\t%s\t%d\t%.6f", what, program, error, seconds);
	put_text(error ? message : "");
	putchar('\n');
}

static void put_spec(struct bpf_object *object)
{
	struct bpf_program *program;
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
		printf("map\t%s\t%u\t%u\t%u\t%u\t%u\n", bpf_map__name(map), bpf_map__type(map),
		       bpf_map__key_size(map), bpf_map__value_size(map), bpf_map__max_entries(map),
		       bpf_map__map_flags(map));
	bpf_object__for_each_program(program, object)
		printf("program\t%s\t%s\t%u\t%u\t%u\t%d\n", bpf_program__name(program),
		       bpf_program__section_name(program), bpf_program__type(program),
		       bpf_program__expected_attach_type(program), bpf_program__flags(program),
		       bpf_program__autoload(program));
}

static void put_code(struct bpf_object *object, const struct bpf_program *program)
{
	const char *name = bpf_program__name(program);
	const unsigned char *code = (const unsigned char *)bpf_program__insns(program);
	size_t size = bpf_program__insn_cnt(program) * sizeof(struct bpf_insn);
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
		if (bpf_map__fd(map) >= 0)
			printf("fd\t%s\t%s\t%d\n", name, bpf_map__name(map), bpf_map__fd(map));
	printf("code\t%s\t", name);
	for (size_t at = 0; at < size; at++)
		printf("%02x", code[at]);
	putchar('\n');
}

static struct bpf_object *open_object(const char *path, const char *types)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = types);
	struct bpf_object *object = bpf_object__open_file(path, &options);
	struct bpf_map *map;

	if (!object)
		return NULL;
	bpf_object__for_each_map(map, object)
		bpf_map__set_pin_path(map, NULL);
	return object;
}

static bool is_map_in_map(enum bpf_map_type type)
{
	return type == BPF_MAP_TYPE_ARRAY_OF_MAPS || type == BPF_MAP_TYPE_HASH_OF_MAPS;
}

/* Inner maps of our own making, until the object that uses them is closed. */
static int inner_maps[MAX_INNER];
static int inner_count;

static void set_inner(struct bpf_map *map, enum bpf_map_type type, __u32 key, __u32 value, __u32 entries)
{
	int fd = bpf_map_create(type, "inner", key, value, entries, NULL);

	if (fd < 0)
		return;
	if (inner_count == MAX_INNER || bpf_map__set_inner_map_fd(map, fd))
		close(fd);
	else
		inner_maps[inner_count++] = fd;
}

static void close_inner(void)
{
	while (inner_count)
		close(inner_maps[--inner_count]);
}

static __u32 smallest(enum bpf_map_type type)
{
	switch (type) {
	case BPF_MAP_TYPE_RINGBUF:
		return 4096;
	case BPF_MAP_TYPE_HASH:
	case BPF_MAP_TYPE_ARRAY:
	case BPF_MAP_TYPE_PROG_ARRAY:
	case BPF_MAP_TYPE_PERCPU_HASH:
	case BPF_MAP_TYPE_PERCPU_ARRAY:
	case BPF_MAP_TYPE_LRU_HASH:
	case BPF_MAP_TYPE_LRU_PERCPU_HASH:
	case BPF_MAP_TYPE_LPM_TRIE:
	case BPF_MAP_TYPE_STACK_TRACE:
	case BPF_MAP_TYPE_ARRAY_OF_MAPS:
	case BPF_MAP_TYPE_HASH_OF_MAPS:
		return 1;
	default:
		return 0;
	}
}

static bool holds_descriptors(enum bpf_map_type type)
{
	return is_map_in_map(type) || type == BPF_MAP_TYPE_PERF_EVENT_ARRAY ||
	       type == BPF_MAP_TYPE_PROG_ARRAY;
}

/* Kinds whose elements the kernel makes in advance, and whose capacity no verdict depends on. */
static bool is_hash(enum bpf_map_type type)
{
	return type == BPF_MAP_TYPE_HASH || type == BPF_MAP_TYPE_PERCPU_HASH ||
	       type == BPF_MAP_TYPE_LRU_HASH || type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

/* Sizes and inner maps that objects leave to those who load them; ours.py does the same. */
static void set_sizes(struct bpf_map *map)
{
	enum bpf_map_type type = bpf_map__type(map);
	struct bpf_map *inner = bpf_map__inner_map(map);

	if (type == BPF_MAP_TYPE_STACK_TRACE && !bpf_map__value_size(map))
		bpf_map__set_value_size(map, 8);
	if (holds_descriptors(type) && !bpf_map__key_size(map))
		bpf_map__set_key_size(map, 4);
	if (holds_descriptors(type) && !bpf_map__value_size(map))
		bpf_map__set_value_size(map, 4);
	if (is_map_in_map(type) && !inner)
		set_inner(map, BPF_MAP_TYPE_HASH, 4, 4, 1);
	else if (inner && !bpf_map__max_entries(inner) && smallest(bpf_map__type(inner)))
		set_inner(map, bpf_map__type(inner), bpf_map__key_size(inner),
			  bpf_map__value_size(inner), smallest(bpf_map__type(inner)));
	if (!bpf_map__max_entries(map) && smallest(type))
		bpf_map__set_max_entries(map, smallest(type));
	if (is_hash(type) && bpf_map__max_entries(map) > MOST_ENTRIES)
		bpf_map__set_max_entries(map, MOST_ENTRIES);
}

/* Lines of standard input. */
static struct {
	char name[256];
	int type, attach_type;
} given[MAX_GIVEN];
static int given_count;

static void read_given(void)
{
	while (given_count < MAX_GIVEN &&
	       scanf("%255s %d %d", given[given_count].name, &given[given_count].type,
		     &given[given_count].attach_type) == 3)
		given_count++;
}

static void set_type(struct bpf_program *program)
{
	if (bpf_program__type(program) != BPF_PROG_TYPE_UNSPEC)
		return;
	for (int at = 0; at < given_count; at++)
		if (!strcmp(given[at].name, bpf_program__name(program))) {
			bpf_program__set_type(program, given[at].type);
			bpf_program__set_expected_attach_type(program, given[at].attach_type);
		}
}

/*
 * Program arrays may name programs that are left out here. libbpf fills the arrays after it has loaded
 * everything, so that failure says that the program was loaded.
 */
static bool only_slots_failed(void)
{
	return strstr(message, "failed to initialize slot [") && strstr(message, "] to prog '");
}

/* Makes and loads the only program called `name`; false when the object has none of that name. */
static bool try_program(const char *path, const char *types, const char *name, bool load)
{
	struct bpf_program *program, *chosen = NULL;
	struct bpf_object *object;
	struct timespec start;
	struct bpf_map *map;
	int error;

	forget();
	clock_gettime(CLOCK_MONOTONIC, &start);
	object = open_object(path, types);
	if (!object)
		return false;
	bpf_object__for_each_map(map, object)
		set_sizes(map);
	bpf_object__for_each_program(program, object) {
		bool wanted = !strcmp(bpf_program__name(program), name);

		bpf_program__set_autoload(program, wanted);
		if (!wanted)
			continue;
		chosen = program;
		set_type(program);
	}
	error = chosen ? -bpf_object__prepare(object) : ENOENT;
	put_verdict("made", name, error, seconds_since(&start));
	if (!error) {
		put_code(object, chosen);
		if (load) {
			error = -bpf_object__load(object);
			if (error && only_slots_failed())
				error = 0;
			put_verdict("loaded", name, error, seconds_since(&start));
		}
	}
	fflush(stdout);
	bpf_object__close(object);
	close_inner();
	return true;
}

int main(int count, char **arguments)
{
	const char *path, *types;
	struct bpf_program *program;
	struct bpf_object *object;

	if (count < 3) {
		fprintf(stderr, "usage: oracle FILE open|prepare|load [TYPES]\n");
		return 2;
	}
	path = arguments[1];
	types = count > 3 ? arguments[3] : NULL;
	read_given();
	libbpf_set_print(remember);
	object = open_object(path, types);
	printf("open\t%d", object ? 0 : errno);
	put_text(object ? "" : message);
	putchar('\n');
	if (!object)
		return 0;
	put_spec(object);
	fflush(stdout);
	if (strcmp(arguments[2], "open"))
		bpf_object__for_each_program(program, object)
			try_program(path, types, bpf_program__name(program), !strcmp(arguments[2], "load"));
	bpf_object__close(object);
	return 0;
}
