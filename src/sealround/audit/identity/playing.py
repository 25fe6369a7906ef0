"""Plays retrieval from a gallery with arrays in and rankings out, by every feature that needs no training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from sealround.audit.identity.gallery import Gallery, pixels, retrieve
from sealround.audit.identity.ridges import edge_map

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.audit.identity.gallery import Features
    from sealround.audit.identity.ranking import Ranking

__all__ = ["retrieve_images"]

_FEATURES: Mapping[str, Features] = {"pixels": pixels, "edges": edge_map}


def retrieve_images(
    rebuilt: np.ndarray, true: np.ndarray, images: np.ndarray, patients: np.ndarray
) -> Mapping[str, Ranking]:
    """Rank the patients of a gallery for each rebuilt image, by each feature.

    Args:
        rebuilt: Grey values, float64 ``(n, channels, rows, columns)``; an image of NaN was not rebuilt, and is as far
            from everybody.
        true: Whose image each should be, int64 ``(n,)``.
        images: The gallery, grey values in [0, 1], ``(N, channels, rows, columns)``.
        patients: Whose each is, int64 ``(N,)``.

    Raises:
        UsageError: If shapes differ, images have neither one channel nor three, or a true patient is not there.
    """
    gallery = Gallery(torch.from_numpy(np.ascontiguousarray(images)), patients)
    held = torch.from_numpy(np.ascontiguousarray(rebuilt))
    # What was not rebuilt becomes the gallery's mean image, which says nothing of anybody.
    blank = gallery.images.mean(0)
    finite = held.flatten(1).isfinite().all(1)
    held = torch.where(finite.view(-1, 1, 1, 1), held.clamp(0.0, 1.0), blank)
    return {name: retrieve(held, true, gallery, features) for name, features in _FEATURES.items()}
