"""Examples as quotients of gradients."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from sealround.audit.inversion import closed_form
from sealround.audit.inversion.objectives import Categorical, Cox


def draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("hidden", [(), (8,), (40, 20)])
@pytest.mark.parametrize("single_precision", [False, True])
def test_one_patient_is_a_quotient(play: Any, make_round: Any, hidden: tuple[int, ...], single_precision: bool) -> None:
    seen, victims = play(make_round(hidden=hidden, batch=1, seed=1, single_precision=single_precision))
    found = closed_form.attack(seen, draw())
    error = (found.inputs - victims.inputs).norm() / victims.inputs.norm()
    assert error < (1e-5 if single_precision else 1e-12)
    assert found.certified.tolist() == [True]
    assert found.labels is not None
    assert torch.equal(found.labels, victims.labels)
    assert found.mismatch < 1e-4


def test_smooth_activations_and_images(play: Any, make_round: Any) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = nn.Sequential(nn.Flatten(), nn.Linear(27, 10), nn.GELU(), nn.Linear(10, 1), nn.Flatten(0)).double()
    seen, victims = play(make_round(module=module, batch=1, shape=(3, 3, 3)))
    found = closed_form.attack(seen, draw())
    torch.testing.assert_close(found.inputs, victims.inputs)
    assert found.certified.all()


def test_what_is_proven_of_a_batch_is_right(play: Any, make_round: Any) -> None:
    """Neurons that several examples share agree too: forty batches, none of their mixtures is proven."""
    proven = 0
    for seed in range(40):
        seen, victims = play(make_round(hidden=(64,) if seed % 2 else (48, 24), batch=2 + seed % 3, seed=seed))
        found = closed_form.attack(seen, draw())
        for record in found.inputs[found.certified]:
            proven += 1
            assert (victims.inputs - record).norm(dim=1).min() < 1e-6 * record.norm()
    assert proven >= 40


def test_a_linear_models_batch_is_nobodys_record(play: Any, make_round: Any) -> None:
    seen, victims = play(make_round(hidden=(), batch=3))
    found = closed_form.attack(seen, draw())
    outputs = seen.module(victims.inputs).detach()
    residual = torch.sigmoid(outputs) - victims.labels
    torch.testing.assert_close(found.inputs[0], residual @ victims.inputs / residual.sum())
    assert not found.certified.any()
    assert "nobody's record" in found.note


def test_order_of_the_batch_does_not_matter(play: Any, make_round: Any) -> None:
    seen, victims = play(make_round(batch=3, seed=2))
    order = torch.tensor([2, 0, 1])
    again, _ = play(make_round(batch=3, seed=2), victims.inputs[order], victims.labels[order])
    first, second = closed_form.attack(seen, draw()), closed_form.attack(again, draw())
    assert len(first.inputs) == len(second.inputs) > 0
    assert torch.cdist(first.inputs, second.inputs).amin(1).max() < 1e-6


def test_noise_is_not_certified(play: Any, make_round: Any) -> None:
    seen, _ = play(make_round(batch=2))
    noise = torch.randn(seen.update.shape, dtype=torch.float64, generator=draw())
    blur = 0.1 * float(seen.update.std())
    blurred = dataclasses.replace(seen, update=seen.update + blur * noise, blur=blur)
    assert not closed_form.attack(blurred, draw()).certified.any()


def test_classes(play: Any, make_round: Any, make_module: Any) -> None:
    module = make_module(4, 12, (64, 32), outputs=3)
    labels = nn.functional.one_hot(torch.tensor([2, 0]), 3).double()
    seen, victims = play(make_round(module=module, batch=2, objective=Categorical()), None, labels)
    found = closed_form.attack(seen, draw())
    assert found.certified.sum() == 2
    nearest = torch.cdist(victims.inputs, found.inputs).argmin(1)
    assert found.labels is not None
    assert torch.equal(found.labels[nearest], labels)


def test_heads_quotient_is_the_mean_feature(play: Any, make_round: Any) -> None:
    seen, victims = play(make_round(batch=1))
    torch.testing.assert_close(closed_form.mean_features(seen)[0], seen.module.features(victims.inputs)[0].detach())
    without, _ = play(make_round(batch=1, bias=False))
    with pytest.raises(ValueError, match="linear layer with bias"):
        closed_form.mean_features(without)


def test_why_not(play: Any, make_round: Any) -> None:
    seen, _ = play(make_round())
    assert closed_form.why_not(seen) is None
    without, _ = play(make_round(bias=False))
    assert "no bias" in str(closed_form.why_not(without))
    alone = dataclasses.replace(without, objective=Cox(), examples=1)
    assert "gradient is zero" in str(closed_form.why_not(alone))
