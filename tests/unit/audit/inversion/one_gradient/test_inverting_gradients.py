"""The published attack by signed Adam."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from sealround.audit.inversion.inverting_gradients import InvertingGradients, attack, total_variation
from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.audit.inversion.observation import Observation, Victims

    Observe = Callable[..., tuple[Observation, Victims]]
    Psnr = Callable[[torch.Tensor, torch.Tensor], float]
    Ticking = Callable[[], Callable[[], float]]

QUICK = InvertingGradients(iterations=240, total_variation=1e-4)


def _draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_total_variation_of_a_ramp_is_its_slopes() -> None:
    down, across = torch.meshgrid(torch.arange(5.0), torch.arange(4.0), indexing="ij")
    ramp = (0.5 * down + 0.25 * across).expand(2, 3, 5, 4)
    assert float(total_variation(ramp)) == pytest.approx(0.75)
    assert float(total_variation(torch.rand(2, 7))) == 0.0


@pytest.mark.parametrize(("channels", "activation"), [(1, nn.ReLU), (3, nn.Sigmoid)])
def test_images_come_out_roughly(observe: Observe, psnr: Psnr, channels: int, activation: type[nn.Module]) -> None:
    seen, victims = observe(channels=channels, activation=activation, known=True)
    found = attack(seen, _draw(), QUICK, lambda: 0.0, 1.0)
    flat = victims.inputs.mean((2, 3), keepdim=True).expand_as(victims.inputs)
    assert psnr(found.inputs, victims.inputs) > psnr(flat, victims.inputs) + 2.0
    assert found.inputs.min() >= 0.0
    assert found.inputs.max() <= 1.0
    assert found.course[-1][1] < 0.5 * found.course[0][1]


def test_more_starts_are_not_worse(observe: Observe) -> None:
    seen, _ = observe(known=True)
    short = replace(QUICK, iterations=30, total_variation=0.0, every=1)
    costs = [attack(seen, _draw(), replace(short, restarts=count), lambda: 0.0, 1.0).course[-1][1] for count in (1, 4)]
    assert costs[1] <= costs[0]


def test_same_seed_same_result(observe: Observe) -> None:
    seen, _ = observe()
    short = replace(QUICK, iterations=5)
    one, same, other = (attack(seen, _draw(seed), short, lambda: 0.0, 1.0) for seed in (1, 1, 2))
    assert torch.equal(one.inputs, same.inputs)
    assert not torch.equal(one.inputs, other.inputs)


def test_the_deadline_ends_it_with_what_there_is(observe: Observe, ticking: Ticking) -> None:
    seen, _ = observe()
    found = attack(seen, _draw(), replace(QUICK, restarts=50, every=1), ticking(), 12.0)
    assert found.inputs.shape == (1, 3, 8, 8)
    assert 0 < len(found.course) < 12


def test_it_starts_where_it_is_told_to(observe: Observe) -> None:
    seen, victims = observe(known=True)
    none = InvertingGradients(iterations=1, total_variation=0.0, start=victims.inputs)
    found = attack(seen, _draw(), none, lambda: 0.0, 1.0)
    torch.testing.assert_close(found.inputs, victims.inputs)
    assert found.mismatch < 1e-12


def test_several_steps_are_refused(observe: Observe) -> None:
    seen, _ = observe()
    with pytest.raises(UsageError, match="one gradient"):
        attack(replace(seen, plan=replace(seen.plan, adaptive=True)), _draw(), QUICK, lambda: 0.0, 1.0)
