"""Clipping, rounding and decoding: the bound it promises, and which number it says to change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sealround.crypto import Secret
from sealround.errors import UsageError
from sealround.secagg.fixed_point import _BLOCK, FixedPoint, clip

SEED = Secret(b"r" * 32)
PLAN = FixedPoint(scale_bits=20, l2_clip_norm=1e6, linf_clip=4.0, parties=10)


def seeds(number: int) -> list[Secret]:
    return [Secret(index.to_bytes(32, "big")) for index in range(number)]


def updates(number: int, size: int) -> list[np.ndarray]:
    return list(np.random.default_rng(5).normal(size=(number, size)).astype(np.float32))


@pytest.mark.parametrize("size", [0, 1, _BLOCK - 1, _BLOCK, 2 * _BLOCK + 3])
def test_a_decoded_update_is_within_a_unit(size: int) -> None:
    update = updates(1, size)[0]
    decoded, weight = PLAN.decode(PLAN.quantize(update, weight=0.25, seed=SEED))
    assert weight == 0.25
    assert np.all(np.abs(decoded - 0.25 * clip(update, l2_clip_norm=1e6, linf_clip=4.0)) < 2**-20)


def test_the_sum_in_the_ring_is_the_exact_sum_of_the_integers() -> None:
    vectors = [PLAN.quantize(u, weight=1.0, seed=s) for u, s in zip(updates(10, 1000), seeds(10), strict=True)]
    ring = np.zeros(1001, dtype="<u4")
    for vector in vectors:
        ring += vector
    exact = sum(vector.view("<i4").astype(np.int64) for vector in vectors)
    assert np.array_equal(ring.view("<i4").astype(np.int64), exact)
    decoded, weight = PLAN.decode(ring)
    assert np.array_equal(decoded, exact[:-1] / 2**20)
    assert weight == 10.0


@given(st.integers(1, 10), st.floats(0.01, 1.0), st.floats(0.1, 50.0))
def test_the_error_of_a_sum_is_below_its_bound(parties: int, weight: float, l2_clip_norm: float) -> None:
    plan = FixedPoint(scale_bits=16, l2_clip_norm=l2_clip_norm, linf_clip=1.5, parties=parties)
    found = updates(parties, 50)
    total = np.zeros(51, dtype="<u4")
    for update, seed in zip(found, seeds(parties), strict=True):
        total += plan.quantize(update, weight=weight, seed=seed)
    expected = sum(weight * clip(update, l2_clip_norm=l2_clip_norm, linf_clip=1.5) for update in found)
    decoded, weights = plan.decode(total)
    assert np.abs(decoded - expected).max() < plan.error_bound
    assert abs(weights - parties * weight) < plan.error_bound


def test_clipping_is_l2_first_then_by_coordinate() -> None:
    clipped = clip(np.array([3.0, 4.0, 0.0], dtype=np.float32), l2_clip_norm=2.5, linf_clip=1.75)
    assert clipped.tolist() == [1.5, 1.75, 0.0]
    assert clip(np.zeros(3, dtype=np.float32), l2_clip_norm=1.0, linf_clip=1.0).tolist() == [0.0] * 3
    large = np.full(2, 3e38, dtype=np.float32)
    assert np.allclose(clip(large, l2_clip_norm=1.0, linf_clip=1.0), 2**-0.5)


def test_what_fits_is_left_alone() -> None:
    update = np.array([0.5, -0.25, 1.0], dtype=np.float32)
    decoded, _ = PLAN.decode(PLAN.quantize(update, weight=1.0, seed=SEED))
    assert decoded.tolist() == update.tolist()


def test_rounding_is_unbiased() -> None:
    """Each of 7 fractions, 40 000 times: a two-sided binomial test each; false-alarm rate 1e-6 for all."""
    plan = FixedPoint(scale_bits=1, l2_clip_norm=1e9, linf_clip=100.0, parties=1)
    for number, fraction in enumerate([0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999]):
        for sign in (1, -1):
            update = np.full(40_000, sign * (3 + fraction) / 2, dtype=np.float32)
            seed = Secret(bytes([number, sign + 1]) * 16)
            units = plan.quantize(update, weight=1.0, seed=seed)[:-1].view("<i4")
            away = int(np.count_nonzero(units == sign * 4))
            assert away + int(np.count_nonzero(units == sign * 3)) == 40_000
            assert stats.binomtest(away, 40_000, fraction).pvalue > 1e-6 / 14


def test_rounding_is_decided_by_the_seed() -> None:
    update = updates(1, 1000)[0]
    first, again, other = (
        PLAN.quantize(update, weight=0.3, seed=s).tobytes() for s in (SEED, Secret(b"r" * 32), seeds(1)[0])
    )
    assert first == again != other


def test_the_update_is_not_written_to() -> None:
    update = updates(1, 100)[0]
    before = update.copy()
    update.flags.writeable = False
    PLAN.quantize(update, weight=0.3, seed=SEED)
    assert np.array_equal(update, before)


@pytest.mark.parametrize(
    ("plan", "hint"),
    [
        ((28, 1.0, 3.0, 120), "lower scale_bits to 22"),
        ((24, 1.0, 0.1, 200), "lower scale_bits to 23"),
        ((20, 1.0, 1000.0, 10), "lower scale_bits to 17, or linf_clip below 204.8"),
        ((20, 1.0, 1e12, 10), "lower linf_clip"),
    ],
)
def test_an_overflow_says_which_number_to_change(plan: tuple[int, float, float, int], hint: str) -> None:
    with pytest.raises(UsageError, match="does not fit 32 bits") as caught:
        FixedPoint(*plan)
    assert hint in caught.value.hint


@given(st.integers(1, 30), st.floats(0.01, 1e6), st.integers(1, 500))
def test_what_is_accepted_cannot_overflow(scale_bits: int, linf_clip: float, parties: int) -> None:
    try:
        FixedPoint(scale_bits, 1.0, linf_clip, parties)
    except UsageError:
        return
    assert parties * (max(linf_clip, 1.0) * 2**scale_bits + 1) < 2**31


def test_the_extreme_sum_decodes() -> None:
    plan = FixedPoint(scale_bits=27, l2_clip_norm=1e9, linf_clip=1.0, parties=15)
    total = np.zeros(3, dtype="<u4")
    for seed in seeds(15):
        total += plan.quantize(np.array([9.0, -9.0], dtype=np.float32), weight=1.0, seed=seed)
    decoded, weight = plan.decode(total)
    assert decoded.tolist() == [15.0, -15.0]
    assert weight == 15.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused(bad: float) -> None:
    update = np.zeros(3 * _BLOCK, dtype=np.float32)
    update[2 * _BLOCK + 1] = bad
    with pytest.raises(UsageError, match="NaN or infinity"):
        PLAN.quantize(update, weight=1.0, seed=SEED)


@pytest.mark.parametrize("weight", [0.0, -1.0, 1.01, float("nan")])
def test_weights_out_of_range_are_refused(weight: float) -> None:
    with pytest.raises(UsageError, match="a weight is"):
        PLAN.quantize(np.zeros(1, dtype=np.float32), weight=weight, seed=SEED)


def test_other_arrays_are_refused() -> None:
    with pytest.raises(UsageError, match="float32"):
        PLAN.quantize(np.zeros(3), weight=1.0, seed=SEED)
    with pytest.raises(UsageError, match="float32"):
        clip(np.zeros((3, 1), dtype=np.float32), l2_clip_norm=1.0, linf_clip=1.0)
    for total in (np.zeros(3, dtype="<i4"), np.zeros(0, dtype="<u4"), np.zeros((2, 2), dtype="<u4")):
        with pytest.raises(UsageError, match="a sum is"):
            PLAN.decode(total)


@pytest.mark.parametrize("word", [2**31, 2**31 - 1, 2**30, 2**32 - 2**30])
def test_a_sum_beyond_what_the_parties_can_reach_is_refused(word: int) -> None:
    with pytest.raises(UsageError, match="beyond what"):
        PLAN.decode(np.array([word, 0], dtype="<u4"))


@pytest.mark.parametrize(
    "plan", [(0, 1.0, 1.0, 1), (31, 1.0, 1.0, 1), (8, 0.0, 1.0, 1), (8, 1.0, float("inf"), 1), (8, 1.0, 1.0, 0)]
)
def test_plans_out_of_range_are_refused(plan: tuple[int, float, float, int]) -> None:
    with pytest.raises(UsageError):
        FixedPoint(*plan)
