"""Maps in the kernel: made, opened, read and written as typed mappings.

base ◀── queue (no keys), per_cpu, many (batches, numpy) ◀── map.Map ◀── arena, struct_ops
codecs       codec, user_codec (what users give), objects (descriptors, devices), lpm,
stack_format; types says which one a map gets, dtypes what numpy calls it
the kernel   create (from a spec), info, iterate (key by key), batch; kinds says how types differ
"""
