"""Instructions as objects: decode and encode. Pure; see `pyebpf.asm.instruction`."""
