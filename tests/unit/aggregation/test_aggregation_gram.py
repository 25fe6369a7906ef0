"""Products against exact ones, whatever a hostile row does to the centre."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from sealround.aggregation import (
    HISTORY,
    ORIGIN,
    Gram,
    Settings,
    combine,
    gram,
    krum,
    nearest_neighbor_mixing,
    weigh,
)
from sealround.aggregation.selection import bulyan_choice
from sealround.errors import UsageError

EPSILON = np.finfo(np.float32).eps


def normal(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def exact_distances(points: np.ndarray) -> np.ndarray:
    wide = points.astype(np.float64)
    return np.array([[np.sum((a - b) ** 2) for b in wide] for a in wide])


@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 3), (5, 8191), (7, 8192), (13, 20_001)])
def test_distances_are_those_of_the_rows(n: int, d: int) -> None:
    x = normal(n, d)
    np.testing.assert_allclose(gram(x).distances, exact_distances(x), rtol=1e-5, atol=1e-9)


def test_references_are_compared_with_as_rows_are() -> None:
    x, last = normal(4, 9000), normal(1, 9000, seed=1)[0]
    found = gram(x, {HISTORY: last}, origin=True)
    points = np.vstack([x, last, np.zeros_like(last)])
    assert found.references == (HISTORY, ORIGIN)
    np.testing.assert_allclose(found.all_distances, exact_distances(points), rtol=1e-5)
    wide = points.astype(np.float64)
    np.testing.assert_allclose(found.about(ORIGIN), wide @ wide.T, rtol=1e-4, atol=1e-4 * 9000)
    np.testing.assert_allclose(found.about(HISTORY)[:4, :4], (wide[:4] - wide[4]) @ (wide[:4] - wide[4]).T, atol=0.1)


@pytest.mark.parametrize("name", [HISTORY, ORIGIN])
def test_a_reference_far_away_does_not_blur_distances(name: str) -> None:
    """Products are about the one vector to compare with, unless that is far from everybody for how near sites are."""
    x = 0.01 * normal(9, 10_000) + 30 * normal(1, 10_000, seed=1)
    last = np.zeros(10_000, dtype=np.float32)
    found = gram(x, {HISTORY: last}) if name == HISTORY else gram(x, origin=True)
    exact = exact_distances(np.vstack([x, last]))
    np.testing.assert_allclose(found.all_distances, exact, rtol=1e-4)


def test_columns_that_are_not_looked_at_first_do_not_blur_distances() -> None:
    """Updates are near zero but for some columns, of which those that decide about a centre tell nothing."""
    x = 0.01 * normal(9, 20_000)
    x[:, 2000:6000] += 100
    np.testing.assert_allclose(gram(x).distances, exact_distances(x), rtol=1e-4)


def test_a_missing_reference_is_named() -> None:
    with pytest.raises(UsageError, match="origin"):
        gram(normal(3, 4)).row(ORIGIN)


def test_products_of_mixtures_are_those_of_mixed_updates() -> None:
    x, last = normal(5, 700), normal(1, 700, seed=1)[0]
    mixing = np.random.default_rng(2).dirichlet(np.ones(5), size=4)
    found = gram(x, {HISTORY: last}).mixed(mixing)
    mixed = np.vstack([mixing @ x.astype(np.float64), last])
    assert (found.sites, found.references) == (4, (HISTORY,))
    np.testing.assert_allclose(found.all_distances, exact_distances(mixed), rtol=1e-5)


def test_threads_do_not_show() -> None:
    x = normal(6, 100_000)
    assert gram(x, threads=3).products.tobytes() == gram(x).products.tobytes()
    weights = np.random.default_rng(0).random(6)
    assert combine(weights, x, threads=3).tobytes() == combine(weights, x).tobytes()


@pytest.mark.parametrize("size", [1e2, 1e6, 1e15])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_huge_row_does_not_blur_the_distances_between_the_others(size: float, sign: float) -> None:
    x = normal(9, 10_000) * np.float32(0.01)
    x[:2] = np.float32(sign * size)
    x[1, ::2] = 0.0
    honest = gram(x).distances[2:, 2:]
    np.testing.assert_allclose(honest, exact_distances(x[2:]), rtol=1e-4)


def test_a_ladder_of_huge_rows_does_not_either() -> None:
    """Each is hidden in the rounding of the one above, and would be the next centre's if half were not honest."""
    x = normal(9, 10_000)
    x[:4] = np.array([1e15, 1e10, 1e5, 1e2], dtype=np.float32)[:, None]
    np.testing.assert_allclose(gram(x).distances[4:, 4:], exact_distances(x[4:]), rtol=1e-3)


@pytest.mark.parametrize("deviation", [1e-2, 1e-3])
@pytest.mark.parametrize("flipped", [0, 4])
def test_a_large_common_part_cancels(deviation: float, flipped: int) -> None:
    """A common part of length 100 and deviations of length 0.01, four of eleven sites with the opposite sign."""
    d = 4096
    common = np.full(d, 100 / np.sqrt(d))
    x = (common + deviation / np.sqrt(d) * np.random.default_rng(5).normal(size=(11, d))).astype(np.float32)
    x[:flipped] *= -1
    exact = exact_distances(x)
    np.testing.assert_allclose(gram(x).distances[flipped:, flipped:], exact[flipped:, flipped:], rtol=1e-4)
    scores = np.sort(exact, axis=1)[:, 1 : 11 - 4 - 2 + 1].sum(axis=1)
    assert np.argmax(krum(gram(x), num_byzantine=4).weights) == np.argmin(scores)


@pytest.mark.parametrize("seed", range(5))
def test_who_is_chosen_is_who_exact_arithmetic_chooses(seed: int) -> None:
    """Updates of length 100 that differ by 0.01, as sites' do that nearly agree; two of eleven lie a little."""
    n, f, d = 11, 2, 4096
    random = np.random.default_rng(seed)
    common = random.normal(size=d)
    x = 100 * common / np.linalg.norm(common) + 0.01 / np.sqrt(d) * random.normal(size=(n, d))
    x[:f] += 0.02 / np.sqrt(d)
    x = x.astype(np.float32)
    wide = x.astype(np.float64) - x.astype(np.float64).mean(axis=0)
    found, exact = gram(x), Gram(wide @ wide.T, n)
    for rule in ("krum", "multi-krum", "dnc"):
        settings = Settings(rule=rule, num_byzantine=f)
        np.testing.assert_array_equal(weigh(settings, found).weights, weigh(settings, exact).weights, err_msg=rule)
    assert bulyan_choice(found, num_byzantine=f).tolist() == bulyan_choice(exact, num_byzantine=f).tolist()
    mixing = nearest_neighbor_mixing(found, num_byzantine=f)
    np.testing.assert_array_equal(mixing, nearest_neighbor_mixing(exact, num_byzantine=f))


def test_equal_rows_are_at_no_distance() -> None:
    x = np.repeat(normal(1, 30_000), 6, axis=0)
    x[:2] = normal(2, 30_000, seed=3)
    assert (gram(x).distances[2:, 2:] == 0.0).all()


def test_combining_is_one_weighted_sum() -> None:
    x, last = normal(5, 70_000), normal(1, 70_000, seed=1)[0]
    weights = np.random.default_rng(2).normal(size=5)
    expected = weights @ x.astype(np.float64) + 0.25 * last.astype(np.float64)
    found = combine(weights, x, [(0.25, last)])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_no_second_copy_of_the_updates() -> None:
    x = normal(50, 100_000)
    tracemalloc.start()
    combine(np.full(50, 0.02), x)
    gram(x, origin=True, threads=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.2 * x.nbytes


@pytest.mark.parametrize(
    ("updates", "why"),
    [
        (np.zeros((2, 3)), "float64"),
        (np.zeros(3, dtype=np.float32), "shape"),
        (np.zeros((0, 3), dtype=np.float32), "nothing"),
        (np.zeros((2, 0), dtype=np.float32), "nothing"),
        (np.zeros((3, 2), dtype=np.float32).T, "contiguous"),
        (np.full((3, 2), np.nan, dtype=np.float32), "finite"),
        (np.full((3, 2), 1e30, dtype=np.float32) * np.arange(3, dtype=np.float32)[:, None], "finite"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_is_no_matrix_of_updates_is_refused(updates: np.ndarray, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        gram(updates)


def test_a_reference_of_another_shape_is_refused() -> None:
    with pytest.raises(UsageError, match="history is a float32 vector of 4"):
        gram(normal(3, 4), {HISTORY: np.zeros(5, dtype=np.float32)})
    with pytest.raises(UsageError, match="3 updates take 3 weights"):
        combine(np.ones(2), normal(3, 4))


def test_products_from_elsewhere_serve_as_well() -> None:
    """As of updates that nobody has in clear: a rule sees no difference."""
    x = normal(7, 500).astype(np.float64)
    x[0] += 50
    found = krum(Gram(x @ x.T, 7), num_byzantine=1).weights
    assert np.array_equal(found, krum(gram(x.astype(np.float32)), num_byzantine=1).weights)
