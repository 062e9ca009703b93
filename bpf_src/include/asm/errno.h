/* What libbpf's usdt.bpf.h returns; the system's own header is somewhere else on every distribution. */
#ifndef INCLUDE_ASM_ERRNO_H
#define INCLUDE_ASM_ERRNO_H

#define ENOENT 2
#define ESRCH 3
#define EINVAL 22

#endif
