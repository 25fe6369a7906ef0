"""Who was put down by a rule, and whether it was the right ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sealround.aggregation import capped_shares

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sealround.vocabulary import PartyId

__all__ = ["precision_and_recall", "treated"]

_PUT_DOWN = 0.5
"""A part below this share of what a site's size, or an equal share, would give it counts as put down."""


def treated(
    rounds: Sequence[Mapping[PartyId, float]], sizes: Mapping[PartyId, int]
) -> dict[PartyId, dict[str, float | int]]:
    """Return how a rule treated each site.

    Args:
        rounds: Each site's part in the aggregate, for each round; who was excluded has 0.
        sizes: Training records of each site.

    Returns:
        For each site that took part: ``rounds``, the sum of its parts ``part``, in how many it was ``left_out``
        altogether, and in how many it was ``put_down``: to less than half of the smaller of an equal share and the
        share of its examples.
    """
    found: dict[PartyId, dict[str, float | int]] = {}
    for parts in rounds:
        sites = [site for site in sorted(parts) if sizes[site]]
        if not sites:
            continue
        shares = capped_shares(np.array([float(sizes[site]) for site in sites]), largest=0.5)
        total = sum(max(part, 0.0) for part in parts.values())
        fair = np.minimum(shares, 1.0 / len(sites)) * total
        for site, least in zip(sites, (_PUT_DOWN * fair).tolist(), strict=True):
            entry = found.setdefault(site, {"rounds": 0, "part": 0.0, "left_out": 0, "put_down": 0})
            entry["rounds"] += 1
            entry["part"] += parts[site]
            entry["left_out"] += int(parts[site] <= 0.0)
            entry["put_down"] += int(parts[site] < least or parts[site] <= 0.0)
    return found


def precision_and_recall(
    cells: Iterable[tuple[Mapping[PartyId, Mapping[str, Any]], frozenset[PartyId]]],
) -> tuple[float | None, float | None]:
    """Return which part of those put down lied, and which part of those who lied were put down, over all rounds.

    Args:
        cells: Of each training, what `treated` returned, and who lied.

    Returns:
        ``None`` where nobody was put down, and where nobody lied.
    """
    right = down = lies = 0
    for sites, liars in cells:
        for site, entry in sites.items():
            down += entry["put_down"]
            lies += entry["rounds"] * (site in liars)
            right += entry["put_down"] * (site in liars)
    return (right / down if down else None), (right / lies if lies else None)
