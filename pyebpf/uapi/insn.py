"""Opcodes, registers and the special values of instructions: ``linux/bpf.h``, ``bpf_common.h``.

Plain numbers named as the macros without ``BPF_``. An opcode byte, by the class in its low bits:

    bits   7  6  5  4  3  2  1  0
          |operation  | s| class  |     ALU, ALU64, JMP, JMP32; s: K (immediate) or X (register)
          |mode    |size | class  |     LD, LDX, ST, STX
"""

from __future__ import annotations

# Classes.
LD = 0x00
LDX = 0x01
ST = 0x02
STX = 0x03
ALU = 0x04
JMP = 0x05
JMP32 = 0x06
ALU64 = 0x07

# Sizes of loads and stores: 4, 2, 1, 8 bytes.
W = 0x00
H = 0x08
B = 0x10
DW = 0x18

# Modes of loads and stores.
IMM = 0x00
ABS = 0x20
IND = 0x40
MEM = 0x60
MEMSX = 0x80  # sign-extending load
XADD = 0xC0  # the old name of ATOMIC, when all it could do was ADD
ATOMIC = 0xC0

# Sources.
K = 0x00
X = 0x08

# Operations of ALU and ALU64.
ADD = 0x00
SUB = 0x10
MUL = 0x20
DIV = 0x30
OR = 0x40
AND = 0x50
LSH = 0x60
RSH = 0x70
NEG = 0x80
MOD = 0x90
XOR = 0xA0
MOV = 0xB0
ARSH = 0xC0
END = 0xD0

# "Source" of END: convert to little-endian, to big-endian.
TO_LE = 0x00
TO_BE = 0x08

# Operations of JMP and JMP32.
JA = 0x00
JEQ = 0x10
JGT = 0x20
JGE = 0x30
JSET = 0x40
JNE = 0x50
JSGT = 0x60
JSGE = 0x70
CALL = 0x80
EXIT = 0x90
JLT = 0xA0
JLE = 0xB0
JSLT = 0xC0
JSLE = 0xD0
JCOND = 0xE0  # may_goto

# Operations of ATOMIC, in the immediate; FETCH may be or-ed to ADD, AND, OR and XOR.
FETCH = 0x01
XCHG = 0xE0 | FETCH
CMPXCHG = 0xF0 | FETCH
LOAD_ACQ = 0x100
STORE_REL = 0x110

# "Source register" of a 64-bit immediate load: what the immediate is.
PSEUDO_MAP_FD = 1
PSEUDO_MAP_VALUE = 2
PSEUDO_BTF_ID = 3
PSEUDO_FUNC = 4
PSEUDO_MAP_IDX = 5
PSEUDO_MAP_IDX_VALUE = 6

# "Source register" of a call; 0 is a helper's number.
PSEUDO_CALL = 1
PSEUDO_KFUNC_CALL = 2

# Offset of a MOV that casts between address spaces (arena), and immediate of a may_goto.
ADDR_SPACE_CAST = 1
MAY_GOTO = 0

# Registers: return value, arguments 1 to 5, callee-saved 6 to 9, frame pointer.
REG_0 = 0
REG_1 = 1
REG_2 = 2
REG_3 = 3
REG_4 = 4
REG_5 = 5
REG_6 = 6
REG_7 = 7
REG_8 = 8
REG_9 = 9
REG_10 = 10

# The kernel release by name, for those that not every kernel knows.
SINCE = {
    "JMP32": "5.1",
    "PSEUDO_MAP_VALUE": "5.2",
    "PSEUDO_BTF_ID": "5.10",
    "ATOMIC": "5.12",
    "FETCH": "5.12",
    "XCHG": "5.12",
    "CMPXCHG": "5.12",
    "PSEUDO_FUNC": "5.13",
    "PSEUDO_KFUNC_CALL": "5.13",
    "PSEUDO_MAP_IDX": "5.14",
    "PSEUDO_MAP_IDX_VALUE": "5.14",
    "MEMSX": "6.6",
    "JCOND": "6.9",
    "MAY_GOTO": "6.9",
    "ADDR_SPACE_CAST": "6.9",
    "LOAD_ACQ": "6.15",
    "STORE_REL": "6.15",
}
