"""Labels from the last bias, and from residuals once inputs are known."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from sealround.audit.inversion import labels
from sealround.audit.inversion.objectives import Binary, Categorical, Cox
from sealround.audit.inversion.observation import LocalPlan


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("objective", [Binary(), Binary(weights=(0.6, 2.5), smoothing=0.1, offset=-0.3)])
@pytest.mark.parametrize("positives", [0, 3, 8])
def test_positives_of_a_fresh_model_are_counted(
    play: Any, make_round: Any, make_module: Any, objective: Any, positives: int
) -> None:
    module = make_module(1, 12, (32,))
    with torch.no_grad():
        module.head.weight *= 0.1  # as good as untrained: risks are alike
    wanted = torch.cat([torch.ones(positives), torch.zeros(8 - positives)]).double()
    seen, _ = play(make_round(module=module, batch=8, objective=objective), None, wanted)
    found = labels.counts(seen, generator())
    assert found.counts.tolist() == [8 - positives, positives]
    assert (found.low <= found.counts).all()
    assert (found.counts <= found.high).all()


def test_the_count_is_within_its_bounds_after_training(play: Any, make_round: Any) -> None:
    """Models whose risks spread: the interval of two deviations misses at most 4 of 30 (expected 1.5)."""
    missed = 0
    for seed in range(30):
        seen, victims = play(make_round(batch=10, hidden=(32,), seed=seed))
        found = labels.counts(seen, generator())
        truth = int(victims.labels.sum())
        missed += not int(found.low[1]) <= truth <= int(found.high[1])
    assert missed <= 4


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_example_shows_its_label_by_sign(play: Any, make_round: Any, label: float) -> None:
    seen, _ = play(make_round(batch=1), None, torch.tensor([label], dtype=torch.float64))
    found = labels.counts(seen, generator())
    assert found.certain
    assert found.counts.tolist() == [1 - int(label), int(label)]


def test_blur_makes_the_sign_uncertain(play: Any, make_round: Any) -> None:
    seen, _ = play(make_round(batch=1))
    assert not labels.counts(dataclasses.replace(seen, blur=1.0), generator()).certain


def test_classes_are_counted(play: Any, make_round: Any, make_module: Any) -> None:
    module = make_module(2, 12, (40,), outputs=5)
    with torch.no_grad():
        module.head.weight *= 0.3
    wanted = torch.tensor([0, 0, 4, 2, 2, 2, 1, 4])
    classes = nn.functional.one_hot(wanted, 5).double()
    seen, _ = play(make_round(module=module, batch=8, objective=Categorical()), None, classes)
    assert labels.counts(seen, generator()).counts.tolist() == [2, 1, 3, 0, 2]


def test_an_attack_proves_no_record(play: Any, make_round: Any) -> None:
    seen, _ = play(make_round(batch=6))
    found = labels.attack(seen, generator())
    assert found.inputs.shape == (6, 12)
    assert found.labels is not None
    assert found.labels.shape == (6,)
    assert not found.certified.any()


def test_residuals_say_labels_and_copies(play: Any, make_round: Any) -> None:
    objective = Binary(weights=(0.8, 1.4), smoothing=0.05, offset=0.2)
    seen, victims = play(make_round(batch=6, objective=objective))
    inputs = victims.inputs[:4]
    rows = torch.tensor([0, 1, 2, 3, 1, 1])
    wanted = torch.tensor([1.0, 0, 0, 1, 1, 0], dtype=torch.float64)
    outputs = seen.module(inputs).detach()
    each = outputs[rows].clone().requires_grad_()
    (slopes,) = torch.autograd.grad(objective(each, wanted), each)
    residuals = torch.zeros(4, dtype=torch.float64).index_add_(0, rows, slopes)
    found = labels.labels_from_residuals(seen, outputs, residuals)
    assert found is not None
    pairs = sorted(zip(found.rows.tolist(), found.labels.tolist(), strict=True))
    assert pairs == sorted(zip(rows.tolist(), wanted.tolist(), strict=True))
    assert found.error < 1e-10


def test_residuals_of_nobody_have_an_error(play: Any, make_round: Any) -> None:
    seen, victims = play(make_round(batch=4))
    outputs = seen.module(victims.inputs).detach()
    wrong = torch.full((4,), 0.0371, dtype=torch.float64)
    found = labels.labels_from_residuals(seen, outputs, wrong)
    assert found is not None
    assert found.error > 1e-2


@pytest.mark.parametrize("seed", range(8))
def test_survival_is_decoded(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(9, dtype=torch.float64, generator=draw)
    event = torch.randint(2, (9,), generator=draw).double()
    rank = torch.randint(6, (9,), generator=draw)
    latest = rank == rank.min()
    event[latest] = 0.0  # the last alone at risk would show no difference
    wanted = torch.stack([event, rank.double()], 1)
    each = scores.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(Cox()(each, wanted) * 9, each)
    found, error = labels.decoded_survival(scores, slopes)
    assert torch.equal(found[:, 0], event)
    assert error < 1e-8
    # Order is known up to what the loss does not see: the same loss, for any scores.
    for _ in range(3):
        other = torch.randn(9, dtype=torch.float64, generator=draw)
        torch.testing.assert_close(Cox()(other, found), Cox()(other, wanted))


def test_why_not(play: Any, make_round: Any) -> None:
    seen, _ = play(make_round())
    assert labels.why_not(seen) is None
    assert "intercept" in str(labels.why_not(dataclasses.replace(seen, objective=Cox())))
    assert "Adam" in str(labels.why_not(dataclasses.replace(seen, plan=LocalPlan(0.1, 4, adaptive=True))))
    without, _ = play(make_round(bias=False))
    assert labels.why_not(without) == "the output has no bias"
