"""The attacker's losses against those that sites train with."""

from __future__ import annotations

import pytest
import torch

from sealround.audit.inversion.objectives import Categorical, objective_of
from sealround.learning.losses import BinaryLoss, CoxLoss, Loss, Targets

EVENT = torch.tensor([1, 0, 1, 1, 0, 1, 0], dtype=torch.float64)
RANK = torch.tensor([0, 1, 1, 2, 3, 3, 4])
LOSSES: list[tuple[Loss, bool]] = [
    (BinaryLoss(), False),
    (BinaryLoss(weights=(0.5, 2.0), smoothing=0.1, offset=0.3), False),
    (CoxLoss(), True),
]


@pytest.mark.parametrize(("loss", "survival"), LOSSES)
def test_derivative_is_the_one_training_uses(loss: Loss, survival: bool) -> None:
    outputs = torch.randn(7, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    labels = torch.stack([EVENT, RANK.double()], 1) if survival else EVENT
    (derivative,) = torch.autograd.grad(objective_of(loss)(outputs, labels), outputs)
    expected = loss.derivative(outputs.detach(), Targets(EVENT, RANK))
    torch.testing.assert_close(derivative, expected, rtol=0, atol=1e-14)


def test_classes_are_cross_entropy() -> None:
    outputs = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    classes = torch.tensor([0, 2, 1, 1, 0])
    labels = torch.nn.functional.one_hot(classes, 3).double()
    expected = torch.nn.functional.cross_entropy(outputs, classes)
    torch.testing.assert_close(Categorical()(outputs, labels), expected)
