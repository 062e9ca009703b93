"""Random programs: the kernel and the interpreter do the same. ``make differential`` runs many."""

from __future__ import annotations

import collections

import pytest

from pyebpf.errors import SyscallError
from tests.support import kernel
from tests.support.amount import FEWER, amount
from tests.support.differential import TYPES, Differential, differences

SEEDS = range(amount(60))
# Of what the verifier knew by then: load-acquire is the newest instruction that is drawn.
SINCE = "6.15"


@pytest.fixture(scope="module")
def both(real_kernel):
    if kernel.version() < kernel.parse_version(SINCE):
        pytest.skip(f"the programs use instructions that came with Linux {SINCE}")
    with Differential() as found:
        yield found


@pytest.mark.parametrize("part", range(4))
def test_random_programs_do_the_same(part, both) -> None:
    """Return value, packet, context and maps are equal; nearly all programs are accepted."""
    tally: collections.Counter[str] = collections.Counter()
    for seed in range(part * len(SEEDS), (part + 1) * len(SEEDS)):
        trial = both.trial(seed)
        real = both.in_kernel(trial)
        if isinstance(real, SyscallError):
            tally["refused"] += 1
            continue
        assert differences(real, both.interpreted(trial)) == [], f"seed {seed}"
        tally[str(trial.type)] += 1
    assert tally["refused"] <= len(SEEDS) / 10
    assert FEWER > 1 or {str(kind) for kind in TYPES} <= tally.keys()
