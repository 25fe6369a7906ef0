"""What a site minimises, as an attacker writes it down: twice differentiable, and from torch's functions only.

Training has its losses' derivatives in closed form (`sealround.learning.losses`); an attack differentiates through a
training, so it needs the loss itself. `tests/unit/audit/inversion/test_objectives.py` holds the two together.

Labels are one tensor, of a shape that each objective names, so that an attack may also search for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn import functional

from sealround.learning.losses import BinaryLoss, CoxLoss, Loss

__all__ = ["Binary", "Categorical", "Cox", "Objective", "objective_of"]


class Objective(Protocol):
    """The mean loss of a batch."""

    def __call__(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss, ``()``, differentiable in both."""
        ...


@dataclass(frozen=True, slots=True)
class Binary:
    """Cross-entropy of one logit: outputs ``(n,)``, labels ``(n,)`` in [0, 1].

    Attributes:
        weights: Of a negative and of a positive example.
        smoothing: Labels are this much nearer to 1/2.
        offset: Added to every logit.
    """

    weights: tuple[float, float] = (1.0, 1.0)
    smoothing: float = 0.0
    offset: float = 0.0

    def __call__(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss."""
        wanted = labels * (1.0 - self.smoothing) + self.smoothing / 2
        logits = outputs + self.offset
        # softplus(z) - z y, the stable form of cross-entropy; linear in y, so soft labels need no special case.
        loss = functional.softplus(logits) - logits * wanted
        negative, positive = self.weights
        if (negative, positive) != (1.0, 1.0):
            loss = loss * (negative + (positive - negative) * labels)
        return loss.mean()


@dataclass(frozen=True, slots=True)
class Categorical:
    """Cross-entropy of several classes: outputs ``(n, c)``, labels ``(n, c)`` probabilities.

    No model of a study has several outputs yet; published attacks and their benchmarks have.
    """

    def __call__(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss."""
        return -(labels * functional.log_softmax(outputs, 1)).sum(1).mean()


@dataclass(frozen=True, slots=True)
class Cox:
    """Negative log partial likelihood (Breslow), per example: outputs ``(n,)``, labels ``(n, 2)``.

    The first column of the labels is the event (0 or 1), the second the rank of the time, latest first. It is not
    differentiable in the ranks.
    """

    def __call__(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss; 0 in a batch without events."""
        event, rank = labels[:, 0], labels[:, 1]
        at_risk = rank.unsqueeze(0) <= rank.unsqueeze(1)  # (i, j): j's time is as late as i's, or later
        hazards = outputs.unsqueeze(0).masked_fill(~at_risk, -torch.inf)
        return (event * (torch.logsumexp(hazards, 1) - outputs)).mean()


def objective_of(loss: Loss) -> Objective:
    """Return the objective that is a study's loss.

    Raises:
        TypeError: If it is a loss of no study.
    """
    match loss:
        case BinaryLoss(weights=weights, smoothing=smoothing, offset=offset):
            return Binary(weights, smoothing, offset)
        case CoxLoss():
            return Cox()
        case _:
            msg = f"no objective for {type(loss).__name__}"
            raise TypeError(msg)
