from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from sealround.learning.steps import scheduled, step_for
from sealround.learning.vector import FlatModule, bind
from sealround.study.sections import Adam, Sgd


def _modules() -> tuple[nn.Module, FlatModule]:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
    return plain, bind(copy.deepcopy(plain), torch.device("cpu"))


def _flat(module: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in module.parameters()])


def _decayed_weights_only(module: nn.Module, decay: float) -> list[dict[str, object]]:
    parameters = list(module.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]


@pytest.mark.parametrize(
    "optimizer",
    [
        Sgd(kind="sgd", learning_rate=0.1),
        Sgd(kind="sgd", learning_rate=0.1, momentum=0.9),
        Sgd(kind="sgd", learning_rate=0.1, momentum=0.9, weight_decay=0.3),
        Adam(kind="adam", learning_rate=0.05),
        Adam(kind="adam", learning_rate=0.05, weight_decay=0.3),
    ],
)
def test_steps_are_torchs(optimizer: Sgd | Adam) -> None:
    plain, flat = _modules()
    groups = _decayed_weights_only(plain, optimizer.weight_decay)
    if isinstance(optimizer, Sgd):
        reference: torch.optim.Optimizer = torch.optim.SGD(groups, 0.1, momentum=optimizer.momentum)
    else:
        reference = torch.optim.AdamW(groups, 0.05)
    step = step_for(optimizer, optimizer.learning_rate, flat)
    for round_ in range(6):
        x = torch.randn(5, 4, generator=torch.Generator().manual_seed(round_))
        reference.zero_grad()
        flat.gradient.zero_()
        plain(x).square().sum().backward()
        flat.module(x).square().sum().backward()
        reference.step()
        with torch.no_grad():
            step()
        assert torch.allclose(_flat(plain), flat.values, atol=1e-6)


def test_fedprox_and_scaffold_add_their_terms_to_the_gradient() -> None:
    _, flat = _modules()
    draw = np.random.default_rng(0)
    size = flat.values.numel()
    start = flat.vector().astype(np.float64)
    correction = draw.normal(size=size)
    momentum, rate, mu, decay = 0.5, 0.1, 0.7, 0.2
    step = step_for(
        Sgd(kind="sgd", learning_rate=rate, momentum=momentum, weight_decay=decay),
        rate,
        flat,
        proximal=mu,
        correction=torch.tensor(correction, dtype=torch.float32),
    )
    mask = flat.matrices().numpy()
    values, velocity = start.copy(), np.zeros(size)
    for _ in range(5):
        gradient = draw.normal(size=size)
        flat.gradient.copy_(torch.tensor(gradient))
        step()
        total = gradient + mu * (values - start) + correction + decay * mask * values
        velocity = momentum * velocity + total
        values = values - rate * velocity
        assert np.allclose(flat.vector(), values, atol=1e-5)


def test_each_round_starts_with_fresh_optimiser_state() -> None:
    results = []
    for _ in range(2):
        _, flat = _modules()
        step = step_for(Sgd(kind="sgd", learning_rate=0.1, momentum=0.9), 0.1, flat)
        flat.gradient.fill_(1.0)
        step()
        results.append(flat.vector())
    assert np.array_equal(results[0], results[1])


def test_the_schedule_falls_from_the_full_rate_as_a_cosine() -> None:
    rates = [scheduled(0.4, "cosine", round_, 10) for round_ in range(1, 11)]
    assert rates[0] == 0.4
    assert rates[5] == pytest.approx(0.2)
    assert rates[-1] == pytest.approx(0.2 * (1 + math.cos(0.9 * math.pi)))
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] > 0
    assert {scheduled(0.4, "constant", round_, 10) for round_ in range(1, 11)} == {0.4}
