"""Instructions: as bytes, as values, as text, as a graph. Pure; no kernel, no LLVM.

    bytes ──instruction──▶ Instruction ◀──build── Python        text    what llvm-objdump prints
      ▲                      │      ▲                           parse   reads that, and clang's
      └──────assemble────────┘      └──parse── text             cfg     functions and basic blocks

``slots`` reads and patches single instructions in place; ``opcode`` and ``operand`` are what
opcodes and operands are made of. `pyebpf.spec.ProgramSpec` puts it all to use: ``assemble``,
``disassemble`` and ``graph``.
"""
