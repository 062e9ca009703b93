"""What the made-up kernel declares: structs that tracing programs read, and functions to attach to.

Members are a selection, in an order of their own: programs that were compiled for another layout
and not relocated read nonsense, as they would on another kernel.
"""

from __future__ import annotations

import platform

from pyebpf.testing.c_types import Types
from pyebpf.testing.tracepoints import SIZES, Tracepoint
from pyebpf.uapi.bpf import AttachType, Cmd, LinkType, MapType, ProgType

__all__ = ["CONTEXTS", "kernel_types", "pt_regs"]

STRUCTS = """
struct list_head { struct list_head * next; struct list_head * prev; };
struct qstr { u32 hash; u32 len; const unsigned char * name; };
struct dentry { unsigned int d_flags; struct dentry * d_parent; struct qstr d_name; \
struct inode * d_inode; };
struct super_block { dev_t s_dev; unsigned long s_magic; };
struct inode { umode_t i_mode; uid_t i_uid; gid_t i_gid; struct super_block * i_sb; \
unsigned long i_ino; loff_t i_size; };
struct path { struct vfsmount * mnt; struct dentry * dentry; };
struct file { unsigned int f_flags; struct inode * f_inode; struct path f_path; loff_t f_pos; };
struct filename { const char * name; const char * uptr; };
struct linux_binprm { struct file * file; int argc; int envc; const char * filename; \
const char * interp; };
struct ns_common { unsigned int inum; };
struct pid_namespace { struct ns_common ns; unsigned int level; };
struct uts_namespace { struct ns_common ns; };
struct mnt_namespace { struct ns_common ns; };
struct net { struct ns_common ns; int ifindex; };
struct nsproxy { struct uts_namespace * uts_ns; struct mnt_namespace * mnt_ns; \
struct pid_namespace * pid_ns_for_children; struct net * net_ns; };
struct cred { uid_t uid; gid_t gid; uid_t suid; gid_t sgid; uid_t euid; gid_t egid; };
struct mm_struct { unsigned long start_code; unsigned long arg_start; unsigned long arg_end; };
struct task_struct { unsigned int __state; void * stack; unsigned int flags; int on_cpu; int prio; \
int static_prio; struct mm_struct * mm; int exit_state; int exit_code; int exit_signal; \
unsigned int sched_reset_on_fork : 1; unsigned int in_execve : 1; pid_t pid; pid_t tgid; \
struct task_struct * real_parent; struct task_struct * parent; struct task_struct * group_leader; \
u64 start_time; u64 start_boottime; const struct cred * real_cred; const struct cred * cred; \
char comm[16]; struct nsproxy * nsproxy; };
struct net_device { unsigned int flags; int ifindex; char name[16]; unsigned int mtu; };
struct sock_common { u32 skc_daddr; u32 skc_rcv_saddr; u16 skc_dport; u16 skc_num; \
unsigned short skc_family; unsigned char skc_state; };
struct sock { struct sock_common __sk_common; int sk_rcvbuf; u16 sk_type; u16 sk_protocol; };
struct sk_buff { struct net_device * dev; struct sock * sk; unsigned int len; \
unsigned int data_len; u16 protocol; unsigned char * head; unsigned char * data; };
struct bpf_raw_tracepoint_args { __u64 args[1]; };
struct trace_entry { unsigned short type; unsigned char flags; unsigned char preempt_count; \
int pid; };
struct bpf_spin_lock { __u32 val; };
struct bpf_iter_meta { struct seq_file * seq; u64 session_id; u64 seq_num; };
struct bpf_iter__bpf_map { struct bpf_iter_meta * meta; struct bpf_map * map; };
struct bpf_iter__bpf_map_elem { struct bpf_iter_meta * meta; struct bpf_map * map; void * key; \
void * value; };
struct bpf_iter__bpf_prog { struct bpf_iter_meta * meta; struct bpf_prog * prog; };
struct bpf_iter__bpf_link { struct bpf_iter_meta * meta; struct bpf_link * link; };
struct bpf_iter__task { struct bpf_iter_meta * meta; struct task_struct * task; };
struct nf_hook_state { u8 hook; u8 pf; struct net_device * in; struct net_device * out; \
struct sock * sk; struct net * net; };
"""

# What iterators walk.
OBJECTS = """
struct bpf_map { enum bpf_map_type map_type; u32 key_size; u32 value_size; u32 max_entries; \
u64 map_extra; u32 map_flags; u32 id; char name[16]; };
struct bpf_prog_aux { u32 id; char name[16]; };
struct bpf_prog { u16 pages; enum bpf_prog_type type; u32 len; u8 tag[8]; \
struct bpf_prog_aux * aux; };
struct bpf_link { u32 id; enum bpf_link_type type; struct bpf_prog * prog; };
"""

# What programs of the network are given, as far as it is a struct of linux/bpf.h. Of a union only
# the largest member is here.
CONTEXTS = """
struct bpf_sock { u32 bound_dev_if; u32 family; u32 type; u32 protocol; u32 mark; u32 priority; \
u32 src_ip4; u32 src_ip6[4]; u32 src_port; u16 dst_port; u32 dst_ip4; u32 dst_ip6[4]; u32 state; \
s32 rx_queue_mapping; };
struct bpf_sock_addr { u32 user_family; u32 user_ip4; u32 user_ip6[4]; u32 user_port; u32 family; \
u32 type; u32 protocol; u32 msg_src_ip4; u32 msg_src_ip6[4]; u64 sk; };
struct bpf_sockopt { u64 sk; u64 optval; u64 optval_end; s32 level; s32 optname; s32 optlen; \
s32 retval; };
struct bpf_sysctl { u32 write; u32 file_pos; };
struct bpf_cgroup_dev_ctx { u32 access_type; u32 major; u32 minor; };
struct bpf_sock_ops { u32 op; u32 args[4]; u32 family; u32 remote_ip4; u32 local_ip4; \
u32 remote_ip6[4]; u32 local_ip6[4]; u32 remote_port; u32 local_port; u32 is_fullsock; \
u32 snd_cwnd; u32 srtt_us; u32 bpf_sock_ops_cb_flags; u32 state; u32 rtt_min; u32 snd_ssthresh; \
u32 rcv_nxt; u32 snd_nxt; u32 snd_una; u32 mss_cache; u32 ecn_flags; u32 rate_delivered; \
u32 rate_interval_us; u32 packets_out; u32 retrans_out; u32 total_retrans; u32 segs_in; \
u32 data_segs_in; u32 segs_out; u32 data_segs_out; u32 lost_out; u32 sacked_out; u32 sk_txhash; \
u64 bytes_received; u64 bytes_acked; u64 sk; u64 skb_data; u64 skb_data_end; u32 skb_len; \
u32 skb_tcp_flags; u64 skb_hwtstamp; };
struct bpf_sk_lookup { u64 cookie; u32 family; u32 protocol; u32 remote_ip4; u32 remote_ip6[4]; \
u16 remote_port; u32 local_ip4; u32 local_ip6[4]; u32 local_port; u32 ingress_ifindex; };
"""

FUNCTIONS = """
int do_unlinkat(int dfd, struct filename * name);
long do_sys_openat2(int dfd, const char * filename, void * how);
int vfs_unlink(void * idmap, struct inode * dir, struct dentry * dentry, void * delegated);
long vfs_read(struct file * file, char * buf, size_t count, loff_t * pos);
long vfs_write(struct file * file, const char * buf, size_t count, loff_t * pos);
int vfs_fsync(struct file * file, int datasync);
int vfs_open(const struct path * path, struct file * file);
int security_file_open(struct file * file);
int security_bprm_check(struct linux_binprm * bprm);
int tcp_v4_connect(struct sock * sk, void * uaddr, int addr_len);
int tcp_v6_connect(struct sock * sk, void * uaddr, int addr_len);
int tcp_sendmsg(struct sock * sk, void * msg, size_t size);
int tcp_recvmsg(struct sock * sk, void * msg, size_t len, int flags, int * addr_len);
void tcp_close(struct sock * sk, long timeout);
int ip_rcv(struct sk_buff * skb, struct net_device * dev, void * pt, struct net_device * orig);
void schedule(void);
void wake_up_new_task(struct task_struct * p);
void do_exit(long code);
int bpf_lsm_file_open(struct file * file);
int bpf_lsm_bprm_check_security(struct linux_binprm * bprm);
int bpf_lsm_task_alloc(struct task_struct * task, unsigned long clone_flags);
int bpf_lsm_socket_connect(void * sock, void * address, int addrlen);
int bpf_iter_bpf_map(struct bpf_iter_meta * meta, struct bpf_map * map);
int bpf_iter_bpf_map_elem(struct bpf_iter_meta * meta, struct bpf_map * map, void * key, \
void * value);
int bpf_iter_bpf_prog(struct bpf_iter_meta * meta, struct bpf_prog * prog);
int bpf_iter_bpf_link(struct bpf_iter_meta * meta, struct bpf_link * link);
int bpf_iter_task(struct bpf_iter_meta * meta, struct task_struct * task);
int bpf_fentry_test1(int a);
int bpf_fentry_test2(int a, u64 b);
"""

# TP_PROTO of tracepoints whose arguments programs use with types.
PROTOTYPES = {
    "sched_process_exec": "struct task_struct * p, pid_t old_pid, struct linux_binprm * bprm",
    "sched_process_fork": "struct task_struct * parent, struct task_struct * child",
    "sched_process_exit": "struct task_struct * p, bool group_dead",
    "sched_switch": "bool preempt, struct task_struct * prev, struct task_struct * next,"
    " unsigned int prev_state",
    "sched_wakeup": "struct task_struct * p",
    "sys_enter": "struct pt_regs * regs, long id",
    "sys_exit": "struct pt_regs * regs, long ret",
    "task_newtask": "struct task_struct * task, unsigned long clone_flags",
    "task_rename": "struct task_struct * task, const char * comm",
    "kfree_skb": "struct sk_buff * skb, void * location, int reason",
    "inet_sock_set_state": "const struct sock * sk, int oldstate, int newstate",
}

# As the machine has them, since programs may use them without relocation.
_REGISTERS = {
    "x86_64": "r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip cs flags sp ss",
    "aarch64": " ".join([f"x{number}" for number in range(31)] + ["sp", "pc", "pstate"]),
}
_ARGUMENTS = {
    "x86_64": ("di", "si", "dx", "cx", "r8", "r9"),
    "aarch64": ("x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7"),
}
_RETURN = {"x86_64": "ax", "aarch64": "x0"}

# Structs of records are often shared between tracepoints, under the name of the first.
_TEMPLATES = {
    "sched_process_exit": "sched_process_template",
    "sched_wakeup": "sched_wakeup_template",
}


def kernel_types(tracepoints: list[Tracepoint], more: str = "") -> Types:
    """Return the types of a kernel.

    Args:
        tracepoints: Whose records to declare.
        more: Declarations besides.
    """
    types = Types()
    for enum in (Cmd, MapType, ProgType, AttachType, LinkType):
        types.declare_enum(enum)
    types.declare(OBJECTS + STRUCTS + CONTEXTS)
    registers = _REGISTERS.get(platform.machine(), "")
    members = " ".join(f"unsigned long {name};" for name in registers.split())
    types.declare(f"struct pt_regs {{ {members} }};")
    types.declare(FUNCTIONS)
    types.declare(more)
    for name, parameters in PROTOTYPES.items():
        types.declare_tracepoint(name, parameters)
    for each in tracepoints:
        for name in filter(None, (each.name, _TEMPLATES.get(each.name))):
            if each.category != "syscalls" and f"trace_event_raw_{name}" not in types.layouts:
                types.declare(_record(each, name))
    return types


def pt_regs(arguments: tuple[int, ...], returned: int | None = None) -> bytes:
    """Return registers as they are at a function's start, or at its end.

    Raises:
        NotImplementedError: On a machine whose registers are not known.
    """
    machine = platform.machine()
    if machine not in _REGISTERS:
        raise NotImplementedError(f"struct pt_regs of {machine}")
    values = dict(zip(_ARGUMENTS[machine], arguments, strict=False))
    if returned is not None:
        values[_RETURN[machine]] = returned
    mask = (1 << 64) - 1
    order = "little"  # of both
    return b"".join(
        (values.get(name, 0) & mask).to_bytes(8, order)  # type: ignore[arg-type]
        for name in _REGISTERS[machine].split()
    )


def _record(each: Tracepoint, name: str) -> str:
    lines = ["struct trace_entry ent;"]
    for field in each.fields:
        if field.name.startswith("common_"):
            continue
        if field.dynamic:
            lines.append(f"u32 __data_loc_{field.name};")
        else:
            assert field.type in SIZES or field.type.endswith("*"), field
            length = f"[{field.length}]" if field.length else ""
            lines.append(f"{field.type} {field.name}{length};")
    return f"struct trace_event_raw_{name} {{ {' '.join(lines)} char __data[0]; }};"
