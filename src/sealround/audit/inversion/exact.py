"""All exact attacks on one update, cheapest first."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from sealround.audit.inversion import closed_form, rgap, spear

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.audit.inversion.observation import Observation, Reconstruction

__all__ = ["EXACT", "exact_attacks"]

_Attack = tuple["Callable[[Observation], str | None]", "Callable[[Observation, torch.Generator], Reconstruction]"]

EXACT: dict[str, _Attack] = {
    "closed form": (closed_form.why_not, closed_form.attack),
    "SPEAR": (spear.why_not, spear.attack),
    "R-GAP": (rgap.why_not, rgap.attack),
}
"""By name: why one does not apply, and the attack."""

_SAME = 1e-2


def exact_attacks(seen: Observation, generator: torch.Generator) -> tuple[Reconstruction | None, dict[str, str]]:
    """Try exact attacks until one proves every example.

    Args:
        seen: The round.
        generator: Draws where searches start.

    Returns:
        The reconstruction with most proven examples, joined by those that only others prove; ``None`` if no attack
        applies. And by name why others did not apply.
    """
    reasons: dict[str, str] = {}
    found: list[Reconstruction] = []
    for name, (why_not, attack) in EXACT.items():
        reason = why_not(seen)
        if reason is not None:
            reasons[name] = reason
            continue
        found.append(attack(seen, generator))
        if int(found[-1].certified.sum()) == seen.examples:
            return found[-1], reasons
    if not found:
        return None, reasons
    found.sort(key=lambda one: (int(one.certified.sum()), len(one.inputs)), reverse=True)
    best = found[0]
    for other in found[1:]:
        best = _joined(best, other)
    return best, reasons


def _joined(best: Reconstruction, other: Reconstruction) -> Reconstruction:
    """Add the proven examples of another attack that are not among those proven."""
    proven = best.inputs[best.certified].flatten(1)
    rows = torch.nonzero(other.certified).squeeze(1)
    if not rows.numel():
        return best
    candidates = other.inputs[rows].flatten(1)
    if len(proven):
        near = torch.cdist(candidates, proven).amin(1) <= _SAME * candidates.norm(dim=1)
        rows = rows[~near]
    if not rows.numel():
        return best
    labels = None
    if best.labels is not None and other.labels is not None:
        labels = torch.cat([best.labels[best.certified], other.labels[rows]])
    return dataclasses.replace(
        best,
        attack=f"{best.attack}, {other.attack}",
        inputs=torch.cat([best.inputs[best.certified], other.inputs[rows]]),
        labels=labels,
        certified=torch.ones(len(proven) + len(rows), dtype=torch.bool),
        mismatch=float("nan"),
    )
