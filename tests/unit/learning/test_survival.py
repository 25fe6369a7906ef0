from __future__ import annotations

import numpy as np
import pytest

from sealround.learning import survival
from sealround.learning.metrics import ones
from sealround.learning.survival import c_index, comparable_pairs, kaplan_meier, risk_groups


def _patients(number: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, events and scores with many ties in times and scores."""
    draw = np.random.default_rng(seed)
    time = draw.integers(1, 15, size=number).astype(float)
    event = (draw.random(number) < 0.6).astype(float)
    return time, event, np.round(-time / 10 + draw.normal(size=number), 0)


def _by_pairs(time: np.ndarray, event: np.ndarray, score: np.ndarray) -> tuple[int, int, int]:
    concordant = tied = comparable = 0
    for i in range(len(time)):
        for j in range(len(time)):
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                comparable += 1
                concordant += score[i] > score[j]
                tied += score[i] == score[j]
    return concordant, tied, comparable


@pytest.mark.parametrize("seed", range(4))
def test_pairs_are_harrells(seed: int) -> None:
    patients = _patients(seed=seed)
    concordant, tied, comparable = _by_pairs(*patients)
    assert comparable_pairs(*patients) == (concordant, tied, comparable)
    assert c_index(*patients, ones(60))[0] == pytest.approx((concordant + tied / 2) / comparable)


def test_both_dead_at_one_time_are_not_comparable_but_dead_and_censored_are() -> None:
    time, score = np.array([5.0, 5.0]), np.array([1.0, 0.0])
    assert comparable_pairs(time, np.array([1.0, 1.0]), score) == (0, 0, 0)
    assert comparable_pairs(time, np.array([1.0, 0.0]), score) == (1, 0, 1)
    assert comparable_pairs(time, np.array([0.0, 1.0]), score) == (0, 0, 1)


def test_weights_mean_that_a_patient_comes_so_often() -> None:
    time, event, score = _patients(30)
    weights = np.random.default_rng(1).integers(0, 4, size=(6, 30)).astype(float)
    found = c_index(time, event, score, weights)
    for value, row in zip(found, weights.astype(int), strict=True):
        repeated = (np.repeat(column, row) for column in (time, event, score))
        concordant, tied, comparable = _by_pairs(*repeated)
        assert value == pytest.approx((concordant + tied / 2) / comparable)


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    patients = _patients(50)
    weights = np.random.default_rng(1).integers(0, 3, size=(4, 50)).astype(float)
    whole = comparable_pairs(*patients), c_index(*patients, weights)
    monkeypatch.setattr(survival, "_CHUNK", 70)
    assert comparable_pairs(*patients) == whole[0]
    assert np.array_equal(c_index(*patients, weights), whole[1])


def test_without_a_comparable_pair_the_index_is_undefined() -> None:
    assert np.isnan(c_index(np.array([1.0, 2.0]), np.zeros(2), np.zeros(2), ones(2))).all()
    assert comparable_pairs(np.zeros(0), np.zeros(0), np.zeros(0)) == (0, 0, 0)


def test_kaplan_meier_on_the_textbook_example() -> None:
    # Remission times with 6-MP (Gehan 1965): 6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+.
    time = np.array([6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35], dtype=float)
    event = np.array([1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0], dtype=float)
    at = np.array([0.0, 5.9, 6.0, 7.0, 10.0, 13.0, 16.0, 22.0, 23.0, 40.0])
    expected = [1.0, 1.0, 0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448, 0.448]
    assert kaplan_meier(time, event, at) == pytest.approx(expected, abs=5e-4)


def test_risk_groups_are_thirds_in_order_of_risk() -> None:
    draw = np.random.default_rng(0)
    score = draw.normal(size=300)
    time = draw.exponential(size=300) * np.exp(-score / 2)
    curves = risk_groups(time, np.ones(300), score, np.arange(300), 5)
    assert [curve["group"] for curve in curves] == ["low", "middle", "high"]
    ends = [curve["survival"][5] for curve in curves]
    assert ends == sorted(ends, reverse=True)
    assert all(curve["survival"][0] == 1.0 for curve in curves)


@pytest.mark.parametrize("minimum", [1, 5, 20])
def test_curves_end_where_too_few_are_observed_and_show_no_patients_time(minimum: int) -> None:
    draw = np.random.default_rng(1)
    time, score = draw.exponential(1000.0, size=90), draw.normal(size=90)
    cuts = np.quantile(score, [1 / 3, 2 / 3])
    curves = risk_groups(time, (draw.random(90) < 0.5).astype(float), score, np.arange(90), minimum)
    for number, curve in enumerate(curves):
        member = np.searchsorted(cuts, score) == number
        assert (time[member] >= curve["time"][-1]).sum() >= minimum
        assert not set(curve["time"]) & set(time.tolist())


def test_small_groups_are_left_out() -> None:
    time, event, patient = np.arange(1.0, 13.0), np.ones(12), np.arange(12)
    assert risk_groups(time, event, np.arange(12.0), patient, 13) == []
    # Equal scores are one third, the middle one of which is too small to show.
    score = np.repeat([0.0, 1.0], [7, 5])
    assert all(sum(time >= curve["time"][-1]) >= 5 for curve in risk_groups(time, event, score, patient, 5))
    assert [curve["group"] for curve in risk_groups(time, event, score, patient, 6)] == ["low"]


def test_times_of_zero_are_allowed() -> None:
    assert risk_groups(np.zeros(9), np.ones(9), np.arange(9.0), np.arange(9), 3) != []


def test_images_of_few_patients_make_no_group() -> None:
    time, score = np.linspace(1.0, 100.0, 60), np.arange(60.0)
    assert risk_groups(time, np.ones(60), score, np.arange(60) % 4, 5) == []
    patient = np.where(score < 40, np.arange(60), 99)  # the third of highest risk is one patient
    assert [curve["group"] for curve in risk_groups(time, np.ones(60), score, patient, 5)] == ["low", "middle"]


def test_a_patient_is_observed_as_long_as_any_of_the_examples() -> None:
    time = np.concatenate([np.full(10, 10.0), np.full(10, 90.0)])
    patient = np.concatenate([np.arange(10), np.full(10, 9)])  # ten examples at 90, all of one patient
    (curve,) = risk_groups(time, np.zeros(20), np.zeros(20), patient, 5)
    assert curve["time"][-1] == 10.0
