"""A site's records as a study's model sees them, encoded with the statistics of one training at a time."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

import torch

from sealround import wire
from sealround.clinical.cohort import SplitName
from sealround.clinical.encoding import Encoder
from sealround.errors import UnsupportedError
from sealround.federation.interfaces import InputShape
from sealround.learning import backbone
from sealround.learning.device import device_for
from sealround.learning.examples import Examples, Features, Images, shared, targets_of
from sealround.learning.losses import BinaryLoss, CoxLoss, Loss, Targets, class_weights, log_odds
from sealround.learning.predictors import Predictor, predictor_for
from sealround.study.sections import Cox, FrozenBackbone, LocalIntercept

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sealround.clinical.cohort import SiteCohort
    from sealround.federation.statistics import Statistics
    from sealround.study.sections import Study

__all__ = ["Encoding", "Encodings"]

_KEPT = 2  # The federation's, and that of a comparison which runs in between.


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """A site's examples as one set of statistics encodes them.

    Attributes:
        statistics: The statistics.
        parts: Examples of each split, in the cohort's order.
        loss: The study's, with class weights from the statistics or the site's own log odds.
        predictor: The study's model for such inputs, its parameters undefined: load before each use.
    """

    statistics: Statistics
    parts: Mapping[SplitName, Examples]
    loss: Loss
    predictor: Predictor


class Encodings:
    """One site's records under the statistics of several trainings; keeps the last two.

    Args:
        study: The study.
        cohort: The site's records.
        feature_cache: Folder of a frozen backbone's features; else the user's cache folder.

    Raises:
        UnsupportedError: If the study's model does not take such inputs.
    """

    def __init__(self, study: Study, cohort: SiteCohort, feature_cache: Path | None) -> None:
        _refuse_mismatch(study, cohort.inputs)
        self._study = study
        self._records = cohort
        self._feature_cache = feature_cache
        self._device = device_for(study.model)
        self._recent: list[Encoding] = []
        frozen = isinstance(study.model, FrozenBackbone)
        self.inputs = InputShape("vector", (backbone.FEATURES,)) if frozen else cohort.inputs
        self.encoder = Encoder(study.cohort, self.inputs)

    @functools.cached_property
    def cohort(self) -> SiteCohort:
        """The records with, for a frozen backbone, features in the place of images."""
        model, images = self._study.model, self._records.array
        if not isinstance(model, FrozenBackbone) or images is None:
            return self._records
        features = backbone.features(images, model, self._feature_cache)
        return dataclasses.replace(self._records, inputs=self.inputs, array=features)

    def under(self, statistics: Statistics) -> Encoding:
        """Return the records encoded with ``statistics``, from memory if they were among the last two."""
        for position, encoding in enumerate(self._recent):
            if encoding.statistics is statistics or _same(encoding.statistics, statistics):
                self._recent.append(self._recent.pop(position))
                return encoding
        self._recent = [*self._recent, self._encode(statistics)][-_KEPT:]
        return self._recent[-1]

    def _encode(self, statistics: Statistics) -> Encoding:
        study, cohort, device = self._study, self.cohort, self._device
        encoded = self.encoder.encode(cohort, statistics, study.standardisation.kind)
        parts = {}
        for split in SplitName:
            rows = cohort.where(split)
            targets = targets_of(cohort.outcome, rows, device)
            if encoded.mean is None or encoded.scale is None:
                parts[split] = Examples(Features(torch.from_numpy(encoded.inputs[rows]).to(device)), targets)
                continue
            mean, scale = (shared(values, device).reshape(-1, 1, 1) for values in (encoded.mean, encoded.scale))
            parts[split] = Examples(Images(self._pixels, shared(rows, device), mean, scale), targets)
        predictor = predictor_for(study.model, parts[SplitName.TRAIN].inputs.shape, device)
        return Encoding(statistics, parts, _loss(study, statistics, parts[SplitName.TRAIN].targets), predictor)

    @functools.cached_property
    def _pixels(self) -> torch.Tensor:
        assert self.cohort.array is not None  # noqa: S101  (for the type checker: image cohorts have an array)
        return shared(self.cohort.array, self._device)


def _same(a: Statistics, b: Statistics) -> bool:
    return a.layout == b.layout and wire.encode(a.to_wire()) == wire.encode(b.to_wire())


def _loss(study: Study, statistics: Statistics, targets: Targets) -> Loss:
    if study.task == "survival":
        return CoxLoss()
    smoothing, balance = study.training.label_smoothing, study.training.class_balance
    match balance:
        case "none":
            return BinaryLoss(smoothing=smoothing)
        case "weighted":
            return BinaryLoss(weights=class_weights(statistics), smoothing=smoothing)
        case "logit-adjusted":
            return BinaryLoss(smoothing=smoothing, offset=log_odds(targets))
        case _:
            assert_never(balance)


def _refuse_mismatch(study: Study, inputs: InputShape) -> None:
    model = study.model
    if isinstance(model, FrozenBackbone) and inputs.kind != "image":
        msg = f"a frozen backbone takes images, this cohort is a {inputs.kind}"
        raise UnsupportedError(msg, hint='use model kind "logistic" or "mlp" on ready-made features')
    if isinstance(model, Cox) and isinstance(study.training.personalisation, LocalIntercept):
        raise UnsupportedError(
            "a Cox model has no intercept: its likelihood does not see one",
            hint='use training.personalisation kind "none" or "fine-tune"',
        )
