"""Vessels of the fundus, edges of radiographs: what stays the same in two pictures of a patient while light changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DEFAULT_SCALES", "edge_map", "vessel_map"]

DEFAULT_SCALES = (1.0, 2.0, 3.0)
"""Standard deviations of the Gaussians, pixels; vessels of a fundus photograph at 224 px are 2 to 8 pixels wide."""

_BETA = 0.5
_LEAST = 1e-12
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


def vessel_map(
    images: torch.Tensor, scales: Sequence[float] = DEFAULT_SCALES, view: torch.Tensor | None = None
) -> torch.Tensor:
    """Return how much each pixel looks like a dark line on a bright ground, within 0..1, ``(n, 1, height, width)``.

    The second derivatives of a line are large across it and small along it. Of several scales the largest answer
    counts; each is relative to the scale's own largest derivative (c), so that they compare.

    Source: A. F. Frangi, W. J. Niessen, K. L. Vincken, M. A. Viergever, "Multiscale vessel enhancement filtering",
    MICCAI 1998, equations 14 and 15 (two dimensions): beta = 0.5, c half of
    the largest norm of the image at that scale.

    Args:
        images: Grey values, ``(n, channels, height, width)``; of three channels green is used, in which blood absorbs
            most.
        scales: Standard deviations, pixels.
        view: Pixels to look at, bool ``(height, width)``; others are 0. The rim of a fundus photograph's disc looks
            like a line; a view that leaves it out takes the rim out.

    Raises:
        UsageError: If images have another number of channels than 1 or 3.
    """
    _check(images)
    grey = images[:, 1:2] if images.shape[1] > 1 else images
    found = torch.zeros_like(grey)
    for scale in scales:
        across, along, norm = _curvatures(grey, scale)
        c = norm.flatten(1).amax(1).clamp_min(_LEAST).view(-1, 1, 1, 1) / 2
        ratio = along / torch.where(across.abs() < _LEAST, _LEAST, across)
        answer = torch.exp(-ratio.square() / (2 * _BETA**2)) * -torch.expm1(-norm.square() / (2 * c.square()))
        found = torch.maximum(found, torch.where(across > 0, answer, 0.0))
    return found if view is None else found * view


def edge_map(images: torch.Tensor) -> torch.Tensor:
    """Return the length of each pixel's brightness gradient, ``(n, 1, height, width)``, by Sobel's masks.

    Source: I. Sobel, G. Feldman, "A 3x3 isotropic gradient operator for image processing", 1968 (in Duda and Hart 1973,
    p. 271).

    Args:
        images: Grey values, ``(n, channels, height, width)``.

    Raises:
        UsageError: If images have another number of channels than 1 or 3.
    """
    _check(images)
    grey = images
    if images.shape[1] > 1:
        grey = (images * images.new_tensor(_LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)
    smooth, slope = images.new_tensor([1.0, 2.0, 1.0]) / 4, images.new_tensor([-1.0, 0.0, 1.0]) / 2
    down, right = _separable(grey, slope, smooth), _separable(grey, smooth, slope)
    return torch.sqrt(down.square() + right.square())


def _check(images: torch.Tensor) -> None:
    if images.ndim != 4 or images.shape[1] not in {1, 3}:  # noqa: PLR2004  (examples, channels, rows, columns)
        raise UsageError(f"images are (n, 1 or 3, height, width), not {tuple(images.shape)}")


def _curvatures(grey: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the eigenvalue of the Hessian of larger size, that of smaller size, and the Frobenius norm."""
    reach = max(1, round(4 * scale))
    x = torch.arange(-reach, reach + 1, dtype=grey.dtype)
    bell = torch.exp(-x.square() / (2 * scale**2))
    bell = bell / bell.sum()
    first, second = -x / scale**2 * bell, (x.square() / scale**4 - 1 / scale**2) * bell
    # Cut off and sampled, the second derivative of a constant is not quite 0, nor that of a parabola quite 2.
    second = second - second.mean()
    second = second * (2.0 / (second * x.square()).sum())
    xx, yy = _separable(grey, bell, second), _separable(grey, second, bell)
    xy = _separable(grey, first, first)
    middle, apart = (xx + yy) / 2, torch.sqrt(((xx - yy) / 2).square() + xy.square())
    low, high = middle - apart, middle + apart
    larger = high.abs() >= low.abs()
    across, along = torch.where(larger, high, low), torch.where(larger, low, high)
    return across, along, torch.sqrt(across.square() + along.square())


def _separable(grey: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Correlate down the columns with ``rows``, then along the rows with ``columns``; edges are repeated."""
    down, right = len(rows) // 2, len(columns) // 2
    padded = functional.pad(grey, (right, right, down, down), mode="replicate")
    return functional.conv2d(functional.conv2d(padded, rows.view(1, 1, -1, 1)), columns.view(1, 1, 1, -1))
