/* The kernel's configuration as variables: every type that can hold a value of it. */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

extern bool CONFIG_TEST_BOOL __kconfig;
extern enum libbpf_tristate CONFIG_TEST_TRISTATE __kconfig;
extern char CONFIG_TEST_CHAR __kconfig;
extern __u8 CONFIG_TEST_BYTE __kconfig;
extern __s16 CONFIG_TEST_SHORT __kconfig;
extern const int CONFIG_TEST_INT __kconfig;
extern __u64 CONFIG_TEST_LONG __kconfig;
extern const char CONFIG_TEST_TEXT[8] __kconfig;
extern int CONFIG_TEST_ABSENT __kconfig __attribute__((weak));
extern int CONFIG_TEST_NEEDED __kconfig;

extern __u32 LINUX_KERNEL_VERSION __kconfig;
extern bool LINUX_HAS_BPF_COOKIE __kconfig;
extern bool LINUX_HAS_SYSCALL_WRAPPER __kconfig;
extern long LINUX_UNHEARD_OF __kconfig __attribute__((weak));
extern bool CONFIG_BPF_SYSCALL __kconfig;
extern int CONFIG_HZ __kconfig;

bool got_bool;
__u32 got_tristate;
char got_char;
__u8 got_byte;
__s16 got_short;
int got_int;
__u64 got_long;
char got_text[8];
int got_absent = -1;

__u32 version;
bool has_cookie;
bool has_wrapper;
long unheard_of = -1;
bool has_bpf;
int hz;

SEC("socket")
int given(struct __sk_buff *skb)
{
	got_bool = CONFIG_TEST_BOOL;
	got_tristate = CONFIG_TEST_TRISTATE;
	got_char = CONFIG_TEST_CHAR;
	got_byte = CONFIG_TEST_BYTE;
	got_short = CONFIG_TEST_SHORT;
	got_int = CONFIG_TEST_INT;
	got_long = CONFIG_TEST_LONG;
	__builtin_memcpy(got_text, CONFIG_TEST_TEXT, sizeof(got_text));
	got_absent = CONFIG_TEST_ABSENT;
	return 0;
}

SEC("socket")
int running(struct __sk_buff *skb)
{
	version = LINUX_KERNEL_VERSION;
	has_cookie = LINUX_HAS_BPF_COOKIE;
	has_wrapper = LINUX_HAS_SYSCALL_WRAPPER;
	unheard_of = LINUX_UNHEARD_OF;
	has_bpf = CONFIG_BPF_SYSCALL;
	hz = CONFIG_HZ;
	return 0;
}

/* Strong, and no kernel has it. */
SEC("socket")
int needed(struct __sk_buff *skb)
{
	return CONFIG_TEST_NEEDED;
}

/* A constant to the verifier: what it rules out is never looked at, as no helper has this number. */
SEC("socket")
int pruned(struct __sk_buff *skb)
{
	if (CONFIG_TEST_BOOL)
		return ((int (*)(void))999999)();
	return 0;
}
