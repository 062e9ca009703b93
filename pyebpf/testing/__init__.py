"""For unit tests of programs and of what uses them, without a kernel."""
