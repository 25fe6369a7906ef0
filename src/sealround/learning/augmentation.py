"""Random changes of training images, a whole batch at a time.

Images are normalised before, so 0 is the mean grey: what a shift uncovers is filled with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from sealround.study.sections import Augmentation

__all__ = ["augment", "is_active"]


def is_active(augmentation: Augmentation) -> bool:
    """Whether anything is changed at all."""
    return bool(augmentation.shift or augmentation.flip or augmentation.brightness or augmentation.contrast)


def augment(images: torch.Tensor, augmentation: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Change every image of a batch by its own draw: contrast, brightness, mirror, shift.

    Args:
        images: Normalised to mean 0 and variance 1, float32 ``(n, c, h, w)``; may be overwritten.
        augmentation: How much.
        generator: Source of the draws, on the images' device.

    Returns:
        float32 ``(n, c, h, w)``.
    """

    def within(bound: float) -> torch.Tensor:
        draw = torch.rand(images.shape[0], generator=generator, device=images.device)
        return ((2.0 * draw - 1.0) * bound).reshape(-1, 1, 1, 1)

    if augmentation.contrast:
        images = images.mul_(1.0 + within(augmentation.contrast))
    if augmentation.brightness:
        images = images.add_(within(augmentation.brightness))
    if augmentation.flip:
        images = torch.where(within(1.0) < 0.0, images.flip(3), images)
    if augmentation.shift:
        images = _shifted(images, augmentation.shift, generator)
    return images


def _shifted(images: torch.Tensor, bound: int, generator: torch.Generator) -> torch.Tensor:
    """Move each image by up to ``bound`` pixels down and right, or up and left; what is uncovered becomes 0."""
    number, _, height, width = images.shape
    padded = functional.pad(images, (bound,) * 4)
    offset = torch.randint(0, 2 * bound + 1, (2, number, 1), generator=generator, device=images.device)
    rows = (offset[0] + torch.arange(height, device=images.device))[:, :, None]
    columns = (offset[1] + torch.arange(width, device=images.device))[:, None, :]
    image = torch.arange(number, device=images.device)[:, None, None]
    # Indexing next to a slice puts the channels last; `permute` is free.
    return padded[image, :, rows, columns].permute(0, 3, 1, 2)
