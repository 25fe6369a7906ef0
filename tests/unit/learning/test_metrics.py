from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn import metrics as oracle
from threadpoolctl import threadpool_limits

from sealround.learning.metrics import BINARY_METRICS, binary_metrics, calibration_bins, ones, predictions, roc_curve


def _sample(number: int = 150, *, ties: bool = False, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    event = (draw.random(number) < 0.35).astype(np.float32)
    risk = 1 / (1 + np.exp(-draw.normal(size=number) - event))
    return (np.round(risk, 1) if ties else risk), event


def _values(risk: np.ndarray, event: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    found = binary_metrics(predictions(risk, event), threshold, ones(len(risk)))
    return {name: float(value[0]) for name, value in found.items()}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_metrics_are_scikit_learns(ties: bool, seed: int) -> None:
    risk, event = _sample(ties=ties, seed=seed)
    values = _values(risk, event, 0.4)
    called = risk >= 0.4
    expected = {
        "auroc": oracle.roc_auc_score(event, risk),
        "auprc": oracle.average_precision_score(event, risk),
        "accuracy": oracle.accuracy_score(event, called),
        "balanced_accuracy": oracle.balanced_accuracy_score(event, called),
        "sensitivity": oracle.recall_score(event, called),
        "specificity": oracle.recall_score(event, called, pos_label=0),
        "brier": oracle.brier_score_loss(event, risk),
    }
    assert set(expected) | {"ece"} == set(BINARY_METRICS) == set(values)
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, abs=1e-12), name


def test_ece_is_the_weighted_distance_of_bins() -> None:
    risk = np.repeat([0.1, 0.3, 0.8], [50, 30, 20])
    event = np.concatenate([np.arange(50) < 10, np.arange(30) < 9, np.arange(20) < 12]).astype(float)
    # Bins by risk: 50 at .1 (observed .2), 30 at .3 (observed .3), 20 at .8 (observed .6).
    assert _values(risk, event)["ece"] == pytest.approx(0.5 * 0.1 + 0.3 * 0.0 + 0.2 * 0.2)


def test_ece_takes_ten_bins_of_equal_size() -> None:
    risk, event = _sample(200)
    order = np.argsort(risk)
    bins = np.array_split(order, 10)
    expected = sum(abs((risk[rows] - event[rows]).sum()) for rows in bins) / 200
    assert _values(risk, event)["ece"] == pytest.approx(expected)


def test_weights_mean_that_an_example_comes_so_often() -> None:
    risk, event = _sample(60, ties=True)
    weights = np.random.default_rng(1).integers(0, 4, size=(5, 60)).astype(float)
    found = binary_metrics(predictions(risk, event), 0.5, weights)
    for number, row in enumerate(weights.astype(int)):
        repeated = _values(np.repeat(risk, row), np.repeat(event, row))
        for name in set(BINARY_METRICS) - {"ece"}:  # its bins are those of the whole sample
            assert found[name][number] == pytest.approx(repeated[name], abs=1e-12), name


def test_the_number_of_threads_does_not_show() -> None:
    risk, event = _sample(3000)
    sample = predictions(risk, event)
    weights = np.random.default_rng(1).multinomial(3000, np.full(3000, 1 / 3000), size=300).astype(float)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            found.append(binary_metrics(sample, 0.5, weights))
    assert all(found[0][name].tobytes() == found[1][name].tobytes() for name in BINARY_METRICS)


@pytest.mark.parametrize("present", [0.0, 1.0])
def test_what_needs_both_classes_is_undefined_without(present: float) -> None:
    risk = np.array([0.2, 0.7, 0.7])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = _values(risk, np.full(3, present))
    assert {name for name, value in values.items() if np.isnan(value)} == {
        "auroc",
        "balanced_accuracy",
        *(["specificity"] if present else ["sensitivity", "auprc"]),
    }
    assert roc_curve(predictions(risk, np.full(3, present))) is None


def test_a_risk_at_the_threshold_is_called_positive() -> None:
    assert _values(np.array([0.5, 0.4]), np.array([1.0, 0.0]))["accuracy"] == 1.0


@pytest.mark.parametrize("ties", [False, True])
def test_the_roc_curve_is_on_a_grid_and_has_the_aurocs_area(ties: bool) -> None:
    risk, event = _sample(400, ties=ties)
    curve = roc_curve(predictions(risk, event))
    false_rate, true_rate = np.array(curve["fpr"]), np.array(curve["tpr"])
    assert len(false_rate) == len(true_rate) == 101
    assert (false_rate[0], true_rate[0], false_rate[-1], true_rate[-1]) == (0.0, 0.0, 1.0, 1.0)
    assert (np.diff(false_rate) >= 0).all()
    assert (np.diff(true_rate) >= 0).all()
    assert np.trapezoid(true_rate, false_rate) == pytest.approx(oracle.roc_auc_score(event, risk), abs=0.005)


def test_calibration_bins_describe_enough_patients() -> None:
    risk, event = _sample(47)
    for minimum in (1, 5, 10, 24, 47, 48):
        bins = calibration_bins(predictions(risk, event), np.arange(47), minimum)
        assert all(entry["count"] >= minimum for entry in bins)
        assert sum(entry["count"] for entry in bins) == (47 if minimum <= 47 else 0)
        assert len(bins) == min(10, 47 // minimum)
        predicted = [entry["predicted"] for entry in bins]
        assert predicted == sorted(predicted)


def test_a_small_bin_joins_a_neighbour_so_that_nobody_misses_it() -> None:
    for sizes in ([20, 2, 20], [2, 20, 20], [20, 20, 2]):
        risk = np.repeat([0.1, 0.5, 0.9], sizes)
        counts = [entry["count"] for entry in calibration_bins(predictions(risk, np.zeros(42)), np.arange(42), 5)]
        assert min(counts) >= 5
        assert sum(counts) == 42


def test_calibration_bins_count_patients_not_images() -> None:
    risk, event = _sample(50)
    sample = predictions(risk, event)
    assert calibration_bins(sample, np.zeros(50, dtype=np.int64), 5) == []
    assert [entry["count"] for entry in calibration_bins(sample, np.arange(50) % 9, 5)] == [9]
    # The lowest risks are all of two patients: their bins join those of others.
    patient = np.where(np.argsort(np.argsort(risk)) < 20, np.arange(50) % 2, np.arange(50))
    bins = calibration_bins(sample, patient, 5)
    assert all(entry["count"] >= 5 for entry in bins)
    assert bins[0]["predicted"] == pytest.approx(np.sort(risk)[:25].mean(), abs=0.05)


def test_calibration_bins_are_means_of_their_patients() -> None:
    risk, event = _sample(100)
    order = np.argsort(risk)
    bins = calibration_bins(predictions(risk, event), np.arange(100), 5)
    for entry, rows in zip(bins, np.array_split(order, 10), strict=True):
        assert entry == {
            "predicted": pytest.approx(risk[rows].mean()),
            "observed": pytest.approx(event[rows].mean()),
            "count": 10,
        }
