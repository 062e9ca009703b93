"""Maps in the kernel: made, opened, read and written as typed mappings."""
