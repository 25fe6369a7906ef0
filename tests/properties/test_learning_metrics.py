"""Invariances of metrics and losses."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sealround.federation import tally
from sealround.learning.losses import CoxLoss, Targets
from sealround.learning.metrics import binary_metrics, ones, predictions
from sealround.learning.survival import c_index, comparable_pairs

_RISKS = st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2, max_size=60)
_PATIENTS = st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.integers(-5, 5)), min_size=2, max_size=40)


def _binary(risk: np.ndarray, event: np.ndarray) -> dict[str, float]:
    found = binary_metrics(predictions(risk, event), 0.5, ones(risk.size))
    return {name: float(value[0]) for name, value in found.items()}


def _columns(rows: list[tuple[int, ...]]) -> list[np.ndarray]:
    return [np.array(column, dtype=np.float64) for column in zip(*rows, strict=True)]


@given(_RISKS)
def test_ranking_metrics_see_the_order_of_the_risks_only(rows: list[tuple[int, bool]]) -> None:
    risk, event = _columns(rows)
    assume(0 < event.sum() < event.size)
    plain, squared = _binary(risk / 20, event), _binary((risk / 20) ** 2, event)
    assert abs(plain["auroc"] - squared["auroc"]) < 1e-12
    assert abs(plain["auprc"] - squared["auprc"]) < 1e-12


@given(_RISKS)
def test_naming_the_classes_the_other_way_mirrors_the_auroc(rows: list[tuple[int, bool]]) -> None:
    risk, event = _columns(rows)
    assume(0 < event.sum() < event.size)
    there, back = _binary(risk / 20, event), _binary(1 - risk / 20, 1 - event)
    assert abs(there["auroc"] - back["auroc"]) < 1e-12
    assert abs(there["brier"] - back["brier"]) < 1e-12
    assert abs(_binary(1 - risk / 20, event)["auroc"] - (1 - there["auroc"])) < 1e-12


@given(_RISKS)
def test_every_metric_is_a_share(rows: list[tuple[int, bool]]) -> None:
    risk, event = _columns(rows)
    values = [value for value in _binary(risk / 20, event).values() if not np.isnan(value)]
    assert all(-1e-12 <= value <= 1 + 1e-12 for value in values)


@given(_RISKS, st.randoms(use_true_random=False))
def test_the_order_of_the_patients_does_not_matter(rows: list[tuple[int, bool]], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    first, second = (_binary(risk / 20, event) for risk, event in (_columns(rows), _columns(shuffled)))
    for name, value in first.items():
        assert np.isclose(value, second[name], equal_nan=True, atol=1e-12)


@given(_RISKS)
def test_a_tally_of_whole_logits_has_the_exact_auroc(rows: list[tuple[int, bool]]) -> None:
    logit, event = _columns(rows)
    assume(0 < event.sum() < event.size)
    counted = tally.binary_tally((0.0, 0), (0.0, 0), logit - 10, event)
    assert abs(tally.auroc(counted) - _binary(1 / (1 + np.exp(10 - logit)), event)["auroc"]) < 1e-9


@given(_PATIENTS)
def test_reversing_every_score_mirrors_the_c_index(rows: list[tuple[int, bool, int]]) -> None:
    time, event, score = _columns(rows)
    concordant, tied, comparable = comparable_pairs(time, event, score)
    assert comparable_pairs(time, event, -score) == (comparable - concordant - tied, tied, comparable)
    assert np.isclose(
        c_index(time, event, score, ones(time.size)) + c_index(time, event, -score, ones(time.size)), 1.0
    ) or (comparable == 0)


@given(_PATIENTS, st.floats(-30, 30))
@settings(deadline=None)
def test_the_cox_loss_does_not_see_a_shift_of_all_scores(rows: list[tuple[int, bool, int]], shift: float) -> None:
    time, event, score = _columns(rows)
    _, rank = np.unique(-time, return_inverse=True)
    targets = Targets(torch.tensor(event), torch.tensor(rank))
    outputs = torch.tensor(score)
    derivative = CoxLoss().derivative(outputs, targets)
    assert torch.allclose(derivative, CoxLoss().derivative(outputs + shift, targets), atol=1e-9)
    assert abs(float(derivative.sum())) < 1e-9  # no direction in which nothing changes
    assert np.isclose(CoxLoss().total([outputs], [targets])[0], CoxLoss().total([outputs + shift], [targets])[0])
