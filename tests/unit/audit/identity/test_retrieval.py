"""Ranks, pictures and maps against cases whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sealround.audit.identity import (
    Gallery,
    Ranking,
    edge_map,
    gallery_distances,
    pixels,
    rank_people,
    relative_data_leakage,
    retrieve,
    vessel_map,
)
from sealround.audit.inversion.image_quality import ssim
from sealround.errors import UsageError


def _images(number: int, seed: int, size: int = 16, channels: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(number, channels, size, size, generator=generator, dtype=torch.float64)


# Ranks


def test_ranks_by_hand() -> None:
    distances = np.array([[0.1, 0.5, 0.3, 0.9], [0.2, 0.2, 0.2, 0.1], [0.0, 0.0, 0.0, 0.0]])
    found = rank_people(distances, np.array([2, 0, 3]))
    assert found.closer.tolist() == [1, 1, 0]
    assert found.tied.tolist() == [1, 3, 4]
    assert found.ranks.tolist() == [2.0, 3.0, 2.5]
    assert found.hits().tolist() == [0.0, 0.0, 0.25]
    assert found.hits(2).tolist() == pytest.approx([1.0, 1 / 3, 0.5])
    assert found.hits(4).tolist() == [1.0, 1.0, 1.0]
    assert found.reciprocals.tolist() == pytest.approx(
        [1 / 2, (1 / 2 + 1 / 3 + 1 / 4) / 3, (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4]
    )
    assert found.worst() == 1


def test_whoever_has_several_entries_is_as_near_as_the_nearest() -> None:
    distances = np.array([[0.9, 0.4, 0.1, 0.5]])
    found = rank_people(distances, np.array([7]), np.array([7, 3, 7, 5]))
    assert (found.people, found.closer[0], found.tied[0]) == (3, 0, 1)
    assert rank_people(distances, np.array([5]), [7, 3, 7, 5]).ranks[0] == 3.0


def test_a_random_order_gives_chance() -> None:
    """Means of 3000 random rankings of 20, within four standard errors: wrong once in 15,000."""
    draw = np.random.default_rng(1)
    found = rank_people(draw.random((3000, 20)), draw.integers(20, size=3000))
    for k in (1, 5):
        p = found.chance(k)
        assert found.hits(k).mean() == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 3000))
    assert found.reciprocals.mean() == pytest.approx(
        found.reciprocal_by_chance, abs=4 * found.reciprocals.std() / 3000**0.5
    )
    tied = Ranking(np.zeros(1, dtype=int), np.array([20]), 20)
    assert tied.hits()[0] == found.chance()
    assert tied.reciprocals[0] == pytest.approx(found.reciprocal_by_chance)


def test_shares_have_intervals_and_baselines() -> None:
    draw = np.random.default_rng(2)
    found = Ranking(np.array([0] * 8 + [3, 5]), np.ones(10, dtype=int), 100)
    top = found.top(1, draw)
    assert (top.value, top.baseline, top.patients) == (0.8, 0.01, 10)
    assert (top.low, top.high) == pytest.approx((0.4439, 0.9748), abs=1e-3)
    blind = Ranking(np.array([0] * 3 + [9] * 7), np.ones(10, dtype=int), 100)
    assert found.top(1, draw, blind=blind).baseline == pytest.approx(0.3)
    mean = found.mean_reciprocal(draw, blind=blind)
    assert mean.value == pytest.approx((8 + 1 / 4 + 1 / 6) / 10)
    assert mean.low < mean.value < mean.high
    assert mean.baseline == pytest.approx((3 + 7 / 10) / 10)
    # Records that were rebuilt together enter or leave together: two batches say less than ten records.
    whole = found.top(1, draw, groups=np.repeat([0, 1], 5))
    assert whole.value == top.value
    assert whole.interval != top.interval


@pytest.mark.parametrize(
    ("distances", "true", "people"),
    [
        (np.zeros((2, 3)), np.array([0]), None),
        (np.zeros((1, 3)), np.array([3]), None),
        (np.full((1, 3), np.nan), np.array([0]), None),
        (np.zeros((1, 3)), np.array([0]), np.array([0, 1])),
    ],
)
def test_ranks_that_cannot_be_are_refused(distances: np.ndarray, true: np.ndarray, people: np.ndarray | None) -> None:
    with pytest.raises(UsageError):
        rank_people(distances, true, people)


# Galleries


def test_a_faithful_picture_is_found_whatever_its_exposure() -> None:
    images = _images(90, 3)
    gallery = Gallery(images, np.arange(90))
    noise = 0.3 * (_images(10, 4) - 0.5)
    found = retrieve(0.5 * images[20:30] + 0.2 + noise, np.arange(20, 30), gallery)
    assert found.hits().tolist() == [1.0] * 10
    assert found.people == 90


def test_distances_are_angles_after_the_gallery_mean() -> None:
    images, rebuilt = _images(70, 5), _images(3, 6)
    features = torch.cat([images, rebuilt]).flatten(1)
    features = features - features.mean(1, keepdim=True)
    features = (features - features[:70].mean(0)).numpy()
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    expected = 1 - features[70:] @ features[:70].T
    assert gallery_distances(rebuilt, Gallery(images, np.arange(70))) == pytest.approx(expected, abs=1e-6)


def test_what_all_share_tells_nobody_apart() -> None:
    """All pictures are one bright pattern and a little of their own; the rebuilt ones have both, and more noise."""
    pattern, own = 20 * _images(1, 7), _images(60, 8)
    gallery = Gallery(pattern + own, np.arange(60))
    found = retrieve(pattern + own[:20] + _images(20, 9), np.arange(20), gallery)
    assert found.hits().mean() > 0.9


def test_a_constant_picture_is_chance() -> None:
    gallery = Gallery(_images(12, 10), np.arange(12))
    mean = gallery.images.mean(0, keepdim=True)
    assert retrieve(mean, np.array([5]), gallery).tied.tolist() == [12]
    # One constant picture is everybody's: of twelve patients it is the first choice for one.
    constant = torch.full((12, 1, 16, 16), 0.5, dtype=torch.float64)
    assert retrieve(constant, np.arange(12), gallery, edge_map).hits().sum() == pytest.approx(1.0)
    nothing = retrieve(torch.zeros(1, 1, 16, 16, dtype=torch.float64), np.array([3]), gallery, lambda x: 0 * x)
    assert nothing.tied.tolist() == [12]
    assert nothing.hits()[0] == pytest.approx(1 / 12)


def test_features_may_be_any_encoder() -> None:
    weights = torch.randn(256, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(11))
    images = _images(40, 12)
    found = retrieve(
        images[:5] + 0.01, np.arange(5), Gallery(images, np.arange(40)), lambda x: pixels(x).flatten(1) @ weights
    )
    assert found.hits().tolist() == [1.0] * 5


def test_a_moved_picture_is_found_where_moves_are_tried() -> None:
    images = _images(60, 16)
    gallery = Gallery(images, np.arange(60))
    moved = torch.roll(images[:10], (2, -1), (2, 3))
    assert retrieve(moved, np.arange(10), gallery).hits().mean() < 0.5
    assert retrieve(moved, np.arange(10), gallery, shift=2).hits().tolist() == [1.0] * 10
    # Trying moves can only bring images nearer, and a move of nothing is among them.
    near, plain = gallery_distances(moved, gallery, shift=2), gallery_distances(moved, gallery)
    assert (near <= plain + 1e-6).all()
    assert gallery_distances(images[:3], gallery, shift=1)[[0, 1, 2], [0, 1, 2]] == pytest.approx([0.0] * 3, abs=1e-6)
    with pytest.raises(UsageError):
        gallery_distances(moved, gallery, shift=-1)


def test_pictures_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError):
        Gallery(_images(3, 1), np.arange(2))
    with pytest.raises(UsageError):
        gallery_distances(_images(1, 1, size=8), Gallery(_images(3, 1), np.arange(3)))
    for filtered in (vessel_map, edge_map):
        with pytest.raises(UsageError):
            filtered(_images(1, 1, channels=2))


def test_relative_leakage_by_hand() -> None:
    originals = _images(2, 13)
    prior = originals.mean(0, keepdim=True)
    before = ssim(prior.expand_as(originals), originals).numpy()
    assert relative_data_leakage(originals, originals, prior) == pytest.approx((1 - before) / before)
    assert relative_data_leakage(prior.expand_as(originals), originals, prior) == pytest.approx([0.0, 0.0], abs=1e-12)
    opposite = 1.0 - originals
    assert np.isnan(relative_data_leakage(originals, originals, opposite)).all()
    with pytest.raises(UsageError):
        relative_data_leakage(originals, originals, _images(1, 1, size=8))


# Maps


def test_vessels_are_dark_lines_and_not_bright_ones() -> None:
    x = torch.arange(41, dtype=torch.float64)
    profile = torch.exp(-(x - 20).square() / 8)
    dark = (0.8 - 0.5 * profile).expand(1, 1, 41, 41)
    found = vessel_map(dark)
    assert float(found[0, 0, 20, 20]) > 0.8
    # Far from the line nothing is there; along it, everywhere the same, at the edge of the image too.
    assert float(found[0, 0, :, :8].max()) < 0.05
    assert float(found[0, 0, :, 20].min()) > 0.8
    assert float(vessel_map(0.2 + 0.5 * (1 - dark))[0, 0, :, 20].max()) < 0.05
    # Turned by a quarter, the same map, turned.
    assert torch.allclose(vessel_map(dark.transpose(2, 3)), found.transpose(2, 3))


def test_a_blob_is_less_of_a_vessel_than_a_line() -> None:
    x = torch.arange(41, dtype=torch.float64) - 20
    line = 0.8 - 0.5 * torch.exp(-x.square() / 8).expand(41, 41)
    blob = 0.8 - 0.5 * torch.exp(-(x.square()[:, None] + x.square()) / 8)
    found = vessel_map(torch.stack([line, blob]).unsqueeze(1))
    assert float(found[1, 0, 20, 20]) < 0.25 * float(found[0, 0, 20, 20])


def test_wide_lines_take_a_wide_scale() -> None:
    x = torch.arange(61, dtype=torch.float64) - 30
    image = (0.8 - 0.5 * torch.exp(-x.square() / (2 * 3.0**2))).expand(1, 1, 61, 61)
    # Three pixels off its middle, where the profile itself begins to turn, the line is seen by the wide filter only.
    narrow, wide = (float(vessel_map(image, (scale,))[0, 0, 30, 27]) for scale in (1.0, 3.0))
    assert wide > narrow
    both = vessel_map(image, (1.0, 3.0))
    assert torch.equal(both, torch.maximum(vessel_map(image, (1.0,)), vessel_map(image, (3.0,))))


def test_green_is_the_channel_that_counts_and_a_view_cuts() -> None:
    images = _images(2, 14, channels=3)
    assert torch.equal(vessel_map(images), vessel_map(images[:, 1:2]))
    view = torch.zeros(16, 16, dtype=torch.bool)
    view[4:12, 4:12] = True
    cut = vessel_map(images, view=view)
    assert float(cut[..., ~view].abs().max()) == 0.0
    assert torch.equal(cut[..., view], vessel_map(images)[..., view])


def test_edges_are_slopes() -> None:
    ramp = 0.02 * torch.arange(16, dtype=torch.float64).expand(1, 1, 16, 16)
    assert float(edge_map(ramp)[0, 0, 8, 8]) == pytest.approx(0.02)
    assert float(edge_map(3 * ramp.transpose(2, 3))[0, 0, 8, 8]) == pytest.approx(0.06)
    grey = edge_map(ramp.expand(1, 3, 16, 16))
    assert float(grey[0, 0, 8, 8]) == pytest.approx(0.02)
    assert float(edge_map(torch.full((1, 1, 16, 16), 0.7, dtype=torch.float64)).max()) == 0.0


def test_vessels_find_a_patient_whose_light_has_changed() -> None:
    """Each patient has a few dark lines; the second picture has another, much stronger, uneven illumination."""
    draw = np.random.default_rng(15)
    grid = np.arange(32)

    def eye() -> np.ndarray:
        angle, offset = draw.uniform(0, math.pi, 4), draw.uniform(-9, 9, 4)
        u = np.cos(angle)[:, None, None] * (grid - 16)[:, None] + np.sin(angle)[:, None, None] * (grid - 16)
        return np.asarray(0.1 * np.exp(-np.square(u - offset[:, None, None]) / 3).sum(0))

    def light() -> np.ndarray:
        slope = draw.normal(size=2)
        return np.asarray(0.6 + 0.25 * np.sin((slope[0] * grid[:, None] + slope[1] * grid) / 16))

    vessels = [eye() for _ in range(30)]
    first = torch.from_numpy(np.stack([light() - v for v in vessels])).unsqueeze(1)
    second = torch.from_numpy(np.stack([light() - v for v in vessels])).unsqueeze(1)
    gallery, true = Gallery(first, np.arange(30)), np.arange(30)
    by_vessels = retrieve(second, true, gallery, vessel_map).hits().mean()
    assert by_vessels > 0.9
    assert retrieve(second, true, gallery).hits().mean() < by_vessels
