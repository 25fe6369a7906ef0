"""A planted share is read off updates; where there is none, nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from sealround.audit.identity import (
    cohort_with_share,
    count_sketch,
    infer_share,
    judge_presence,
    judge_share,
    presence_scores,
)
from sealround.audit.identity.property import _Ridge
from sealround.errors import UsageError


def _p(z: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-z)))


class _Town:
    """3000 people of 30 measurements, one of which differs between those with a trait and those without, or none."""

    def __init__(self, seed: int, effect: float) -> None:
        self.draw = np.random.default_rng(seed)
        self.has = self.draw.random(3000) < 0.5
        self.x = self.draw.normal(size=(3000, 30))
        self.x[:, 0] += effect * self.has
        self.y = (self.draw.random(3000) < _p(self.x[:, 1])).astype(float)

    def update(self, share: float) -> np.ndarray:
        """Three steps of logistic regression on a cohort of 150."""
        rows = cohort_with_share(self.has, share, 150, self.draw)
        x, y, w = self.x[rows], self.y[rows], np.zeros(30)
        for _ in range(3):
            w -= 0.5 * (_p(x @ w) - y) @ x / len(x)
        return w

    def updates(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        shares = self.draw.uniform(0.1, 0.9, number)
        return np.stack([self.update(share) for share in shares]), shares


def _planted(seed: int, number: int, effect: float) -> tuple[np.ndarray, np.ndarray]:
    """Long updates in which the share moves every coordinate a little."""
    draw = np.random.default_rng(seed)
    direction = np.random.default_rng(99).normal(size=5000)
    shares = draw.uniform(0.2, 0.8, number)
    return draw.normal(size=(number, 5000)) + effect * (shares[:, None] - 0.5) * direction, shares


def test_a_planted_share_is_read_and_an_absent_one_is_not() -> None:
    """The interval of the gain misses once in 20 times at most, here once for each effect."""
    shadows, shares = _planted(1, 60, 2.0)
    updates, true = _planted(2, 40, 2.0)
    found = judge_share(shadows, shares, updates, true, np.random.default_rng(0))
    assert found.error.value < 0.05
    assert found.gain.low > 0.05
    assert found.error.baseline is not None
    assert found.error.baseline == pytest.approx(np.abs(shares.mean() - true).mean())
    assert (np.abs(found.predicted - true) <= found.margin).mean() > 0.8
    nothing = judge_share(*_planted(3, 60, 0.0), *_planted(4, 40, 0.0), np.random.default_rng(0))
    assert nothing.gain.low <= 0.0
    assert nothing.error.value > 0.8 * (nothing.error.baseline or 0.0)


def test_a_share_of_a_trait_shows_in_real_training() -> None:
    """The trait moves a measurement, and with it the cohort's gradient; in another town it moves nothing."""
    town = _Town(5, 3.0)
    town.y = (town.draw.random(3000) < _p(town.x[:, 1] + town.x[:, 0] - 1.5)).astype(float)
    shadows, updates = town.updates(80), town.updates(40)
    found = judge_share(*shadows, *updates, town.draw)
    assert found.gain.low > 0.03
    blind = _Town(6, 0.0)
    assert judge_share(*blind.updates(80), *blind.updates(40), blind.draw).gain.low <= 0.0


def test_leaving_one_out_is_exact() -> None:
    draw = np.random.default_rng(7)
    x, y = draw.normal(size=(12, 30)), draw.random(12)
    penalty = 0.05
    found = _Ridge.fitted(x, y, np.array([penalty]))
    scale = found.scale
    for i in range(12):
        rest = np.arange(12) != i
        mean, middle = x[rest].mean(0), y[rest].mean()
        gram = (x[rest] - mean) @ (x[rest] - mean).T / scale
        dual = np.linalg.solve(gram + penalty * np.eye(11), y[rest] - middle)
        predicted = (x[i] - mean) @ (x[rest] - mean).T @ dual / scale + middle
        assert found.left_out[i] == pytest.approx(y[i] - predicted, rel=1e-8)


def test_predictions_are_shares() -> None:
    x = np.linspace(0.0, 1.0, 20)[:, None] * np.ones(3)
    found = infer_share(x, x[:, 0], np.array([[-5.0] * 3, [0.4] * 3, [9.0] * 3]))
    assert found == pytest.approx([0.0, 0.4, 1.0], abs=1e-3)


def test_presence_is_told_where_it_is_and_not_where_it_is_not() -> None:
    """AUC of a property that changes nothing: its interval misses 1/2 once in 20 times."""
    draw = np.random.default_rng(9)
    direction = draw.normal(size=400)
    has = np.arange(80) % 2 == 0
    for effect, shown in ((0.5, True), (0.0, False)):
        updates = draw.normal(size=(160, 400)) + effect * np.tile(has, 2)[:, None] * direction
        auc = judge_presence(presence_scores(updates[:80], has, updates[80:]), has)
        assert (auc.low > 0.7) == shown
        assert shown or auc.low <= 0.5 <= auc.high


def test_cohorts_have_the_share_they_should() -> None:
    draw = np.random.default_rng(10)
    has = np.arange(100) < 30
    rows = cohort_with_share(has, 0.25, 40, draw)
    assert has[rows].sum() == 10
    assert np.unique(rows).size == 40
    for share, size in ((0.9, 40), (0.0, 80)):
        with pytest.raises(UsageError, match="make no cohort"):
            cohort_with_share(has, share, size, draw)


def test_a_sketch_is_linear_and_keeps_inner_products() -> None:
    draw = np.random.default_rng(11)
    sketch = count_sketch(10_000, 500, draw)
    u, v = draw.normal(size=(2, 10_000))
    v = v + 0.5 * u
    su, sv, both = sketch.apply(np.stack([u, v, u + 2 * v]))
    assert both == pytest.approx(su + 2 * sv, abs=1e-9)
    assert sketch.apply(np.empty((0, 10_000))).shape == (0, 500)
    # The standard deviation of an inner product is about ‖u‖ ‖v‖ / sqrt(500); four of them.
    assert su @ sv == pytest.approx(u @ v, abs=4 * np.linalg.norm(u) * np.linalg.norm(v) / 500**0.5)
    one = np.zeros((1, 10_000))
    one[0, 17] = 3.0
    assert np.sort(np.abs(sketch.apply(one)[0]))[-2:].tolist() == [0.0, 3.0]
    means = [count_sketch(50, 5, draw).apply(np.stack([u[:50], v[:50]])) for _ in range(4000)]
    products = np.array([a @ b for a, b in means])
    assert products.mean() == pytest.approx(u[:50] @ v[:50], abs=4 * products.std() / 4000**0.5)


def test_shares_are_read_off_sketches() -> None:
    sketch = count_sketch(5000, 400, np.random.default_rng(12))
    (shadows, shares), (updates, true) = _planted(1, 60, 4.0), _planted(2, 40, 4.0)
    found = judge_share(sketch.apply(shadows), shares, sketch.apply(updates), true, np.random.default_rng(0))
    assert found.gain.low > 0.05


def test_what_teaches_nothing_is_refused() -> None:
    good, shares = np.random.default_rng(13).normal(size=(6, 3)), np.linspace(0, 1, 6)
    for shadows, known, updates in (
        (good[:3], shares[:3], good),
        (good, shares[:5], good),
        (good * np.nan, shares, good),
        (good, shares, good[:, :2]),
    ):
        with pytest.raises(UsageError):
            infer_share(shadows, known, updates)
    with pytest.raises(UsageError):
        judge_share(good, shares, good, shares[:2], np.random.default_rng(0))
    for has in (np.ones(6, dtype=bool), shares):
        with pytest.raises(UsageError):
            presence_scores(good, has, good)
        with pytest.raises(UsageError):
            judge_presence(shares, has)
    for length, width in ((0, 1), (1, 0)):
        with pytest.raises(UsageError):
            count_sketch(length, width, np.random.default_rng(0))
    with pytest.raises(UsageError):
        count_sketch(3, 2, np.random.default_rng(0)).apply(np.zeros((1, 4)))
