"""Each rule against its paper's formula, written down a second time: in float64, on the updates, step by step."""

from __future__ import annotations

import numpy as np
import pytest

from sealround.aggregation import (
    HISTORY,
    ROOT,
    Known,
    Settings,
    aggregate,
    capped_shares,
    centered_clipping,
    dnc,
    flame,
    fltrust,
    foolsgold,
    geometric_median,
    gram,
    krum,
    multi_krum,
    nearest_neighbor_mixing,
    norm_clipping,
)
from sealround.aggregation.selection import bulyan_choice

SHAPES = [(7, 1, 40), (11, 2, 333), (15, 3, 9000), (19, 4, 50), (23, 5, 5000), (41, 8, 97)]
"""n, f (with n >= 4f + 3), d: below and above a block, networks and sorts, odd and even numbers kept."""


def updates(n: int, f: int, d: int, *, even: bool = False) -> np.ndarray:
    """Honest sites that differ, and f that do not fit."""
    random = np.random.default_rng(n * d)
    n += even
    x = random.normal(size=(n, d)) + random.normal(size=(n, 1)) * random.normal(size=d)
    x[random.permutation(n)[:f]] += 3.0 * random.normal(size=d)
    return x.astype(np.float32)


def nearest_sum(x: np.ndarray, i: int, number: int) -> float:
    return sum(sorted(float(np.sum((x[i] - x[j]) ** 2)) for j in range(len(x)) if j != i)[:number])


def krum_order(x: np.ndarray, f: int) -> list[int]:
    scores = [nearest_sum(x, i, len(x) - f - 2) for i in range(len(x))]
    return sorted(range(len(x)), key=lambda i: scores[i])


def nearest_mean(values: np.ndarray, number: int) -> float:
    middle = float(np.median(values))
    return float(np.mean(sorted(values, key=lambda v: abs(v - middle))[:number]))


def chosen(weights: np.ndarray) -> set[int]:
    return set(np.flatnonzero(weights).tolist())


@pytest.mark.parametrize(("n", "f", "d"), SHAPES)
def test_krum_and_multi_krum(n: int, f: int, d: int) -> None:
    x = updates(n, f, d)
    order = krum_order(x.astype(np.float64), f)
    assert chosen(krum(gram(x), num_byzantine=f).weights) == {order[0]}
    found = multi_krum(gram(x), num_byzantine=f)
    assert chosen(found.weights) == set(order[: n - f])
    np.testing.assert_allclose(found.weights[order[: n - f]], 1 / (n - f))
    assert chosen(multi_krum(gram(x), num_byzantine=f, num_selected=3).weights) == set(order[:3])


def test_the_chosen_are_averaged_by_their_shares() -> None:
    x = updates(9, 1, 100)
    shares = np.arange(1.0, 10.0)
    found = multi_krum(gram(x), num_byzantine=1, shares=shares).weights
    kept = found > 0
    np.testing.assert_allclose(found[kept], shares[kept] / shares[kept].sum())
    assert kept.sum() == 8


@pytest.mark.parametrize(("n", "f", "d"), SHAPES)
def test_bulyan(n: int, f: int, d: int) -> None:
    x = updates(n, f, d)
    wide, left, picked = x.astype(np.float64), list(range(n)), []
    while len(picked) < n - 2 * f:
        rest = wide[left]
        number = min(max(len(left) - f - 2, 1), len(left) - 1)
        scores = [(nearest_sum(rest, i, number), nearest_sum(rest, i, n)) for i in range(len(left))]
        picked.append(left.pop(scores.index(min(scores))))
    assert bulyan_choice(gram(x), num_byzantine=f).tolist() == picked
    expected = [nearest_mean(column, n - 4 * f) for column in wide[picked].T]
    found = aggregate(Settings(rule="bulyan", num_byzantine=f), x)
    np.testing.assert_allclose(found.update, expected, rtol=1e-4, atol=1e-5)
    assert set(np.flatnonzero(found.kept).tolist()) <= set(picked)


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize(("n", "f", "d"), SHAPES)
def test_coordinate_rules(n: int, f: int, d: int, *, even: bool) -> None:
    x = updates(n, f, d, even=even)
    wide = np.sort(x.astype(np.float64), axis=0)
    expected = {
        "median": np.median(wide, axis=0),
        "trimmed-mean": wide[f : len(wide) - f].mean(axis=0),
        "meamed": np.array([nearest_mean(column, len(wide) - f) for column in wide.T]),
    }
    for rule, result in expected.items():
        found = aggregate(Settings(rule=rule, num_byzantine=f), x)
        np.testing.assert_allclose(found.update, result, rtol=1e-4, atol=1e-5, err_msg=rule)
        assert found.weights is None
        assert found.influence.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(("n", "f", "d"), SHAPES)
@pytest.mark.parametrize("rule", ["median", "trimmed-mean", "meamed", "bulyan", "geometric-median", "multi-krum"])
def test_mixing_comes_before_any_rule(n: int, f: int, d: int, rule: str) -> None:
    x = updates(n, f, d)
    wide = x.astype(np.float64)
    mixed = np.array([wide[np.argsort(((wide - row) ** 2).sum(axis=1))[: n - f]].mean(axis=0) for row in wide])
    mixing = nearest_neighbor_mixing(gram(x), num_byzantine=f)
    np.testing.assert_allclose(mixing @ wide, mixed, atol=1e-9)
    found = aggregate(Settings(rule=rule, num_byzantine=f, mixing=True), x).update
    expected = aggregate(Settings(rule=rule, num_byzantine=f), mixed.astype(np.float32)).update
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def sum_of_distances(x: np.ndarray, shares: np.ndarray, at: np.ndarray) -> float:
    return float(shares @ np.linalg.norm(x - at, axis=1))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "f", "d"), SHAPES)
def test_geometric_median_is_the_least_sum_of_distances(n: int, f: int, d: int, *, weighted: bool) -> None:
    x = updates(n, f, d)
    wide = x.astype(np.float64)
    shares = np.random.default_rng(n).dirichlet(np.ones(n)) if weighted else np.full(n, 1 / n)
    found = geometric_median(gram(x), num_byzantine=f, shares=shares).weights @ wide
    shares = capped_shares(shares, largest=1 / (2 * f + 1))
    best = sum_of_distances(wide, shares, found)
    lengths = np.linalg.norm(wide - found, axis=1)
    away = lengths > 1e-9
    directions = (wide[away] - found) / lengths[away][:, None]
    assert np.linalg.norm(shares[away] @ directions) < shares[~away].sum() + 2e-6
    random = np.random.default_rng(0)
    for size in (1e-3, 1e-1, 1.0):
        assert best <= sum_of_distances(wide, shares, found + size * random.normal(size=d)) + 1e-12


def test_geometric_median_at_an_update_is_that_update() -> None:
    """On a line the middle point; with a majority of copies, them; with more than half of the shares, their site."""
    line = np.arange(5, dtype=np.float32)[:, None] * np.ones(3, dtype=np.float32)
    assert chosen(geometric_median(gram(line), num_byzantine=2).weights) == {2}
    copies = np.vstack([np.tile(updates(1, 0, 500), (4, 1)), 100 * updates(3, 0, 500)])
    found = geometric_median(gram(copies), num_byzantine=3).weights
    np.testing.assert_array_equal(found, [0.25] * 4 + [0.0] * 3)
    shares = np.array([0.6, 0.2, 0.2])
    assert chosen(geometric_median(gram(updates(3, 0, 40)), num_byzantine=0, shares=shares).weights) == {0}


@pytest.mark.parametrize("mixing", [False, True])
def test_a_claim_of_examples_does_not_buy_the_geometric_median(*, mixing: bool) -> None:
    """Four hospitals, of which one has half of the shares, the most it may: a majority it would have without a cap."""
    x = updates(4, 0, 300)
    x[0] = 1e6
    settings = Settings(rule="geometric-median", num_byzantine=1, mixing=mixing)
    found = aggregate(settings, x, Known(shares=np.array([0.5, 0.3, 0.1, 0.1])))
    centre = x[1:].mean(axis=0)
    assert np.linalg.norm(found.update - centre) <= 2 * np.linalg.norm(x[1:] - centre, axis=1).max()


@pytest.mark.parametrize(("n", "f", "d"), SHAPES)
@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_centered_clipping(n: int, f: int, d: int, iterations: int) -> None:
    x, last = updates(n, f, d), updates(1, 0, d)[0]
    tau = float(np.sqrt(d))
    for history in (last, None):
        v = np.zeros(d) if history is None else history.astype(np.float64)
        for _ in range(iterations):
            differences = x.astype(np.float64) - v
            lengths = np.linalg.norm(differences, axis=1)
            v = v + (differences * np.minimum(1.0, tau / lengths)[:, None]).mean(axis=0)
        settings = Settings(rule="centered-clipping", num_byzantine=f, clip_norm=tau, iterations=iterations)
        found = aggregate(settings, x, Known(history=history))
        np.testing.assert_allclose(found.update, v, rtol=1e-4, atol=1e-4)


def test_centered_clipping_weights_sum_to_one_with_the_history() -> None:
    x, last = updates(7, 1, 60), updates(1, 0, 60)[0]
    found = centered_clipping(gram(x, {HISTORY: last}), num_byzantine=1, clip_norm=2.0)
    assert found.weights.sum() + found.references[HISTORY] == pytest.approx(1.0)
    assert found.references[HISTORY] > 0


@pytest.mark.parametrize(("n", "f", "d"), SHAPES)
def test_fltrust(n: int, f: int, d: int) -> None:
    x, root = updates(n, f, d), updates(1, 0, d)[0]
    wide, g0 = x.astype(np.float64), root.astype(np.float64)
    trust = [max(0.0, float(g @ g0 / np.linalg.norm(g) / np.linalg.norm(g0))) for g in wide]
    expected = sum(t * np.linalg.norm(g0) / np.linalg.norm(g) * g for t, g in zip(trust, wide, strict=True))
    found = aggregate(Settings(rule="fltrust"), x, Known(root=root)).update
    np.testing.assert_allclose(found, expected / sum(trust), rtol=1e-3, atol=1e-4)
    assert np.linalg.norm(found) <= np.linalg.norm(root) * 1.0001


@pytest.mark.parametrize("boost", [1e3, 1e6, 1e9])
def test_trust_is_told_as_exactly_among_many_huge_liars(boost: float) -> None:
    """No majority is assumed: five of seven are far away, and would blur the others' products about any middle."""
    x = updates(7, 0, 9000)
    root = x[0] + x[1]
    alone = aggregate(Settings(rule="fltrust"), x[:2], Known(root=root)).influence
    across = x[3] - (x[3] @ root) / (root @ root) * root
    x[2:] = np.float32(boost) * (across - root / 9)
    found = aggregate(Settings(rule="fltrust"), x, Known(root=root))
    assert not found.influence[2:].any()
    np.testing.assert_allclose(found.influence[:2], alone, rtol=1e-4)
    assert np.linalg.norm(found.update) <= np.linalg.norm(root) * 1.0001


@pytest.mark.parametrize("boost", [1e3, 1e9])
def test_huge_copies_do_not_blur_who_is_whose_copy(boost: float) -> None:
    x = updates(9, 0, 9000)
    x[4:] = np.float32(boost) * x[4]
    found = aggregate(Settings(rule="foolsgold"), x)
    assert not found.influence[4:].any()
    np.testing.assert_allclose(found.influence[:4], naive_foolsgold(x.astype(np.float64), 1.0)[:4], atol=1e-3)


def test_fltrust_stays_where_nobody_points_the_way_of_the_root() -> None:
    root = updates(1, 0, 50)[0]
    weights = fltrust(gram(np.vstack([-root, -2 * root]), {ROOT: root}, origin=True)).weights
    assert weights.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("bound", [0.5, 5.0, None])
def test_norm_clipping(bound: float | None) -> None:
    x = updates(9, 2, 200)
    shares = np.arange(9.0)
    lengths = np.linalg.norm(x.astype(np.float64), axis=1)
    least = np.median(lengths) if bound is None else bound
    expected = sum(s / 36 * min(1.0, least / length) * row for s, length, row in zip(shares, lengths, x, strict=True))
    found = norm_clipping(gram(x, origin=True), clip_norm=bound, shares=shares)
    np.testing.assert_allclose(found.weights @ x, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("n", "f", "d"), SHAPES)
def test_dnc(n: int, f: int, d: int) -> None:
    x = updates(n, f, d)
    centred = x.astype(np.float64) - x.astype(np.float64).mean(axis=0)
    direction = np.linalg.svd(centred, full_matrices=False)[2][0]
    order = np.argsort((centred @ direction) ** 2)
    assert chosen(dnc(gram(x), num_byzantine=f).weights) == set(order[: n - f].tolist())


def test_dnc_sees_one_direction() -> None:
    """Liars of one size are left out, whichever way each points; a much larger one hides those who lie across it."""
    x = updates(15, 0, 500)
    x[:3] = 100 * np.eye(3, 500, dtype=np.float32)
    assert chosen(dnc(gram(x), num_byzantine=3).weights) == set(range(3, 15))
    x[0] *= 1e8
    assert chosen(dnc(gram(x), num_byzantine=3).weights) & {1, 2}


def naive_foolsgold(totals: np.ndarray, kappa: float) -> np.ndarray:
    n = len(totals)
    unit = totals / np.linalg.norm(totals, axis=1)[:, None]
    cs = [[float(unit[i] @ unit[j]) if i != j else -1.0 for j in range(n)] for i in range(n)]
    v = [max(row) for row in cs]
    for i in range(n):
        for j in range(n):
            if i != j and v[j] > v[i] > 0:
                cs[i][j] *= v[i] / v[j]
    alpha = np.clip([1 - max(row) for row in cs], 0, 1)
    alpha = alpha / alpha.max()
    found = []
    for a in alpha:
        logit = np.inf if a == 1 else (-np.inf if a == 0 else kappa * (np.log(a / (1 - a)) + 0.5))
        found.append(min(max(logit, 0.0), 1.0))
    return np.array(found) / sum(found)


@pytest.mark.parametrize("kappa", [1.0, 0.3])
def test_foolsgold(kappa: float) -> None:
    random = np.random.default_rng(4)
    x = random.normal(size=(8, 300)) + random.normal(size=300)
    x[5:] = x[5] + 0.05 * random.normal(size=(3, 300))
    x = x.astype(np.float32)
    found = foolsgold(gram(x, origin=True), confidence=kappa).weights
    np.testing.assert_allclose(found, naive_foolsgold(x.astype(np.float64), kappa), atol=1e-4)
    assert found[5:].max() < 0.02


def test_foolsgold_goes_by_the_sums_over_rounds() -> None:
    x, totals = updates(6, 0, 80), updates(6, 0, 80)
    totals[1] = totals[0]
    found = aggregate(Settings(rule="foolsgold"), x, Known(totals=totals))
    assert found.influence[:2].max() == 0.0
    np.testing.assert_allclose(found.update, found.influence @ x.astype(np.float64), rtol=1e-4, atol=1e-5)


def test_foolsgold_stays_where_everybody_is_a_copy() -> None:
    assert foolsgold(gram(np.tile(updates(1, 0, 9000), (4, 1)), origin=True)).weights.tolist() == [0.0] * 4


@pytest.mark.parametrize(("n", "f", "d"), SHAPES)
def test_flame(n: int, f: int, d: int) -> None:
    x = updates(n, f, d)
    wide = x.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1)
    apart = 1 - (wide @ wide.T) / np.outer(lengths, lengths)
    group = np.zeros(n, dtype=bool)
    for length in np.unique(apart[np.triu_indices(n, 1)]):
        joined = np.linalg.matrix_power((apart <= length).astype(float) + np.eye(n), n) > 0
        if joined.sum(axis=1).max() > n // 2:
            group = joined[joined.sum(axis=1).argmax()]
            break
    weights = np.where(group, np.minimum(1.0, np.median(lengths) / lengths), 0.0) / group.sum()
    np.testing.assert_allclose(flame(gram(x, origin=True), num_byzantine=f).weights, weights, rtol=1e-4)


def test_flame_takes_whom_a_tie_joins() -> None:
    """Four sites at right angles, one step from each other: no two of them come before the others."""
    assert chosen(flame(gram(np.eye(4, 50, dtype=np.float32), origin=True), num_byzantine=0).weights) == {0, 1, 2, 3}


def test_the_mean_is_weighted() -> None:
    x = updates(4, 0, 30)
    found = aggregate(Settings(rule="mean"), x, Known(shares=np.array([1.0, 1.0, 0.0, 2.0])))
    np.testing.assert_allclose(found.update, np.array([0.25, 0.25, 0, 0.5]) @ x, rtol=1e-5, atol=1e-6)
