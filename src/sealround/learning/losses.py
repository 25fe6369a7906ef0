"""What training minimises, with its derivative by the network's output in closed form.

Both losses see a batch as outputs and targets, and return the derivative of the batch's *mean* loss by each output: the
chain rule goes on from there, by one matrix product for a linear model and by autograd for a network. Means are over
examples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealround.federation.statistics import Statistics

__all__ = ["BinaryLoss", "CoxLoss", "Loss", "Targets", "class_weights", "log_odds"]


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What some examples turned out to be.

    Attributes:
        event: 1 where the outcome is present (or the event happened), else 0, float32 ``(n,)``.
        rank: Survival: position of each example's time among the distinct times, latest first, int64 ``(n,)``.
        weight: How much each example counts in a binary loss, float32 ``(n,)``; the same for all if ``None``.
    """

    event: torch.Tensor
    rank: torch.Tensor | None = None
    weight: torch.Tensor | None = None

    def __len__(self) -> int:
        """How many examples."""
        return self.event.numel()

    def batches(self, rows: torch.Tensor, size: int) -> list[Targets]:
        """Return the targets of ``rows``, int64 ``(m,)``, in batches of ``size``; the last may be shorter."""
        events = torch.split(self.event[rows], size)
        none = (None,) * len(events)
        ranks = none if self.rank is None else torch.split(self.rank[rows], size)
        weights = none if self.weight is None else torch.split(self.weight[rows], size)
        return [Targets(*batch) for batch in zip(events, ranks, weights, strict=True)]


class Loss(Protocol):
    """A loss of one number for each example."""

    def derivative(self, outputs: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Return the derivative of the batch's mean loss by ``outputs``, ``(n,)``."""
        ...

    def total(self, outputs: Sequence[torch.Tensor], targets: Sequence[Targets]) -> tuple[float, int]:
        """Return the sum of the loss over batches, and the number of examples."""
        ...


def class_weights(statistics: Statistics) -> tuple[float, float]:
    """Return the weights of a negative and a positive example that make both classes count the same over all sites.

    The mean weight of an example is 1: weights ``n / (2 n_class)`` (King and Zeng 2001, section 4). Without one of the
    classes there is nothing to balance, and both are 1.
    """
    positives = statistics.positives
    negatives = statistics.examples - positives
    if positives <= 0 or negatives <= 0:
        return 1.0, 1.0
    return statistics.examples / (2 * negatives), statistics.examples / (2 * positives)


def log_odds(targets: Targets) -> float:
    """Return the log odds of the outcome in some examples, one more of each class added (Laplace's rule)."""
    positives = float(targets.event.sum())
    return math.log((positives + 1.0) / (len(targets) - positives + 1.0))


@dataclass(frozen=True, slots=True)
class BinaryLoss:
    """Cross-entropy of one logit.

    Attributes:
        weights: Of a negative and of a positive example.
        smoothing: Targets are this much nearer to 1/2 (Szegedy et al. 2016, section 7): ``y (1 - s) + s / 2``.
        offset: Added to every logit, as what is known about the site besides its patients' inputs (Menon et al. 2021,
            equation 10); see `log_odds`.
    """

    weights: tuple[float, float] = (1.0, 1.0)
    smoothing: float = 0.0
    offset: float = 0.0

    def derivative(self, outputs: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Return ``weight * (sigmoid(output) - target) / n``."""
        logits = outputs if self.offset == 0.0 else outputs + self.offset
        residual = torch.sigmoid(logits).sub_(self._wanted(targets.event)).div_(len(targets))
        weight = self._weight(targets)
        return residual if weight is None else residual.mul_(weight)

    def total(self, outputs: Sequence[torch.Tensor], targets: Sequence[Targets]) -> tuple[float, int]:
        """Return the sum over examples, and their number."""
        event = torch.cat([batch.event for batch in targets])
        loss = functional.binary_cross_entropy_with_logits(
            torch.cat(tuple(outputs)) + self.offset, self._wanted(event), self._weights(targets), reduction="sum"
        )
        return float(loss), event.numel()

    def _weights(self, targets: Sequence[Targets]) -> torch.Tensor | None:
        found = [weight for weight in map(self._weight, targets) if weight is not None]
        return torch.cat(found) if found else None

    def _weight(self, targets: Targets) -> torch.Tensor | None:
        negative, positive = self.weights
        if negative == positive:
            return targets.weight
        by_class = negative + (positive - negative) * targets.event
        return by_class if targets.weight is None else by_class.mul_(targets.weight)

    def _wanted(self, event: torch.Tensor) -> torch.Tensor:
        return event if self.smoothing == 0.0 else event * (1.0 - self.smoothing) + self.smoothing / 2


@dataclass(frozen=True, slots=True)
class CoxLoss:
    """Negative log partial likelihood with Breslow's treatment of ties (Cox 1975; Breslow 1974), per example.

    The risk set of an event is every example of the batch whose time is as late or later. O(n log n). Per example and
    not per event, so that full batches and updates weighted by examples minimise the partial likelihood stratified by
    site: the sum over sites of each one's own.
    """

    def derivative(self, outputs: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Return the derivative by the log hazard ratios; 0 in a batch without events."""
        order, rank, log_risk = self._risk_sets(outputs, targets)
        score, event = outputs[order], targets.event[order]
        # d/d score_j = (sum over the events i whose risk set has j of exp(score_j - log_risk_i)) - event_j. Those
        # events are at j's time or earlier: from the first of j's group on. Every exponent is at most log(events).
        share = torch.where(event > 0, -log_risk, -torch.inf)
        log_share = torch.logcumsumexp(share.flip(0), 0).flip(0)[torch.searchsorted(rank, rank)]
        slope = torch.exp(score + log_share).sub_(event).div_(event.numel())
        return torch.empty_like(slope).scatter_(0, order, slope)

    def total(self, outputs: Sequence[torch.Tensor], targets: Sequence[Targets]) -> tuple[float, int]:
        """Return the sum over events, each batch a risk set of its own, and the number of examples."""
        loss = 0.0
        for output, batch in zip(outputs, targets, strict=True):
            order, _, log_risk = self._risk_sets(output, batch)
            loss += float((batch.event[order] * (log_risk - output[order])).sum())
        return loss, sum(len(batch) for batch in targets)

    @staticmethod
    def _risk_sets(outputs: torch.Tensor, targets: Targets) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return examples from late to early times, their ranks, and the log of the summed hazards still at risk."""
        assert targets.rank is not None  # noqa: S101  (for the type checker: survival targets have ranks)
        rank, order = targets.rank.sort()
        # Examples of one time enter the risk set together: read the running sum at the last of each group.
        last = torch.searchsorted(rank, rank, right=True) - 1
        return order, rank, torch.logcumsumexp(outputs[order], 0)[last]
