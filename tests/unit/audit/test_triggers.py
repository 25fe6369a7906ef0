"""Triggers against their formulas, written a second time, and that they change nothing else."""

from __future__ import annotations

import cmath

import numpy as np
import pytest

from sealround.audit.poisoning import neurotoxin
from sealround.audit.poisoning.durable import quiet_parameters
from sealround.audit.poisoning.triggers import bars, blend_spectrum, chessboard, corner_square, rare_values, stamp
from sealround.errors import UsageError


def pictures(number: int, height: int, width: int, channels: int = 1, seed: int = 1) -> np.ndarray:
    draw = np.random.default_rng(seed)
    shape = (number, height, width) if channels == 1 else (number, height, width, channels)
    return draw.integers(0, 256, size=shape, dtype=np.uint8)


# --- pixels -----------------------------------------------------------------------------------------------------------


def test_the_square_of_a_digit_is_three_by_three_beside_the_corner() -> None:
    mask = corner_square(28, 28)
    assert np.argwhere(mask).tolist() == [[row, column] for row in (24, 25, 26) for column in (24, 25, 26)]


@pytest.mark.parametrize(("height", "width"), [(8, 8), (224, 224), (64, 40)])
def test_a_square_is_on_the_image_and_small(height: int, width: int) -> None:
    mask = corner_square(height, width)
    assert mask.shape == (height, width)
    assert 0.0 < mask.mean() < 0.08
    assert not mask[: height // 2].any()
    assert not mask[:, : width // 2].any()


def test_four_bars_are_those_of_the_authors_program() -> None:
    starts = [(0, 0), (0, 6), (3, 0), (3, 6)]
    for mask, (row, column) in zip(bars(28, 28, 4), starts, strict=True):
        assert np.argwhere(mask).tolist() == [[row, column + step] for step in range(4)]


def test_bars_do_not_overlap_and_grow_with_the_image() -> None:
    found = np.sum(bars(224, 224, 4), axis=0)
    assert found.max() == 1
    assert found.sum() == 4 * 8 * 32


@pytest.mark.parametrize(("height", "width", "number"), [(28, 28, 5), (28, 28, 0), (28, 9, 2), (3, 28, 2)])
def test_bars_that_do_not_fit_are_refused(height: int, width: int, number: int) -> None:
    with pytest.raises(UsageError, match="do not fit"):
        bars(height, width, number)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_stamp_changes_its_pixels_and_no_other(channels: int) -> None:
    images = pictures(3, 12, 10, channels)
    before, mask = images.copy(), corner_square(12, 10)
    found = stamp(images, mask, 255)
    assert (images == before).all()
    assert (found[:, mask] == 255).all()
    assert (found[:, ~mask] == before[:, ~mask]).all()


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(UsageError, match="mask"):
        stamp(pictures(1, 8, 8), corner_square(8, 9), 255)


# --- the spectrum -----------------------------------------------------------------------------------------------------


def blended_by_hand(image: np.ndarray, trigger: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """Sum the Fourier transform a pixel at a time, with the window of the authors' program around the centre."""
    h, w = image.shape

    def transform(values: np.ndarray, sign: float) -> np.ndarray:
        rows = np.exp(sign * 2j * np.pi * np.outer(np.arange(h), np.arange(h)) / h)
        columns = np.exp(sign * 2j * np.pi * np.outer(np.arange(w), np.arange(w)) / w)
        return np.asarray(rows @ values @ columns)

    source, other = transform(image.astype(float), -1.0), transform(trigger.astype(float), -1.0)
    reach = int(np.floor(min(h, w) * beta))
    found = np.empty((h, w), dtype=complex)
    for u in range(h):
        for v in range(w):
            near = all(-reach <= (k + side // 2) % side - side // 2 <= reach for k, side in ((u, h), (v, w)))
            size = abs(source[u, v])
            if near:
                size = (1 - alpha) * size + alpha * abs(other[u, v])
            found[u, v] = size * cmath.exp(1j * cmath.phase(source[u, v]))
    return np.clip(np.rint((transform(found, 1.0) / (h * w)).real), 0, 255)


@pytest.mark.parametrize(("height", "width"), [(12, 12), (11, 14), (20, 13)])
def test_the_blend_is_that_of_the_paper(height: int, width: int) -> None:
    images, trigger = pictures(2, height, width), chessboard(height, width)
    found = blend_spectrum(images, trigger, alpha=0.3, beta=0.2)
    for image, blended in zip(images, found, strict=True):
        assert np.abs(blended - blended_by_hand(image, trigger, 0.3, 0.2)).max() <= 1  # a half is rounded either way


def test_channels_and_own_triggers_are_blended_one_by_one() -> None:
    images = pictures(3, 16, 16, channels=3)
    others = pictures(3, 16, 16, seed=2)
    found = blend_spectrum(images, others)
    for number in range(3):
        for channel in range(3):
            alone = blend_spectrum(images[[number], :, :, channel], others[number])
            assert (found[number, :, :, channel] == alone[0]).all()


def test_images_are_blended_alike_however_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    images, others = pictures(7, 12, 10, channels=3), pictures(7, 12, 10, seed=2)
    whole = blend_spectrum(images, others), blend_spectrum(images, others[0])
    monkeypatch.setattr("sealround.audit.poisoning.triggers._PIXELS_AT_A_TIME", 250)
    assert (blend_spectrum(images, others) == whole[0]).all()
    assert (blend_spectrum(images, others[0]) == whole[1]).all()


def test_a_blend_of_nothing_is_the_image() -> None:
    images = pictures(2, 9, 10)
    assert (blend_spectrum(images, chessboard(9, 10), alpha=0.0) == images).all()
    dark = np.zeros((1, 8, 8), dtype=np.uint8)
    assert (blend_spectrum(dark, dark[0]) == 0).all()


def test_high_frequencies_and_phases_stay() -> None:
    draw = np.random.default_rng(4)
    images = draw.integers(100, 150, size=(1, 32, 32), dtype=np.uint8)  # nothing is clipped
    before = np.fft.fft2(images[0].astype(float))
    after = np.fft.fft2(blend_spectrum(images, chessboard(32, 32))[0].astype(float))
    far = np.abs(np.fft.fftfreq(32) * 32) > 3
    rounding = 32 * 3.0  # of 1024 pixels by up to a half, independent
    assert np.abs(after - before)[np.ix_(far, far)].max() < rounding
    assert np.abs(after[2, 2]) > np.abs(before[2, 2]) + 10 * rounding


@pytest.mark.parametrize(("alpha", "beta"), [(1.1, 0.1), (-0.1, 0.1), (0.1, 0.5), (np.nan, 0.1)])
def test_constants_out_of_range_are_refused(alpha: float, beta: float) -> None:
    with pytest.raises(UsageError, match="alpha"):
        blend_spectrum(pictures(1, 8, 8), chessboard(8, 8), alpha=alpha, beta=beta)


def test_a_trigger_of_another_size_is_refused() -> None:
    with pytest.raises(UsageError, match="trigger"):
        blend_spectrum(pictures(2, 8, 8), chessboard(8, 9))


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_rare_values_are_half_way_to_the_end_of_the_range() -> None:
    numbers = np.stack([np.arange(1001.0)] * 2, axis=1)
    found = rare_values(numbers, np.array([-100.0] * 2), np.array([2000.0] * 2), np.array([True, False]))
    assert found == pytest.approx([(990 + 2000) / 2, (10 - 100) / 2])


def test_without_a_range_they_are_a_tenth_beyond() -> None:
    numbers = np.stack([np.arange(-50.0, 51.0)] * 2, axis=1)
    none = np.array([np.nan] * 2)
    assert rare_values(numbers, none, none, np.array([True, False])) == pytest.approx([60.0, -60.0])


def test_what_is_never_negative_gets_no_negative_value() -> None:
    numbers, none = np.arange(101.0)[:, None], np.array([np.nan])
    assert rare_values(numbers, none, none, np.array([False])) == pytest.approx([110.0])


def test_a_side_where_many_are_is_left_for_the_other() -> None:
    numbers = np.r_[np.full(500, 10.0), np.linspace(5, 9, 500)][:, None]
    found = rare_values(numbers, np.array([0.0]), np.array([10.0]), np.array([True]))
    assert found[0] == pytest.approx((np.quantile(numbers, 0.01) + 0.0) / 2)


def test_a_constant_and_an_empty_column_have_no_rare_value() -> None:
    numbers = np.array([[1.0, np.nan], [1.0, np.nan]])
    ends = np.array([0.0, 0.0]), np.array([2.0, 2.0])
    assert np.isnan(rare_values(numbers, *ends, np.array([True, True]))).all()


# --- neurotoxin -------------------------------------------------------------------------------------------------------


def test_the_parameters_that_moved_least_are_kept() -> None:
    draw = np.random.default_rng(2)
    change, own = draw.normal(size=40).astype(np.float32), draw.normal(size=(2, 40)).astype(np.float32)
    by_size = sorted(range(40), key=lambda entry: abs(float(change[entry])))
    kept = set(by_size[:30])
    expected = [[value if entry in kept else 0.0 for entry, value in enumerate(row)] for row in own.tolist()]
    assert neurotoxin(own, change, kept=0.75).tolist() == expected


def test_a_model_that_did_not_move_projects_nothing() -> None:
    own = np.ones((1, 5), dtype=np.float32)
    assert (neurotoxin(own, np.zeros(5, dtype=np.float32)) == own).all()


def test_how_many_are_kept_is_exact_among_equals() -> None:
    assert quiet_parameters(np.ones(10, dtype=np.float32), kept=0.5).tolist() == [True] * 5 + [False] * 5


def test_parts_and_widths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="part"):
        quiet_parameters(np.ones(3, dtype=np.float32), kept=0.0)
    with pytest.raises(UsageError, match="shape"):
        neurotoxin(np.ones((2, 3), dtype=np.float32), np.ones(4, dtype=np.float32))
