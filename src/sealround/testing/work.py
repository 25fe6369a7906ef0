"""A site's work in a few lines of numpy: logistic regression by gradient descent on data made from a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sealround.federation import tally
from sealround.federation.interfaces import InputShape, TrainOutcome
from sealround.federation.statistics import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.federation.interfaces import EvaluateOrder, TrainOrder
    from sealround.federation.statistics import Statistics
    from sealround.vocabulary import Labels, Tally, Update
    from sealround.wire import Value

__all__ = ["NumpyWork", "zero_model"]


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


def zero_model(inputs: InputShape, statistics: Statistics) -> Update:
    """Start at zero (a `ModelFactory`)."""
    del inputs
    width = len(statistics.layout.numeric) + sum(len(levels) for _, levels in statistics.layout.categories)
    return np.zeros(width, dtype=np.float32)
