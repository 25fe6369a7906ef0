from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from sealround.federation.statistics import Layout, Statistics
from sealround.learning.losses import BinaryLoss, CoxLoss, Loss, Targets, class_weights, log_odds


def _binary(number: int = 9, seed: int = 0) -> tuple[torch.Tensor, Targets]:
    draw = torch.Generator().manual_seed(seed)
    outputs = torch.randn(number, generator=draw, dtype=torch.float64)
    return outputs, Targets((torch.rand(number, generator=draw) < 0.4).double())


def _survival(number: int = 12, times: int = 5, seed: int = 0) -> tuple[torch.Tensor, Targets]:
    draw = torch.Generator().manual_seed(seed)
    outputs = torch.randn(number, generator=draw, dtype=torch.float64)
    event = (torch.rand(number, generator=draw) < 0.6).double()
    return outputs, Targets(event, torch.randint(times, (number,), generator=draw))


def _breslow(outputs: torch.Tensor, targets: Targets) -> torch.Tensor:
    """Negative log partial likelihood as in the book: a risk set for each event. Rank 0 is the latest time."""
    total = outputs.new_zeros(())
    for i in range(len(targets)):
        if targets.event[i]:
            at_risk = targets.rank <= targets.rank[i]
            total = total - (outputs[i] - torch.logsumexp(outputs[at_risk], 0))
    return total


def _by_autograd(loss: Loss, outputs: torch.Tensor, targets: Targets) -> torch.Tensor:
    """Differentiate the formula of the mean loss."""
    leaf = outputs.clone().requires_grad_()
    if isinstance(loss, CoxLoss):
        value = _breslow(leaf, targets) / len(targets)
    else:
        negative, positive = loss.weights
        weight = torch.where(targets.event > 0, positive, negative)
        wanted = targets.event * (1 - loss.smoothing) + loss.smoothing / 2
        value = functional.binary_cross_entropy_with_logits(leaf + loss.offset, wanted, weight=weight)
    return torch.autograd.grad(value, leaf)[0]


@pytest.mark.parametrize("loss", [BinaryLoss(), BinaryLoss((0.7, 1.9)), BinaryLoss((0.7, 1.9), 0.2, -1.3)])
def test_the_binary_derivative_is_autograds(loss: BinaryLoss) -> None:
    outputs, targets = _binary()
    assert torch.allclose(loss.derivative(outputs, targets), _by_autograd(loss, outputs, targets), atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_cox_derivative_is_that_of_breslows_likelihood_ties_included(seed: int) -> None:
    outputs, targets = _survival(seed=seed)
    got = CoxLoss().derivative(outputs, targets)
    assert torch.allclose(got, _by_autograd(CoxLoss(), outputs, targets), atol=1e-12)


def test_the_total_sums_over_batches() -> None:
    outputs, targets = _binary(10)
    parts = targets.batches(torch.arange(10), 4)
    total, count = BinaryLoss((0.5, 2.0), 0.1).total(outputs.split(4), parts)
    whole, _ = BinaryLoss((0.5, 2.0), 0.1).total([outputs], [targets])
    assert count == 10
    assert total == pytest.approx(whole)


def test_weights_and_smoothing_do_what_they_say() -> None:
    outputs, targets = torch.tensor([0.0, 2.0]), Targets(torch.tensor([0.0, 1.0]))
    total, _ = BinaryLoss((3.0, 0.5), 0.2).total([outputs], [targets])
    p = 1 / (1 + np.exp(-2.0))
    expected = 3.0 * -np.log(0.5) + 0.5 * -(0.9 * np.log(p) + 0.1 * np.log(1 - p))
    assert total == pytest.approx(expected, rel=1e-6)


def test_an_offset_shifts_the_logits_that_the_loss_sees() -> None:
    outputs, targets = _binary()
    plain, shifted = BinaryLoss(), BinaryLoss(offset=0.7)
    assert torch.equal(shifted.derivative(outputs, targets), plain.derivative(outputs + 0.7, targets))
    assert shifted.total([outputs], [targets]) == plain.total([outputs + 0.7], [targets])


@pytest.mark.parametrize(("positives", "negatives"), [(3, 5), (0, 4), (4, 0), (0, 0)])
def test_log_odds_are_smoothed_by_one_of_each(positives: int, negatives: int) -> None:
    targets = Targets(torch.tensor([1.0] * positives + [0.0] * negatives))
    assert log_odds(targets) == pytest.approx(np.log((positives + 1) / (negatives + 1)))


def test_each_batch_is_a_risk_set_of_its_own() -> None:
    outputs, targets = _survival(10)
    parts = targets.batches(torch.arange(10), 6)
    total, count = CoxLoss().total(outputs.split(6), parts)
    assert count == 10
    assert total == pytest.approx(float(_breslow(outputs[:6], parts[0]) + _breslow(outputs[6:], parts[1])))


def test_the_cox_loss_does_not_depend_on_the_order_of_the_examples() -> None:
    outputs, targets = _survival(30)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    shuffled = Targets(targets.event[order], targets.rank[order])
    assert torch.allclose(
        CoxLoss().derivative(outputs, targets)[order], CoxLoss().derivative(outputs[order], shuffled), atol=1e-12
    )
    assert CoxLoss().total([outputs], [targets])[0] == pytest.approx(CoxLoss().total([outputs[order]], [shuffled])[0])


def test_a_batch_without_events_teaches_nothing() -> None:
    targets = Targets(torch.zeros(4), torch.tensor([0, 1, 2, 3]))
    assert not CoxLoss().derivative(torch.randn(4), targets).any()
    assert CoxLoss().total([torch.randn(4)], [targets]) == (0.0, 4)


def test_the_cox_derivative_stays_finite_at_extreme_scores() -> None:
    outputs = torch.tensor([300.0, -300.0, 0.0, 88.0])
    derivative = CoxLoss().derivative(outputs, Targets(torch.ones(4), torch.tensor([3, 0, 2, 1])))
    assert bool(torch.isfinite(derivative).all())
    assert float(derivative.sum()) == pytest.approx(0.0, abs=1e-6)


def _statistics(examples: float, positives: float) -> Statistics:
    layout = Layout((), ())
    return Statistics.from_counts(layout, np.array([examples, positives]))


@pytest.mark.parametrize(("examples", "positives"), [(100.0, 20.0), (7.0, 6.0), (10.0, 5.0)])
def test_class_weights_make_classes_equal_and_have_mean_one(examples: float, positives: float) -> None:
    negative, positive = class_weights(_statistics(examples, positives))
    negatives = examples - positives
    assert negative * negatives == pytest.approx(positive * positives)
    assert (negative * negatives + positive * positives) / examples == pytest.approx(1.0)


@pytest.mark.parametrize(("examples", "positives"), [(10.0, 0.0), (10.0, 10.0), (0.0, 0.0)])
def test_one_class_alone_is_not_weighted(examples: float, positives: float) -> None:
    assert class_weights(_statistics(examples, positives)) == (1.0, 1.0)
