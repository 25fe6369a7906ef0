"""The judge: assignment, image quality, cells of a table, intervals, and all of them together."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import bootstrap, norm

from sealround.audit.inversion.assignment import assign
from sealround.audit.inversion.image_quality import closeness, field_of_view, psnr, ssim, within
from sealround.audit.inversion.intervals import bca, clopper_pearson, summarise
from sealround.audit.inversion.observation import Domain, Reconstruction, Victims
from sealround.audit.inversion.scoring import judge, pooled
from sealround.audit.inversion.table_cells import cells_of, reported_tolerance
from sealround.errors import UsageError


def _normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _uniform(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# Assignment


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (4, 4), (5, 5), (3, 6), (6, 3)])
def test_assignment_is_the_best_of_all(rows: int, columns: int) -> None:
    draw = np.random.default_rng(7)
    for trial in range(20):
        cost = draw.normal(size=(rows, columns)) if trial % 2 else draw.integers(0, 3, (rows, columns)).astype(float)
        given = assign(cost)
        found = sum(cost[row, column] for row, column in enumerate(given) if column >= 0)
        square = cost if rows <= columns else cost.T
        ways = itertools.permutations(range(max(rows, columns)), min(rows, columns))
        assert found == pytest.approx(min(sum(square[i, j] for i, j in enumerate(way)) for way in ways))
        taken = given[given >= 0]
        assert len(taken) == len(set(taken.tolist())) == min(rows, columns)


def test_large_assignment_costs_what_another_program_finds() -> None:
    cost = np.random.default_rng(3).exponential(size=(256, 256))
    assert cost[np.arange(256), assign(cost)].sum() == pytest.approx(cost[linear_sum_assignment(cost)].sum())


def test_assignment_refuses_what_is_no_cost() -> None:
    with pytest.raises(UsageError, match="finite matrix"):
        assign(np.array([[math.nan]]))


# Image quality


def test_psnr_of_a_known_error() -> None:
    image = _uniform(3, 3, 20, 20)
    assert psnr(image + 0.1, image) == pytest.approx([20.0] * 3)
    # The mean of 60,000 squares is within 5 standard errors: false alarm 6e-7.
    noisy = psnr(torch.zeros(1, 3, 200, 100, dtype=torch.float64), 0.05 * _normal(1, 3, 200, 100))
    assert 10 ** (-noisy.item() / 10) == pytest.approx(0.05**2, rel=5 * math.sqrt(2 / 60_000))
    assert 300 < float(psnr(image, image)[0]) < 320


def test_ssim_of_one_window_is_the_formula() -> None:
    x, y = _uniform(1, 1, 11, 11, seed=1), _uniform(1, 1, 11, 11, seed=2)
    bell = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(bell, bell) / bell.sum() ** 2
    a, b = x[0, 0].numpy(), y[0, 0].numpy()
    mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
    var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
    both = (weights * (a - mean_a) * (b - mean_b)).sum()
    expected = (2 * mean_a * mean_b + 1e-4) * (2 * both + 9e-4)
    expected /= (mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4)
    assert ssim(x, y).item() == pytest.approx(expected, rel=1e-10)


def test_ssim_of_known_pairs() -> None:
    image = _uniform(2, 3, 32, 24)
    assert ssim(image, image) == pytest.approx([1.0, 1.0])
    flat = torch.full((1, 1, 16, 16), 0.3, dtype=torch.float64)
    assert ssim(flat, flat + 0.4).item() == pytest.approx((2 * 0.3 * 0.7 + 1e-4) / (0.3**2 + 0.7**2 + 1e-4))
    assert float(ssim(1.0 - image, image).max()) < 0.0  # a negative is unlike its positive
    assert ssim(image[:, :, :8, :5], image[:, :, :8, :5]) == pytest.approx([1.0, 1.0])  # smaller than a window


def test_pixels_count_if_every_channel_is_near() -> None:
    original = torch.full((1, 3, 2, 2), 0.5, dtype=torch.float64)
    rebuilt, everywhere = original.clone(), torch.ones(1, 2, 2, dtype=torch.bool)
    rebuilt[0, 1, 0, 0] += 9 / 255
    rebuilt[0, :, 1, 1] -= 8 / 255
    assert within(rebuilt, original, everywhere, 8.0).tolist() == [0.75]
    assert within(rebuilt, original, everywhere, 16.0).tolist() == [1.0]
    half = torch.tensor([[[True, False], [False, True]]])
    assert within(rebuilt, original, half, 8.0).tolist() == [0.5]
    assert closeness(rebuilt, original, half).item() == pytest.approx(1 - (9 / 3 + 8) / 255 / 2)


def test_field_of_view_is_the_disc_with_its_dark_patches() -> None:
    rows, columns = torch.meshgrid(torch.arange(40.0) - 19.5, torch.arange(40.0) - 19.5, indexing="ij")
    disc = rows**2 + columns**2 < 18**2
    image = 0.4 * disc.double().expand(2, 3, 40, 40).clone()
    image[0, :, 15:20, 15:20] = 0.0
    assert torch.equal(field_of_view(image), disc.expand(2, 40, 40))
    assert bool(field_of_view(image[:, :1]).all())  # grey: no disc
    assert bool(field_of_view(image + 0.1).all())  # corners that are not dark


@pytest.mark.data
def test_a_flat_disc_looks_right_by_mean_error_alone(clinical_data: Path) -> None:
    images = np.load(clinical_data / "fundus_dr_rahim" / "fundus_64.npz")["images"][::6]
    photographs = torch.from_numpy(images).permute(0, 3, 1, 2).double() / 255
    view = field_of_view(photographs)
    assert 0.6 < view.double().mean() < 0.85
    masked = photographs * view.unsqueeze(1)
    colour = masked.sum((2, 3), keepdim=True) / view.sum((1, 2)).view(-1, 1, 1, 1)
    flat = (colour * view.unsqueeze(1)).expand_as(photographs)
    whole = torch.ones_like(view)
    assert float(closeness(flat, photographs, whole).mean()) > 0.94
    assert float(within(flat, photographs, view, 8.0).mean()) < 0.2


# Cells of a table

TABLE = Domain(
    lower=torch.tensor([-3.0, -2.0, 0.0, 0.0, 0.0, 0.0]),
    upper=torch.tensor([3.0, 2.0, 1.0, 1.0, 1.0, 1.0]),
    groups=((2, 3), (4, 5)),
    implicit=(True, False),
    integer=(1,),
    mean=torch.tensor([10.0, 50.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64),
    scale=torch.tensor([2.0, 12.0, 1.0, 1.0, 1.0, 1.0], dtype=torch.float64),
)


def test_cells_are_hit_by_their_own_rule() -> None:
    cells = cells_of(TABLE, 6)
    assert len(cells) == 4
    assert cells.columns == ((0,), (1,), (2, 3), (4, 5))
    original = torch.tensor([10.0, 61.0, 0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    near = torch.tensor([10.09, 61.49, 0.3, 0.2, 0.4, 0.6], dtype=torch.float64)
    assert cells.hits(near, original).tolist() == [True, True, True, True]
    far = torch.tensor([10.11, 61.51, 0.3, 0.5, 0.6, 0.4], dtype=torch.float64)
    assert cells.hits(far, original).tolist() == [False, False, False, False]
    strict = cells_of(TABLE, 6, torch.full((6,), 0.01, dtype=torch.float64))
    assert strict.hits(near, original).tolist() == [False, True, True, True]
    with pytest.raises(UsageError, match="6 columns"):
        cells_of(TABLE, 6, torch.ones(5))


def test_tolerance_is_half_of_the_last_digit_written() -> None:
    values = torch.tensor([[1.5, 120.0, 0.123, math.pi, 7.0], [2.25, 80.0, math.nan, math.e, 7.0]], dtype=torch.float64)
    mean = values.float().nanmean(0)
    standardised = (values.float() - mean) / 0.7 * 0.7 + mean  # with rounding noise
    assert reported_tolerance(standardised).tolist() == pytest.approx([5e-3, 0.5, 5e-4, 2.0**-22 * math.pi, 0.5])


# The judge


def _records(n: int = 5) -> Victims:
    inputs = _normal(n, 6)
    inputs[:, 1] = (torch.arange(n) * 3 - 5) / 12.0
    inputs[:, 2:] = torch.tensor([0.0, 1.0, 1.0, 0.0])
    return Victims(inputs, (torch.arange(n) % 2).double())


def test_order_does_not_matter_and_every_cell_counts() -> None:
    victims = _records()
    order = torch.tensor([3, 1, 4, 0, 2])
    rebuilt = victims.inputs[order].clone()
    rebuilt[0, 0] += 1.0  # patient 4 loses one of four cells
    found = judge(Reconstruction("made up", rebuilt, victims.labels[order]), victims, TABLE, "table")
    assert found.figures["exact_cells"].tolist() == [1.0, 1.0, 1.0, 0.75, 1.0]
    assert found.figures["exact_records"].tolist() == [1.0, 1.0, 1.0, 0.0, 1.0]
    assert found.figures["labels_right"].tolist() == [1.0] * 5
    assert found.rebuilt.tolist() == [3, 1, 4, 0, 2]
    assert found.hits is not None
    assert found.hits.dtype == np.bool_
    assert found.hits[3].tolist() == [False, True, True, True]
    # One column of six is off by a sixth of its range.
    assert found.figures["psnr_db"][3] == pytest.approx(10 * math.log10(6 * 36))
    assert found.worst().patient == 1
    assert found.worst().figures["exact_records"] == 1.0


def test_whoever_is_not_rebuilt_is_missed_and_has_no_psnr() -> None:
    victims = _records()
    rebuilt = victims.inputs[:3].clone()
    rebuilt[1] = torch.nan
    certified = torch.tensor([True, True, False])
    found = judge(Reconstruction("made up", rebuilt, certified=certified), victims, TABLE, "table")
    assert found.rebuilt.tolist() == [0, -1, 2, -1, -1]
    assert found.figures["exact_cells"].tolist() == [1.0, 0.0, 1.0, 0.0, 0.0]
    assert np.isfinite(found.figures["psnr_db"]).tolist() == [True, False, True, False, False]
    assert found.certified.tolist() == [True, False, False, False, False]
    assert found.wrongly_certified == 0
    number = found.number("exact_records", np.random.default_rng(0))
    assert number is not None
    assert (number.value, number.patients) == (0.4, 5)
    assert "labels_right" not in found.figures
    nothing = judge(Reconstruction("none", rebuilt[:0]), victims, TABLE, "table")
    assert nothing.figures["exact_cells"].tolist() == [0.0] * 5
    assert nothing.number("psnr_db", np.random.default_rng(0)) is None


def test_a_wrong_certificate_shows() -> None:
    victims = _records()
    rebuilt = victims.inputs.clone()
    rebuilt[2, 0] += 1.0
    found = judge(Reconstruction("x", rebuilt, certified=torch.ones(5, dtype=torch.bool)), victims, TABLE, "table")
    assert found.wrongly_certified == 1


def test_images_are_judged_in_grey_values() -> None:
    domain = Domain(lower=torch.tensor(-2.0), upper=torch.tensor(2.0), mean=torch.tensor(0.5), scale=torch.tensor(0.25))
    victims = Victims(_uniform(3, 1, 12, 12) * 4 - 2, torch.eye(3, dtype=torch.float64))
    rebuilt = victims.inputs[[2, 0, 1]] + 0.04  # 0.01 of a grey value, cut off at white
    labels = torch.eye(3, dtype=torch.float64)[[2, 1, 0]]
    found = judge(Reconstruction("x", rebuilt, labels), victims, domain, "image")
    assert found.rebuilt.tolist() == [1, 2, 0]
    assert found.figures["psnr_db"] == pytest.approx([40.0] * 3, abs=0.5)
    assert bool((found.figures["psnr_db"] >= 40.0 - 1e-9).all())
    assert found.figures["pixels_within_2"].tolist() == [0.0] * 3 or found.figures["pixels_within_2"].max() < 0.2
    assert found.figures["pixels_within_8"].tolist() == [1.0] * 3
    assert found.figures["one_minus_mae"] == pytest.approx([0.99] * 3, abs=0.001)
    assert found.figures["labels_right"].tolist() == [0.0, 0.0, 1.0]
    assert found.hits is None
    with pytest.raises(UsageError, match="not of kind"):
        judge(Reconstruction("x", rebuilt, labels), victims, domain, "table")


def test_events_of_survival_are_labels() -> None:
    victims = Victims(_records(3).inputs, torch.tensor([[1.0, 5.0], [0.0, 9.0], [1.0, 0.0]], dtype=torch.float64))
    labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 2.0]], dtype=torch.float64)
    found = judge(Reconstruction("x", victims.inputs, labels), victims, TABLE, "table", survival=True)
    assert found.figures["labels_right"].tolist() == [1.0, 0.0, 1.0]


def test_batches_pool() -> None:
    victims = _records()
    one = judge(Reconstruction("x", victims.inputs), victims, TABLE, "table")
    two = judge(Reconstruction("x", victims.inputs[:2]), victims, TABLE, "table")
    both = pooled([one, two])
    assert len(both) == 10
    assert both.batch.tolist() == [0] * 5 + [1] * 5
    number = both.number("exact_records", np.random.default_rng(0))
    assert number is not None
    assert number.value == pytest.approx(0.7)
    assert number.interval.endswith("over batches")
    with pytest.raises(UsageError, match="one attack"):
        pooled([one, judge(Reconstruction("y", victims.inputs), victims, TABLE, "table")])


# Intervals


@pytest.mark.parametrize(
    ("events", "number", "low", "high"),
    [(0, 10, 0.0, 0.3085), (5, 10, 0.1871, 0.8129), (10, 10, 0.6915, 1.0), (1, 100, 0.0003, 0.0545)],
)
def test_clopper_pearson_is_the_published_table(events: int, number: int, low: float, high: float) -> None:
    assert clopper_pearson(events, number) == pytest.approx((low, high), abs=5e-5)


def test_bca_is_what_another_program_computes() -> None:
    values = np.random.default_rng(5).exponential(size=60)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, rng=np.random.default_rng(1)).confidence_interval
    # Ends of 2000 resamples scatter by some 2 % of the interval's width (seeded).
    width = theirs.high - theirs.low
    assert bca(values, np.random.default_rng(0)) == pytest.approx((theirs.low, theirs.high), abs=0.06 * width)


def test_batches_make_intervals_wider() -> None:
    draw = np.random.default_rng(5)
    groups = np.repeat(np.arange(20), 10)
    values = draw.normal(size=20)[groups]
    low, high = bca(values, np.random.default_rng(0), groups)
    alone_low, alone_high = bca(values, np.random.default_rng(0))
    assert high - low > 2.0 * (alone_high - alone_low)
    # Equal within a group: the interval is that of 20 values, 2 x 1.96 sd / sqrt(20) wide, up to a fifth.
    assert high - low == pytest.approx(2 * norm.ppf(0.975) * values.std() / math.sqrt(20), rel=0.2)


def test_nobody_hit_is_not_certainty() -> None:
    number = summarise(np.zeros(10), np.random.default_rng(0), share=True, baseline=0.25)
    assert number is not None
    assert (number.value, number.low, number.baseline) == (0.0, 0.0, 0.25)
    assert number.high == pytest.approx(0.3085, abs=5e-5)
    grouped = summarise(np.zeros(10), np.random.default_rng(0), share=True, groups=np.repeat([0, 1], 5))
    assert grouped is not None
    assert grouped.high == pytest.approx(clopper_pearson(0, 2)[1])
    constant = summarise(np.full(10, 0.25), np.random.default_rng(0), share=True)
    assert constant is not None
    assert (constant.low, constant.high) == (0.25, 0.25)


def test_one_batch_alone_says_so() -> None:
    hit = np.array([1.0, 0.0, 1.0, 1.0])
    number = summarise(hit, np.random.default_rng(0), share=True, groups=np.zeros(4, dtype=np.int64))
    assert number is not None
    assert (number.low, number.high) == clopper_pearson(3, 4)
    assert number.interval == "Clopper-Pearson over patients of one batch"
    single = summarise(np.array([31.5]), np.random.default_rng(0), share=False)
    assert single is not None
    assert (single.value, single.interval) == (31.5, "none of one patient")
    assert math.isnan(single.low)
    assert math.isnan(single.high)
