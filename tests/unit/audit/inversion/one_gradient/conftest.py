"""Rounds of one gradient for tests: tiny networks, smooth images, and clocks that tick when they are asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from sealround.audit.inversion.objectives import Binary, Categorical
from sealround.audit.inversion.observation import Domain, LocalPlan, Observation, Victims
from sealround.audit.inversion.simulation import flat_gradient

if TYPE_CHECKING:
    from sealround.audit.inversion.objectives import Objective

Observe = Callable[..., tuple[Observation, Victims]]


def _ticking() -> Callable[[], float]:
    """Return a clock that goes on by one second every time somebody looks at it."""
    seconds = iter(range(1_000_000))
    return lambda: float(next(seconds))


class _Small(nn.Module):
    """Two convolutions and a linear layer, for 8 x 8 pixels."""

    def __init__(self, channels: int, classes: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 6, 3, stride=2, padding=1),
            activation(),
            nn.Conv2d(6, 6, 3, padding=1),
            activation(),
            nn.Flatten(),
            nn.Linear(6 * 16, classes),
        )
        self.single = classes == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layers(x)
        return outputs.squeeze(1) if self.single else outputs


@dataclass(frozen=True)
class Case:
    channels: int = 3
    classes: int = 4
    activation: type[nn.Module] = nn.Sigmoid
    examples: int = 1
    known: bool = False
    seed: int = 0


def _smooth_images(examples: int, channels: int, generator: torch.Generator) -> torch.Tensor:
    """Return images of low frequencies within [0, 1], ``(n, channels, 8, 8)``."""
    coarse = torch.rand(examples, channels, 3, 3, generator=generator, dtype=torch.float64)
    return nn.functional.interpolate(coarse, size=(8, 8), mode="bilinear", align_corners=True)


def _observed(case: Case) -> tuple[Observation, Victims]:
    """Return one gradient and whose it is; classes differ between examples as far as there are enough."""
    generator = torch.Generator().manual_seed(case.seed)
    module = _Small(case.channels, case.classes, case.activation).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-0.5, 0.5, generator=generator)
    inputs = _smooth_images(case.examples, case.channels, generator)
    objective: Objective = Binary() if case.classes == 1 else Categorical()
    if case.classes == 1:
        labels = (torch.arange(case.examples) % 2).double()
    else:
        labels = nn.functional.one_hot(torch.arange(case.examples) % case.classes, case.classes).double()
    model = torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
    seen = Observation(
        module=module,
        objective=objective,
        model=model,
        update=model,
        plan=LocalPlan(0.5, case.examples),
        examples=case.examples,
        shape=tuple(inputs.shape[1:]),
        domain=Domain(lower=torch.tensor(0.0), upper=torch.tensor(1.0)),
        labels=labels if case.known else None,
    )
    return replace(seen, update=-0.5 * flat_gradient(seen)(inputs, labels)), Victims(inputs, labels)


def _psnr(rebuilt: torch.Tensor, original: torch.Tensor) -> float:
    """Return the ratio of an error's square to 1, dB."""
    return float(-10.0 * torch.log10((rebuilt - original).square().mean().clamp_min(1e-40)))


@pytest.fixture
def observe() -> Observe:
    return lambda **case: _observed(Case(**case))


@pytest.fixture
def psnr() -> Callable[[torch.Tensor, torch.Tensor], float]:
    return _psnr


@pytest.fixture
def ticking() -> Callable[[], Callable[[], float]]:
    return _ticking
