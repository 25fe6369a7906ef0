"""Membership from updates and from rounds, against densities and filters that are written out in full."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from sealround.audit.membership import (
    ShownGradient,
    gradient_cosine,
    gradient_difference,
    gradient_inner_product,
    trajectory_scores,
    update_likelihood_ratio,
)
from sealround.audit.membership.shrinkage import shrunk_covariance, spectrum
from sealround.errors import UsageError


def _auc(scores: np.ndarray, member: np.ndarray) -> float:
    return float((scores[member][:, None] > scores[~member]).mean())


def test_the_three_plain_scores_by_hand() -> None:
    gradients, shown = np.array([[3.0, 4.0], [0.0, 0.0]]), ShownGradient(np.array([2.0, 0.0]), 2)
    assert gradient_inner_product(gradients, shown).tolist() == pytest.approx([6 / 5, 0.0])
    assert gradient_cosine(gradients, shown).tolist() == pytest.approx([3 / 5, 0.0])
    # ‖(2, 0)‖² - ‖(2, 0) - (1.5, 2)‖² = 4 - 4.25
    assert gradient_difference(gradients, shown).tolist() == pytest.approx([-0.25, 0.0])


@pytest.mark.parametrize(("references", "columns"), [(40, 6), (5, 12)])
@pytest.mark.parametrize("blur", [0.0, 0.3])
def test_likelihood_ratio_is_that_of_two_normal_densities(references: int, columns: int, blur: float) -> None:
    draw = np.random.default_rng(1)
    known = draw.normal(size=(references, columns)) * np.arange(1, columns + 1) + 2.0
    records, size = draw.normal(size=(4, columns)), 8
    shown = ShownGradient(draw.normal(size=columns), size, blur)
    found = update_likelihood_ratio(records, shown, known)
    mean = known.mean(0)
    spread = shrunk_covariance(known - mean)
    noise = blur**2 * np.eye(columns)
    for record, score in zip(records, found, strict=True):
        with_it = multivariate_normal(((size - 1) * mean + record) / size, (size - 1) / size**2 * spread + noise)
        without = multivariate_normal(mean, (size - 1) / size**2 * spread + noise)
        assert score == pytest.approx(with_it.logpdf(shown.vector) - without.logpdf(shown.vector), rel=1e-6)


def test_the_spectrum_is_the_shrunk_covariance() -> None:
    draw = np.random.default_rng(2)
    for n, d in ((30, 5), (6, 20)):
        x = draw.normal(size=(n, d)) * np.linspace(0.1, 3, d)
        found = spectrum(x)
        rest = np.eye(d) - found.axes.T @ found.axes
        whole = (found.axes.T * found.values) @ found.axes + found.floor * rest
        assert whole == pytest.approx(shrunk_covariance(x - x.mean(0)), rel=1e-9, abs=1e-9)


def test_shrinkage_vanishes_with_many_examples_and_is_total_for_white_noise() -> None:
    draw = np.random.default_rng(3)
    x = draw.normal(size=(20_000, 3)) * np.array([1.0, 2.0, 3.0])
    assert shrunk_covariance(x - x.mean(0)) == pytest.approx(np.cov(x.T), abs=5e-3)
    white = draw.normal(size=(20, 200))
    found = shrunk_covariance(white - white.mean(0))
    # The true covariance is the identity.
    assert np.linalg.eigvalsh(np.cov(white.T)).max() > 10.0
    assert np.linalg.eigvalsh(found).max() < 4.0


@pytest.fixture(scope="module")
def batch() -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Gradients that share a large mean and a few directions; 32 of them in the update, 100 not, 200 references."""
    draw = np.random.default_rng(4)
    shared = draw.normal(size=(10, 150))
    gradients = draw.normal(size=(332, 10)) @ shared + 0.6 * draw.normal(size=(332, 150)) + 1.0
    return gradients[:132], np.arange(132) < 32, gradients[132:], 32


def test_the_likelihood_ratio_sees_more_than_the_cosine(batch: tuple[np.ndarray, np.ndarray, np.ndarray, int]) -> None:
    gradients, member, references, size = batch
    shown = ShownGradient(gradients[:size].mean(0), size)
    best = _auc(update_likelihood_ratio(gradients, shown, references), member)
    for score in (gradient_cosine, gradient_inner_product, gradient_difference):
        assert 0.5 < _auc(score(gradients, shown), member) < best - 0.1
    assert best > 0.85


def test_blur_hides_members_and_the_ratio_knows(batch: tuple[np.ndarray, np.ndarray, np.ndarray, int]) -> None:
    gradients, member, references, size = batch
    noise = np.random.default_rng(5).normal(size=150)
    ratios = []
    for blur in (0.0, 0.05, 1000.0):
        shown = ShownGradient(gradients[:size].mean(0) + blur * noise, size, blur)
        ratios.append(update_likelihood_ratio(gradients, shown, references))
    assert _auc(ratios[0], member) > _auc(ratios[1], member) > _auc(ratios[2], member)
    # With hundreds of times the noise of a gradient nothing is claimed of anybody: the posterior is a half.
    assert np.abs(ratios[2]).max() < 0.1


def test_ratios_of_strangers_are_as_wrong_as_they_say(batch: tuple[np.ndarray, np.ndarray, np.ndarray, int]) -> None:
    """A ratio of likelihoods r or more comes by chance with probability 1/r at most (Markov); 100 strangers, r = 20."""
    gradients, member, references, size = batch
    ratio = update_likelihood_ratio(gradients, ShownGradient(gradients[:size].mean(0), size), references)
    assert (ratio[~member] >= math.log(20)).mean() <= 0.1
    assert (ratio[member] > 0.0).mean() > 0.8
    assert (ratio[~member] > 0.0).mean() < 0.3


def test_updates_that_do_not_fit_are_refused() -> None:
    shown = ShownGradient(np.zeros(3), 2)
    with pytest.raises(UsageError, match="do not fit"):
        gradient_cosine(np.zeros((2, 4)), shown)
    with pytest.raises(UsageError, match="all the same"):
        update_likelihood_ratio(np.zeros((2, 3)), shown, np.ones((4, 3)))
    with pytest.raises(UsageError, match="two reference"):
        update_likelihood_ratio(np.zeros((2, 3)), shown, np.ones((1, 3)))
    with pytest.raises(UsageError, match="is its gradient"):
        update_likelihood_ratio(np.zeros((2, 3)), ShownGradient(np.zeros(3), 1), np.eye(3))
    for vector, examples, blur in ((np.array([np.nan]), 1, 0.0), (np.zeros(1), 0, 0.0), (np.zeros(1), 1, -1.0)):
        with pytest.raises(UsageError):
            ShownGradient(vector, examples, blur)


# Rounds


def test_a_trajectory_is_filtered_by_how_strangers_vary() -> None:
    draw = np.random.default_rng(6)
    rounds, strangers = 5, draw.normal(size=(5, 60)).cumsum(0)
    signals = draw.normal(size=(rounds, 7))
    mean, drift = strangers.mean(1, keepdims=True), np.linspace(0, 1, rounds)
    inverse = np.linalg.inv(shrunk_covariance((strangers - mean).T))
    weights = inverse @ drift
    expected = weights @ (signals - mean) / (weights @ strangers).std(ddof=1)
    assert trajectory_scores(signals, strangers) == pytest.approx(expected, rel=1e-6)


def test_difficulty_that_all_rounds_share_takes_itself_out() -> None:
    draw = np.random.default_rng(7)
    rounds, n, m = 6, 300, 200
    easy = draw.normal(scale=3.0, size=n + m)
    course = easy + 0.3 * draw.normal(size=(rounds, n + m))
    member = np.arange(n) < n // 2
    course[:, :n] += 0.8 * np.linspace(0, 1, rounds)[:, None] * member
    filtered = trajectory_scores(course[:, :n], course[:, n:])
    assert _auc(filtered, member) > 0.9
    assert _auc(course[-1, :n], member) < 0.65
    # Strangers' scores have unit variance by construction: a score of 4 is not theirs.
    assert filtered[~member].std() == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize(
    ("signals", "strangers", "drift"),
    [
        (np.zeros((2, 3)), np.zeros((3, 3)), None),
        (np.zeros((1, 3)), np.zeros((1, 3)), None),
        (np.zeros((2, 3)), np.zeros((2, 1)), None),
        (np.zeros((2, 3)), np.zeros((2, 3)), np.ones(3)),
        (np.full((2, 3), np.nan), np.zeros((2, 3)), None),
    ],
)
def test_trajectories_that_do_not_fit_are_refused(
    signals: np.ndarray, strangers: np.ndarray, drift: np.ndarray | None
) -> None:
    with pytest.raises(UsageError):
        trajectory_scores(signals, strangers, drift)
