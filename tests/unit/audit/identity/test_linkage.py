"""Linkage against Bayes written out, on lists in which people are unique or not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sealround.audit.identity import (
    CellErrors,
    anonymity,
    blind_posterior,
    blind_records,
    fitted_cell_errors,
    gower_distances,
    judge_linkage,
    link,
)
from sealround.errors import UsageError

CATEGORICAL = np.array([False, True])
NAN = math.nan


def _errors(scale: float = 1.0, gross: float = 0.1) -> CellErrors:
    return CellErrors(CATEGORICAL, np.array([scale, 1.0]), np.full(2, gross))


def _density(x: float, middle: float, spread: float) -> float:
    return math.exp(-(((x - middle) / spread) ** 2) / 2) / (spread * math.sqrt(2 * math.pi))


# The posterior


def test_posterior_is_bayes_written_out() -> None:
    people = np.array([[40.0, 0.0], [42.0, 1.0], [60.0, 1.0]])
    ages = people[:, 0]
    absent = 0.2
    any_age = _density(41.0, ages.mean(), 2 * ages.std())
    any_level = (2 + 1) / (3 + 2 + 1)
    likelihood = [
        (0.9 * _density(41.0, age, 1.0) + 0.1 * any_age) * (0.9 * (level == 1.0) + 0.1 * any_level)
        for age, level in people.tolist()
    ]
    whole = (1 - absent) * sum(likelihood) / 3 + absent * any_age * any_level
    found = link(np.array([[41.0, 1.0]]), people, _errors(), absent)
    assert found[0] == pytest.approx([(1 - absent) * one / 3 / whole for one in likelihood], rel=1e-9)


def test_missing_cells_say_nothing() -> None:
    people = np.array([[40.0, 0.0], [42.0, 1.0], [60.0, 1.0]])
    assert link(np.array([[NAN, NAN]]), people, _errors())[0] == pytest.approx([1 / 3] * 3)
    only_level = link(np.array([[NAN, 0.0]]), people, _errors())[0]
    assert only_level[0] > 0.8
    assert only_level[1] == only_level[2]
    # Of a person of whom the list says nothing, the record is as likely as of anybody.
    unknown = link(np.array([[41.0, 1.0]]), np.append(people, [[NAN, NAN]], 0), _errors())[0]
    assert unknown[3] > 0.0
    assert unknown.sum() == pytest.approx(1.0)


def test_wild_values_and_levels_leave_a_distribution() -> None:
    people = np.array([[40.0, 0.0], [42.0, 1.0]])
    for record in ([1e9, 7.0], [-1e9, 0.0]):
        found = link(np.array([record]), people, _errors(1e-3), 0.1)[0]
        assert np.isfinite(found).all()
        assert 0.0 < found.sum() < 1.0


def test_large_lists_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(1)
    people, records = draw.normal(size=(50, 2)).round(), draw.normal(size=(9, 2)).round()
    whole = link(records, people, _errors())
    monkeypatch.setattr("sealround.audit.identity.linkage._CHUNK", 100)
    assert np.array_equal(link(records, people, _errors()), whole)
    assert link(records[:0], people, _errors()).shape == (0, 50)


# Whole attacks


def _list(number: int, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return np.stack([draw.permutation(number).astype(float), draw.integers(2, size=number).astype(float)], 1)


def _judged(records: np.ndarray, people: np.ndarray, true: np.ndarray, errors: CellErrors) -> Any:
    blind = blind_posterior(len(records), people, CATEGORICAL)
    return judge_linkage(link(records, people, errors), blind, true, np.random.default_rng(0))


def test_unique_people_are_found_and_a_blind_guess_finds_one_at_most() -> None:
    people = _list(200, 2)
    true = np.arange(30)
    found = _judged(people[true] + np.array([0.1, 0.0]), people, true, _errors(0.1, 0.01))
    assert found.reidentified.value == 1.0
    assert found.reidentified.low > 0.85
    assert found.reidentified.baseline <= 1 / 30
    assert found.expected == pytest.approx(30.0)
    assert found.claimed == pytest.approx(30.0, abs=1.0)
    assert found.worst > 0.9
    assert found.worst == found.posterior[found.worst_patient - 1]
    assert found.worst_blind < 0.1


def test_people_who_share_their_traits_are_found_as_a_class() -> None:
    people = np.repeat(_list(20, 3), 4, 0)
    true = np.arange(80)
    found = _judged(people, people, true, _errors(0.1, 0.01))
    assert found.ranking.tied.tolist() == [4] * 80
    # One of each class of four, as anonymity says before any attack.
    assert found.expected == pytest.approx(20.0) == anonymity(people).expected
    assert found.posterior.max() <= 0.25 + 1e-9
    assert anonymity(people).smallest == 4


def test_the_worst_off_patient_is_one_who_was_found() -> None:
    posterior = np.array([[0.3, 0.2, 0.2], [0.55, 0.45, 0.0], [0.1, 0.8, 0.1]])
    flat = np.full((3, 3), 1 / 3)
    found = judge_linkage(posterior, flat, np.array([0, 1, 2]), np.random.default_rng(0))
    assert (found.worst_patient, found.worst, found.worst_blind) == (1, 0.3, pytest.approx(1 / 3))
    assert (found.expected, found.claimed) == (1.0, pytest.approx(0.3 + 0.55 + 0.8))
    # Where nobody is found, it is whoever came nearest.
    nobody = judge_linkage(posterior[1:], flat[1:], np.array([1, 2]), np.random.default_rng(0))
    assert (nobody.worst_patient, nobody.worst) == (1, 0.45)


def test_records_of_nobody_s_are_chance() -> None:
    """400 made-up records, 100 people: hits are within four standard errors of 4; wrong once in 15,000."""
    draw = np.random.default_rng(4)
    people, true = _list(100, 4), draw.integers(100, size=400)
    records = np.stack([draw.uniform(0, 100, 400), draw.integers(2, size=400)], 1).astype(float)
    found = _judged(records, people, true, _errors(1.0, 0.3))
    assert abs(found.expected - 4.0) < 4 * math.sqrt(4.0)


def test_an_attacker_who_knows_its_errors_claims_what_it_finds() -> None:
    """Errors as they are modelled: what is believed adds up to what is found (400 records, four standard errors)."""
    draw = np.random.default_rng(5)
    people, true = _list(400, 5), np.arange(400)
    records = people + np.stack([draw.normal(scale=1.0, size=400), np.zeros(400)], 1)
    lost = draw.random((400, 2)) < 0.1
    levels = draw.integers(2, size=400).astype(float)
    wild = np.stack([draw.normal(people[:, 0].mean(), 2 * people[:, 0].std(), 400), levels], 1)
    found = _judged(np.where(lost, wild, records), people, true, _errors(1.0, 0.1))
    assert found.claimed == pytest.approx(found.expected, abs=4 * math.sqrt(400 * 0.25))
    assert 100 < found.expected < 300


def test_errors_are_learnt_from_own_records() -> None:
    draw = np.random.default_rng(6)
    originals = np.stack([draw.normal(50, 10, 2000), draw.integers(3, size=2000).astype(float)], 1)
    rebuilt = originals + np.stack([draw.normal(scale=0.5, size=2000), np.zeros(2000)], 1)
    lost = draw.random((2000, 2)) < np.array([0.2, 0.3])
    rebuilt = np.where(lost, np.stack([draw.normal(0, 500, 2000), np.full(2000, 9.0)], 1), rebuilt)
    rebuilt[:5] = NAN
    found = fitted_cell_errors(rebuilt, originals, CATEGORICAL)
    assert found.scale[0] == pytest.approx(0.65, abs=0.1)  # A fifth of lost cells stretches the median.
    assert found.gross == pytest.approx([0.2, 0.3], abs=0.04)
    exact = fitted_cell_errors(originals, originals, CATEGORICAL)
    assert 0.0 < exact.scale[0] < 1e-4
    assert exact.gross == pytest.approx([0.5 / 2001] * 2)


def test_blind_records_are_means_and_most_frequent_levels() -> None:
    people = np.array([[40.0, 0.0], [50.0, 1.0], [NAN, 1.0]])
    assert blind_records(2, people, CATEGORICAL).tolist() == [[45.0, 1.0]] * 2
    assert np.isnan(blind_records(1, np.full((2, 2), NAN), CATEGORICAL)).all()


def test_a_blind_guess_knows_that_it_is_one() -> None:
    people = _list(200, 7)
    found = blind_posterior(3, people, CATEGORICAL)
    assert np.array_equal(found, np.repeat(found[:1], 3, 0))
    assert found.sum(1) == pytest.approx([1.0] * 3)
    # Nobody stands out of 200 evenly spread people by more than the likelier level and the nearness to the middle.
    assert found.max() < 5 / 200


def test_gower_by_hand() -> None:
    people = np.array([[40.0, 0.0], [60.0, 1.0], [NAN, 1.0], [NAN, NAN]])
    found = gower_distances(np.array([[45.0, 1.0], [100.0, NAN]]), people, CATEGORICAL)
    assert found.tolist() == [[(0.25 + 1) / 2, 0.75 / 2, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]


# Uniqueness


def test_classes_of_people() -> None:
    people = np.array([[40.0, 0.0], [41.0, 0.0], [41.0, 0.0], [NAN, 1.0], [NAN, 1.0], [0.0, 1.0]])
    exact = anonymity(people)
    assert exact.sizes.tolist() == [1, 2, 2, 2, 2, 1]
    assert exact.people == {"1": 2, "2": 4, "3-5": 0, "6-10": 0, "more than 10": 0}
    assert (exact.unique, exact.smallest, exact.expected) == (pytest.approx(1 / 3), 1, 4)
    decades = anonymity(people, np.array([10.0, 0.0]))
    assert decades.sizes.tolist() == [3, 3, 3, 2, 2, 1]
    many = anonymity(np.repeat(np.arange(3.0), [5, 10, 11])[:, None])
    assert many.people == {"1": 0, "2": 0, "3-5": 5, "6-10": 10, "more than 10": 11}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: CellErrors(CATEGORICAL, np.ones(3), np.ones(2)),
        lambda: CellErrors(CATEGORICAL, np.ones(2), np.zeros(2)),
        lambda: CellErrors(CATEGORICAL, np.zeros(2), np.ones(2)),
        lambda: link(np.zeros((1, 3)), np.zeros((2, 2)), _errors()),
        lambda: link(np.zeros((1, 2)), np.zeros((2, 2)), _errors(), 1.0),
        lambda: fitted_cell_errors(np.zeros((1, 2)), np.zeros((2, 2)), CATEGORICAL),
        lambda: fitted_cell_errors(np.full((2, 2), NAN), np.zeros((2, 2)), CATEGORICAL),
        lambda: judge_linkage(np.ones((1, 2)), np.ones((1, 3)), np.array([0]), np.random.default_rng(0)),
        lambda: anonymity(np.zeros((0, 2))),
        lambda: anonymity(np.zeros((2, 2)), np.array([-1.0, 0.0])),
    ],
)
def test_what_does_not_fit_is_refused(wrong: Any) -> None:
    with pytest.raises(UsageError):
        wrong()
