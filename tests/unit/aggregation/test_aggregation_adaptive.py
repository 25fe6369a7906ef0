"""The adaptive rule beside the same in plain float64, and what is lost without each of its parts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sealround.aggregation import (
    ORIGIN,
    Gram,
    Known,
    Remembered,
    Settings,
    adaptive,
    aggregate,
    combine,
    geometric_median,
    gram,
    remember,
)
from sealround.aggregation.adaptive import DECAY, adaptive_clipping
from sealround.errors import UsageError


def normal(n: int, d: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def settings(f: int) -> Settings:
    return Settings(rule="adaptive", num_byzantine=f)


# --- what is remembered -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 1.0])
def test_memory_is_the_mean_in_which_older_updates_count_less(decay: float) -> None:
    updates, known = normal(30), None
    for update in updates:
        known = remember(known, update, decay=decay)
    assert known is not None
    weights = decay ** np.arange(30)[::-1].astype(np.float64)
    np.testing.assert_allclose(known.update, np.average(updates.astype(np.float64), axis=0, weights=weights), atol=1e-6)
    np.testing.assert_allclose(known.weight, weights.sum())


def test_memory_is_new_every_round() -> None:
    update = np.ones(3, dtype=np.float32)
    first = remember(None, update, decay=0.9)
    second = remember(first, 3 * update, decay=0.9)
    update[:] = 7.0
    np.testing.assert_array_equal(first.update, np.ones(3))
    np.testing.assert_allclose(second.update, (0.9 + 3.0) / 1.9, rtol=1e-6)


@pytest.mark.parametrize("decay", [-0.1, 1.1, np.nan])
def test_a_decay_that_is_none_is_refused(decay: float) -> None:
    with pytest.raises(UsageError, match="decay is from 0 to 1"):
        remember(None, np.ones(3, dtype=np.float32), decay=decay)


def test_memory_of_another_model_is_refused() -> None:
    with pytest.raises(UsageError, match=r"update of \(4,\) follows one of \(3,\)"):
        remember(Remembered(np.ones(3, dtype=np.float32), 1.0), np.ones(4, dtype=np.float32), decay=0.9)


@pytest.mark.parametrize(("rounds", "decay"), [(1, 0.0), (10, 0.0), (15, 1 / 3), (50, 0.8), (100, 0.9), (500, 0.9)])
def test_a_short_study_has_a_short_memory(rounds: int, decay: float) -> None:
    np.testing.assert_allclose(Settings(rule="adaptive", num_byzantine=1, rounds=rounds).memory, decay)


def test_it_is_memory_that_is_aggregated() -> None:
    updates, totals = normal(7), normal(7, seed=1)
    found = aggregate(settings(2), updates, Known(totals=totals))
    np.testing.assert_array_equal(found.update, aggregate(settings(2), totals).update)
    assert settings(2).memory == DECAY
    with pytest.raises(UsageError, match="shape of updates"):
        aggregate(settings(2), updates, Known(totals=normal(6)))


# --- clipping ---------------------------------------------------------------------------------------------------------


def test_the_longest_become_as_long_as_the_next() -> None:
    """One of three, with f = 1; the example of byzfl's documentation."""
    lengths = np.linalg.norm(np.arange(1.0, 10.0).reshape(3, 3), axis=1)
    factors = adaptive_clipping(lengths, num_byzantine=1)
    np.testing.assert_allclose(factors * 7.0, [7.0, 7.0, 4.41004009])


@pytest.mark.parametrize(("n", "f", "shortened"), [(20, 4, 6), (10, 1, 1), (4, 1, 1), (17, 4, 6), (9, 4, 4), (5, 0, 0)])
def test_how_many_are_shortened(n: int, f: int, shortened: int) -> None:
    lengths = np.random.default_rng(n).permutation(np.arange(1.0, n + 1.0))
    factors = adaptive_clipping(lengths, num_byzantine=f)
    assert np.count_nonzero(factors < 1.0) == shortened >= f
    np.testing.assert_allclose((factors * lengths).max(), n - shortened)


# --- the whole --------------------------------------------------------------------------------------------------------


def naive(x: np.ndarray, f: int) -> np.ndarray:
    """Every step on the vectors themselves, in float64."""
    n, x = len(x), x.astype(np.float64)
    lengths = np.linalg.norm(x, axis=1)
    bound = np.sort(lengths)[::-1][int(2 * f * (n - f) / n + 1e-9)]
    x *= np.minimum(1.0, bound / lengths)[:, None]
    distances = np.linalg.norm(x[:, None] - x[None], axis=2)
    mixed = np.stack([x[np.argsort(row, kind="stable")[: n - f]].mean(axis=0) for row in distances])
    z = mixed.mean(axis=0)
    for _ in range(3000):
        inverse = 1.0 / np.maximum(np.linalg.norm(mixed - z, axis=1), 1e-12)
        z = inverse @ mixed / inverse.sum()
    return np.asarray(z)


@pytest.mark.parametrize(("n", "f"), [(5, 1), (9, 4), (12, 3), (20, 4)])
def test_it_is_clipping_then_mixing_then_the_geometric_median(n: int, f: int) -> None:
    x = normal(n, seed=n) * np.linspace(0.5, 3.0, n, dtype=np.float32)[:, None] + np.float32(0.5)
    np.testing.assert_allclose(aggregate(settings(f), x).update, naive(x, f), atol=2e-5)


@pytest.mark.parametrize("rule", ["adaptive", "geometric-median"])
def test_without_liars_it_is_the_mean(rule: str) -> None:
    """All mixtures are the same then, and nothing but rounding is between them."""
    for seed in range(30):
        x = normal(9, 30, seed)
        found = aggregate(Settings(rule=rule, mixing=rule != "adaptive"), x)
        np.testing.assert_allclose(found.update, x.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_nothing_comes_of_nothing(rows: int) -> None:
    x = np.zeros((7, 5), dtype=np.float32)
    x[:rows] = 1e6
    np.testing.assert_array_equal(aggregate(settings(2), x).update, np.zeros(5))


def test_a_common_part_does_not_blur_small_differences() -> None:
    x = np.float32(100.0) + np.float32(0.01) * normal(9, seed=3)
    found = aggregate(settings(2), x)
    np.testing.assert_allclose(found.update, naive(x, 2), atol=1e-4)
    assert np.ptp(found.weights) > 1e-3


def test_mixing_is_its_own_affair() -> None:
    with pytest.raises(UsageError, match="adaptive decides about mixing itself"):
        Settings(rule="adaptive", num_byzantine=1, mixing=True).check(9)


def test_it_says_who_is_near_to_whom_and_who_is_shortened() -> None:
    x = np.vstack([np.full((1, 4), 50.0), 1.0 + 0.1 * normal(6, 4)]).astype(np.float32)
    found = aggregate(settings(1), x)
    assert found.reasons[0] == "nearest to 6 of 7, shortened to 0.02"
    assert sum("shortened" in reason for reason in found.reasons) == 1


# --- without its parts ------------------------------------------------------------------------------------------------


def unclipped(x: np.ndarray, f: int) -> np.ndarray:
    return aggregate(Settings(rule="geometric-median", num_byzantine=f, mixing=True), x).update


def unmixed(x: np.ndarray, f: int) -> np.ndarray:
    products = gram(x, origin=True).about(ORIGIN)[: len(x), : len(x)]
    factors = adaptive_clipping(np.sqrt(np.diagonal(products)), num_byzantine=f)
    clipped = Gram(products * np.outer(factors, factors), len(x))
    return combine(geometric_median(clipped, num_byzantine=f).weights * factors, x)


def test_without_clipping_who_differs_most_is_not_heard() -> None:
    """Hospitals that all know something else, and one with 30 times as much to say: a third of its part, or none."""
    heard = []
    for seed in range(20):
        x = normal(10, 2000, seed)
        length = np.linalg.norm(x[9])
        of_its_own = x[9] / length
        x[9] *= 30.0
        heard.append([rule @ of_its_own / length for rule in (aggregate(settings(2), x).update, unclipped(x, 2))])
    with_it, without = np.mean(heard, axis=0) * 10
    assert with_it > 1 / 3
    assert abs(without) < 1 / 20


def test_without_mixing_a_few_that_agree_drag_the_median() -> None:
    """Honest sites that differ, and liars who agree on the opposite of their mean."""
    for seed in range(20):
        honest = normal(16, 200, seed) + np.float32(0.3)
        middle = honest.mean(axis=0)
        x = np.vstack([honest, np.tile(np.float32(-0.1) * middle, (4, 1))])
        found = (aggregate(settings(4), x).update, unmixed(x, 4))
        with_it, without = (np.linalg.norm(update - middle) for update in found)
        assert without > 1.5 * with_it


def test_without_memory_lies_hide_in_the_noise_of_a_round() -> None:
    """The honest agree on a direction and scatter; liars send mean minus one deviation of whatever is looked at."""
    random = np.random.default_rng(0)
    truth = random.normal(size=300).astype(np.float32)
    known: list[Remembered | None] = [None] * 8
    errors = []
    for _ in range(60):
        updates = truth + np.float32(5.0) * random.normal(size=(8, 300)).astype(np.float32)
        known = [remember(before, update, decay=DECAY) for before, update in zip(known, updates, strict=True)]
        seen = (updates, np.stack([site.update for site in known if site is not None]))
        found = [aggregate(settings(2), np.vstack([x, np.tile(x.mean(0) - x.std(0), (2, 1))])).update for x in seen]
        errors.append([float(np.linalg.norm(update - truth)) for update in found])
    without, with_it = np.mean(errors[30:], axis=0)
    assert with_it < without / 2


def test_products_and_vectors_give_the_same_weights() -> None:
    x = normal(12, seed=5)
    known = gram(x, origin=True)
    weights = adaptive(known, num_byzantine=3).weights
    np.testing.assert_allclose(aggregate(settings(3), x).weights, weights)
    for order in itertools.islice(itertools.permutations(range(3)), 6):
        rows = [*order, *range(3, 13)]
        turned = Gram(known.products[np.ix_(rows, rows)], 12, known.references)
        np.testing.assert_allclose(adaptive(turned, num_byzantine=3).weights, weights[rows[:12]], atol=1e-9)
