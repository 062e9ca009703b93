"""The contents of maps, one module for each family of kinds.

What may be put into those that hold other objects, `pyebpf.testing.commands.map_contents` says.
"""
