"""The audit's numbers against values computed in another way: exact distributions, plain sums, a linear programme."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.stats import binom, norm

from sealround.audit.privacy import (
    Canaries,
    Guesses,
    Mechanism,
    coins,
    contributions,
    directions,
    f_dp,
    independent,
    likelihood_scores,
    noise_check,
    one_run,
    project,
    scores,
    simulate,
    unused_directions,
    variation_scores,
)
from sealround.errors import UsageError


def _accuracy(epsilon: float) -> float:
    return math.exp(epsilon) / (1 + math.exp(epsilon))


# Theorem 5.2


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0, 8.0])
@pytest.mark.parametrize(("m", "r", "v"), [(1, 1, 1), (10, 4, 0), (100, 30, 21), (1000, 1000, 900), (1000, 200, 200)])
def test_without_delta_right_guesses_are_binomial(m: int, r: int, v: int, epsilon: float) -> None:
    expected = binom.sf(v - 1, r, _accuracy(epsilon))
    assert one_run.p_value(m, r, v, epsilon, 0.0) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("delta", [1e-6, 1e-4, 1e-2])
@pytest.mark.parametrize(("m", "r", "v", "epsilon"), [(50, 20, 18, 1.0), (400, 400, 300, 0.5), (400, 100, 99, 2.0)])
def test_the_delta_term_is_the_largest_mean_of_a_plain_sum(
    m: int, r: int, v: int, epsilon: float, delta: float
) -> None:
    q = _accuracy(epsilon)
    exactly = [float(binom.pmf(v - j, r, q)) for j in range(1, m + 1)]
    means = [sum(exactly[:i]) / i for i in range(1, m + 1)]
    expected = min(binom.sf(v - 1, r, q) + 2 * m * delta * max(means), 1.0)
    assert one_run.p_value(m, r, v, epsilon, delta) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("together", [1, 2, 5, 20, 60])
def test_it_bounds_mechanisms_that_give_canaries_away(together: int) -> None:
    """With probability m delta / k, k canaries are given away at once, each so with delta; others leak all they may."""
    m, epsilon, delta = 60, 1.0, 1e-3
    given_away, q = m * delta / together, _accuracy(epsilon)
    for v in range(m + 1):
        exact = (1 - given_away) * binom.sf(v - 1, m, q) + given_away * binom.sf(v - 1 - together, m - together, q)
        assert exact <= one_run.p_value(m, m, v, epsilon, delta) + 1e-12


@pytest.mark.parametrize(("guesses", "largest"), [(10, 1.052), (100, 3.492), (1000, 5.809), (10_000, 8.113)])
def test_guesses_that_are_all_right_bound_epsilon_by_their_number(guesses: int, largest: float) -> None:
    right = 0.05 ** (1 / guesses)
    found = one_run.epsilon_lower_bound(guesses, guesses, guesses, 0.0)
    assert found == pytest.approx(math.log(right / (1 - right)), abs=1e-6)
    assert found == pytest.approx(largest, abs=1e-3)


@pytest.mark.parametrize("delta", [0.0, 1e-6, 1e-5])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_the_bound_is_where_the_p_value_reaches_the_level(delta: float, confidence: float) -> None:
    found = one_run.epsilon_lower_bound(300, 280, 1000, delta, confidence)
    assert one_run.p_value(1000, 300, 280, found, delta) <= 1 - confidence
    assert one_run.p_value(1000, 300, 280, found + 1e-6, delta) > 1 - confidence


def test_what_is_refuted_without_end_is_searched_for_an_end_no_longer_than_is_sensible() -> None:
    assert one_run.bisect_down(lambda _claim: True) == 2.0**20


def test_chance_shows_nothing() -> None:
    assert one_run.epsilon_lower_bound(100, 50, 100, 1e-5) == 0.0
    assert one_run.epsilon_lower_bound(0, 0, 100, 1e-5) == 0.0
    assert f_dp.mu_lower_bound(100, 50, 100) == 0.0
    assert f_dp.mu_lower_bound(0, 0, 100) == 0.0


def test_more_right_guesses_more_canaries_and_a_larger_delta_move_the_bound_as_they_should() -> None:
    def bound(correct: int, canaries: int = 500, delta: float = 1e-5) -> float:
        return one_run.epsilon_lower_bound(200, correct, canaries, delta)

    assert bound(150) < bound(170) < bound(200)
    assert bound(170, canaries=5000) < bound(170) < bound(170, delta=0.0)
    assert bound(170, delta=1e-4) < bound(170)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((10, 11, 11, 0.0, 0.95), "cannot be"),
        ((5, 6, 10, 0.0, 0.95), "cannot be"),
        ((5, -1, 10, 0.0, 0.95), "cannot be"),
        ((0, 0, 0, 0.0, 0.95), "cannot be"),
        ((5, 5, 10, -0.1, 0.95), "delta"),
        ((5, 5, 10, 1.0, 0.95), "delta"),
        ((5, 5, 10, 0.1, 0.95), "fewer canaries"),
        ((5, 5, 10, 0.0, 1.0), "confidence"),
        ((5, 5, 10, 0.0, math.nan), "confidence"),
    ],
)
def test_impossible_numbers_are_refused(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        one_run.epsilon_lower_bound(*arguments)


def test_an_impossible_epsilon_is_refused() -> None:
    for epsilon in (-1.0, math.inf, math.nan):
        with pytest.raises(UsageError, match="epsilon"):
            one_run.p_value(10, 5, 5, epsilon, 0.0)


# Guessing


def test_the_highest_are_guessed_in_and_the_lowest_out() -> None:
    included = np.array([True, False, True, True, False, False])
    found = one_run.count_guesses(
        np.array([5.0, 4.0, 3.0, 0.0, -1.0, -2.0]), included, [(1, 1), (2, 3), (3, 0), (0, 2)]
    )
    assert [(one.made, one.correct) for one in found] == [(2, 2), (5, 3), (3, 2), (2, 2)]
    assert {one.canaries for one in found} == {6}


def test_equal_scores_know_nothing_of_the_coins() -> None:
    included = np.arange(10) < 5
    (found,) = one_run.count_guesses(np.zeros(10), included[::-1], [(5, 5)])
    assert found.correct == 0


@pytest.mark.parametrize(
    ("values", "included", "grid", "words"),
    [
        (np.zeros(3), np.zeros(4, dtype=bool), [(1, 1)], "do not fit"),
        (np.zeros(0), np.zeros(0, dtype=bool), [(1, 1)], "do not fit"),
        (np.zeros(4), np.zeros(4), [(1, 1)], "type float64"),
        (np.array([0.0, math.nan]), np.zeros(2, dtype=bool), [(1, 1)], "not a number"),
        (np.zeros(4), np.zeros(4, dtype=bool), [], "numbers of guesses"),
        (np.zeros(4), np.zeros(4, dtype=bool), [(3, 2)], "numbers of guesses"),
        (np.zeros(4), np.zeros(4, dtype=bool), [(-1, 2)], "numbers of guesses"),
        (np.zeros(4), np.zeros(4, dtype=bool), [(0, 0)], "numbers of guesses"),
    ],
)
def test_guesses_that_do_not_fit_are_refused(
    values: np.ndarray, included: np.ndarray, grid: list[tuple[int, int]], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        one_run.count_guesses(values, included, grid)


@pytest.mark.parametrize("canaries", [1, 2, 7, 30, 1000])
def test_the_default_grid_fits_any_number_of_canaries(canaries: int) -> None:
    grid = one_run.default_grid(canaries)
    assert len(set(grid)) == len(grid)
    assert all(0 < sum(pair) <= canaries for pair in grid)
    assert len(grid) > 0 or canaries == 1


def test_the_best_of_several_is_bounded_at_a_stricter_confidence() -> None:
    included = np.arange(1000) % 2 == 0
    values = np.where(included, 1.0, -1.0)
    found = one_run.audit(values, included, 0.0, grid=[(500, 500), (50, 50)])
    assert found.guesses == Guesses(canaries=1000, included=500, excluded=500, correct=1000)
    assert found.tries == 2
    assert found.epsilon == one_run.epsilon_lower_bound(1000, 1000, 1000, 0.0, 0.975)
    tighter = f_dp.audit(values, included, 1e-5, grid=[(500, 500), (50, 50)])
    assert tighter.mu == f_dp.mu_lower_bound(1000, 1000, 1000, 0.975)
    assert tighter.epsilon == f_dp.epsilon_of_mu(tighter.mu, 1e-5)
    with pytest.raises(UsageError, match="without guesses"):
        one_run.best_guesses([], lambda _one, confidence: confidence, 0.95)


# Trade-off curves


def _largest_tail(m: int, r: int, v: int, epsilons: list[float], deltas: list[float]) -> float:
    """The largest P(N >= v) of any distribution of N that keeps every inequality the theorem is proved from."""
    lines = [(math.exp(-e), -d * math.exp(-e)) for e, d in zip(epsilons, deltas, strict=True)]
    lines += [(math.exp(e), 1 - d - math.exp(e)) for e, d in zip(epsilons, deltas, strict=True)]
    t = np.arange(r + 1)
    rows, limits = [], []
    for j in range(1, r + 1):
        right, wrong = np.where(t >= j, t / m, 0.0), np.where(t >= j - 1, (r - t) / m, 0.0)
        for slope, intercept in lines:
            rows.append(slope * right - wrong)
            limits.append(-intercept)
    found = linprog(-(t >= v).astype(float), np.array(rows), np.array(limits), np.ones((1, r + 1)), [1.0])
    return float(-found.fun)


@pytest.mark.parametrize(
    ("epsilons", "deltas"), [([1.0], [0.0]), ([0.5], [0.02]), ([0.0, 0.5, 1.5], [0.3, 0.12, 0.01])]
)
@pytest.mark.parametrize(("m", "r"), [(6, 6), (12, 12), (12, 5), (30, 10)])
def test_the_recursion_is_the_optimum_of_a_linear_programme(
    m: int, r: int, epsilons: list[float], deltas: list[float]
) -> None:
    claim = f_dp.from_profile(epsilons, deltas)
    for v in range(r + 1):
        expected = _largest_tail(m, r, v, epsilons, deltas)
        assert f_dp.p_value(m, r, v, claim) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("mu", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("m", [5, 50, 500])
def test_it_bounds_gaussian_canaries_that_do_not_disturb_each_other(m: int, mu: float) -> None:
    """Each coin shifts its own normal number by mu: a threshold in the middle is right with probability Phi(mu / 2)."""
    claim = f_dp.gaussian(mu)
    for v in np.unique(np.linspace(0, m, 26).astype(int)).tolist():
        assert binom.sf(v - 1, m, norm.cdf(mu / 2)) <= f_dp.p_value(m, m, v, claim) * (1 + 1e-9)


@pytest.mark.parametrize("r", [20, 100])
def test_it_bounds_randomised_response_with_abstentions(r: int) -> None:
    claim, q = f_dp.from_profile([1.5], [0.0]), _accuracy(1.5)
    for v in range(r + 1):
        assert binom.sf(v - 1, r, q) <= f_dp.p_value(100, r, v, claim) * (1 + 1e-9)


def test_the_bound_of_mu_is_between_refuted_and_not() -> None:
    found = f_dp.mu_lower_bound(400, 350, 1000)
    assert f_dp.excluded(0.05, 1000, 400, 350, f_dp.gaussian(found))
    assert not f_dp.excluded(0.05, 1000, 400, 350, f_dp.gaussian(found + 1e-6))
    assert f_dp.p_value(1000, 400, 350, f_dp.gaussian(found)) == pytest.approx(0.05, rel=2e-3)
    seen = Guesses(canaries=1000, included=200, excluded=200, correct=350)
    assert f_dp.weakest_refuted(f_dp.gaussian, seen, 0.95, start=0.3) == pytest.approx(found, abs=1e-8)


def test_the_curve_is_worth_more_than_its_epsilon() -> None:
    """All of 1000 right: as the module says."""
    assert one_run.epsilon_lower_bound(1000, 1000, 1000, 0.0) < 5.9
    assert f_dp.epsilon_of_mu(f_dp.mu_lower_bound(1000, 1000, 1000), 1e-5) > 12.0


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.5])
def test_a_profile_of_a_gaussian_is_below_it_and_close(mu: float) -> None:
    epsilons = np.linspace(0.0, 20.0, 401)
    deltas = norm.cdf(mu / 2 - epsilons / mu) - np.exp(epsilons + norm.logcdf(-mu / 2 - epsilons / mu))
    profile, exact = f_dp.from_profile(epsilons.tolist(), np.clip(deltas, 0, 1).tolist()), f_dp.gaussian(mu)
    for y in np.linspace(0.0, 1.0, 101).tolist():
        assert exact(y) - 1e-3 <= profile(y) <= exact(y) + 1e-12


def test_lines_nowhere_the_highest_do_not_matter() -> None:
    plain, more = f_dp.from_profile([1.0], [0.1]), f_dp.from_profile([1.0, 1.0, 0.2, 5.0], [0.1, 0.4, 0.9, 0.1])
    for y in np.linspace(0.0, 1.0, 51).tolist():
        expected = max(0.0, (y - 0.1) / math.e, 0.9 - math.e * (1 - y))
        assert plain(y) == pytest.approx(expected, abs=1e-15)
        assert more(y) == pytest.approx(expected, abs=1e-13)
    assert f_dp.from_profile([0.0], [0.0])(0.3) == pytest.approx(0.3)


@pytest.mark.parametrize("mu", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("delta", [1e-8, 1e-5, 0.1])
def test_epsilon_of_mu_is_that_of_an_accountant(mu: float, delta: float) -> None:
    import dp_accounting

    assert f_dp.epsilon_of_mu(mu, delta) == pytest.approx(dp_accounting.get_epsilon_gaussian(1 / mu, delta), abs=1e-6)
    assert f_dp.epsilon_of_mu(0.0, delta) == 0.0


def test_impossible_claims_are_refused() -> None:
    for mu in (-0.1, math.inf, math.nan):
        with pytest.raises(UsageError, match="mu"):
            f_dp.gaussian(mu)
        with pytest.raises(UsageError, match="mu"):
            f_dp.epsilon_of_mu(mu, 1e-5)
    with pytest.raises(UsageError, match="delta"):
        f_dp.epsilon_of_mu(1.0, 0.0)
    for epsilons, deltas in (([], []), ([1.0], [0.1, 0.2])):
        with pytest.raises(UsageError, match="as many"):
            f_dp.from_profile(epsilons, deltas)
    for epsilons, deltas in (([-1.0], [0.1]), ([1.0], [1.1]), ([math.inf], [0.0]), ([1.0], [math.nan])):
        with pytest.raises(UsageError, match="epsilons are"):
            f_dp.from_profile(epsilons, deltas)


def test_a_claim_is_tested_with_all_tries_counted() -> None:
    included = np.arange(200) % 2 == 0
    values = np.where(included, 1.0, -1.0)
    found = f_dp.audit_claim(values, included, f_dp.gaussian(3.0), grid=[(100, 100), (10, 10)])
    assert found.p_value == pytest.approx(2 * f_dp.p_value(200, 200, 200, f_dp.gaussian(3.0)))
    assert f_dp.audit_claim(values, included, f_dp.gaussian(50.0)).p_value == 1.0
    assert f_dp.p_value(200, 200, 200, f_dp.gaussian(0.0)) == 1e-12


# Independent guesses


@pytest.mark.parametrize(("guesses", "correct"), [(1, 1), (50, 0), (50, 31), (2000, 1500)])
def test_independent_right_guesses_are_binomial(guesses: int, correct: int) -> None:
    expected = binom.sf(correct - 1, guesses, 0.7)
    assert independent.p_value(guesses, correct, 0.4) == pytest.approx(expected, rel=1e-9)


def test_the_threshold_is_found_on_one_half_and_counted_on_the_other() -> None:
    included = np.array([True, True, False, False, True, False, False, True])
    found = independent.audit(np.array([5.0, 9.0, 1.0, 2.9, 7.0, 3.1, 0.0, 3.2]), included, 1e-5)
    assert found.threshold == 3.0
    assert (found.guesses, found.correct) == (4, 3)


def test_scores_of_the_counted_half_move_no_threshold() -> None:
    draw = np.random.default_rng(0)
    included, values = draw.random(400) < 0.5, draw.normal(size=400)
    other = values.copy()
    other[1::2] = draw.normal(size=200)
    assert independent.audit(values, included, 1e-5).threshold == independent.audit(other, included, 1e-5).threshold


@pytest.mark.parametrize(("included", "threshold"), [(True, -math.inf), (False, 2.0)])
def test_all_may_be_guessed_alike(included: bool, threshold: float) -> None:
    found = independent.audit(np.array([1.0, 5.0, 2.0, -5.0]), np.full(4, included), 1e-5)
    assert found.threshold == threshold


def test_equal_scores_are_on_one_side_of_a_threshold() -> None:
    included = np.array([False, True, True, False] * 2)
    found = independent.audit(np.ones(8), included, 1e-5)
    assert found.threshold in {-math.inf, 1.0}
    assert found.accuracy == 0.5
    assert (found.mu, found.epsilon) == (0.0, 0.0)


def test_accuracy_is_bounded_as_by_clopper_and_pearson() -> None:
    included = np.arange(400) // 2 % 2 == 0
    values = np.where(included, 1.0, -1.0)
    values[1:81:2] *= -1
    found = independent.audit(values, included, 1e-5)
    assert (found.guesses, found.correct) == (200, 160)
    assert binom.sf(159, 200, found.accuracy) == pytest.approx(0.05)
    assert found.mu == pytest.approx(2 * norm.ppf(found.accuracy))
    assert found.epsilon == f_dp.epsilon_of_mu(found.mu, 1e-5)
    assert independent.p_value(200, 160, 2 * found.accuracy - 1) == pytest.approx(0.05)


def test_independent_guesses_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="delta at epsilon 0"):
        independent.p_value(10, 5, 1.1)
    with pytest.raises(UsageError, match="cannot be"):
        independent.p_value(10, 11, 0.1)
    with pytest.raises(UsageError, match="as many"):
        independent.audit(np.zeros(3), np.zeros(4, dtype=bool), 1e-5)
    with pytest.raises(UsageError, match="as many"):
        independent.audit(np.full(4, math.nan), np.zeros(4, dtype=bool), 1e-5)
    with pytest.raises(UsageError, match="at least two"):
        independent.audit(np.zeros(1), np.zeros(1, dtype=bool), 1e-5)


# Canaries


def test_canaries_come_back_with_their_seed() -> None:
    one, other = (Canaries(count=400, dimension=500, seed=seed, axes=False) for seed in (3, 4))
    assert np.array_equal(coins(one), coins(one))
    assert np.array_equal(directions(one), directions(one))
    assert not np.array_equal(coins(one), coins(other))
    assert not np.array_equal(directions(one), directions(other))
    assert 150 < coins(one).sum() < 250
    assert "seed" not in repr(one)


@pytest.mark.parametrize("axes", [True, False])
def test_directions_are_unit_vectors_that_leave_quiet_coordinates_alone(axes: bool) -> None:
    canaries = Canaries(count=20, dimension=60, seed=1, quiet=10, axes=axes)
    vectors = contributions(np.eye(20), canaries)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0)
    assert np.abs(vectors[:, unused_directions(canaries)]).max() == 0.0
    assert unused_directions(canaries).tolist() == list(range(50, 60))
    assert np.diag(project(vectors, directions(canaries))) == pytest.approx(1.0)


def test_scores_are_inner_products_summed_over_rounds() -> None:
    sums = np.array([[1.0, 2.0, 0.0], [3.0, 5.0, 1.0]])
    assert scores(sums, np.array([0, 2])).tolist() == [4.0, 1.0]
    assert scores(sums, np.array([[0.6, 0.8, 0.0]])).tolist() == pytest.approx([2.2 + 5.8])
    assert scores(sums, np.array([0, 1]), np.array([1.0, 10.0])).tolist() == [31.0, 52.0]
    assert variation_scores(sums, np.array([0, 1])).tolist() == [1.0, 2.25]


@pytest.mark.parametrize("q", [0.2, 1.0])
def test_the_likelihood_score_is_that_of_two_mixtures(q: float) -> None:
    claimed = Mechanism(rounds=2, sampling_probability=q, noise_multiplier=0.8, l2_clip_norm=3.0)
    sums = np.array([[1.0, -2.0], [3.0, 5.0]])
    into = q * norm.pdf(sums, 3.0, 2.4) + (1 - q) * norm.pdf(sums, 0.0, 2.4)
    expected = np.log(into / norm.pdf(sums, 0.0, 2.4)).sum(axis=0)
    assert likelihood_scores(sums, np.array([0, 1]), claimed) == pytest.approx(expected)


def test_canaries_and_mechanisms_that_cannot_be_are_refused() -> None:
    for numbers in ({"count": 0}, {"dimension": 0}, {"quiet": -1}, {"quiet": 9}, {"seed": -1}):
        with pytest.raises(UsageError, match="at least one"):
            Canaries(**({"count": 2, "dimension": 9, "seed": 0} | numbers))
    with pytest.raises(UsageError, match="do not fit on 5 axes"):
        Canaries(count=6, dimension=9, seed=0, quiet=4)
    usual = {"rounds": 1, "sampling_probability": 0.5, "noise_multiplier": 1.0}
    for change, words in (
        ({"rounds": 0}, "rounds"),
        ({"sites": 0}, "sites"),
        ({"records": 0}, "records"),
        ({"sampling_probability": 0.0}, "sampling"),
        ({"sampling_probability": 1.1}, "sampling"),
        ({"noise_multiplier": -1.0}, "noise"),
        ({"l2_clip_norm": 0.0}, "clip"),
        ({"background": -1.0}, "background"),
    ):
        with pytest.raises(UsageError, match=words):
            Mechanism(**(usual | change))


def test_sums_that_do_not_fit_are_refused() -> None:
    sums = np.zeros((2, 3))
    for along in (np.array([3]), np.array([-1]), np.array([], dtype=int), np.array([0.5]), np.zeros((1, 4))):
        with pytest.raises(UsageError, match=r"coordinates are|do not fit"):
            project(sums, along)
    for wrong in (np.zeros(3), np.zeros((0, 3)), np.full((2, 3), math.nan)):
        with pytest.raises(UsageError, match="finite"):
            project(wrong, np.array([0]))
    with pytest.raises(UsageError, match="weights"):
        scores(sums, np.array([0]), np.ones(3))
    with pytest.raises(UsageError, match="without noise"):
        likelihood_scores(sums, np.array([0]), Mechanism(rounds=2, sampling_probability=0.1, noise_multiplier=0.0))
    with pytest.raises(UsageError, match="coins"):
        simulate(
            Canaries(count=3, dimension=3, seed=0),
            np.ones(2, dtype=bool),
            Mechanism(rounds=1, sampling_probability=1.0, noise_multiplier=0.0),
            0,
        )


# The reference mechanism


def _run(bug: Any = None, **changes: Any) -> tuple[np.ndarray, np.ndarray]:
    canaries = Canaries(count=300, dimension=400, seed=2, quiet=100)
    usual = {"rounds": 20, "sampling_probability": 0.25, "noise_multiplier": 0.0, "l2_clip_norm": 2.0, "bug": bug}
    included = coins(canaries)
    return simulate(canaries, included, Mechanism(**(usual | changes)), 5), included


@pytest.mark.parametrize(("bug", "size"), [(None, 2.0), ("no clipping", 20.0), ("clipping per record", 8.0)])
def test_a_canary_that_is_in_adds_its_size_in_sampled_rounds(bug: Any, size: float) -> None:
    sums, included = _run(bug, records=4)
    assert set(np.unique(sums)) == {0.0, size}
    assert np.abs(sums[:, :300][:, ~included]).max() == 0.0
    assert (sums[:, :300][:, included] > 0).mean() == pytest.approx(0.25, abs=0.04)


def test_without_sampling_everyone_is_in_every_round() -> None:
    sums, included = _run("everyone in every round")
    assert (sums[:, :300] == np.where(included, 2.0, 0.0)).all()


@pytest.mark.parametrize(
    ("bug", "sites", "variance"),
    [(None, 3, 9.0), ("share missing", 3, 6.0), ("share missing", 1, 0.0), ("no noise", 3, 0.0)],
)
def test_sites_share_the_noise(bug: Any, sites: int, variance: float) -> None:
    sums, _ = _run(bug, noise_multiplier=1.5, sites=sites)
    assert sums[:, 300:].var() == pytest.approx(variance, rel=0.15)


def test_reused_noise_is_that_of_the_first_round() -> None:
    sums, _ = _run("noise reused", noise_multiplier=1.5)
    assert (sums[:, 300:] == sums[0, 300:]).all()
    assert sums[0, 300:].std() > 2.0


def test_background_leaves_quiet_coordinates_alone() -> None:
    sums, included = _run(background=0.5)
    assert np.abs(sums[:, 300:]).max() == 0.0
    assert sums[:, :300][:, ~included].std() == pytest.approx(0.5, rel=0.1)


# Noise


def test_noise_is_estimated_and_bounded() -> None:
    noise = np.random.default_rng(0).normal(0.0, 2.0, (40, 100))
    found = noise_check(noise, np.arange(50), 2.0)
    assert found.findings == ()
    assert found.sigma == pytest.approx(2.0, rel=0.05)
    assert found.sigma < found.sigma_upper < 1.1 * found.sigma
    turned, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(100, 30)))
    assert noise_check(noise, turned.T, 2.0).findings == ()


def test_each_thing_wrong_with_noise_has_its_words() -> None:
    draw = np.random.default_rng(0)
    honest = draw.normal(size=(20, 100))
    everywhere = np.arange(100)

    def found(noise: np.ndarray) -> tuple[str, ...]:
        return noise_check(noise, everywhere, 1.0, 0.999).findings

    assert found(honest) == ()
    assert found(0.9 * honest)[0] == "less noise than claimed"
    once = honest.copy()
    once[7] *= 0.5
    assert "less noise than claimed in a round" in found(once)
    again = honest.copy()
    again[15] = again[3]
    assert found(again) == ("noise of one round is used in another",)
    shared = honest.copy()
    shared[:, 50] = -shared[:, 2]
    assert found(shared) == ("noise of one direction is used in another",)
    off = noise_check(np.zeros((20, 100)), everywhere, 1.0)
    assert off.p_value == 0.0
    assert off.findings == ("less noise than claimed", "less noise than claimed in a round")
    assert off.sigma_upper == 0.0


def test_one_round_has_nothing_to_be_compared_with() -> None:
    found = noise_check(np.random.default_rng(0).normal(size=(1, 50)), np.arange(50), 1.0)
    assert found.repeated_rounds == 1.0
    assert found.repeated_directions == 1.0
    assert found.findings == ()


def test_noise_is_checked_in_orthonormal_directions_alone() -> None:
    sums = np.ones((3, 4))
    for wrong in (np.array([1, 1]), np.array([[2.0, 0.0, 0.0, 0.0]]), np.array([[1.0, 0, 0, 0], [0.8, 0.6, 0, 0]])):
        with pytest.raises(UsageError, match="orthonormal"):
            noise_check(sums, wrong, 1.0)
    for sigma in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(UsageError, match="standard deviation"):
            noise_check(sums, np.array([0]), sigma)
    with pytest.raises(UsageError, match="confidence"):
        noise_check(sums, np.array([0]), 1.0, 1.0)
