"""Membership, linkage and properties on real patients: the heart-disease data that come with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sealround.audit.identity import (
    CellErrors,
    anonymity,
    blind_posterior,
    cohort_with_share,
    fitted_cell_errors,
    judge_linkage,
    judge_share,
    link,
)
from sealround.audit.membership import ShownGradient, gradient_cosine, judge, update_likelihood_ratio
from sealround.clinical import Places, load_cohorts
from sealround.study import load_study

STUDY = Path(__file__).parents[4] / "examples" / "heart-disease.toml"
TRAITS = ("age", "sex", "trestbps", "thalach")
CATEGORICAL = np.array([False, True, False, False])


@pytest.fixture(scope="module")
def patients() -> tuple[np.ndarray, np.ndarray]:
    """All 740: age, sex, blood pressure, heart rate, type of pain and exercise-induced pain; and who is ill."""
    cohorts = load_cohorts(load_study(STUDY), Places.of_study(STUDY, None))
    columns = [*TRAITS, "cp", "exang"]
    tables = [cohort.table.select(pl.col(columns).cast(pl.Float64)) for cohort in cohorts.values()]
    return pl.concat(tables).to_numpy(), np.concatenate([cohort.outcome.event for cohort in cohorts.values()])


def _gradients(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.asarray((1 / (1 + np.exp(-x @ w)) - y)[:, None] * x)


def _standardised(x: np.ndarray) -> np.ndarray:
    z = (x - np.nanmean(x, 0)) / np.nanstd(x, 0)
    return np.concatenate([np.nan_to_num(z), np.ones((len(x), 1))], 1)


def test_age_and_sex_hide_in_the_crowd_and_four_traits_do_not(patients: tuple[np.ndarray, np.ndarray]) -> None:
    x, _ = patients
    two, four = anonymity(x[:, :2]), anonymity(x[:, :4])
    assert two.unique < 0.05
    assert four.unique > 0.9
    assert sum(two.people.values()) == len(x) == 740


def test_linkage_finds_patients_as_far_as_the_reconstruction_goes(patients: tuple[np.ndarray, np.ndarray]) -> None:
    people = patients[0][:, :4]
    draw = np.random.default_rng(1)
    true = draw.permutation(len(people))[:100]
    spread = np.nanstd(people, 0) * ~CATEGORICAL
    found = []
    for blur in (0.01, 0.3, 3.0):
        # The attacker learns its errors on other patients than it attacks.
        own = people[np.setdiff1d(np.arange(len(people)), true)]
        errors = fitted_cell_errors(own + blur * spread * draw.normal(size=own.shape), own, CATEGORICAL)
        records = people[true] + blur * spread * draw.normal(size=(100, 4))
        blind = blind_posterior(100, people, CATEGORICAL)
        found.append(judge_linkage(link(records, people, errors), blind, true, draw))
    exact, blurred, noise = found
    assert exact.reidentified.low > 0.85
    assert exact.reidentified.baseline is not None
    assert exact.reidentified.baseline <= 0.02
    assert exact.expected > blurred.expected > noise.expected
    # Half-blurred records still name somebody who stands out; the worst-off patient is no average.
    assert exact.worst > 0.99
    assert blurred.worst > 0.9
    assert max(one.worst_blind for one in found) < 0.05
    # Nine of a hundred by chance, at three deviations of noise, would be less likely than 10^-12.
    assert noise.expected < 9
    for one in found:
        assert one.claimed == pytest.approx(one.expected, abs=4 * np.sqrt(100 * 0.25))


def test_errors_that_are_wrong_are_seen_in_what_is_claimed(patients: tuple[np.ndarray, np.ndarray]) -> None:
    people = patients[0][:, :4]
    true = np.arange(100)
    spread = np.nanstd(people, 0) * ~CATEGORICAL
    records = people[true] + 0.5 * spread * np.random.default_rng(2).normal(size=(100, 4))
    sure = CellErrors(CATEGORICAL, np.maximum(0.05 * spread, 0.1), np.full(4, 0.01))
    found = judge_linkage(
        link(records, people, sure), np.full((100, len(people)), 1 / len(people)), true, np.random.default_rng(0)
    )
    assert found.claimed > 2 * found.expected


def test_patients_are_found_in_the_update_of_a_small_batch(patients: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = _standardised(patients[0]), patients[1]
    draw = np.random.default_rng(3)
    gradients = _gradients(x, y, 0.1 * draw.normal(size=x.shape[1]))
    ratio, cosine, member = [], [], []
    for _ in range(30):
        rows = draw.permutation(len(x))
        shown = ShownGradient(gradients[rows[:4]].mean(0), 4)
        asked, references = gradients[rows[:40]], gradients[rows[200:]]
        ratio.append(update_likelihood_ratio(asked, shown, references))
        cosine.append(gradient_cosine(asked, shown))
        member.append(np.arange(40) < 4)
    whole = np.concatenate(member)
    by_ratio = judge(np.concatenate(ratio), whole, draw)
    by_cosine = judge(np.concatenate(cosine), whole, draw)
    assert by_ratio.auc.low > 0.6
    assert by_ratio.auc.value > by_cosine.auc.value
    assert by_ratio.worst > by_ratio.worst_by_chance


def test_the_share_of_women_is_read_off_an_update(patients: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = _standardised(patients[0]), patients[1]
    women = patients[0][:, 1] == 0.0
    draw = np.random.default_rng(4)
    halves = draw.random(len(x)) < 0.5

    def updates(half: np.ndarray, number: int, trait: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = np.flatnonzero(half)
        shares = draw.uniform(0.1, 0.5, number)
        cohorts = [rows[cohort_with_share(trait[rows], share, 60, draw)] for share in shares]
        start = np.zeros(x.shape[1])
        return np.stack([-_gradients(x[c], y[c], start).mean(0) for c in cohorts]), shares

    shadows, shares = updates(halves, 60, women)
    held, true = updates(~halves, 40, women)
    found = judge_share(shadows, shares, held, true, draw)
    assert found.gain.low > 0.01
    # Of a coin that was tossed for each patient nothing shows; the interval misses once in 20 times.
    coin = draw.random(len(x)) < 0.5
    nothing = judge_share(*updates(halves, 60, coin), *updates(~halves, 40, coin), draw)
    assert nothing.gain.low <= 0.0
