"""AF_XDP: whole packets between an interface's queue and this process, past the network stack.

    interface ──▶ XDP program ──▶ xskmap ──▶ XskSocket.receive, .lease
    interface ◀──────────────────────────── XskSocket.send, .reserve, .forward
                  `Umem`: frames in memory that kernel and process share, for one socket or many

`umem` is the memory, `socket` what users call, `redirect` a program that needs no compiler. Below:
`binding` makes a socket, `channel` moves packets, `frames` knows who has which frame. The rings
themselves are in `pyebpf.sys.xdp_rings`.
"""
