"""What is played is what a site computes: a CNN on images and a Cox model, from the records that the judge has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import torch

from sealround.audit.inversion.observing import Seen, domain_of, local_plan, observe, victims
from sealround.audit.inversion.simulation import played_update
from sealround.clinical.cohort import Outcome, SiteCohort, SplitName
from sealround.clinical.encoding import Encoder
from sealround.errors import UsageError
from sealround.federation.interfaces import InputShape, TrainOrder
from sealround.learning import TorchWork, initial_model
from sealround.testing.studies import small_study
from sealround.vocabulary import PartyId, RoundId

if TYPE_CHECKING:
    from sealround.federation.statistics import Statistics
    from sealround.study import Study

_ROWS, _TRAINED = 24, 16
_ALL = {"optimizer": {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.5}, "local_epochs": 2, "batch_size": _TRAINED}


def made_up(inputs: InputShape, array: np.ndarray, *, timed: bool = False) -> SiteCohort:
    draw = np.random.default_rng(3)
    split = np.repeat([SplitName.TRAIN, SplitName.VALIDATION, SplitName.TEST], [_TRAINED, 4, 4]).astype(np.int8)
    event = (draw.random(_ROWS) < 0.5).astype(np.float32)
    time = draw.integers(1, 12, _ROWS).astype(np.float32) if timed else None
    table = pl.DataFrame({"row": [str(row) for row in range(_ROWS)]})
    return SiteCohort(PartyId("site"), inputs, table, array, Outcome(event, time), np.arange(_ROWS), split)


def images() -> tuple[Study, SiteCohort]:
    study = small_study(model={"kind": "cnn", "channels": [4, 4]}, training=_ALL)
    pixels = np.random.default_rng(4).integers(0, 256, (_ROWS, 12, 12), dtype=np.uint8)
    return study, made_up(InputShape("image", (1, 12, 12)), pixels)


def times() -> tuple[Study, SiteCohort]:
    study = small_study(model={"kind": "cox", "hidden": [5]}, training=_ALL)
    return study, made_up(InputShape("vector", (6,)), np.random.default_rng(5).normal(2, 3, (_ROWS, 6)), timed=True)


def counted(study: Study, cohort: SiteCohort) -> Statistics:
    encoder = Encoder(study.cohort, cohort.inputs)
    return encoder.local_statistics(cohort, encoder.layout)


def seen_of(**changes: Any) -> Seen:
    fields: dict[str, Any] = {"round": 1, "examples": _TRAINED, "steps": 2, "batch_size": _TRAINED}
    return Seen(**{**fields, **changes})


@pytest.mark.parametrize("made", [images, times])
def test_a_site_s_update_is_played_from_its_records(made: Any) -> None:
    study, cohort = made()
    statistics = counted(study, cohort)
    model = initial_model(study)(cohort.inputs, statistics)
    sent = TorchWork(study, cohort).train(TrainOrder("federated", RoundId(1), model, statistics)).update
    seen = observe(study, cohort.inputs, statistics, seen_of(model=model, update=sent))
    behind = victims(study, [(cohort, cohort.where(SplitName.TRAIN))], statistics)
    played = played_update(seen, behind.inputs, behind.labels, [torch.arange(_TRAINED)] * 2)
    assert behind.inputs.dtype == torch.float64
    assert tuple(behind.inputs.shape[1:]) == seen.shape
    assert float((played - seen.update).norm()) < 1e-5 * float(seen.update.norm())
    first = played_update(seen, behind.inputs[:8], behind.labels[:8], [torch.arange(8)] * 2)
    assert float((first - seen.update).norm()) > 0.01 * float(seen.update.norm())


def test_images_lie_between_black_and_white() -> None:
    study, cohort = images()
    statistics = counted(study, cohort)
    domain = domain_of(study, cohort.inputs, statistics)
    inputs = victims(study, [(cohort, cohort.where(SplitName.TRAIN))], statistics).inputs
    assert cohort.array is not None
    assert torch.allclose(domain.raw(inputs)[:, 0], torch.from_numpy(cohort.array[:_TRAINED] / 255.0), atol=1e-6)
    assert torch.allclose(domain.raw(domain.lower), torch.zeros(1, 1, 1, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(domain.raw(domain.upper), torch.ones(1, 1, 1, dtype=torch.float64))


def test_vectors_lie_within_samuelson_s_bound() -> None:
    study, cohort = times()
    statistics = counted(study, cohort)
    domain = domain_of(study, cohort.inputs, statistics)
    assert torch.allclose(domain.upper, torch.full((6,), float(np.sqrt(_TRAINED - 1)), dtype=torch.float64))
    # One value far from fifteen equal ones is as far as the bound allows.
    lone = made_up(cohort.inputs, np.zeros((_ROWS, 6)))
    assert lone.array is not None
    lone.array[0] = 1.0
    extreme = victims(study, [(lone, np.arange(1))], counted(study, lone)).inputs
    assert torch.allclose(extreme, domain.upper.expand(1, 6), rtol=1e-5)


def test_the_plan_is_the_study_s() -> None:
    study = small_study(
        training={
            "optimizer": {"kind": "adam", "learning_rate": 0.4, "weight_decay": 0.1},
            "schedule": "cosine",
            "algorithm": {"kind": "fedprox", "mu": 0.3},
        }
    )
    plan = local_plan(study, seen_of(model=np.zeros(1), update=np.zeros(1), round=3))
    assert plan.adaptive
    assert plan.learning_rate == pytest.approx(0.4 * 0.25)  # (1 + cos(2 pi / 3)) / 2
    assert (plan.weight_decay, plan.proximal, plan.momentum) == (0.1, 0.3, 0.0)


def test_what_does_not_fit_is_refused() -> None:
    study, cohort = times()
    statistics = counted(study, cohort)
    with pytest.raises(UsageError, match="not this study's"):
        observe(study, cohort.inputs, statistics, seen_of(model=np.zeros(3), update=np.zeros(3)))
    with pytest.raises(UsageError, match="training split"):
        victims(study, [(cohort, cohort.where(SplitName.TEST))], statistics)
    with pytest.raises(UsageError, match="no record"):
        victims(study, [], statistics)
