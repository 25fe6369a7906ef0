"""What is drawn is discrete Gaussian: one chi-squared test a width, at a false-alarm rate of 1e-6, seeded.

The last tests state the power: a width that is two percent off, noise of another shape, or a lattice that is not filled
is found.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sealround.crypto import Secret
from sealround.crypto.discrete_gaussian import DiscreteGaussian

FALSE_ALARM = 1e-6
DRAWS = 400_000
WIDTHS = (8.0, 31.7, 128.0, 300.0, 3000.0, 16384.0)


def p_value(drawn: np.ndarray, sigma: float) -> float:
    """Compare with N_Z(sigma) on some 200 cells of about equal probability."""
    largest = math.ceil(8 * sigma)
    z = np.arange(-largest, largest + 1)
    p = np.exp(-(z * z) / (2 * sigma * sigma))
    cells = np.minimum((np.cumsum(p) / p.sum() * 200).astype(int), 199)
    expected = np.bincount(cells, weights=p / p.sum(), minlength=200)
    counts = np.bincount(cells[np.clip(drawn, -largest, largest) + largest], minlength=200)
    kept = expected > 0
    return float(stats.chisquare(counts[kept], expected[kept] / expected[kept].sum() * drawn.size).pvalue)


@pytest.mark.parametrize("sigma", WIDTHS)
def test_values_have_their_probabilities(sigma: float) -> None:
    drawn = DiscreteGaussian(sigma).draw(DRAWS, Secret(b"1" * 32))
    assert p_value(drawn, sigma) > FALSE_ALARM


@pytest.mark.parametrize("sigma", [300.0, 16384.0])
def test_no_residue_is_preferred(sigma: float) -> None:
    drawn = DiscreteGaussian(sigma)
    values = drawn.draw(DRAWS, Secret(b"2" * 32))
    for modulus in {factor for factor, _ in drawn.widths[1:]} | {2, 3}:
        counts = np.bincount(values % modulus, minlength=modulus)
        assert stats.chisquare(counts).pvalue > FALSE_ALARM


@pytest.mark.parametrize("sigma", [8.0, 3000.0])
def test_neighbours_are_independent(sigma: float) -> None:
    values = DiscreteGaussian(sigma).draw(DRAWS, Secret(b"3" * 32)) / sigma
    for lag in (1, 2, 32768):
        z = float(np.mean(values[lag:] * values[:-lag])) * math.sqrt(DRAWS - lag)
        assert abs(z) < stats.norm.isf(FALSE_ALARM / 2)


def test_a_width_two_percent_off_is_found() -> None:
    assert p_value(DiscreteGaussian(3060.0).draw(DRAWS, Secret(b"4" * 32)), 3000.0) < FALSE_ALARM


def test_a_lattice_that_is_not_filled_is_found() -> None:
    coarse = 24 * DiscreteGaussian(124.9).draw(DRAWS, Secret(b"5" * 32))
    assert stats.chisquare(np.bincount(coarse % 24, minlength=24)).pvalue < FALSE_ALARM


def test_laplace_noise_of_the_same_variance_is_found() -> None:
    noise = np.random.default_rng(1).laplace(0.0, 300.0 / math.sqrt(2), DRAWS)
    assert p_value(np.rint(noise).astype(int), 300.0) < FALSE_ALARM
