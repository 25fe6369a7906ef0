"""The discrete Gaussian: its tables, its sums, and what it is refused for."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from sealround.crypto import Secret
from sealround.crypto.discrete_gaussian import NARROWEST, SMOOTH, WIDEST, DiscreteGaussian, _cumulated, _Table
from sealround.errors import UsageError

KEY = Secret(b"k" * 32)


@pytest.mark.parametrize("sigma", [8.0, 11.3, 128.0])
def test_cumulated_probabilities_are_those_of_the_definition(sigma: float) -> None:
    largest = math.ceil(13.5 * sigma)
    steps = _cumulated(sigma, largest)
    assert len(steps) == 2 * largest
    weights = [math.exp(-(z * z) / (2 * sigma * sigma)) for z in range(-largest, largest + 1)]
    total = math.fsum(weights)
    # Binary64 sums are good to 1e-15 of the total; the integers are good to 2^-128.
    running = np.cumsum([Fraction(weight) for weight in weights])
    for step, expected in zip(steps, running, strict=False):
        assert step / 2**128 == pytest.approx(float(expected) / total, abs=1e-14)
    middle = steps[largest - 1], steps[largest]
    assert sum(middle) in range(2**128 - 2, 2**128 + 1), "the table is symmetric to its last bit but one"


def test_the_tail_that_is_cut_off_is_small() -> None:
    sigma = 8.0
    _, largest = _cumulated(sigma, math.ceil(13.5 * sigma)), math.ceil(13.5 * sigma)
    beyond = 2 * math.erfc((largest + 0.5) / sigma / math.sqrt(2))
    assert 0 < beyond < 2.0**-130 * 4


@pytest.mark.parametrize(
    "sigma", [8.0, 9.5, 127.9, 128.0, 128.1, 130.0, 1000.0, 3712.5, 3800.0, 16384.0, 2.0**20, 2.0**24]
)
def test_the_terms_make_up_the_width_and_are_smooth(sigma: float) -> None:
    drawn = DiscreteGaussian(sigma)
    assert math.sqrt(sum((factor * width) ** 2 for factor, width in drawn.widths)) == pytest.approx(sigma, rel=1e-12)
    assert all(NARROWEST <= width <= WIDEST for _, width in drawn.widths)
    # From the last term on: what is there so far, and the term that it is added to.
    factors = [factor for factor, _ in drawn.widths]
    for number in range(len(factors) - 1):
        _, s0 = drawn.widths[number]
        k = factors[number + 1] // factors[number]
        assert k * factors[number] == factors[number + 1]
        s1 = math.sqrt(sum((f / factors[number + 1] * w) ** 2 for f, w in drawn.widths[number + 1 :]))
        assert s0 * s1 / math.hypot(s0, k * s1) >= SMOOTH
    assert drawn.largest < 1.4 * 13.5 * sigma


def test_smooth_sums_are_what_they_should_be_to_double_precision() -> None:
    k, s0, s1 = 3, 13.2, 20.0
    sigma = math.hypot(s0, k * s1)
    z0, z1 = np.arange(-180, 181), np.arange(-280, 281)
    p0, p1 = (np.exp(-(z * z) / (2 * s * s)) for z, s in ((z0, s0), (z1, s1)))
    sums = np.zeros(2 * (180 + 3 * 280) + 1)
    for value, weight in zip(z1, p1 / p1.sum(), strict=True):
        start = 180 + 3 * 280 + k * int(value) - 180
        sums[start : start + z0.size] += weight * p0 / p0.sum()
    z = np.arange(-(180 + 3 * 280), 180 + 3 * 280 + 1)
    expected = np.exp(-(z * z) / (2 * sigma * sigma))
    near = np.abs(z) < 6 * sigma
    assert np.allclose(sums[near] / (expected / expected.sum())[near], 1.0, atol=1e-8)


@pytest.mark.parametrize("sigma", [8.0, 1000.0, 16384.0])
def test_a_key_gives_the_same_integers_and_another_others(sigma: float) -> None:
    drawn = DiscreteGaussian(sigma)
    first = drawn.draw(70_000, KEY)
    assert first.dtype == np.int32
    assert np.array_equal(first, drawn.draw(70_000, KEY))
    other = drawn.draw(70_000, Secret(b"o" * 32))
    assert abs(np.corrcoef(first, other)[0, 1]) < 6 / math.sqrt(70_000)
    assert np.abs(first).max() <= drawn.largest
    assert drawn.draw(0, KEY).size == 0


def test_beginnings_that_do_not_decide_are_decided_by_all_bits() -> None:
    table = _Table(8.0)
    largest = table.largest
    for index in (largest - 60, largest, largest + 60):
        step = table._steps[index]
        assert table._count(step) == index + 1
        assert table._count(step - 1) == index
    assert table._count(0) == sum(step == 0 for step in table._steps) < 10
    assert table._count(2**128 - 1) == 2 * largest


def test_a_tie_in_64_bits_is_broken_by_the_next_64() -> None:
    table = _Table(8.0)
    index = table.largest
    step = table._steps[index]
    beginning = np.array([step >> 112], dtype="<u2")

    class Scripted:
        def __init__(self, words: list[int]) -> None:
            self._words = words

        def fill(self, array: np.ndarray) -> None:
            array[:] = self._words.pop(0)

    # The stream's word loses its lowest 16 bits to the beginning.
    middle = (step >> 64) % 2**48 << 16
    low = step % 2**64
    for rest, expected in ((low, index + 1), (low - 1, index), (0, index), (2**64 - 1, index + 1)):
        drawn = table._decide(beginning, Scripted([middle, rest]))  # type: ignore[arg-type]
        assert drawn[0] == expected - table.largest


@pytest.mark.parametrize("sigma", [0.0, 7.99, 2.0**24 + 1, math.nan, math.inf, -9.0])
def test_widths_out_of_range_are_refused(sigma: float) -> None:
    with pytest.raises(UsageError, match="discrete Gaussian is drawn from 8"):
        DiscreteGaussian(sigma)
