"""Re-identification by a picture: whose image, of many patients', is nearest to the one that was rebuilt?

The gallery is what somebody could have: the archive of a clinic, a leaked collection. Where it holds the very image
that the site trained on, this is the worst case; with other images of the same patients it says how far a patient, and
not a file, is recognised. A report has to say which.

Everybody in the gallery is compared on the same features, less their mean over the gallery (what all fundus
photographs have in common tells nobody apart), by the angle between them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch.nn import functional

from sealround.audit.identity.ranking import Ranking, rank_people
from sealround.audit.inversion.image_quality import ssim
from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    Features: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
    """From images ``(n, channels, height, width)`` to features ``(n, ...)`` of any shape."""

__all__ = ["Gallery", "gallery_distances", "pixels", "relative_data_leakage", "retrieve"]

_CHUNK = 64  # Images that go through an encoder at a time.
_ROUNDING = 1e-5  # Of float32 sums, relative to the length of a gallery image's features.


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Images of known patients.

    Attributes:
        images: Grey values in [0, 1], ``(N, channels, height, width)``.
        patients: Whose each is, int64 ``(N,)``; a patient may have several.

    Raises:
        UsageError: If the two do not fit.
    """

    images: torch.Tensor
    patients: np.ndarray

    def __post_init__(self) -> None:
        """Refuse what does not fit."""
        if self.images.ndim != 4 or self.patients.shape != (len(self.images),) or not len(self.images):  # noqa: PLR2004
            raise UsageError(f"{tuple(self.images.shape)} images do not fit {self.patients.shape} patients")


def pixels(images: torch.Tensor) -> torch.Tensor:
    """Return images less their own mean brightness, ``(n, channels, height, width)``: exposure is nobody's feature."""
    return images - images.mean((1, 2, 3), keepdim=True)


def gallery_distances(
    rebuilt: torch.Tensor, gallery: Gallery, features: Features = pixels, shift: int = 0
) -> np.ndarray:
    """Return one minus the cosine between features of each rebuilt and each gallery image, float64 ``(n, N)``.

    The gallery's features are kept in float32: 4 N f bytes for f features.

    Args:
        rebuilt: Grey values, ``(n, channels, height, width)``.
        gallery: To look in.
        features: `pixels`, `sealround.audit.identity.ridges.vessel_map`, `edge_map`, or an encoder.
        shift: Rebuilt images are moved by up to so many pixels down and across, and the smallest distance counts: two
            photographs of a patient are never quite in the same place, and lines do not overlap by half. Takes
            (2 shift + 1)² times as long.

    Raises:
        UsageError: If images have another shape than the gallery's, or the shift is negative.
    """
    if rebuilt.shape[1:] != gallery.images.shape[1:] or shift < 0:
        raise UsageError(
            f"images {tuple(rebuilt.shape)}, shifted by {shift}, do not fit a gallery {tuple(gallery.images.shape)}"
        )
    with torch.no_grad():
        theirs = _all_features(gallery.images, features)
        mean = theirs.mean(0)
        theirs = theirs.sub_(mean)
        least = max(_ROUNDING * float(theirs.norm(dim=1).mean()), torch.finfo(torch.float32).tiny)
        theirs = _unit(theirs, least)
        padded = functional.pad(rebuilt, (shift,) * 4, mode="replicate") if shift else rebuilt
        height, width = rebuilt.shape[2:]
        nearest = torch.full((len(rebuilt), len(theirs)), -torch.inf)
        for down, across in itertools.product(range(2 * shift + 1), repeat=2):
            moved = padded[:, :, down : down + height, across : across + width]
            mine = _unit(_all_features(moved, features).sub_(mean), least)
            nearest = torch.maximum(nearest, mine @ theirs.T)
    return np.asarray(1.0 - nearest.numpy().astype(np.float64))


def retrieve(
    rebuilt: torch.Tensor, true: np.ndarray, gallery: Gallery, features: Features = pixels, shift: int = 0
) -> Ranking:
    """Rank the patients of a gallery for each rebuilt image.

    A rebuilt image that has no feature but what all have (the gallery's mean) is as far from everybody: chance, no hit.

    Args:
        rebuilt: Grey values, ``(n, channels, height, width)``.
        true: Whose image each should be, int64 ``(n,)``.
        gallery: To look in.
        features: As `gallery_distances` takes them.
        shift: As `gallery_distances` takes it.

    Raises:
        UsageError: If shapes differ or a true patient is not in the gallery.
    """
    return rank_people(gallery_distances(rebuilt, gallery, features, shift), true, gallery.patients)


def relative_data_leakage(rebuilt: torch.Tensor, originals: torch.Tensor, prior: torch.Tensor) -> np.ndarray:
    """Return the relative data leakage value of each patient, float64 ``(n,)``.

    RDLV = (SSIM(original, rebuilt) - SSIM(original, prior)) / SSIM(original, prior): what the update added to what the
    attacker had before. 0 is nothing.

    Source: A. Hatamizadeh et al., "Do Gradient Inversion Attacks Make Federated Learning Unsafe?", IEEE Trans. Medical
    Imaging 42 (2023). Their program compares each original with every rebuilt image and keeps the largest value; here
    the two are paired already.

    Args:
        rebuilt: Grey values in [0, 1], ``(n, channels, height, width)``.
        originals: What they should be.
        prior: The attacker's image before it saw the update, ``(1 or n, channels, height, width)``.

    Returns:
        NaN where the prior is not alike at all (SSIM of 0 or less): nothing can be relative to that.

    Raises:
        UsageError: If shapes differ.
    """
    if rebuilt.shape != originals.shape or prior.shape[1:] != originals.shape[1:]:
        raise UsageError("rebuilt images, originals and the prior have one shape")
    before = ssim(prior.expand_as(originals), originals).numpy()
    after = ssim(rebuilt, originals).numpy()
    known = before > 0.0
    return np.asarray(np.where(known, (after - before) / np.where(known, before, 1.0), np.nan), dtype=np.float64)


def _all_features(images: torch.Tensor, features: Features) -> torch.Tensor:
    """Return features as float32 rows, a few images at a time."""
    return torch.cat([features(part).flatten(1).to(torch.float32) for part in torch.split(images, _CHUNK)])


def _unit(rows: torch.Tensor, least: float) -> torch.Tensor:
    """Return rows of length 1; those that are no longer than rounding makes them are nobody's, and become 0."""
    lengths = rows.norm(dim=1, keepdim=True)
    return torch.where(lengths > least, rows / lengths.clamp_min(least), 0.0)
