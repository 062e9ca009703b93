# The contributor's vocabulary. Each target sets up what it needs (see .ci/setup) and then works offline.
#
#   make demo                 watch this machine's execve calls (root; without, on a made-up kernel)
#   make test                 everything that can run here; ARGS="-k name" narrows it
#   make fuzz                 hostile input for SECONDS=60
#   make soak                 a reader of 100 000 events/s, each way for SECONDS=600 (root): tests/soak
#   make lint                 format, style and types
#   make bpf                  compile bpf_src/ into tests/data/
#   make corpus DIR=objects   the loader beside libbpf over other people's objects (root): tests/corpus
#   make differential         random programs, the kernel beside the interpreter (root); COUNT=100000
#   make corpus-text DIR=objects   the disassembler beside llvm-objdump: tests/corpus/disassembly.py
#   make bench                how fast it is, beside libbpf, bcc and pylibbpf (root); ARGS="--work map"
#   make bench-install        get those peers, from Debian and PyPI
#   make bench-load           how long loading takes, beside libbpf (root): tests/bench/load.py
#   make test-kernel KERNEL="5.10 6.1 newest"    the kernel tests under other kernels: tests/vm
#   make ages KERNEL="5.10 6.1"    what those can do, for the made-up kernel of that age

PYTHON = python3
RUN = .venv/bin/python
ARGS =

KERNEL =

export PYTHON

help:
	@sed -n '2,/^$$/s/^# \{0,1\}//p' Makefile

demo:
	@.ci/setup python
	@$(RUN) examples/trace_exec.py --demo

test:
	@.ci/setup python test
	@.ci/setup tools
	@$(RUN) -m pytest $(ARGS)

# Each round draws other examples; a failure prints how to repeat it.
SECONDS = 60
fuzz:
	@.ci/setup python test
	@end=$$(($$(date +%s) + $(SECONDS))); \
	while [ $$(date +%s) -lt $$end ]; do $(RUN) -m pytest -q tests/fuzz $(ARGS) || exit 1; done

soak: SECONDS = 600
soak:
	@.ci/setup python test
	@$(RUN) -m tests.soak $(SECONDS)

lint:
	@.ci/setup python lint
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

bpf:
	@.ci/setup tools
	@$(MAKE) --no-print-directory -C bpf_src

# Needs libbpf 1.6: LIBBPF_CFLAGS and LIBBPF_LIBS, or what pkg-config finds.
DIR =
corpus:
	@.ci/setup python test
	@[ -n "$(DIR)" ] || { echo "corpus: set DIR to a directory of eBPF objects"; exit 1; }
	@$(RUN) -m tests.corpus $(DIR) $(ARGS)

# Each program has a seed; the ones that differ are printed.
COUNT = 100000
SEED = 0
differential:
	@.ci/setup python test
	@$(RUN) -m tests.support.differential $(COUNT) $(SEED)

corpus-text:
	@.ci/setup python test
	@.ci/setup tools
	@[ -n "$(DIR)" ] || { echo "corpus-text: set DIR to a directory of eBPF objects"; exit 1; }
	@$(RUN) -m tests.corpus.disassembly $(DIR) $(ARGS)

BENCH = $(addprefix build/bench/,maps readers load numbers.bpf.o events.bpf.o)

# What cannot be built is a peer that is skipped.
bench:
	@.ci/setup python test
	@$(MAKE) --no-print-directory -k $(BENCH) || true
	@$(RUN) -m tests.bench $(ARGS)

bench-install:
	@.ci/setup bench

LIBBPF_LIBS ?= -lbpf
build/bench/%: tests/bench/%.c
	@mkdir -p build/bench
	$(CC) -O2 $(LIBBPF_CFLAGS) $< -o $@ $(LIBBPF_LIBS)

CLANG = $(firstword $(wildcard /usr/bin/clang-19 /usr/bin/clang /usr/bin/clang-*) clang)
build/bench/%.bpf.o: tests/bench/%.bpf.c
	@mkdir -p build/bench
	$(CLANG) -O2 -g --target=bpf -idirafter /usr/include/$(shell uname -m)-linux-gnu -c $< -o $@

bench-load:
	@.ci/setup python
	@$(RUN) -m tests.bench.load $(ARGS)

test-kernel:
	@.ci/setup python test
	@.ci/setup tools
	@[ -n "$(KERNEL)" ] || { echo "test-kernel: set KERNEL to versions, such as 6.12, or newest"; exit 1; }
	@.ci/setup kernels $(KERNEL)
	@$(RUN) -m tests.vm $(KERNEL) -- $(ARGS)

AGES = $(addprefix build/ages/,$(KERNEL))
ages:
	@.ci/setup python test
	@[ -n "$(KERNEL)" ] || { echo "ages: set KERNEL to versions, such as 6.12, or newest"; exit 1; }
	@.ci/setup kernels $(KERNEL)
	@rm -rf build/ages && mkdir -p build/ages
	@for kernel in $(KERNEL); do \
		$(RUN) -m tests.vm.guest $$kernel -- $(RUN) -m tests.support.ages > build/ages/$$kernel || exit 1; done
	@$(RUN) -m tests.support.ages --write $(AGES)

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

.PHONY: help demo test fuzz soak lint bpf corpus corpus-text differential bench bench-install bench-load test-kernel ages clean
