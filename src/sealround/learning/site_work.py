"""Everything one site computes on its own records, with torch: `TorchWork` implements `LocalWork`."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from sealround.clinical.card import split_sizes
from sealround.clinical.cohort import Outcome, SplitName
from sealround.clinical.groups import groups_of
from sealround.errors import DivergenceError, ProtocolViolationError, UsageError
from sealround.fairness.cells import COMPARED
from sealround.fairness.pairing import compared
from sealround.federation import tally
from sealround.federation.group_thresholds import levels_with_threshold
from sealround.federation.interfaces import Contender, EvaluateOrder, TrainOrder, TrainOutcome
from sealround.federation.plan import FEDERATED
from sealround.federation.statistics import Statistics
from sealround.learning.comparing import judged, train_alone
from sealround.learning.device import prepare
from sealround.learning.encodings import Encoding, Encodings
from sealround.learning.evaluation import HeldOut, evaluate_binary, evaluate_survival, risk_of
from sealround.learning.groups import examples_by_group, group_histograms, group_tally, thresholds_of
from sealround.learning.incoming import IncomingModels
from sealround.learning.models import initial_model
from sealround.learning.rounds import Control, fine_tuning, local_round, randomness
from sealround.learning.survival import comparable_pairs
from sealround.learning.training import Fit, fit
from sealround.learning.weighing import Cells, cells_of, weighted
from sealround.study.sections import FineTune, LocalIntercept
from sealround.vocabulary import COORDINATOR

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sealround.clinical.cohort import SiteCohort
    from sealround.fairness.pairing import Judged
    from sealround.federation.groups import Group
    from sealround.federation.interfaces import CompareOrder, InputShape
    from sealround.federation.statistics import Layout
    from sealround.study.sections import Study
    from sealround.vocabulary import Labels, Tally, Update
    from sealround.wire import Value

__all__ = ["TorchWork"]

_CHUNK = 256  # Examples predicted at a time.


class TorchWork:
    """What one site computes on its own records.

    Args:
        study: The study.
        cohort: The site's records.
        min_cell_count: Smallest number of patients this site's results show; else the study's.
        feature_cache: Folder of a frozen backbone's features; else the user's cache folder.

    Raises:
        UnsupportedError: If the study's model does not take such inputs.
    """

    looks_at_models: ClassVar[bool] = True
    """Whether a planted model is refused; a drill, whose coordinator is honest, shows what lies do where none is."""

    def __init__(
        self,
        study: Study,
        cohort: SiteCohort,
        *,
        min_cell_count: int | None = None,
        feature_cache: Path | None = None,
    ) -> None:
        prepare()
        self._study = study
        self._records = cohort
        self._min_cell_count = study.standardisation.min_cell_count if min_cell_count is None else min_cell_count
        self._encodings = Encodings(study, cohort, feature_cache)
        self._incoming = IncomingModels(study, self._encodings.inputs)

    @property
    def inputs(self) -> InputShape:
        """What one example looks like; with a frozen backbone, its features."""
        return self._encodings.inputs

    @property
    def layout(self) -> Layout:
        """Names of the inputs; a categorical feature whose levels the study leaves open has none here."""
        return self._encodings.encoder.layout

    @property
    def groups(self) -> tuple[Group, ...]:
        """The study's groups of patients, in its order."""
        return groups_of(self._study)

    def levels(self, min_cell_count: int) -> Mapping[str, tuple[str, ...]]:
        """Return the levels of each categorical feature held by ``min_cell_count`` training patients or more."""
        return self._encodings.encoder.levels(self._encodings.cohort, min_cell_count)

    def counts(self, layout: Layout, min_cell_count: int) -> Tally:
        """Return this site's addend to ``layout``'s counts, cells below ``min_cell_count`` suppressed to 0."""
        return self._encodings.encoder.counts(self._encodings.cohort, layout, min_cell_count)

    def squares(self, layout: Layout, min_cell_count: int, mean: Tally) -> Tally:
        """Return this site's sums of squared distance from ``mean``, one for each numeric input."""
        return self._encodings.encoder.squares(self._encodings.cohort, layout, min_cell_count, mean)

    def train(self, order: TrainOrder) -> TrainOutcome:
        """Train for one round; measure the incoming candidate on the validation split before.

        Raises:
            ProtocolViolationError: If the model shows a sign of being planted (`sealround.learning.incoming`), or the
                order weighs cells, and the study does not.
            DivergenceError: If the loss or a weight became NaN or infinite, or the loss exploded.
        """
        # Rounds beyond the study's are its rounds trained anew: what is remembered of others is not of this training.
        training = (order.round - 1) // self._study.study.rounds
        if order.memory.get("training", 0) != training:
            order = dataclasses.replace(order, memory={})
        encoding = self._encodings.under(order.statistics)
        if self.looks_at_models:
            self._incoming.check(order, encoding)
        self._load(encoding, order.model if order.candidate is None else order.candidate, order)
        logits, validation = self._predict(encoding, SplitName.VALIDATION)
        self._load(encoding, order.model, order)
        flat = encoding.predictor.flat
        start = flat.values.clone()
        tail = self._tail(encoding)
        control = Control.of(self._study, order, start)
        fitted, rate = self._fit(encoding, order, control)
        update = flat.values - start
        memory: dict[str, Value] = {}
        if self._keeps_intercept(order.job):
            memory["intercept"] = float(flat.values[-1])
            update[-1] = 0.0
        change = None
        if control is not None:
            moved = control.change(update, fitted.steps * rate) if fitted.steps else torch.zeros_like(update)
            memory["control"] = _array(control.own + moved)
            change = _array(moved)
        if memory and training:
            memory["training"] = training
        sent = _array(update)
        self._incoming.trained(order, sent, encoding)
        number = len(encoding.parts[SplitName.TRAIN])
        uniform = self._study.training.weighting == "uniform"
        return TrainOutcome(
            update=sent,
            weight=float(min(number, 1) if uniform else number),
            tally=np.concatenate((self._tally((fitted.loss, fitted.count), validation, logits), tail)),
            control=change,
            memory=memory,
        )

    def validate(self, order: EvaluateOrder) -> Tally:
        """Return the validation tally of a model as this site would use it, personalised if the study says so.

        Raises:
            DivergenceError: If fine-tuning diverged.
        """
        encoding = self._personalised(order)
        logits, loss = self._predict(encoding, SplitName.VALIDATION)
        slope, intercept = order.calibration
        return self._tally((0.0, 0), loss, slope * logits + intercept)

    @property
    def levels_with_threshold(self) -> int:
        """How many groups of patients have a decision threshold of their own; 0 where the study permits none."""
        return len(levels_with_threshold(self._study, self.groups))

    def group_histograms(self, order: EvaluateOrder) -> Tally:
        """Return the bins of a model's validation logits for each group that has a threshold of its own.

        Raises:
            DivergenceError: If fine-tuning diverged.
        """
        if not self.levels_with_threshold:
            return np.zeros(0)
        logits, _ = self._predict(self._personalised(order), SplitName.VALIDATION)
        examples = examples_by_group(self._study, self._records, SplitName.VALIDATION, self._min_cell_count)
        return group_histograms(self._study, examples, logits)

    def _thresholds(self, split: SplitName, order: EvaluateOrder | Contender) -> np.ndarray:
        return thresholds_of(self._study, self._records, split, order.threshold, order.group_thresholds)

    def compare(self, order: CompareOrder) -> Tally:
        """Count, group by group, whom of the validation patients either of two models gets wrong.

        The site's own model has the candidate's threshold, on a risk that is recalibrated if the study says so: a
        threshold chosen on the few patients that it is then judged on would flatter it.

        Raises:
            UsageError: If the study has no gate.
            DivergenceError: If a model predicts what is not a finite number, or fine-tuning diverged.
        """
        if self._study.fairness.gate is None:
            raise UsageError("the study has no gate", hint="models are compared where fairness.gate says so")
        examples = examples_by_group(self._study, self._records, SplitName.VALIDATION, order.min_cell_count)
        candidate = self._judge(order.candidate, order)
        references = [self._own_judgement(order)] if order.own else []
        references += [self._judge(reference, order) for reference in order.references]
        nothing = np.zeros((1 + len(self.groups), COMPARED))
        counts = [
            nothing if judgement is None else compared(examples, candidate, judgement) for judgement in references
        ]
        return np.concatenate([count.ravel() for count in counts])

    def _judge(self, contender: Contender, order: CompareOrder) -> Judged:
        # A model with an encoding of its own comes from elsewhere, and is used as it comes.
        ours = contender.statistics is None
        statistics = order.statistics if contender.statistics is None else contender.statistics
        job, memory = (order.job, order.memory) if ours else ("reference", {})
        encoding = self._personalised(
            EvaluateOrder(job, contender.model, statistics, contender.threshold, memory=memory)
        )
        thresholds = self._thresholds(SplitName.VALIDATION, contender)
        return judged(self._predict(encoding, SplitName.VALIDATION)[0], contender, thresholds)

    def _own_judgement(self, order: CompareOrder) -> Judged | None:
        """Train this site's own model, and return what it says; ``None`` where training has no data or diverges."""
        study, job = self._study, f"alone-{self._records.site}"
        layout = order.statistics.layout
        statistics = Statistics.from_counts(layout, self.counts(layout, 1))
        if not statistics.examples:
            return None
        if study.standardisation.kind == "federated" and layout.numeric:
            statistics = statistics.with_squares(self.squares(layout, 1, statistics.mean))
        start = initial_model(study)(self.inputs, statistics)
        try:
            model = train_alone(study, job, start, statistics, self.train)
        except (
            DivergenceError
        ):  # the same trouble that the comparison of this site alone reports; no reason to stop here
            return None
        own = EvaluateOrder(job, model, statistics, order.candidate.threshold)
        slope, intercept = 1.0, 0.0
        if study.evaluation.recalibration == "platt":
            slope, intercept = tally.platt(self.validate(own))
        logits, _ = self._predict(self._personalised(own), SplitName.VALIDATION)
        thresholds = self._thresholds(SplitName.VALIDATION, order.candidate)
        contender = dataclasses.replace(order.candidate, model=model, slope=slope, intercept=intercept)
        return judged(logits, contender, thresholds)

    def evaluate(self, order: EvaluateOrder) -> Mapping[str, Value]:
        """Evaluate on the test split a model as this site would use it; see `sealround.learning.evaluation`.

        Raises:
            DivergenceError: If fine-tuning diverged.
        """
        encoding = self._personalised(order)
        scores, loss = self._predict(encoding, SplitName.TEST)
        thresholds = self._thresholds(SplitName.TEST, order)
        held_out = HeldOut(
            site=self._records.site,
            outcome=self._outcome(SplitName.TEST),
            patient=self._records.patient[self._records.where(SplitName.TEST)],
            examples=split_sizes(self._records, self._min_cell_count)[SplitName.TEST],
            seed=self._study.study.seed,
            replicates=self._study.evaluation.bootstrap,
            confidence=self._study.evaluation.confidence,
            min_cell_count=self._min_cell_count,
            secret=self._secret,
            thresholds=thresholds,
        )
        if self._study.task == "survival":
            return evaluate_survival(scores, loss, order, held_out)
        result = evaluate_binary(scores, loss, order, held_out)
        if self.groups:
            examples = examples_by_group(self._study, self._records, SplitName.TEST, self._min_cell_count)
            result["groups"] = group_tally(risk_of(scores, order.calibration), thresholds, examples)
        return result

    def outputs(self, order: EvaluateOrder) -> Labels:
        """Return the output of each test row (logit or log hazard), float32 ``(n,)``; never leaves the site.

        Raises:
            DivergenceError: If fine-tuning diverged.
        """
        return self._predict(self._personalised(order), SplitName.TEST)[0]

    def risks(self, order: EvaluateOrder) -> Labels:
        """Return the predicted risk of each test row, float64 ``(n,)``, in the cohort's order; never leaves the site.

        Raises:
            UsageError: If the outcome is a time.
            DivergenceError: If fine-tuning diverged.
        """
        if self._study.task != "binary":
            raise UsageError("a predicted time has no risk")
        return risk_of(self.outputs(order), order.calibration)

    @property
    def _secret(self) -> str:
        """What this site's resamples are made from that nobody else can make; nothing in an open study."""
        if not self._study.protection.sealed:
            return ""
        # The records themselves: the same for every model, which pairs them, and after a restart.
        return self.records_digest.hex()

    @functools.cached_property
    def records_digest(self) -> bytes:
        """SHA-256 of this site's records (32 bytes)."""
        records = hashlib.sha256()
        self._records.hash_into(records)
        return records.digest()

    @functools.cached_property
    def _cells(self) -> Cells | None:
        """Training examples by group and outcome, where the study weighs them."""
        if self._study.fairness.training == "plain":
            return None
        return cells_of(self._study, self._records, self._min_cell_count)

    def _tail(self, encoding: Encoding) -> Tally:
        """Return what a training tally has more: losses of the loaded model by cell, and how many they are."""
        if self._cells is None:
            return np.zeros(0)
        outputs, _ = self._predict(encoding, SplitName.TRAIN)
        return self._cells.tail(outputs, self._outcome(SplitName.TRAIN).event)

    def _keeps_intercept(self, job: str) -> bool:
        # Only among several sites: what is compared with the federation is one model for everybody.
        return isinstance(self._study.training.personalisation, LocalIntercept) and job == FEDERATED

    def _load(self, encoding: Encoding, model: Update, order: TrainOrder | EvaluateOrder) -> None:
        encoding.predictor.flat.load(model)
        intercept = order.memory.get("intercept")
        if self._keeps_intercept(order.job) and isinstance(intercept, float):
            encoding.predictor.flat.values[-1] = intercept

    def _fit(self, encoding: Encoding, order: TrainOrder, control: Control | None) -> tuple[Fit, float]:
        """Train the loaded model, and return what happened with the learning rate."""
        site, examples = self._records.site, encoding.parts[SplitName.TRAIN]
        if order.weights is not None:
            if self._cells is None:
                raise ProtocolViolationError("weighs patients by group, and the study does not", party=COORDINATOR)
            examples = weighted(examples, self._cells, order.weights)
        recipe = local_round(self._study, site, order.round, encoding.loss, control)
        if not len(examples):
            return Fit(0.0, 0, 0), recipe.learning_rate
        device = encoding.predictor.flat.values.device
        streams = randomness(self._study.study.seed, order.job, site, order.round, device)
        return fit(encoding.predictor, examples, recipe, *streams), recipe.learning_rate

    def _personalised(self, order: EvaluateOrder) -> Encoding:
        """Load a model, and fine-tune it if the study says so; the same each time."""
        encoding = self._encodings.under(order.statistics)
        self._load(encoding, order.model, order)
        personalisation, examples = self._study.training.personalisation, encoding.parts[SplitName.TRAIN]
        if isinstance(personalisation, FineTune) and order.job == FEDERATED and len(examples):
            site, device = self._records.site, encoding.predictor.flat.values.device
            recipe = fine_tuning(self._study, site, encoding.loss, personalisation.epochs)
            streams = randomness(self._study.study.seed, order.job, site, "fine-tuning", device)
            fit(encoding.predictor, examples, recipe, *streams)
        return encoding

    def _predict(self, encoding: Encoding, split: SplitName) -> tuple[Labels, tuple[float, int]]:
        """Return the loaded model's outputs on a split, float32 ``(n,)``, and sum and number of their loss."""
        examples = encoding.parts[split]
        if not len(examples):
            return np.zeros(0, dtype=np.float32), (0.0, 0)
        rows = torch.arange(len(examples), device=examples.targets.event.device)
        outputs = torch.cat([encoding.predictor.predict(batch) for batch in examples.inputs.batches(rows, _CHUNK)])
        loss = encoding.loss.total([outputs], [examples.targets])
        if not bool(torch.isfinite(outputs).all()):
            msg = "the received model predicts what is not a finite number"
            raise DivergenceError(msg, party=self._records.site, hint="lower the learning rate of sites or server")
        return outputs.numpy(force=True), loss

    def _outcome(self, split: SplitName) -> Outcome:
        rows, outcome = self._records.where(split), self._records.outcome
        return Outcome(outcome.event[rows], None if outcome.time is None else outcome.time[rows])

    def _tally(self, train: tuple[float, int], validation: tuple[float, int], outputs: Labels) -> Tally:
        outcome = self._outcome(SplitName.VALIDATION)
        if outcome.time is None:
            return tally.binary_tally(train, validation, outputs, outcome.event)
        return tally.survival_tally(train, validation, comparable_pairs(outcome.time, outcome.event, outputs))


def _array(vector: torch.Tensor) -> Update:
    """Return a tensor's values as a numpy array."""
    values: Update = vector.numpy(force=True)
    return values
