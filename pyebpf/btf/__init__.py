"""BTF, the kernel's and clang's compact description of C types. Bytes in, data out; pure.

types     one small class per kind            btf       `Btf`: a lazily read set of types
decode    the wire format                     encode    the other way, for tests and probes
ext       .BTF.ext: func, line, CO-RE info     relocate  CO-RE: fit code to the kernel's types
values    bytes <-> Python values by type     records   the tuples that stand for structs
sanitize  what older kernels do not know      sections  data sections' sizes and offsets
"""
