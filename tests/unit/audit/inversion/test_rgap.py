"""One example, layer by layer backwards."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from sealround.audit.inversion import rgap
from sealround.audit.inversion.observation import LocalPlan


def draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def network(activation: nn.Module, *, bias: bool = True, channels: int = 6, stride: int = 1) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        side = -(-6 // stride)
        return nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1, stride=stride, bias=bias),
            activation,
            nn.Conv2d(channels, channels, 3, padding=1, bias=bias),
            activation,
            nn.Flatten(),
            nn.Linear(channels * side * side, 1, bias=bias),
            nn.Flatten(0),
        ).double()


@pytest.mark.parametrize("activation", [nn.LeakyReLU(0.2), nn.Sigmoid(), nn.Tanh(), nn.ReLU()])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_convolutions(play: Any, make_round: Any, activation: nn.Module, bias: bool, label: float) -> None:
    module = network(activation, bias=bias)
    round_ = make_round(module=module, batch=1, shape=(1, 6, 6), seed=2)
    seen, victims = play(round_, None, torch.tensor([label], dtype=torch.float64))
    assert rgap.why_not(seen) is None
    found = rgap.attack(seen, draw())
    if not bias and not found.certified.any():
        # Odd networks answer -x with the other label alike; homogeneous ones a multiple of x.
        assert "twin" in found.note
        cosine = torch.cosine_similarity(found.inputs.flatten(), victims.inputs.flatten(), dim=0)
        assert cosine.abs() > 1.0 - 1e-8
        return
    assert found.certified.tolist() == [True]
    assert (found.inputs - victims.inputs).norm() < 1e-5 * victims.inputs.norm()
    assert found.labels is not None
    assert found.labels.tolist() == [label]


@pytest.mark.parametrize("bias", [True, False])
def test_perceptrons(play: Any, make_round: Any, bias: bool) -> None:
    seen, victims = play(make_round(batch=1, bias=bias, seed=5))
    found = rgap.attack(seen, draw())
    torch.testing.assert_close(found.inputs, victims.inputs, rtol=1e-6, atol=1e-6)
    assert found.certified.all()


def test_too_few_equations_are_said_and_not_certified(play: Any, make_round: Any) -> None:
    module = network(nn.LeakyReLU(0.2), channels=1, stride=3)
    seen, _ = play(make_round(module=module, batch=1, shape=(1, 6, 6)))
    ranks = rgap.layer_ranks(seen)
    first = ranks[0]
    assert (first.layer, first.unknowns, first.forward, first.gradient) == ("0", 36, 4, 9)
    assert first.rank < first.unknowns
    found = rgap.attack(seen, draw())
    assert not found.certified.any()
    assert f"0: {first.rank} of 36 numbers determined" in found.note


def test_full_rank_is_what_certificates_rest_on(play: Any, make_round: Any) -> None:
    seen, _ = play(make_round(module=network(nn.Tanh()), batch=1, shape=(1, 6, 6)))
    assert all(rank.rank == rank.unknowns for rank in rgap.layer_ranks(seen))


def test_noise_is_not_certified(play: Any, make_round: Any) -> None:
    wrong = 0
    for seed in range(5):
        seen, _ = play(make_round(module=network(nn.LeakyReLU(0.2)), batch=1, shape=(1, 6, 6), seed=seed))
        noise = torch.randn(seen.update.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        blurred = dataclasses.replace(seen, update=seen.update + 0.01 * seen.update.std() * noise)
        wrong += int(rgap.attack(blurred, draw()).certified.sum())
    assert wrong == 0


def test_why_not(play: Any, make_round: Any) -> None:
    seen, _ = play(make_round(batch=2))
    assert rgap.why_not(seen) == "it rebuilds one example, and the update is of 2"
    one, _ = play(make_round(batch=1))
    steps = dataclasses.replace(one, plan=LocalPlan(0.1, 1, steps=2))
    assert "one gradient" in str(rgap.why_not(steps))
    grouped = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 1))
    normed, _ = play(make_round(module=grouped.double(), batch=1, shape=(1, 6, 6)))
    assert "GroupNorm" in str(rgap.why_not(normed))
