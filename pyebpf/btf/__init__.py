"""BTF, the kernel's and clang's compact description of C types. Bytes in, data out; pure.

The modules, and what each one is for:

    types     one small class per kind             btf       `Btf`: a lazily read set of types
    names     strings and names, searched          decode    the wire format, read
    encode    the wire format, written             ext       .BTF.ext: func, line, CO-RE notes
    values    which Python value for which type    codec     scalars and arrays
    records   structs as tuples with fields        sections  data sections' sizes and offsets
    relocate  CO-RE: fit code to a kernel's types  sanitize  what older kernels do not know
    access    what a CO-RE note points at          compat    which types count as the same
    patch     one instruction changed              dump      types as C; vmlinux.h
    declare   one type as C                        layout    padding of structs in C

What there is to import is in the modules; this package has no names of its own. A header of the
running kernel, for programs to include, comes from

    from pyebpf.btf.dump import vmlinux_h
    from pyebpf.host.kernel_btf import kernel_btf

    with open("vmlinux.h", "w") as file:
        file.writelines(vmlinux_h(kernel_btf()))

and any types, such as an object's or one module's, from `pyebpf.btf.dump.dump`.
"""
