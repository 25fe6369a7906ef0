"""The words of a site's check on what it is sent: signs, findings, and the limits of what is normal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LIMITS", "Before", "Finding", "Limits", "Parameters", "Reach", "Sign"]

Parameters: TypeAlias = "Mapping[str, np.ndarray]"
"""Arrays by name, in the order of the model."""

Sign: TypeAlias = Literal[
    "not-finite",
    "other-start",
    "parallel-rows",
    "one-direction",
    "ordered-biases",
    "shy-rows",
    "outlying-weights",
    "empty-rows",
    "replaced-rows",
    "far-change",
    "far-control",
    "lone-rows",
    "silent-rows",
    "one-record",
    "misfit",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """One sign.

    Attributes:
        sign: Which.
        layer: Where; empty for the model as a whole.
        measured: What was found.
        limit: What honest training stays within.
    """

    sign: Sign
    layer: str
    measured: float
    limit: float

    def __str__(self) -> str:
        """Render as one line; measurements are of weights or shares of counts, never of a record."""
        place = f" in {self.layer}" if self.layer else ""
        return f"{self.sign}{place}: {self.measured:.3g}, beyond {self.limit:.3g}"


@dataclass(frozen=True, slots=True)
class Limits:
    """What honest training was never seen to reach (``benchmarks/incoming_model.py`` measures how near it comes).

    Attributes:
        start: Largest difference from the study's initial model, as a part of its largest weight: other processors
            round otherwise, and nothing is planted in a hundred-thousandth.
        rows: Layers with fewer rows are not looked at for patterns among rows.
        fan_in: Rows with fewer weights are alike by accident, and are only compared at ``cosine_narrow``.
        cosine: Rows are parallel from this absolute cosine on.
        cosine_narrow: The same for narrow rows; of fewer than three weights none are compared.
        parallel: Largest share of rows parallel to one of them.
        direction: Largest share of the length of all rows, each scaled to 1, along one direction.
        spread: Parallel rows with a smaller standard deviation of their thresholds (minus the bias, over the row's
            length) are copies of one neuron; three times that where rows only lean one way.
        ladder: Largest rank correlation of biases with their order.
        shy: Largest lower quartile of biases below zero, as a part of their rows' length.
        outlier: Largest distance of a hidden weight from the median, in standard deviations of most.
        row_length: Longest row, in median lengths.
        empty: Largest share of rows of next to no length, or of weights that are exactly 0.
        row_change: Largest change of a row, as a part of its length or of most rows', if it is also ``row_ratio`` times
            that of most rows.
        row_ratio: See there.
        layer_change: A layer that moved by less of its length did not go far, whatever the site's own updates were.
        own_ratio: Longest change of a layer, in lengths of this site's own, as the server would apply it.
        head_ratio: The same for the head, whatever its length.
        lone: Largest share of a layer's neurons that fire for one or two records.
        silent: Largest share that fire for none.
        record: Largest share of the squared gradient of all outputs that one record holds.
        loss: Largest mean loss on the site's own training records, in nats.
    """

    start: float = 1e-5
    rows: int = 8
    fan_in: int = 8
    cosine: float = 0.98
    cosine_narrow: float = 0.9999
    parallel: float = 0.125
    direction: float = 0.65
    spread: float = 0.15
    ladder: float = 0.9
    shy: float = 1.0
    outlier: float = 100.0
    row_length: float = 10.0
    empty: float = 0.125
    row_change: float = 0.75
    row_ratio: float = 8.0
    layer_change: float = 0.05
    own_ratio: float = 5.0
    head_ratio: float = 30.0
    lone: float = 0.5
    silent: float = 0.75
    record: float = 0.9
    loss: float = 6.0


LIMITS = Limits()
"""What a site holds every model to."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How much further than a mean update the study's server moves the model.

    Attributes:
        gain: Factor: server learning rate over 1 minus momentum.
        step: Longest step of one weight that does not depend on updates: of FedAdam and FedYogi; else 0.
        longer: How many times as many steps as this site another may take.
    """

    gain: float = 1.0
    step: float = 0.0
    longer: float = 1.0

    def limit(self, ratio: float, own: float, size: int) -> float:
        """Return how far an array of ``size`` weights may move whose own updates were up to ``own`` long.

        Who takes more steps goes further, but not by as much: steps turn round.
        """
        further = ratio * self.gain * float(np.sqrt(max(self.longer, 1.0)))
        return further * own + 3.0 * self.step * float(np.sqrt(size))


@dataclass(frozen=True, slots=True)
class Before:
    """What a site knows of the rounds that it trained in before.

    Attributes:
        model: The last model that it accepted.
        own: By array, length of the longest update that this site made itself.
        rounds: How many rounds ago that model was, at least 1.
        imagined: The site has not trained in this training before, or forgot: the model is the study's initial one, and
            its own updates are reckoned from its gradient there. Rows, which may have gone far since, are not compared.
    """

    model: Parameters
    own: Mapping[str, float]
    rounds: int = 1
    imagined: bool = False
