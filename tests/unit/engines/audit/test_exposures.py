"""What is attacked is what `run` sends: updates played from the true records are those that were captured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from sealround.audit.inversion.simulation import played_update
from sealround.engines.audit.capture import capture
from sealround.engines.audit.exposures import (
    Exposure,
    Hidden,
    exposures,
    judged,
    observation,
    true_batches,
    worst_off,
)
from sealround.errors import PeerError, UsageError
from sealround.vocabulary import PartyId

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from sealround.clinical import SiteCohort
    from sealround.engines.audit.capture import Captured
    from sealround.study import Study

    Hospitals = Mapping[PartyId, SiteCohort]
    Make = Callable[..., Study]

SGD = {"kind": "sgd", "learning_rate": 0.1}
SMALLEST = PartyId("Switzerland")
MLP = {"kind": "mlp", "hidden": [6]}


def held(captured: Captured, key: str, number: int = 1) -> Exposure:
    """Return what one attacker holds."""
    (found,) = (each for each in exposures(captured, number) if each.attacker == key)
    assert isinstance(found, Exposure)
    return found


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"model": MLP, "training": {"optimizer": {**SGD, "momentum": 0.9}}},
        {"model": MLP, "training": {"algorithm": {"kind": "fedprox", "mu": 0.5}, "schedule": "cosine"}},
        {"training": {"class_balance": "weighted", "label_smoothing": 0.1, "local_epochs": 2}},
        {"training": {"class_balance": "logit-adjusted", "batch_size": 200}},
        {"standardisation": {"kind": "none"}, "training": {"optimizer": {"kind": "sgd", "learning_rate": 1e-5}}},
    ],
    ids=["logistic", "momentum", "fedprox", "weighted", "logit-adjusted", "raw"],
)
def test_the_true_records_in_true_order_give_the_update_that_was_sent(
    make: Make, hospitals: Hospitals, tmp_path: Path, sections: dict[str, Any]
) -> None:
    captured = capture(make(**sections), hospitals, (1, 3), tmp_path)
    for number in (1, 3):
        exposure = held(captured, "coordinator", number)
        seen, victims = observation(captured, exposure), judged(captured, exposure, hospitals)
        batches = [torch.from_numpy(batch) for batch in true_batches(exposure)]
        played = played_update(seen, victims.inputs, victims.labels, batches)
        assert exposure.site == SMALLEST == worst_off(captured)[0]
        assert seen.examples == len(victims.inputs)
        assert seen.plan.steps == len(batches)
        assert float((played - seen.update).norm()) < 1e-5 * float(seen.update.norm())
        # The blur is that of float32, to an order of magnitude.
        assert float((played - seen.update).pow(2).mean().sqrt()) < 10 * seen.blur


def test_every_encoded_record_is_in_the_domain(make: Make, hospitals: Hospitals, tmp_path: Path) -> None:
    captured = capture(make(), hospitals, (1,), tmp_path)
    exposure = held(captured, "site")
    seen, victims = observation(captured, exposure), judged(captured, exposure, hospitals)
    slack = 1e-5 * (1.0 + victims.inputs.abs())
    assert bool((victims.inputs >= seen.domain.lower - slack).all())
    assert bool((victims.inputs <= seen.domain.upper + slack).all())
    raw = seen.domain.raw(victims.inputs)
    ages = captured.statistics.layout.numeric.index("age")
    assert ages in seen.domain.integer
    assert torch.allclose(raw[:, ages], raw[:, ages].round(), atol=1e-4)
    for group, implicit in zip(seen.domain.groups, seen.domain.implicit, strict=True):
        held_levels = victims.inputs[:, list(group)].sum(1)
        assert bool((held_levels <= 1.0).all())
        assert implicit == (len(group) == 1) or bool((held_levels >= 0.0).all())


@pytest.mark.parametrize("mode", ["pairwise", "replicated"])
def test_a_coalition_takes_one_site_s_own_addend_off_a_sealed_sum(
    make: Make, hospitals: Hospitals, protected: Callable[..., Any], tmp_path: Path, mode: str
) -> None:
    captured = capture(make(protection=protected(mode)), hospitals, (1,), tmp_path)
    found = captured.rounds[1]
    assert not found.sent
    assert len(found.addends) == 4
    alone, helped = held(captured, "coordinator"), held(captured, "coordinator+site")
    assert alone.site is None
    assert len(alone.members) == 4
    assert helped.accomplice == worst_off(captured)[-1]
    assert set(helped.members) == set(alone.members) - {helped.accomplice}
    for exposure in (alone, helped):
        addends = [found.addends[site] for site in exposure.members]
        mean = sum(each.coordinates for each in addends) / sum(each.weight for each in addends)
        assert np.allclose(exposure.update, mean, rtol=0, atol=1e-14)
    assert any(each.attacker == "aggregator+site" for each in exposures(captured, 1)) == (mode == "replicated")


def test_a_sealed_mean_is_that_of_the_open_study_to_its_blur(
    make: Make, hospitals: Hospitals, protected: Callable[..., Any], tmp_path: Path
) -> None:
    plain = capture(make(), hospitals, (1,), tmp_path).rounds[1].sent
    coarse = make(protection=protected("pairwise", scale_bits=12))
    exposure = held(capture(coarse, hospitals, (1,), tmp_path), "coordinator")
    weight = sum(each.weight for each in plain.values())
    mean = sum(each.update.astype(np.float64) * each.weight for each in plain.values()) / weight
    error = float(np.sqrt(np.mean((exposure.update - mean) ** 2)))
    # 24 parameters: their root mean square is within a factor of two of its expectation.
    assert exposure.blur / 2 < error < 2 * exposure.blur


def test_clipping_is_in_what_is_seen(
    make: Make, hospitals: Hospitals, protected: Callable[..., Any], tmp_path: Path
) -> None:
    study = make(protection=protected("pairwise", clip_norm=0.01))
    exposure = held(capture(study, hospitals, (1,), tmp_path), "coordinator")
    assert float(np.linalg.norm(exposure.update)) < 0.0101


@pytest.mark.parametrize(
    "server",
    [
        {"kind": "fedavg", "learning_rate": 0.5},
        {"kind": "fedavg", "learning_rate": 1.0, "momentum": 0.9},
        {"kind": "fedadam", "learning_rate": 0.1},
    ],
    ids=["fedavg", "momentum", "fedadam"],
)
def test_a_curious_site_undoes_the_server_s_step(
    make: Make, hospitals: Hospitals, tmp_path: Path, server: dict[str, Any]
) -> None:
    captured = capture(make(training={"server": server}), hospitals, (1, 2), tmp_path)
    for number in (1, 2):
        (exposure,) = (each for each in exposures(captured, number) if each.attacker == "site")
        if server["kind"] == "fedadam" and number > 1:
            assert isinstance(exposure, Hidden)
            continue
        assert isinstance(exposure, Exposure)
        sent = [captured.rounds[number].sent[site] for site in exposure.members]
        mean = sum(each.update.astype(np.float64) * each.weight for each in sent) / sum(each.weight for each in sent)
        assert exposure.accomplice not in exposure.members
        assert np.abs(exposure.update - mean).max() < 1e-4 * np.abs(mean).max()


def test_a_planted_model_is_refused_by_the_sites(make: Make, hospitals: Hospitals, tmp_path: Path) -> None:
    honest = capture(make(), hospitals, (1,), tmp_path).rounds[1].model
    with pytest.raises(PeerError, match="refused"):
        capture(make(), hospitals, (1,), tmp_path, planted=lambda *_: np.full_like(honest, 3.0))


def test_a_private_round_shows_the_drawn_patients_under_its_noise(
    make: Make, hospitals: Hospitals, protected: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("dp_accounting")
    section = protected("pairwise")
    section["privacy"] = {
        "unit": "patient",
        "neighboring_relation": "add-or-remove-one",
        "trust": "sealed",
        "noise_multiplier": 0.5,
        "delta": 1e-4,
        "sampling_probability": 0.25,
        "l2_clip_norm": 100.0,
        "patients": 600,
    }
    study = make(protection=section, standardisation={"kind": "declared"}, evaluation={"compare": []})
    captured = capture(study, hospitals, (1,), tmp_path)
    exposure = held(captured, "coordinator")
    seen, victims = observation(captured, exposure), judged(captured, exposure, hospitals)
    assert 90 < exposure.examples < 210
    assert exposure.examples < sum(captured.sizes.values())
    # A norm that clips nobody: the sum of all gradients over the expected number, which the noise blurs.
    (played,) = [played_update(seen, victims.inputs, victims.labels, [torch.arange(exposure.examples)])]
    error = exposure.update - played.numpy() * exposure.examples / (0.25 * 600)
    assert exposure.blur / 2 < float(np.sqrt(np.mean(error**2))) < 2 * exposure.blur


def test_only_rounds_of_the_study_are_captured(make: Make, hospitals: Hospitals, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 to 3"):
        capture(make(), hospitals, (4,), tmp_path)
    with pytest.raises(UsageError, match="not captured"):
        exposures(capture(make(), hospitals, (1,), tmp_path), 2)
