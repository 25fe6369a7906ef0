"""A prior learnt from other patients' images."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from sealround.audit.inversion.descent import Pace
from sealround.audit.inversion.least_squares import Damping
from sealround.audit.inversion.objectives import Binary
from sealround.audit.inversion.observation import Domain, LocalPlan, Observation, Victims
from sealround.audit.inversion.prior import Fit, LatentSearch, Prior, attack, fit_prior, without_update
from sealround.audit.inversion.unrolled import batches_of, unrolled_update
from sealround.errors import UnsupportedError, UsageError

# torch scripts its own forward-mode formulas on first use.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")

PIXELS = 12


def images(number: int, channels: int, seed: int) -> torch.Tensor:
    """Bright discs at random places, of random size: what a prior can learn from few, ``(n, c, h, w)`` in [0, 1]."""
    draw = torch.Generator().manual_seed(seed)
    x, y, size = torch.rand(3, number, 1, 1, generator=draw, dtype=torch.float64)
    grid = torch.linspace(0.0, 1.0, PIXELS, dtype=torch.float64)
    distance = (grid.view(1, -1, 1) - 0.3 - 0.4 * y).square() + (grid.view(1, 1, -1) - 0.3 - 0.4 * x).square()
    disc = torch.sigmoid(40.0 * (0.03 + 0.05 * size - distance)).unsqueeze(1)
    tint = 0.4 + 0.6 * torch.rand(number, channels, 1, 1, generator=draw, dtype=torch.float64)
    return disc * tint


def seen_of(inputs: torch.Tensor, steps: int = 1) -> tuple[Observation, Victims]:
    """A small ReLU network's update, on few enough numbers that pixels alone are not determined."""
    torch.manual_seed(0)
    channels, n = inputs.shape[1], len(inputs)
    module = nn.Sequential(
        nn.Conv2d(channels, 6, 3, stride=2), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24, 1), nn.Flatten(0)
    ).double()
    flat = torch.cat([parameter.detach().reshape(-1) for parameter in module.parameters()])
    domain = Domain(torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))
    labels, plan = (torch.arange(n) % 2).double(), LocalPlan(0.1, n, steps)
    shape = tuple(inputs.shape[1:])
    seen = Observation(module, Binary(), flat, torch.zeros_like(flat), plan, n, shape, domain, labels)
    return replace(seen, update=unrolled_update(seen, inputs, labels, batches_of(plan, n))), Victims(inputs, labels)


def error(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float((found - truth).square().mean().sqrt())


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


QUICK = LatentSearch(restarts=2, latent=Pace(40, 0.2), pixels=Pace(20, 0.005), damping=Damping(12))


@pytest.mark.parametrize("channels", [1, 3])
def test_compositions_come_near_images_never_seen(channels: int) -> None:
    prior = fit_prior(images(120, channels, 0), generator(), Fit(components=20))
    new = images(20, channels, 1)
    composed = prior.decode(prior.encode(new))
    assert composed.shape == new.shape
    assert error(composed, new) < 0.5 * error(prior.mean.expand(new.shape), new)
    assert prior.numbers == 20
    again = prior.encode(composed)
    torch.testing.assert_close(again, prior.encode(new))


def test_latent_numbers_are_standard_normal() -> None:
    prior = fit_prior(images(200, 1, 0), generator(), Fit(components=5))
    latent = prior.encode(images(400, 1, 2))
    assert float((latent.std(0) - 1.0).abs().max()) < 0.3


def test_a_correction_is_kept_only_if_it_helps() -> None:
    learnt = images(120, 1, 0)
    trained = fit_prior(learnt, generator(), Fit(components=4, steps=80, learning_rate=1e-2))
    assert trained.correction is not None
    assert trained.error < trained.plain_error
    useless = fit_prior(learnt, generator(), Fit(components=4, steps=30, learning_rate=10.0))
    assert useless.correction is None
    assert useless.error == useless.plain_error


@pytest.mark.parametrize(("channels", "steps"), [(1, 1), (3, 3)])
def test_an_update_says_more_than_the_prior_alone(channels: int, steps: int) -> None:
    prior = fit_prior(images(150, channels, 0), generator(), Fit(components=12))
    seen, victims = seen_of(images(1, channels, 7), steps)
    found = attack(seen, prior, generator(), QUICK, lambda: 0.0, 1.0)
    blind = [error(each.inputs, victims.inputs) for each in without_update(prior, seen, generator())]
    assert error(found.inputs, victims.inputs) < 0.5 * min(blind)
    assert float(found.inputs.min()) >= 0.0
    assert float(found.inputs.max()) <= 1.0


def test_a_prior_helps_where_pixels_are_not_determined() -> None:
    prior = fit_prior(images(150, 1, 0), generator(), Fit(components=12))
    seen, victims = seen_of(images(1, 1, 7))
    assert seen.unknowns > seen.update.numel()
    with_prior = attack(seen, prior, generator(), QUICK, lambda: 0.0, 1.0)
    no_latent = replace(QUICK, latent=Pace(0), damping=Damping(0), pixels=Pace(120, 0.1))
    noise = Prior(torch.full((1, PIXELS, PIXELS), 0.5).double(), 0.1 * torch.eye(PIXELS**2).double(), None, 0.0, 0.0)
    without = attack(seen, noise, generator(), no_latent, lambda: 0.0, 1.0)
    assert error(with_prior.inputs, victims.inputs) < 0.5 * error(without.inputs, victims.inputs)


def test_partial_result_at_the_deadline_and_the_same_for_the_same_seed() -> None:
    prior = fit_prior(images(40, 1, 0), generator(), Fit(components=6))
    seen, victims = seen_of(images(2, 1, 7))
    found = []
    for _ in range(2):
        clock = map(float, itertools.count())
        found.append(attack(seen, prior, generator(), QUICK, clock.__next__, 6.0))
    assert found[0].inputs.shape == victims.inputs.shape
    assert found[0].seconds < 12.0  # Of a clock that goes one ahead each time it is asked.
    assert torch.equal(found[0].inputs, found[1].inputs)
    assert found[0].mismatch > 0.0


def test_what_cannot_be_attacked() -> None:
    prior = fit_prior(images(10, 1, 0), generator())
    seen, _ = seen_of(images(2, 3, 7))
    with pytest.raises(UsageError, match="does not fit"):
        attack(seen, prior, generator(), QUICK, lambda: 0.0, 1.0)
    with pytest.raises(UnsupportedError, match="labels"):
        attack(replace(seen, labels=None), prior, generator(), QUICK, lambda: 0.0, 1.0)
    with pytest.raises(UsageError, match="8 images or more"):
        fit_prior(images(7, 1, 0), generator())
