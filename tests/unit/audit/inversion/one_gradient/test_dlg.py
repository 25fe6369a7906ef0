"""The published attack by L-BFGS."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from sealround.audit.inversion.dlg import Dlg, attack
from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.audit.inversion.observation import Observation, Victims

    Observe = Callable[..., tuple[Observation, Victims]]
    Psnr = Callable[[torch.Tensor, torch.Tensor], float]
    Ticking = Callable[[], Callable[[], float]]


def _draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("channels", "improved"), [(1, False), (3, True)])
def test_smooth_networks_give_way(observe: Observe, psnr: Psnr, channels: int, improved: bool) -> None:
    seen, victims = observe(channels=channels)
    found = attack(seen, _draw(), Dlg(iterations=5, improved=improved), lambda: 0.0, 1.0)
    assert psnr(found.inputs, victims.inputs) > 15.0
    assert found.labels is not None
    assert torch.equal(found.labels, victims.labels)
    assert found.mismatch < 0.1
    assert not found.certified.any()


def test_same_seed_same_result(observe: Observe) -> None:
    seen, _ = observe()
    one, same, other = (attack(seen, _draw(seed), Dlg(iterations=3), lambda: 0.0, 1.0) for seed in (1, 1, 2))
    assert torch.equal(one.inputs, same.inputs)
    assert not torch.equal(one.inputs, other.inputs)


def test_the_deadline_ends_it_with_what_there_is(observe: Observe, ticking: Ticking) -> None:
    seen, _ = observe()
    found = attack(seen, _draw(), Dlg(), ticking(), 6.0)
    assert found.inputs.shape == (1, 3, 8, 8)
    assert 0 < len(found.course) < 6
    assert found.seconds < 20.0
    assert math.isfinite(found.mismatch)


def test_mismatch_of_the_course_never_rises(observe: Observe) -> None:
    seen, _ = observe()
    course = [mismatch for _, mismatch in attack(seen, _draw(), Dlg(iterations=6), lambda: 0.0, 1.0).course]
    assert course == sorted(course, reverse=True)
    assert course[-1] < course[0]


def test_a_search_that_stands_still_begins_again(observe: Observe) -> None:
    seen, _ = observe()
    # L-BFGS with a step of 0 never moves, so that only the starts differ: the best of them is kept.
    once = attack(seen, _draw(), Dlg(iterations=6, learning_rate=0.0, stalled=10), lambda: 0.0, 1.0)
    often = attack(seen, _draw(), Dlg(iterations=20, learning_rate=0.0, stalled=1), lambda: 0.0, 1.0)
    assert often.mismatch < once.mismatch


@pytest.mark.parametrize("improved", [False, True])
def test_a_single_outcome_is_found_with_its_label(observe: Observe, improved: bool) -> None:
    seen, victims = observe(channels=1, classes=1, seed=3)
    found = attack(seen, _draw(), Dlg(iterations=4, improved=improved), lambda: 0.0, 1.0)
    assert torch.equal(found.labels, victims.labels)
    assert found.mismatch < 0.5


def test_several_steps_are_refused(observe: Observe) -> None:
    seen, _ = observe()
    with pytest.raises(UsageError, match="one gradient"):
        attack(replace(seen, plan=replace(seen.plan, steps=2)), _draw(), Dlg(), lambda: 0.0, 1.0)
