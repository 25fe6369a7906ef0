"""Everything a training has learned, and its one encoding: what a snapshot keeps.

It changes only when a stage concludes, so a snapshot taken at any moment is a state the training can go on from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sealround import wire
from sealround.aggregation import Remembered
from sealround.errors import ConsistencyError, MalformedMessageError, UsageError
from sealround.federation.gate import Gate, Look
from sealround.federation.interfaces import InputShape
from sealround.federation.judgement import RuleMemory
from sealround.federation.optimizers import Average
from sealround.federation.records import Exclusion, RoundRecord, TrainedModel
from sealround.federation.statistics import Layout, Statistics
from sealround.federation.weighing import Weighing
from sealround.vocabulary import COORDINATOR, PartyId, RoundId

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from sealround.federation.groups import Group
    from sealround.vocabulary import Tally, Update

__all__ = ["Learned", "Validated"]

_VERSION = 5
_START = RoundId(0)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Validated:
    """A candidate model with its validation: summed tally, and the metric made of it."""

    model: Update
    round: RoundId
    tally: Tally
    score: float | None


@dataclass(slots=True)
class Learned:
    """What a training has learned so far; ``None`` where it has not come that far.

    Attributes:
        inputs: What one example looks like. Learned anew after a restart.
        layout: Names and levels of the inputs. Learned anew after a restart.
        groups: Groups of patients that results are told apart by. Learned anew after a restart.
        statistics: Joint statistics of the inputs.
        round: Last concluded round.
        model: Global model, float32 ``(d,)``.
        average: Running mean of global models, where the study asks for one.
        optimizer: State of the server optimiser.
        control: SCAFFOLD's server control variate, float32 ``(d,)``.
        clip_norm: Longest gradient of one unit of privacy in the next round, where it follows the gradients.
        weighing: How much cells count in the next round, where the study weighs them.
        best: Best validated candidate so far.
        released: The released model.
        gate: What the gate has found so far; ``None`` before it, and in studies without one.
        began: After which round the rounds of the running training began: 0, or where they were begun anew.
        history: A record for each round.
        excluded: Sites the training went on without.
        rule_memory: What the rule keeps between rounds.
        smallest_sum: Where sums are sealed, the fewest sites that one was over.
        scores: Where results are sealed, the sum of the sites' test results (`sealround.federation.scores`).
        bytes_down: Sent to the sites up to the last booking.
        bytes_up: Received from them.
    """

    inputs: InputShape | None = None
    layout: Layout | None = None
    groups: tuple[Group, ...] = ()
    statistics: Statistics | None = None
    round: RoundId = _START
    model: Update | None = None
    average: Average | None = None
    optimizer: Mapping[str, np.ndarray] = field(default_factory=dict)
    control: Update | None = None
    clip_norm: float | None = None
    weighing: Weighing | None = None
    best: Validated | None = None
    released: TrainedModel | None = None
    gate: Gate | None = None
    began: RoundId = _START
    history: tuple[RoundRecord, ...] = ()
    excluded: tuple[Exclusion, ...] = ()
    rule_memory: RuleMemory = field(default_factory=RuleMemory)
    smallest_sum: int | None = None
    scores: Tally | None = None
    bytes_down: int = 0
    bytes_up: int = 0
    _written: list[bytes] = field(default_factory=list, repr=False)

    @property
    def known_inputs(self) -> InputShape:
        """The inputs, known once the sites have joined."""
        return _known(self.inputs)

    @property
    def known_layout(self) -> Layout:
        """The layout, known once the sites have joined."""
        return _known(self.layout)

    @property
    def known_statistics(self) -> Statistics:
        """The statistics, known once they are counted."""
        return _known(self.statistics)

    @property
    def known_model(self) -> Update:
        """The global model, known once the inputs are prepared."""
        return _known(self.model)

    @property
    def known_released(self) -> TrainedModel:
        """The released model, known once it is validated."""
        return _known(self.released)

    @property
    def candidate(self) -> Update:
        """The model that would be released now: the running mean where there is one, else the global model."""
        if self.average is not None and self.average.models:
            return self.average.value
        return self.known_model

    def to_bytes(self, lineage: bytes) -> bytes:
        """Encode canonically, under the training's `Plan.lineage`."""
        return wire.encode(
            {
                "v": _VERSION,
                "lineage": lineage,
                "statistics": _write(self.statistics, Statistics.to_wire),
                "round": self.round,
                "model": self.model,
                "average": _write(self.average, lambda mean: [mean.decay, mean.total, mean.models]),
                "optimizer": dict(self.optimizer),
                "control": self.control,
                "clip_norm": self.clip_norm,
                "weighing": _write(self.weighing, lambda known: [known.weights, known.attention]),
                "best": _write(self.best, lambda best: [best.model, best.round, best.tally, best.score]),
                "released": _write(self.released, _model_to_wire),
                "gate": _write(self.gate, _gate_to_wire),
                "began": self.began,
                "history": self._written_history(),
                "excluded": [[gone.site, gone.round, gone.why] for gone in self.excluded],
                "aggregate": self.rule_memory.aggregate,
                "remembered": {
                    site: [known.update, known.weight] for site, known in sorted(self.rule_memory.sites.items())
                },
                "smallest_sum": self.smallest_sum,
                "scores": self.scores,
                "bytes_down": self.bytes_down,
                "bytes_up": self.bytes_up,
            }
        )

    def _written_history(self) -> list[wire.Value]:
        """Encode each record; the last is the only one that can still change, the others are encoded once."""
        final = self.history[len(self._written) : -1]
        self._written += [wire.encode(record.to_wire()) for record in final]
        return [*self._written, *(wire.encode(record.to_wire()) for record in self.history[-1:])]

    @classmethod
    def from_bytes(cls, snapshot: bytes, lineage: bytes) -> Learned:
        """Decode what `to_bytes` returned.

        Raises:
            ConsistencyError: If it is not a snapshot, or of another training.
        """
        try:
            tree: Any = wire.decode(snapshot, sender=COORDINATOR)
            if tree["v"] != _VERSION or tree["lineage"] != lineage:
                raise ConsistencyError(
                    "the snapshot is of another study, roster or version",
                    hint="resume with the study file the run was started with",
                )
            return cls._from_tree(tree)
        except (MalformedMessageError, KeyError, TypeError, ValueError) as error:
            raise ConsistencyError("not a snapshot of a training") from error

    @classmethod
    def _from_tree(cls, tree: Any) -> Learned:  # noqa: ANN401  (our own file; `from_bytes` catches what does not fit)
        return cls(
            statistics=_read(tree["statistics"], _statistics),
            round=RoundId(tree["round"]),
            model=tree["model"],
            average=_read(tree["average"], lambda mean: Average(*mean)),
            optimizer=tree["optimizer"],
            control=tree["control"],
            clip_norm=tree["clip_norm"],
            weighing=_read(tree["weighing"], lambda known: Weighing(*known)),
            best=_read(tree["best"], lambda best: Validated(*best)),
            released=_read(tree["released"], _model),
            gate=_read(tree["gate"], _gate),
            began=RoundId(tree["began"]),
            history=tuple(_record(line) for line in tree["history"]),
            excluded=tuple(Exclusion(PartyId(site), RoundId(round_), why) for site, round_, why in tree["excluded"]),
            rule_memory=RuleMemory(
                tree["aggregate"], {PartyId(site): Remembered(*known) for site, known in tree["remembered"].items()}
            ),
            smallest_sum=tree["smallest_sum"],
            scores=tree["scores"],
            bytes_down=tree["bytes_down"],
            bytes_up=tree["bytes_up"],
        )


def _known(value: _T | None) -> _T:
    if value is None:  # a stage's rule asks only for what earlier stages concluded
        raise UsageError("the training has not come that far")
    return value


def _write(value: _T | None, write: Callable[[_T], wire.Value]) -> wire.Value:
    return None if value is None else write(value)


def _read(value: Any, read: Callable[[Any], _T]) -> _T | None:  # noqa: ANN401  (see `_from_tree`)
    return None if value is None else read(value)


def _model_to_wire(model: TrainedModel) -> wire.Value:
    inputs: list[wire.Value] = [model.inputs.kind, list(model.inputs.shape)]
    statistics = model.statistics.to_wire()
    decisions: list[wire.Value] = [model.threshold, list(model.calibration), list(model.group_thresholds)]
    return [model.vector, inputs, statistics, model.round, *decisions]


def _model(tree: Any) -> TrainedModel:  # noqa: ANN401  (see `_from_tree`)
    vector, inputs, statistics, round_, threshold, calibration, by_group = tree
    shape = InputShape(*inputs)
    return TrainedModel(vector, shape, _statistics(statistics), RoundId(round_), threshold, calibration, by_group)


def _gate_to_wire(gate: Gate) -> wire.Value:
    candidate = _write(gate.candidate, _model_to_wire)
    return [candidate, [look.to_wire() for look in gate.looks], list(gate.ahead), gate.asked, gate.outcome]


def _gate(tree: Any) -> Gate:  # noqa: ANN401  (see `_from_tree`)
    candidate, looks, ahead, asked, outcome = tree
    return Gate(_read(candidate, _model), tuple(Look(**look) for look in looks), ahead, asked, outcome)


def _record(line: bytes) -> RoundRecord:
    return RoundRecord(**cast("Any", wire.decode(line, sender=COORDINATOR)))


def _statistics(tree: Any) -> Statistics:  # noqa: ANN401  (see `_from_tree`)
    numbers = {key: tree[key] for key in ("examples", "positives", "present", "mean", "scale", "level_counts")}
    return Statistics(Layout(tree["numeric"], tree["categories"]), **numbers)
