"""What the adaptive rule promises of any updates: its proved error, a bound on lies, and no favourites."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from sealround.aggregation import ORIGIN, Gram, Settings, aggregate, gram, nearest_neighbor_mixing
from sealround.aggregation.adaptive import adaptive_clipping


@dataclass(frozen=True)
class Round:
    """Honest memories of sites with directions and sizes of their own, and f lies."""

    f: int
    honest: np.ndarray = field(repr=False)
    lies: np.ndarray = field(repr=False)
    seed: int = 0

    @property
    def all(self) -> np.ndarray:
        return np.vstack([self.lies, self.honest])

    @property
    def mixing(self) -> np.ndarray:
        products = gram(self.all, origin=True).about(ORIGIN)[: len(self.all), : len(self.all)]
        factors = adaptive_clipping(np.sqrt(np.diagonal(products)), num_byzantine=self.f)
        return nearest_neighbor_mixing(Gram(products * np.outer(factors, factors), len(self.all)), num_byzantine=self.f)

    def result(self, updates: np.ndarray | None = None) -> np.ndarray:
        return aggregate(
            Settings(rule="adaptive", num_byzantine=self.f), self.all if updates is None else updates
        ).update


@st.composite
def rounds(draw: st.DrawFn, least_d: int = 1, *, distinct: bool = False) -> Round:
    f = draw(st.integers(1, 4))
    n = draw(st.integers(2 * f + 1, 24))
    seed = draw(st.integers(0, 2**32 - 1))
    d = draw(st.sampled_from([1, 2, 40, 300]).filter(lambda d: d >= least_d))
    random = np.random.default_rng(seed)
    sizes = np.exp(draw(st.sampled_from([0.0, 1.0, 2.0])) * random.normal(size=(n - f, 1)))
    honest = (sizes * (random.normal(size=(n - f, d)) + draw(st.sampled_from([0.0, 1.0])))).astype(np.float32)
    mean, deviation = honest.mean(axis=0), honest.std(axis=0)
    kinds = ["huge", "apart", "backwards", "a little", "nothing", "copies"]
    if distinct:  # no two sites send the same
        kinds = ["apart"] if f > 1 else kinds[:4]
    lies = {
        "huge": np.full((f, d), 1e6),
        "apart": random.normal(size=(f, d)) * 10.0 ** random.integers(-2, 7, size=(f, 1)),
        "backwards": np.tile(-3 * mean, (f, 1)),
        "a little": np.tile(mean + 1.5 * deviation, (f, 1)),
        "nothing": np.zeros((f, d)),
        "copies": np.tile(honest[0], (f, 1)),
    }[draw(st.sampled_from(kinds))]
    return Round(f, honest, lies.astype(np.float32), seed)


@given(rounds())
def test_the_error_is_within_the_factors_of_its_steps(case: Round) -> None:
    """Median (Allouah et al. 2023, Table 1), after mixing (their Lemma 1), after clipping (Allouah et al. 2025)."""
    n, f = len(case.all), case.f
    kappa = 4 * (1 + f / (n - 2 * f)) ** 2
    kappa = 8 * f / (n - f) * (kappa + 1)
    kappa += 2 * f / (n - 2 * f)
    honest = case.honest.astype(np.float64)
    variance = ((honest - honest.mean(axis=0)) ** 2).sum(axis=1).mean()
    error = ((case.result() - honest.mean(axis=0)) ** 2).sum()
    assert error <= kappa * variance * 1.001 + 1e-6


@given(rounds())
def test_the_result_is_no_longer_than_the_longest_honest_memory(case: Round) -> None:
    assert np.linalg.norm(case.result()) <= np.linalg.norm(case.honest, axis=1).max() * 1.0001


@given(rounds(least_d=40, distinct=True), st.integers(0, 2**32 - 1))
def test_the_order_of_sites_does_not_matter(case: Round, seed: int) -> None:
    # Of neighbours that are as near, the earlier counts: copies, and, seen from zero, all that are made equally long.
    assume(len(np.unique(case.all, axis=0)) == len(case.all) and case.lies.any())
    assume(len(np.unique(case.mixing, axis=0)) > 2)
    order = np.random.default_rng(seed).permutation(len(case.all))
    scale = np.linalg.norm(case.honest, axis=1).max()
    np.testing.assert_allclose(case.result(case.all[order]), case.result(), atol=1e-3 * scale)


@given(rounds(least_d=40), st.sampled_from([-1024.0, 0.125, 8.0]))
def test_units_do_not_matter(case: Round, factor: float) -> None:
    scale = np.linalg.norm(case.honest, axis=1).max()
    found = case.result(np.float32(factor) * case.all) / np.float32(factor)
    np.testing.assert_allclose(found, case.result(), atol=1e-3 * scale)


@given(rounds())
def test_where_all_honest_agree_nothing_moves_them(case: Round) -> None:
    updates = case.all
    updates[case.f :] = case.honest[0]
    scale = np.linalg.norm(case.honest[0])
    np.testing.assert_allclose(case.result(updates), case.honest[0], atol=1e-3 * scale + 1e-9)
