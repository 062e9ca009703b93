"""From spec to kernel: maps, programs and variables of a collection, loaded and undone together."""
