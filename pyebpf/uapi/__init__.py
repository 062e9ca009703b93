"""What the kernel's headers say, as data: enums, structs and constants, under the kernel's names.

Nothing here does anything: classes are named after the C type without ``bpf_``, members after the
C name without the shared prefix, fields exactly as in the header. Each one knows its C name and
since which kernel it exists, and a test compares all of it with the running kernel's BTF and with
what gcc computes from the headers.

    cenum.py    the bases of the enums     cstruct.py  the base of the structs (cfield.py: fields)
    bpf.py      commands, kinds, flags     attrs.py    union bpf_attr, one class per command
    info.py     bpf_*_info                 records.py  records and map values that programs share
    helpers.py  numbers of helpers         helper_flags.py  their flags and answers
    btf.py      BTF's numbers              insn.py     opcodes
    elf.py      ELF's numbers              perf.py     perf_event_open(2)
    net.py      return codes, XDP          sockops.py  what socket programs are asked
    rtnetlink.py  attaching through netlink
"""
