"""What the running system says in /proc, /sys and its binaries; every function takes ``root=``."""
