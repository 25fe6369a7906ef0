"""Gradients of single records, and a whole attack on the update of a small network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from sealround.audit.identity import count_sketch
from sealround.audit.inversion.objectives import Binary, Cox
from sealround.audit.inversion.observation import Domain, LocalPlan, Observation
from sealround.audit.inversion.simulation import flat_gradient
from sealround.audit.membership import (
    example_gradients,
    gradient_cosine,
    judge,
    shown_gradient,
    update_likelihood_ratio,
)
from sealround.errors import UnsupportedError


class _Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layers(x).squeeze(1)
        return found


@pytest.fixture(scope="module")
def round_of_one_step() -> tuple[Observation, torch.Tensor, torch.Tensor]:
    """Sixteen of 300 records of 12 measurements with a common mean, one step at a rate of 0.1."""
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = _Network().double()
    inputs = 1.0 + torch.randn(300, 12, dtype=torch.float64, generator=generator)
    labels = (torch.rand(300, generator=generator) < 0.5).double()
    model = torch.cat([p.detach().flatten() for p in module.parameters()])
    seen = Observation(
        module, Binary(), model, torch.zeros_like(model), LocalPlan(0.1, 16), 16, (12,),
        Domain(torch.tensor(-5.0), torch.tensor(5.0)),
    )  # fmt: skip
    update = -0.1 * flat_gradient(seen)(inputs[:16], labels[:16])
    return replace(seen, update=update), inputs, labels


def test_gradients_of_records_are_those_of_autograd_and_add_up(
    round_of_one_step: tuple[Observation, torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, inputs, labels = round_of_one_step
    found = example_gradients(seen, inputs[:16], labels[:16])
    for row in (0, 7):
        loss = seen.objective(seen.module(inputs[row : row + 1]), labels[row : row + 1])
        expected = torch.autograd.grad(loss, list(seen.module.parameters()))
        assert found[row] == pytest.approx(torch.cat([g.flatten() for g in expected]).numpy(), abs=1e-12)
    assert found.mean(0) == pytest.approx(shown_gradient(seen).vector, abs=1e-12)
    monkeypatch.setattr("sealround.audit.membership.gradients._NUMBERS", 5 * seen.model.numel())
    assert example_gradients(seen, inputs[:16], labels[:16]) == pytest.approx(found, abs=1e-12)


def test_members_are_found_and_a_sketch_keeps_them(
    round_of_one_step: tuple[Observation, torch.Tensor, torch.Tensor],
) -> None:
    """116 records asked about, 16 of them members; the update has 337 numbers, the sketch 200."""
    seen, inputs, labels = round_of_one_step
    member = np.arange(116) < 16
    draw = np.random.default_rng(2)
    results = []
    for sketch in (None, count_sketch(seen.model.numel(), 200, draw)):
        gradients, shown = example_gradients(seen, inputs, labels, sketch), shown_gradient(seen, sketch)
        by_ratio = judge(update_likelihood_ratio(gradients[:116], shown, gradients[116:]), member, draw)
        results.append(by_ratio.auc.value)
        assert by_ratio.auc.value > judge(gradient_cosine(gradients[:116], shown), member, draw).auc.value + 0.05
    whole, sketched = results
    assert whole > 0.9
    assert sketched > 0.8


def test_blur_is_that_of_the_gradient_and_grows_in_a_sketch(
    round_of_one_step: tuple[Observation, torch.Tensor, torch.Tensor],
) -> None:
    seen, _, _ = round_of_one_step
    noisy = replace(seen, blur=0.02)
    assert shown_gradient(noisy).blur == pytest.approx(0.2)
    draw = np.random.default_rng(3)
    sketch = count_sketch(seen.model.numel(), 20, draw)
    expected = sketch.apply(draw.normal(scale=0.2, size=(2000, seen.model.numel()))).std()
    assert shown_gradient(noisy, sketch).blur == pytest.approx(expected, rel=0.02)


def test_survival_has_no_gradient_of_one_record(
    round_of_one_step: tuple[Observation, torch.Tensor, torch.Tensor],
) -> None:
    seen, inputs, labels = round_of_one_step
    with pytest.raises(UnsupportedError):
        example_gradients(replace(seen, objective=Cox()), inputs, labels)
