"""What searches of one gradient share: the box they stay in, the labels they guess, and the best found so far."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from sealround.audit.inversion.labels import counts, why_not
from sealround.audit.inversion.objectives import Binary, Cox
from sealround.audit.inversion.observation import Reconstruction
from sealround.audit.inversion.simulation import flat_gradient, relative_mismatch
from sealround.audit.inversion.unknowns import label_shape
from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.audit.inversion.observation import Observation

__all__ = ["GuessedLabels", "Trail", "box", "check_single", "guess_labels", "soft"]


@dataclass(frozen=True, slots=True, eq=False)
class GuessedLabels:
    """Labels to search with.

    Attributes:
        labels: In the objective's shape; any order, as the records of one batch have none.
        certain: Whether they are granted, or proven by the update.
    """

    labels: torch.Tensor
    certain: bool


def check_single(seen: Observation) -> None:
    """Refuse a round that shows no single gradient.

    Raises:
        UsageError: If the site took several steps, or Adam's.
    """
    if not seen.plan.single_gradient:
        raise UsageError("this attack rebuilds records from one gradient", hint="unroll the site's steps instead")


def box(seen: Observation) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the bounds of all examples together, ``(n, *shape)`` each."""
    shape = (seen.examples, *seen.shape)
    return seen.domain.lower.to(seen.model).expand(shape), seen.domain.upper.to(seen.model).expand(shape)


def guess_labels(seen: Observation, generator: torch.Generator) -> GuessedLabels:
    """Return the labels: those granted, else what the output's bias shows of them.

    One example's class is the one whose bias has a negative gradient (iDLG: Zhao, Mopuri, Bilen 2020, equation 5); of
    several `sealround.audit.inversion.labels.counts` says how many have which.

    Args:
        seen: The round.
        generator: For the estimate of a batch's mean risk.

    Raises:
        UnsupportedError: If they are ranks of survival times.
    """
    if seen.labels is not None:
        return GuessedLabels(seen.labels.to(seen.model), certain=True)
    shape = label_shape(seen)
    if why_not(seen) is not None:
        share = 1.0 / (shape[0] if shape else 2)
        return GuessedLabels(torch.full((seen.examples, *shape), share, dtype=seen.model.dtype), certain=False)
    found = counts(seen, generator)
    classes = torch.repeat_interleave(torch.arange(found.counts.numel()), found.counts)
    if isinstance(seen.objective, Binary):
        return GuessedLabels(classes.to(seen.model.dtype), found.certain)
    return GuessedLabels(torch.nn.functional.one_hot(classes, *shape).to(seen.model.dtype), found.certain)


def soft(logits: torch.Tensor) -> torch.Tensor:
    """Return labels between 0 and 1: a probability of the outcome, or of each class."""
    return torch.sigmoid(logits) if logits.ndim == 1 else torch.softmax(logits, 1)


@dataclass(slots=True, eq=False)
class Trail:
    """The best guess so far, and how long the ones before it took.

    Attributes:
        seen: The round.
        clock: Tells the time, in seconds.
        deadline: After which nothing begins.
    """

    seen: Observation
    clock: Callable[[], float]
    deadline: float
    _inputs: torch.Tensor | None = None
    _labels: torch.Tensor | None = None
    _least: float = math.inf
    _began: float = field(init=False)
    _course: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Look at the clock."""
        self._began = self.clock()

    def going(self) -> bool:
        """Whether there is time left."""
        return self.clock() < self.deadline

    def note(self, inputs: torch.Tensor, labels: torch.Tensor, cost: float) -> None:
        """Keep a guess if it is the best by what the attack minimises.

        Args:
            inputs: ``(n, *shape)``; copied.
            labels: Theirs; copied.
            cost: What the attack minimises; NaN is never best.
        """
        if cost < self._least or self._inputs is None:
            self._inputs, self._labels = inputs.detach().clone(), labels.detach().clone()
            self._least = cost if math.isfinite(cost) else math.inf

    def mark(self, mismatch: float) -> None:
        """Write down how far the update is from the one seen at this time; best so far."""
        best = min(mismatch, self._course[-1][1]) if self._course else mismatch
        self._course.append((self.clock() - self._began, best))

    @property
    def least(self) -> float:
        """What the best guess costs."""
        return self._least

    @property
    def best(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The best guess's inputs and labels.

        Raises:
            UsageError: If there is none yet.
        """
        if self._inputs is None or self._labels is None:
            raise UsageError("there is no guess yet")
        return self._inputs, self._labels

    def reconstruction(self, attack: str, note: str, certified: torch.Tensor | None = None) -> Reconstruction:
        """Return the best guess within the box.

        The box is convex and the truth is in it, so going to its nearest point brings no example further from its
        original.

        Args:
            attack: Name.
            note: For the reader.
            certified: Which examples are proven; none if ``None``.
        """
        inputs, labels = self.best
        lower, upper = box(self.seen)
        inside = torch.maximum(torch.minimum(inputs.nan_to_num(0.0), upper), lower)
        mismatch = relative_mismatch(self.seen, flat_gradient(self.seen)(inside, labels).detach())
        none = torch.zeros(self.seen.examples, dtype=torch.bool)
        return Reconstruction(
            attack=attack,
            inputs=inside,
            labels=None if isinstance(self.seen.objective, Cox) and self.seen.labels is None else labels,
            mismatch=mismatch,
            certified=none if certified is None else certified,
            seconds=self.clock() - self._began,
            course=tuple(self._course),
            note=note,
        )
