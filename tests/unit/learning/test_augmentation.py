from __future__ import annotations

import math

import pytest
import torch

from sealround.learning.augmentation import _moved, augment, is_active
from sealround.study.sections import Augmentation


def _images(number: int = 6, height: int = 9, width: int = 9) -> torch.Tensor:
    return torch.randn(number, 2, height, width, generator=torch.Generator().manual_seed(0))


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _zeros(number: int = 6) -> torch.Tensor:
    return torch.zeros(number)


def test_nothing_asked_changes_nothing() -> None:
    images = _images()
    assert not is_active(Augmentation())
    assert torch.equal(augment(images.clone(), Augmentation(), _generator()), images)


@pytest.mark.parametrize(
    "change", [{"shift": 1}, {"rotation": 5.0}, {"scale": 0.1}, {"flip": True}, {"brightness": 0.1}, {"contrast": 0.1}]
)
def test_every_change_is_active_changes_each_image_and_repeats_with_its_stream(change: dict[str, float]) -> None:
    augmentation = Augmentation(**change)
    images = _images(40)
    first = augment(images.clone(), augmentation, _generator())
    assert is_active(augmentation)
    assert first.shape == images.shape
    assert bool((first != images).any())
    assert torch.equal(first, augment(images.clone(), augmentation, _generator()))
    assert not torch.equal(first, augment(images.clone(), augmentation, _generator(1)))


def test_a_flip_mirrors_about_half_of_the_images_and_leaves_the_rest() -> None:
    images = _images(400)
    flipped = augment(images.clone(), Augmentation(flip=True), _generator())
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    assert bool((mirrored | (flipped == images).flatten(1).all(1)).all())
    assert 140 < int(mirrored.sum()) < 260  # 6 standard deviations of 400 fair coins


def test_contrast_and_brightness_stay_within_their_bounds() -> None:
    images = torch.ones(500, 1, 2, 2)
    bright = augment(images.clone(), Augmentation(brightness=0.25), _generator()) - 1.0
    strong = augment(2.0 * images, Augmentation(contrast=0.5), _generator()) / 2.0
    assert 0.24 < float(bright.abs().max()) <= 0.25
    assert 0.49 < float((strong - 1.0).abs().max()) <= 0.5
    assert bool((bright == bright[:, :, :1, :1]).all())


def test_a_whole_pixel_shift_moves_and_repeats_the_edge() -> None:
    images = _images()
    moved = _moved(images, _zeros(), torch.ones(6), (torch.full((6,), 2.0), _zeros()))
    assert torch.allclose(moved[..., :-2], images[..., 2:], atol=1e-5)
    assert torch.allclose(moved[..., -2:], images[..., -1:].expand(-1, -1, -1, 2), atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(9, 9), (6, 11)])
def test_half_a_turn_is_both_mirrors(height: int, width: int) -> None:
    images = _images(height=height, width=width)
    turned = _moved(images, torch.full((6,), math.pi), torch.ones(6), (_zeros(), _zeros()))
    assert torch.allclose(turned, images.flip(2, 3), atol=1e-4)


def test_a_quarter_turn_keeps_distances_also_where_sides_differ() -> None:
    image = torch.zeros(1, 1, 11, 21)
    image[0, 0, 5, 10 + 4] = 1.0  # four pixels right of the middle
    turned = _moved(image, torch.full((1,), math.pi / 2), torch.ones(1), (torch.zeros(1), torch.zeros(1)))
    row, column = divmod(int(turned.argmax()), 21)
    assert (abs(row - 5), column) == (4, 10)


def test_twice_the_size_shows_the_middle() -> None:
    image = torch.arange(8.0).expand(1, 1, 8, 8).contiguous()
    larger = _moved(image, torch.zeros(1), torch.full((1,), 2.0), (torch.zeros(1), torch.zeros(1)))
    assert torch.allclose(larger[0, 0, 0], torch.arange(8.0) / 2 + 1.75)
