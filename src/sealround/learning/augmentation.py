"""Random changes of training images, a whole batch at a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from sealround.study.sections import Augmentation

__all__ = ["augment", "is_active"]


def is_active(augmentation: Augmentation) -> bool:
    """Whether anything is changed at all."""
    changes = augmentation.brightness, augmentation.contrast, augmentation.flip, _moves(augmentation)
    return any(bool(change) for change in changes)


def augment(images: torch.Tensor, augmentation: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Change every image of a batch by draws of its own: mirror, move, then contrast and brightness.

    Args:
        images: Normalised to mean 0 and variance 1, float32 ``(n, c, h, w)``; may be overwritten.
        augmentation: How much; each draw is uniform within its bound.
        generator: Source of the draws, on the images' device.

    Returns:
        float32 ``(n, c, h, w)``.
    """

    def within(bound: float) -> torch.Tensor:
        draw = torch.rand(images.shape[0], generator=generator, device=images.device)
        return (2.0 * draw - 1.0) * bound

    if augmentation.flip:
        images = torch.where(within(1.0)[:, None, None, None] < 0.0, images.flip(3), images)
    if _moves(augmentation):
        angle, size = within(math.radians(augmentation.rotation)), 1.0 + within(augmentation.scale)
        images = _moved(images, angle, size, (within(augmentation.shift), within(augmentation.shift)))
    if augmentation.contrast:
        images = images.mul_(1.0 + within(augmentation.contrast)[:, None, None, None])
    if augmentation.brightness:
        images = images.add_(within(augmentation.brightness)[:, None, None, None])
    return images


def _moves(augmentation: Augmentation) -> bool:
    return bool(augmentation.shift or augmentation.rotation or augmentation.scale)


def _moved(
    images: torch.Tensor, angle: torch.Tensor, size: torch.Tensor, shift: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """Rotate by ``angle`` radians, scale by ``size`` and shift by pixels, bilinear; outside is the nearest edge.

    ``grid_sample`` asks where each pixel of the result comes from, in units of half an image on each axis: the rotation
    keeps its shape on images that are not square by the ratio of the sides.
    """
    _, _, height, width = images.shape
    cosine, sine = torch.cos(angle) / size, torch.sin(angle) / size
    ratio = height / width
    rows = [
        torch.stack((cosine, -sine * ratio, shift[0] * (2.0 / width)), dim=1),
        torch.stack((sine / ratio, cosine, shift[1] * (2.0 / height)), dim=1),
    ]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
