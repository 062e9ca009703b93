"""Records out of perf and BPF rings: `PerfReader` and `RingReader`, one interface for both."""
