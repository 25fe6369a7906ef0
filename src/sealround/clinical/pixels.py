"""Pixels of many images at once: how many have which value, and which images are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sealround.vocabulary import Rows

__all__ = ["pixel_histogram"]

_LEVELS = 256
_CHUNK_BYTES = 1 << 20


def pixel_histogram(images: np.ndarray, rows: Rows) -> Rows:
    """Count pixel values.

    Args:
        images: uint8 ``(n, h, w)`` or ``(n, h, w, c)``.
        rows: Which images to count.

    Returns:
        int64 ``(c, 256)``: exact, whatever the order.
    """
    channels = images.shape[3] if images.ndim == 4 else 1  # noqa: PLR2004 - (n, h, w, c)
    counts = np.zeros((channels, _LEVELS), dtype=np.int64)
    step = max(1, _CHUNK_BYTES // max(1, images[0].size)) if len(images) else 1
    for start in range(0, rows.size, step):
        pixels = images[rows[start : start + step]].reshape(-1, channels)
        for channel in range(channels):
            counts[channel] += np.bincount(np.ascontiguousarray(pixels[:, channel]), minlength=_LEVELS)
    return counts
