/* One program for each place in a cgroup; each counts its runs and allows or denies as it is told. */
#include "bpf.h"

#include <bpf/bpf_endian.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

int allow = 1;
__u64 order;
__u64 ingress_hits;
__u64 egress_hits;
__u64 sock_create_hits;
__u64 sock_release_hits;
__u64 post_bind4_hits;
__u64 post_bind6_hits;
__u64 bind4_hits;
__u64 bind6_hits;
__u64 connect4_hits;
__u64 connect6_hits;
__u64 connect_unix_hits;
__u64 sendmsg4_hits;
__u64 sendmsg6_hits;
__u64 sendmsg_unix_hits;
__u64 recvmsg4_hits;
__u64 recvmsg6_hits;
__u64 recvmsg_unix_hits;
__u64 getpeername4_hits;
__u64 getpeername6_hits;
__u64 getpeername_unix_hits;
__u64 getsockname4_hits;
__u64 getsockname6_hits;
__u64 getsockname_unix_hits;
__u64 getsockopt_hits;
__u64 setsockopt_hits;
__u64 sysctl_hits;
__u64 dev_hits;
__u64 sock_ops_hits;

/* Where connections to 127.0.0.1:`from_port` go instead. */
__u32 from_port;
__u32 to_port;

struct bpf_sock;

struct bpf_sock_addr {
	__u32 user_family;
	__u32 user_ip4;
	__u32 user_ip6[4];
	__u32 user_port;
	__u32 family;
	__u32 type;
	__u32 protocol;
};

struct bpf_sockopt {
	__u64 sk;
	__u64 optval;
	__u64 optval_end;
	__s32 level;
	__s32 optname;
	__s32 optlen;
	__s32 retval;
};

#define DECIDE(name) (atomic_add(&name##_hits, 1), allow & 1)

#define VERDICT(name, section)       \
	SEC(section)                 \
	int name(void *ctx)          \
	{                            \
		return DECIDE(name); \
	}

/* The kernel takes no other answer. */
#define COUNT(name, section)                   \
	SEC(section)                           \
	int name(void *ctx)                    \
	{                                      \
		atomic_add(&name##_hits, 1);   \
		return 1;                      \
	}

VERDICT(ingress, "cgroup_skb/ingress")
VERDICT(egress, "cgroup_skb/egress")
VERDICT(sock_create, "cgroup/sock_create")
COUNT(sock_release, "cgroup/sock_release")
VERDICT(post_bind4, "cgroup/post_bind4")
VERDICT(post_bind6, "cgroup/post_bind6")
VERDICT(bind4, "cgroup/bind4")
VERDICT(bind6, "cgroup/bind6")
VERDICT(connect6, "cgroup/connect6")
VERDICT(connect_unix, "cgroup/connect_unix")
VERDICT(sendmsg4, "cgroup/sendmsg4")
VERDICT(sendmsg6, "cgroup/sendmsg6")
VERDICT(sendmsg_unix, "cgroup/sendmsg_unix")
COUNT(recvmsg4, "cgroup/recvmsg4")
COUNT(recvmsg6, "cgroup/recvmsg6")
COUNT(recvmsg_unix, "cgroup/recvmsg_unix")
COUNT(getpeername4, "cgroup/getpeername4")
COUNT(getpeername6, "cgroup/getpeername6")
COUNT(getpeername_unix, "cgroup/getpeername_unix")
COUNT(getsockname4, "cgroup/getsockname4")
COUNT(getsockname6, "cgroup/getsockname6")
COUNT(getsockname_unix, "cgroup/getsockname_unix")
VERDICT(setsockopt, "cgroup/setsockopt")
VERDICT(sysctl, "cgroup/sysctl")
VERDICT(dev, "cgroup/dev")
COUNT(sock_ops, "sockops")

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	if (from_port && ctx->user_port == bpf_htons(from_port))
		ctx->user_port = bpf_htons(to_port);
	return DECIDE(connect4);
}

/* SO_PRIORITY reads as 77. */
SEC("cgroup/getsockopt")
int getsockopt(struct bpf_sockopt *ctx)
{
	int *value = (void *)ctx->optval;

	if (ctx->level != 1 || ctx->optname != 12)
		return 1;
	if ((void *)(value + 1) > (void *)ctx->optval_end)
		return 1;
	*value = 77;
	ctx->retval = 0;
	return DECIDE(getsockopt);
}

static __always_inline int ran(int digit)
{
	order = order * 10 + digit;
	return 1;
}

SEC("cgroup_skb/egress")
int one(struct __sk_buff *skb)
{
	return ran(1);
}

SEC("cgroup_skb/egress")
int two(struct __sk_buff *skb)
{
	return ran(2);
}

SEC("cgroup_skb/egress")
int three(struct __sk_buff *skb)
{
	return ran(3);
}
