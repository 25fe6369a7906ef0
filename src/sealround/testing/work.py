"""A site's work in a few lines of numpy: logistic regression by gradient descent on data made from a seed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sealround.fairness.counting import Examples
from sealround.fairness.pairing import Judged, compared
from sealround.federation import tally
from sealround.federation.groups import Group
from sealround.federation.interfaces import InputShape, TrainOrder, TrainOutcome
from sealround.federation.private import ClippedUnits
from sealround.federation.statistics import Layout
from sealround.vocabulary import RoundId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.federation.interfaces import CompareOrder, Contender, EvaluateOrder
    from sealround.federation.statistics import Statistics
    from sealround.vocabulary import Labels, Rows, Tally, Update
    from sealround.wire import Value

__all__ = ["ClippingWork", "GroupedWork", "NumpyWork", "zero_model"]


class NumpyWork:
    """A `LocalWork` for two numeric inputs and one categorical feature with open levels.

    Args:
        seed: Makes this site's examples.
        examples: How many.
        learning_rate: Of one full-batch step a round.
    """

    def __init__(self, seed: int, examples: int = 40, learning_rate: float = 0.5) -> None:
        draw = np.random.default_rng(seed)
        self._raw = draw.normal(loc=seed % 3, scale=2.0, size=(examples, 2))
        self._group = draw.integers(0, 2, size=examples)
        logit = self._raw @ np.array([1.0, -1.0]) + self._group
        self._event = (draw.random(examples) < 1.0 / (1.0 + np.exp(-logit))).astype(np.float64)
        self._rate = learning_rate

    inputs = InputShape("table")
    layout = Layout(("first", "second"), (("group", ()),))
    groups: tuple[Group, ...] = ()

    def levels(self, min_cell_count: int) -> Mapping[str, tuple[str, ...]]:
        """The levels of ``group``."""
        found, counts = np.unique(self._group, return_counts=True)
        return {"group": tuple(str(level) for level in found[counts >= min_cell_count])}

    def counts(self, layout: Layout, min_cell_count: int) -> Tally:
        """Counts and sums, small cells suppressed."""
        numbers = np.array([np.sum(self._group == int(level)) for level in layout.categories[0][1]], dtype=np.float64)
        numbers[numbers < min_cell_count] = 0.0
        size = float(self._event.size)
        return layout.join(size, float(self._event.sum()), np.full(2, size), self._raw.sum(axis=0), numbers)

    def squares(self, layout: Layout, min_cell_count: int, mean: Tally) -> Tally:
        """Squared distances from the mean."""
        del layout, min_cell_count
        return np.asarray(((self._raw - mean) ** 2).sum(axis=0))

    def train(self, order: TrainOrder) -> TrainOutcome:
        """One gradient step; remembers how often it trained."""
        design = self._design(order.statistics)
        logits = design @ order.model
        gradient = design.T @ (1.0 / (1.0 + np.exp(-logits)) - self._event) / logits.size
        candidate = order.model if order.candidate is None else order.candidate
        trained = order.memory.get("trained", 0)
        assert isinstance(trained, int)  # noqa: S101  (our own memory)
        return TrainOutcome(
            update=(-self._rate * gradient).astype(np.float32),
            weight=float(self._event.size),
            tally=self._tally(design @ candidate),
            control=None if order.control is None else np.zeros_like(order.model),
            memory={"trained": trained + 1},
        )

    def validate(self, order: EvaluateOrder) -> Tally:
        """The tally of a model."""
        return self._tally(self._design(order.statistics) @ order.model)

    @property
    def levels_with_threshold(self) -> int:
        """None has one of its own."""
        return 0

    def group_histograms(self, order: EvaluateOrder) -> Tally:
        """Nothing."""
        del order
        return np.zeros(0)

    def compare(self, order: CompareOrder) -> Tally:
        """Comparisons by the levels of ``group``, if they are this site's groups; its own model is a few rounds old."""
        design = self._design(order.statistics)
        members = np.stack([self._group == int(group.terms[0][1]) for group in self.groups], axis=1)

        def judge(contender: Contender) -> Judged:
            logits = contender.slope * (design @ contender.model) + contender.intercept
            risk = 1.0 / (1.0 + np.exp(-logits))
            return Judged(risk, risk >= contender.threshold)

        own = np.zeros_like(order.candidate.model)
        for number in range(1, 21 * order.own):
            own = own + self.train(TrainOrder(order.job, RoundId(number), own, order.statistics)).update
        references = [*([replace(order.candidate, model=own)] if order.own else []), *order.references]
        everybody = np.ones((self._event.size, 1), dtype=bool)
        member = np.concatenate((everybody, members), axis=1)
        examples = Examples(
            self._event > 0, np.arange(self._event.size), member & (member.sum(0) >= order.min_cell_count)
        )
        counts = [compared(examples, judge(order.candidate), judge(other)) for other in references]
        return np.concatenate([count.ravel() for count in counts])

    def evaluate(self, order: EvaluateOrder) -> Mapping[str, Value]:
        """Number of examples, and how often this site trained."""
        return {"n": int(self._event.size), "trained": order.memory.get("trained", 0)}

    def _design(self, statistics: Statistics) -> np.ndarray:
        levels = statistics.layout.categories[0][1]
        one_hot = np.stack([self._group == int(level) for level in levels], axis=1)
        return np.hstack(((self._raw - statistics.mean) / statistics.scale, one_hot))

    def _tally(self, logits: Labels) -> Tally:
        loss = float(np.sum(np.logaddexp(0.0, logits) - self._event * logits))
        return tally.binary_tally((loss, logits.size), (loss, logits.size), logits, self._event)


class GroupedWork(NumpyWork):
    """A `NumpyWork` with the levels of ``group`` as the study's groups of patients.

    Args:
        seed: Makes this site's examples.
        examples: How many.
        lies: Whether it calls everybody of the second group healthy, in all its records.
    """

    groups: tuple[Group, ...] = (Group((("group", "0"),)), Group((("group", "1"),)))

    def __init__(self, seed: int, examples: int = 120, *, lies: bool = False) -> None:
        super().__init__(seed, examples)
        if lies:
            self._event = np.where(self._group == 1, 0.0, self._event)


class ClippingWork(NumpyWork):
    """A `NumpyWork` whose sums can be made private: each example is a unit.

    Args:
        seed: Makes this site's examples.
        examples: How many.
    """

    layout = Layout(("first", "second"), (("group", ("0", "1")),))

    @property
    def records_digest(self) -> bytes:
        """Hash of the examples."""
        return hashlib.sha256(self._raw.tobytes() + self._event.tobytes() + self._group.tobytes()).digest()

    @property
    def units(self) -> int:
        """How many examples."""
        return int(self._event.size)

    def clipped_sum(self, model: Update, statistics: Statistics, chosen: Rows, l2_clip_norm: float) -> ClippedUnits:
        """Sum of the examples' gradients, each clipped."""
        design = self._design(statistics)[chosen]
        gradients = (1.0 / (1.0 + np.exp(-(design @ model))) - self._event[chosen])[:, None] * design
        norms = np.linalg.norm(gradients, axis=1, keepdims=True)
        clipped = gradients * np.minimum(1.0, l2_clip_norm / np.maximum(norms, 1e-30))
        return ClippedUnits(clipped.sum(axis=0), int((norms <= l2_clip_norm).sum()))

    def stepped(self, model: Update, gradient: np.ndarray, round_: int) -> Update:
        """A step of gradient descent."""
        del round_
        moved: Update = (model - self._rate * gradient).astype(np.float32)
        return moved

    def logits_by_unit(self, order: EvaluateOrder, split: str) -> Tally:
        """Histogram of the predictions; every split is all examples."""
        del split
        slope, intercept = order.calibration
        logits = slope * (self._design(order.statistics) @ order.model) + intercept
        return tally.histogram(logits, self._event)


def zero_model(inputs: InputShape, statistics: Statistics) -> Update:
    """Start at zero (a `ModelFactory`)."""
    del inputs
    width = len(statistics.layout.numeric) + sum(len(levels) for _, levels in statistics.layout.categories)
    return np.zeros(width, dtype=np.float32)
