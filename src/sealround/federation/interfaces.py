"""What the federation asks of the layers above it: interfaces belong to the layer that uses them.

`LocalWork` is everything a site computes on its own records; `ModelFactory` makes the first global model. Both are
implemented by `sealround.learning`, and by a few lines of numpy in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.federation.groups import Group
    from sealround.federation.statistics import Layout, Statistics
    from sealround.vocabulary import RoundId, Tally, Update
    from sealround.wire import Value

__all__ = [
    "CompareOrder",
    "Contender",
    "EvaluateOrder",
    "InputShape",
    "LocalWork",
    "ModelFactory",
    "TrainOrder",
    "TrainOutcome",
]


@dataclass(frozen=True, slots=True)
class InputShape:
    """What one example looks like before encoding; every site of a study must say the same.

    Attributes:
        kind: ``"table"`` (columns of the study), ``"vector"`` (ready-made features) or ``"image"``.
        shape: ``()`` for a table, ``(p,)`` for vectors, ``(channels, height, width)`` for images.
    """

    kind: Literal["table", "vector", "image"]
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainOrder:
    """One round's work for one site.

    Attributes:
        job: Which training this is (``"federated"``, ``"pooled"``, ``"alone-<site>"``); names its random streams.
        round: The round, from 1.
        model: Global model at the start of the round, float32 ``(d,)``.
        statistics: Federated statistics the inputs are encoded with.
        candidate: The model that would be released now, float32 ``(d,)``, if it differs from ``model`` (a running mean
            of global models): it is what the round's validation measures. ``None`` means ``model``.
        control: SCAFFOLD's server control variate, float32 ``(d,)``, else ``None``.
        memory: What this site returned as ``memory`` after its last round, else empty.
        weights: How much an example of each cell counts (`sealround.federation.weighing`), float64 ``(2 k,)``;
            ``None`` if all count the same.
        clip_norm: Longest gradient of one unit of privacy in this round; ``None`` for the study's.
    """

    job: str
    round: RoundId
    model: Update
    statistics: Statistics
    candidate: Update | None = None
    control: Update | None = None
    memory: Mapping[str, Value] = field(default_factory=dict)
    weights: Tally | None = None
    clip_norm: float | None = None


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """What one site's training gave.

    Attributes:
        update: Local model minus global model, float32 ``(d,)``.
        weight: Weight of the update in the mean: training examples, or 1.
        tally: See `sealround.federation.tally`; validation of the *incoming* candidate, before training,
            and the training loss; where the study weighs cells, with the tail of `sealround.federation.weighing`.
        control: Change of this site's SCAFFOLD control variate, float32 ``(d,)``, else ``None``.
        memory: What the site must remember for its next round (never sent).
    """

    update: Update
    weight: float
    tally: Tally
    control: Update | None = None
    memory: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EvaluateOrder:
    """The final evaluation of one model at one site.

    Attributes:
        job: Which training the model is from.
        model: The released model, float32 ``(d,)``.
        statistics: Federated statistics its inputs are encoded with.
        threshold: Decision threshold on the predicted risk, within 0..1 (ignored for survival).
        calibration: Slope and intercept on the logit, ``(1.0, 0.0)`` for none.
        memory: As in `TrainOrder`.
        group_thresholds: A threshold for each group of the column that the study permits one for, in the order of the
            study's groups; others have ``threshold``. Empty for none.
    """

    job: str
    model: Update
    statistics: Statistics
    threshold: float
    calibration: tuple[float, float] = (1.0, 0.0)
    memory: Mapping[str, Value] = field(default_factory=dict)
    group_thresholds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """A model as it would be used: what the gate compares.

    Attributes:
        model: Parameters, float32 ``(d,)``.
        threshold: Decision threshold on the recalibrated risk, within 0..1.
        slope: Of the recalibration, on the logit.
        intercept: Of the same.
        statistics: What its inputs are encoded with; ``None`` for the training's own.
        group_thresholds: As in `EvaluateOrder`.
    """

    model: Update
    threshold: float
    slope: float = 1.0
    intercept: float = 0.0
    statistics: Statistics | None = None
    group_thresholds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class CompareOrder:
    """The comparison of a model with others on the same validation patients.

    Attributes:
        job: Which training the candidate is from.
        candidate: The model that might be released.
        references: What it is compared with.
        own: Compare it, before all others, with the model that this site trains on its own records alone.
        statistics: Federated statistics.
        min_cell_count: Groups with fewer patients at this site are left out; so is what would tell them.
        memory: As in `TrainOrder`.
    """

    job: str
    candidate: Contender
    references: tuple[Contender, ...]
    own: bool
    statistics: Statistics
    min_cell_count: int = 1
    memory: Mapping[str, Value] = field(default_factory=dict)


class LocalWork(Protocol):
    """Everything a site computes on its own records."""

    @property
    def inputs(self) -> InputShape:
        """What one example looks like."""
        ...

    @property
    def layout(self) -> Layout:
        """Names of the inputs; a categorical feature whose levels the study leaves open has none here."""
        ...

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of patients that test results are told apart by, in the study's order; empty if it has none."""
        ...

    def levels(self, min_cell_count: int) -> Mapping[str, tuple[str, ...]]:
        """Return the levels of each categorical feature held by ``min_cell_count`` training patients or more."""
        ...

    def counts(self, layout: Layout, min_cell_count: int) -> Tally:
        """Return this site's addend to ``layout``'s counts, cells below ``min_cell_count`` suppressed to 0."""
        ...

    def squares(self, layout: Layout, min_cell_count: int, mean: Tally) -> Tally:
        """Return this site's sums of squared distance from ``mean``, one for each numeric input."""
        ...

    def train(self, order: TrainOrder) -> TrainOutcome:
        """Train for one round.

        Raises:
            DivergenceError: If the loss or a weight became NaN or infinite, or the loss exploded.
        """
        ...

    def validate(self, order: EvaluateOrder) -> Tally:
        """Return the validation tally of a model, without training."""
        ...

    @property
    def levels_with_threshold(self) -> int:
        """How many groups of patients have a decision threshold of their own; 0 where the study permits none."""
        ...

    def group_histograms(self, order: EvaluateOrder) -> Tally:
        """Return the bins of a model's validation logits for each group that has a threshold of its own.

        Returns:
            float64 ``(levels * 2 * BINS,)``: see `sealround.federation.group_thresholds`. Empty where there are none.
        """
        ...

    def compare(self, order: CompareOrder) -> Tally:
        """Count, group by group, whom of this site's validation patients either of two models gets wrong.

        Returns:
            A comparison after the other, each float64 ``(1 + groups, COMPARED)`` (`sealround.fairness.cells`), flat.

        Raises:
            DivergenceError: If a model predicts what is not a finite number. A site whose own model diverged has
                nothing to compare with, and says so by zeros.
        """
        ...

    def evaluate(self, order: EvaluateOrder) -> Mapping[str, Value]:
        """Evaluate on this site's test split; the result is a tree fit for `sealround.wire`."""
        ...


class ModelFactory(Protocol):
    """Makes the first global model."""

    def __call__(self, inputs: InputShape, statistics: Statistics) -> Update:
        """Return the initial parameters, float32 ``(d,)``, the same for the same study seed."""
        ...
