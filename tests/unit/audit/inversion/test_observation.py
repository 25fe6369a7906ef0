"""What an update shows of the gradient."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from sealround.audit.inversion import spear
from sealround.audit.inversion.objectives import Binary
from sealround.audit.inversion.observation import Domain, LocalPlan, Observation
from sealround.audit.inversion.simulation import flat_gradient
from sealround.errors import UsageError

RATE, DECAY = 0.1, 0.05


@pytest.fixture
def seen() -> tuple[Observation, torch.Tensor]:
    """One step of SGD with weight decay, as `sealround.learning.steps` takes it, and the gradient of its loss."""
    generator = torch.Generator().manual_seed(3)
    module = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 1), nn.Flatten(0)).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4, generator=generator)
    model = nn.utils.parameters_to_vector(module.parameters()).detach()
    inputs = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0.0, 1.0], dtype=torch.float64)
    domain = Domain(torch.tensor(-5.0), torch.tensor(5.0))
    plan = LocalPlan(RATE, 2, weight_decay=DECAY)
    blank = Observation(module, Binary(), model, torch.zeros_like(model), plan, 2, (6,), domain)
    gradient = flat_gradient(blank)(inputs, labels).detach()
    mask = torch.cat([torch.full((each.numel(),), float(each.ndim > 1)) for each in module.parameters()]).double()
    return dataclasses.replace(blank, update=-RATE * (gradient + DECAY * mask * model)), gradient


def test_known_weight_decay_comes_off_one_step(seen: tuple[Observation, torch.Tensor]) -> None:
    observation, gradient = seen
    torch.testing.assert_close(observation.gradient, gradient, rtol=0, atol=1e-12)


def test_so_weight_decay_hides_nothing_from_exact_attacks(seen: tuple[Observation, torch.Tensor]) -> None:
    observation, _ = seen
    assert spear.why_not(observation) is None
    found = spear.attack(observation, torch.Generator().manual_seed(1))
    assert found.certified.tolist() == [True, True]


def test_several_steps_show_their_mean(seen: tuple[Observation, torch.Tensor]) -> None:
    observation = dataclasses.replace(seen[0], plan=LocalPlan(RATE, 2, steps=4))
    torch.testing.assert_close(observation.gradient, -seen[0].update / (4 * RATE))


def test_adam_shows_none(seen: tuple[Observation, torch.Tensor]) -> None:
    observation = dataclasses.replace(seen[0], plan=LocalPlan(RATE, 2, adaptive=True))
    with pytest.raises(UsageError, match="Adam"):
        _ = observation.gradient
