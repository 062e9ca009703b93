"""Random programs, loaded and run by both kernels: what the real one takes, both run alike."""

from __future__ import annotations

import collections
import contextlib

import pytest

from pyebpf.errors import SyscallError
from pyebpf.host import cpus
from pyebpf.sys import kernel as seam
from pyebpf.testing import FakeKernel
from tests.support.amount import FEWER, amount
from tests.support.differential import TYPES, Differential, differences

# Not many at a time: the kernel frees programs late, the later the more there are.
COUNT = amount(50)


@pytest.mark.usefixtures("like_this_kernel")
@pytest.mark.parametrize("part", range(4))
def test_random_programs_do_the_same(part: int, age: tuple[int, int]) -> None:
    """Value, packet, context and every map; the made-up kernel refuses nothing that is safe."""
    tally: collections.Counter[str] = collections.Counter()
    with contextlib.ExitStack() as stack:
        real = stack.enter_context(Differential())
        fake = stack.enter_context(
            contextlib.closing(FakeKernel("{}.{}".format(*age), cpus=max(2, cpus.possible())))
        )
        with seam.use(fake):
            made_up = stack.enter_context(Differential())
        for seed in range(part * COUNT, (part + 1) * COUNT):
            expected = real.in_kernel(real.trial(seed))
            if isinstance(expected, SyscallError):
                tally["refused"] += 1
                continue
            trial = made_up.trial(seed)
            with seam.use(fake):
                found = made_up.in_kernel(trial)
            assert not isinstance(found, SyscallError), f"seed {seed}: {found}"
            assert differences(expected, found) == [], f"seed {seed}"
            tally[str(trial.type)] += 1
    assert tally["refused"] <= COUNT / 10
    assert FEWER > 1 or {str(kind) for kind in TYPES} <= tally.keys()
