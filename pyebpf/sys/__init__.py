"""The only code that makes system calls: the seam (`kernel`), its commands (`bpf`), fds (`fd`)."""
