"""Made-up cohorts, and sites that are ready to train on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from sealround.clinical.cohort import Outcome, SiteCohort
from sealround.federation.interfaces import EvaluateOrder, InputShape, TrainOrder
from sealround.federation.statistics import Statistics
from sealround.learning import TorchWork, initial_model
from sealround.learning.device import prepare
from sealround.vocabulary import PartyId, RoundId

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.study.sections import Study
    from sealround.vocabulary import Update


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    prepare()


@pytest.fixture
def vectors() -> Callable[..., SiteCohort]:
    """Feature vectors whose first entry tells the outcome, with some noise."""

    def make(rows: int = 120, width: int = 5, *, site: str = "a", seed: int = 0, survival: bool = False) -> SiteCohort:
        draw = np.random.default_rng(seed)
        array = draw.normal(3.0, 2.0, size=(rows, width)).astype(np.float32)
        score = (array[:, 0] - 3.0) / 2.0
        event = (score + draw.normal(size=rows) > 0).astype(np.float32)
        time = None
        if survival:
            time = np.ceil(draw.exponential(size=rows) * np.exp(-score) * 20).astype(np.float32)
            event = (draw.random(rows) < 0.7).astype(np.float32)
        split = np.resize(np.repeat([0, 1, 2], [6, 2, 2]), rows).astype(np.int8)
        return SiteCohort(
            PartyId(site),
            InputShape("vector", (width,)),
            pl.DataFrame(),
            array,
            Outcome(event, time),
            np.arange(rows),
            split,
        )

    return make


@pytest.fixture
def images() -> Callable[..., SiteCohort]:
    """Images that are brighter where the outcome is present."""

    def make(rows: int = 60, size: int = 16, *, channels: int = 1, site: str = "a", seed: int = 0) -> SiteCohort:
        draw = np.random.default_rng(seed)
        event = np.resize([0.0, 1.0], rows).astype(np.float32)
        shape = (rows, size, size) if channels == 1 else (rows, size, size, channels)
        noise = draw.normal(100.0, 30.0, size=shape)
        array = np.clip(noise + 40.0 * event.reshape(-1, *[1] * (len(shape) - 1)), 0, 255).astype(np.uint8)
        split = np.resize(np.repeat([0, 1, 2], [6, 2, 2]), rows).astype(np.int8)
        return SiteCohort(
            PartyId(site),
            InputShape("image", (channels, size, size)),
            pl.DataFrame(),
            array,
            Outcome(event),
            np.arange(rows),
            split,
        )

    return make


@dataclass
class Ready:
    """One site after the federated statistics, with a federation of one around it."""

    work: TorchWork
    statistics: Statistics
    model: Update

    def train_order(self, round_: int = 1, **changes: object) -> TrainOrder:
        fields = {"job": "federated", "round": RoundId(round_), "model": self.model, "statistics": self.statistics}
        return TrainOrder(**{**fields, **changes})

    def evaluate_order(self, **changes: object) -> EvaluateOrder:
        fields = {"job": "federated", "model": self.model, "statistics": self.statistics, "threshold": 0.5}
        return EvaluateOrder(**{**fields, **changes})


@pytest.fixture
def ready() -> Callable[..., Ready]:
    """Take a site through the statistics."""

    def make(study: Study, cohort: SiteCohort, **arguments: object) -> Ready:
        work = TorchWork(study, cohort, **arguments)
        layout = work.layout
        statistics = Statistics.from_counts(layout, work.counts(layout, 1))
        statistics = statistics.with_squares(work.squares(layout, 1, statistics.mean))
        return Ready(work, statistics, initial_model(study)(work.inputs, statistics))

    return make
