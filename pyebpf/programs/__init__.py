"""Programs in the kernel: loaded with the verifier's log, run, and asked about."""
