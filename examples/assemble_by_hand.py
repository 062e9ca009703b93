"""Write an XDP program without a compiler: text, an array made in Python, packets made up.

Shows:  ProgramSpec.assemble and .disassemble, a MapSpec of one's own, Program.run; the program
        counts packets by the version of their IP header.
Needs:  root, Linux 4.15.
Run:    sudo python examples/assemble_by_hand.py

Expected output:

    0000000000000000 <by_version>:
           0:       w2 = *(u32 *)(r1 + 0x4)
           1:       w1 = *(u32 *)(r1 + 0x0)
           2:       r3 = r1
           3:       r3 += 0xf
           4:       if r3 > r2 goto +0xb <by_version+0x80>
           5:       w1 = *(u8 *)(r1 + 0xe)
           6:       w1 >>= 0x4
           7:       *(u32 *)(r10 - 0x4) = w1
           8:       r2 = r10
           9:       r2 += -0x4
          10:       r1 = packets ll
          12:       call bpf_map_lookup_elem
          13:       if r0 == 0x0 goto +0x2 <by_version+0x80>
          14:       r1 = 0x1
          15:       lock *(u64 *)(r0 + 0x0) += r1
          16:       w0 = 0x2
          17:       exit
    IPv4: 3 packets
    IPv6: 2 packets
"""

from __future__ import annotations

import pyebpf

TEXT = """
    r2 = *(u32 *)(r1 + 4)           # struct xdp_md: data_end
    r1 = *(u32 *)(r1 + 0)           # data
    r3 = r1
    r3 += IP_HEADER + 1             # the verifier wants to see that the byte is there
    if r3 > r2 goto pass
    w1 = *(u8 *)(r1 + IP_HEADER)
    w1 >>= 4                        # the version
    *(u32 *)(r10 - 4) = w1
    r2 = r10
    r2 += -4
    r1 = packets ll                 # the map of that name
    call bpf_map_lookup_elem
    if r0 == 0 goto pass
    r1 = 1
    lock *(u64 *)(r0 + 0) += r1
pass:
    w0 = XDP_PASS
    exit
"""


def collection() -> pyebpf.CollectionSpec:
    constants = {"IP_HEADER": 14, "XDP_PASS": pyebpf.XdpAction.PASS}
    program = pyebpf.ProgramSpec.assemble("by_version", TEXT, section="xdp", constants=constants)
    array = pyebpf.MapType.ARRAY
    packets = pyebpf.MapSpec(name="packets", type=array, key_size=4, value_size=8, max_entries=16)
    return pyebpf.CollectionSpec(programs={"by_version": program}, maps={"packets": packets})


def main() -> None:
    spec = collection()
    print(spec.programs["by_version"].disassemble().expandtabs(), end="")
    with pyebpf.load(spec) as bpf:
        for version in (4, 6, 4, 6, 4):
            bpf.programs["by_version"].run(bytes(14) + bytes([version << 4]) + bytes(45))
        with bpf.maps["packets"].with_types(key="I", value="Q") as packets:
            for version in (4, 6):
                print(f"IPv{version}: {packets[version]} packets")


if __name__ == "__main__":
    main()
