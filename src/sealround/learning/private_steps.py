"""What a site computes for differential privacy: sums and histograms in which one unit counts only so much."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import torch

from sealround.clinical.cohort import SplitName
from sealround.errors import UsageError
from sealround.federation import tally
from sealround.federation.private import ClippedUnits
from sealround.learning.clipped_gradients import clipped_sum
from sealround.learning.site_work import TorchWork
from sealround.learning.steps import scheduled
from sealround.study.sections import DifferentialPrivacy

if TYPE_CHECKING:
    from sealround.federation.interfaces import EvaluateOrder
    from sealround.federation.statistics import Statistics
    from sealround.vocabulary import Rows, Tally, Update

__all__ = ["PrivateTorchWork"]

_AT_A_TIME = 64
"""Examples of one float32 sum: what rounding adds to a patient's part is reckoned with (`PrivacyTerms`)."""

_SPLITS = {"validation": SplitName.VALIDATION, "test": SplitName.TEST}


class PrivateTorchWork(TorchWork):
    """`TorchWork` with the sums that `sealround.federation.private.PrivateWork` makes private."""

    @property
    def units(self) -> int:
        """How many patients (or records, as the study says) this site trains on."""
        return self._unit_starts.size - 1

    def clipped_sum(self, model: Update, statistics: Statistics, chosen: Rows, l2_clip_norm: float) -> ClippedUnits:
        """Return the sum of the clipped gradients of some units, and how many were short enough.

        Args:
            model: At which, float32 ``(d,)``.
            statistics: What inputs are encoded with.
            chosen: Which units, int64 ``(m,)``, ascending.
            l2_clip_norm: Longest gradient of one unit.
        """
        encoding = self._encodings.under(statistics)
        encoding.predictor.flat.load(model)
        starts, ends = self._unit_starts[chosen], self._unit_starts[chosen + 1]
        sizes = ends - starts
        # Rows of each chosen unit, one unit after the other.
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rows = self._rows_by_unit[np.repeat(starts, sizes) + within]
        units = np.repeat(np.arange(chosen.size), sizes)
        examples = encoding.parts[SplitName.TRAIN]
        found = clipped_sum(
            encoding.predictor,
            examples,
            torch.from_numpy(rows),
            torch.from_numpy(units),
            encoding.loss,
            l2_clip_norm,
            chunk=_AT_A_TIME,
        )
        within = found.patients - found.clipped - found.unusable
        return ClippedUnits(found.gradient.numpy(force=True), within)

    def stepped(self, model: Update, gradient: np.ndarray, round_: int) -> Update:
        """Return the model after a step of gradient descent with a round's learning rate, float32 ``(d,)``."""
        training = self._study.training
        rate = scheduled(training.optimizer.learning_rate, training.schedule, round_, self._study.study.rounds)
        moved: Update = (model - rate * gradient).astype(np.float32)
        return moved

    def logits_by_unit(self, order: EvaluateOrder, split: str) -> Tally:
        """Return a histogram of a model's predictions in which each unit of a split counts one, ``(2 * BINS,)``."""
        part = _SPLITS[split]
        logits, _ = self._predict(self._personalised(order), part)
        slope, intercept = order.calibration
        rows = self._records.where(part)
        _, unit, sizes = np.unique(self._names(rows), return_inverse=True, return_counts=True)
        return tally.histogram(slope * logits + intercept, self._records.outcome.event[rows], 1.0 / sizes[unit])

    def _names(self, rows: Rows) -> np.ndarray:
        """Name the unit of each row."""
        options = self._study.protection.privacy
        if not isinstance(options, DifferentialPrivacy):
            raise UsageError("the study has no differential privacy")
        return self._records.patient[rows] if options.unit == "patient" else np.arange(rows.size)

    @functools.cached_property
    def _grouped(self) -> tuple[Rows, Rows]:
        names = self._names(self._records.where(SplitName.TRAIN))
        _, unit, sizes = np.unique(names, return_inverse=True, return_counts=True)
        return np.argsort(unit, kind="stable"), np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)

    @property
    def _rows_by_unit(self) -> Rows:
        """Training rows, those of one unit beside each other."""
        return self._grouped[0]

    @property
    def _unit_starts(self) -> Rows:
        """Where each unit's rows begin among them, and where the last one's end."""
        return self._grouped[1]
