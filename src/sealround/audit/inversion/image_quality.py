"""How near two images are: PSNR, SSIM, and the share of pixels within a stated distance.

All take grey values in [0, 1], ``(n, channels, height, width)``, and give one number an image. What the numbers mean
depends on the pictures. Photographs of the fundus are alike: a flat disc of the mean colour has a mean absolute error
of some 5 %, so that "95 % pixel accuracy" in the sense of one minus that error shows nothing (`closeness`). A share of
pixels within 8/255 does (`within`), and a baseline tells what either is worth.
"""

from __future__ import annotations

import torch

__all__ = ["DARK", "THRESHOLDS", "closeness", "field_of_view", "psnr", "ssim", "within"]

THRESHOLDS = (2.0, 8.0, 16.0, 25.5)
"""Distances at which pixels are counted, in steps of 1/255."""

DARK = 20.0 / 255.0
"""Brightest value, of all channels, that the surroundings of a disc reach."""

_LEAST = torch.finfo(torch.float64).eps
_WINDOW, _SIGMA = 11, 1.5
_STABLE = (0.01**2, 0.03**2)  # (K1 L)^2 and (K2 L)^2, L = 1


def psnr(images: torch.Tensor, originals: torch.Tensor) -> torch.Tensor:
    """Return the peak signal-to-noise ratio in dB, 10 log10(1 / MSE), ``(n,)``.

    An error below float64's resolution counts as that: at most 313 dB, so that every figure is finite.
    """
    error = (images - originals).flatten(1).square().mean(1)
    return -10.0 * torch.log10(error.clamp_min(_LEAST**2))


def ssim(images: torch.Tensor, originals: torch.Tensor) -> torch.Tensor:
    """Return the mean structural similarity, ``(n,)``, channels averaged.

    Gaussian window 11 x 11 of deviation 1.5, K1 = 0.01, K2 = 0.03, where the whole window fits in the image; smaller
    images take the largest odd window that fits.

    Source: Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image Quality Assessment: From Error Visibility to
    Structural Similarity", IEEE Trans. Image Processing 13 (2004), equations 13-17.
    """
    height, width = originals.shape[2:]
    size = min(_WINDOW, height - 1 + height % 2, width - 1 + width % 2)
    down, across = _windows(height, size), _windows(width, size).T

    def blurred(x: torch.Tensor) -> torch.Tensor:
        return down @ x @ across

    mean_x, mean_y = blurred(images), blurred(originals)
    variance_x = blurred(images.square()) - mean_x.square()
    variance_y = blurred(originals.square()) - mean_y.square()
    covariance = blurred(images * originals) - mean_x * mean_y
    first, second = _STABLE
    similarity = (2 * mean_x * mean_y + first) * (2 * covariance + second)
    similarity = similarity / ((mean_x.square() + mean_y.square() + first) * (variance_x + variance_y + second))
    return similarity.flatten(1).mean(1)


def within(images: torch.Tensor, originals: torch.Tensor, view: torch.Tensor, steps: float) -> torch.Tensor:
    """Return the share of pixels of which every channel is within ``steps``/255 of the original, ``(n,)``.

    Args:
        images: Rebuilt.
        originals: What they should be.
        view: Which pixels count, bool ``(n, height, width)``.
        steps: The distance; rounding of the sums aside (a billionth).
    """
    near = ((images - originals).abs() <= steps / 255.0 + 1e-9).all(1)
    return (near & view).sum((1, 2)) / view.sum((1, 2)).clamp_min(1)


def closeness(images: torch.Tensor, originals: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
    """Return one minus the mean absolute error within the view, ``(n,)``: what some papers call pixel accuracy.

    Reported only beside a baseline, which shows how little it says.
    """
    error = (images - originals).abs().mean(1) * view
    return 1.0 - error.sum((1, 2)) / view.sum((1, 2)).clamp_min(1)


def field_of_view(originals: torch.Tensor) -> torch.Tensor:
    """Return which pixels are inside the disc of a photograph of the fundus, bool ``(n, height, width)``.

    The disc is what lies, in its row and in its column, between the first and the last pixel brighter than `DARK`; so
    dark patches inside belong to it. Images whose corners are not dark, and grey ones (radiographs), have no
    surroundings: all of their pixels count. The disc is the camera's geometry, and no secret.
    """
    n, channels, height, width = originals.shape
    bright = originals.amax(1) > DARK
    ways = [bright, bright.flip(2), bright.transpose(1, 2), bright.flip(1).transpose(1, 2)]
    reached = [way.cummax(2).values for way in ways]
    rows = reached[0] & reached[1].flip(2)
    columns = reached[2].transpose(1, 2) & reached[3].transpose(1, 2).flip(1)
    corners = bright[:, [0, 0, -1, -1], [0, -1, 0, -1]].any(1)
    whole = corners if channels == 3 else torch.ones(n, dtype=torch.bool)  # noqa: PLR2004  (colours)
    return (rows & columns) | whole.view(n, 1, 1).expand(n, height, width)


def _windows(length: int, size: int) -> torch.Tensor:
    """Return the Gaussian windows that fit in a line, one a row, float64 ``(length - size + 1, length)``."""
    distance = torch.arange(length).unsqueeze(0) - torch.arange(length - size + 1).unsqueeze(1) - size // 2
    bell = torch.exp(-distance.double().square() / (2.0 * _SIGMA**2)) * (distance.abs() <= size // 2)
    return bell / bell.sum(1, keepdim=True)
