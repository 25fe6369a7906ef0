"""From a pool of possible columns to a set that fits: the one whose inputs turn on the neurons that its columns show.

Columns and inputs belong together twice. ``D X`` is the gradient, so all columns together give all inputs; and an input
turns a neuron on where its own column is not zero, and nowhere else. A wrong column spoils the second, for its own
input and for those it stands in for.

Source: the consistency of Dimitrov et al., NeurIPS 2024 (the measure lambda and the greedy exchange).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sealround.audit.inversion.sparse_columns import zeros_along

if TYPE_CHECKING:
    from sealround.audit.inversion.sparse_columns import Basis

__all__ = ["Assembly", "assembled", "independent"]

_FLAT = 1e-4
_LARGEST = 400
_PLACES = 6
_BLOCK = 1 << 23
_TINY = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class Assembly:
    """As many columns as examples, and what they imply.

    Attributes:
        directions: Of the columns, ``(b, b)``.
        wrong: How many neurons are on where the example's column is zero or off where it is not, int64 ``(b,)``.
        expected: How many of these the noise (and training on the way) explains, ``(b,)``.
    """

    directions: torch.Tensor
    wrong: torch.Tensor
    expected: torch.Tensor

    @property
    def disagreements(self) -> int:
        """Over all examples."""
        return int(self.wrong.sum())

    @property
    def fits(self) -> bool:
        """Whether all disagreements are explained."""
        return bool((self.wrong <= self.expected).all())


def independent(q: torch.Tensor) -> torch.Tensor:
    """Return the first directions of ``(k, b)`` that do not follow from those before, at most b."""
    left, rank = q.clone(), q.shape[1]
    kept: list[int] = []
    for index in range(q.shape[0]):
        length = float(left[index].norm())
        if length <= _FLAT:
            continue
        kept.append(index)
        if len(kept) == rank:
            break
        unit = left[index] / length
        left -= torch.outer(left @ unit, unit)
    return q[kept]


def assembled(
    basis: Basis,
    pool: torch.Tensor,
    forward: torch.Tensor,
    generator: torch.Generator | None = None,
    *,
    flipped: float = 0.0,
) -> Assembly | None:
    """Choose columns from a pool: the first independent ones, then whatever exchange fits better.

    Args:
        basis: The span.
        pool: Possible directions ``(k, b)``, likely ones first.
        forward: Pre-activations by coordinates of an input, ``(m, b)``.
        flipped: Share of neurons that may have changed sides, per example.
        generator: Shuffles the pool where exchanges get stuck, some times; ``None`` never does.

    Returns:
        ``None`` if the pool does not span all.
    """
    best: Assembly | None = None
    for attempt in range(1 if generator is None else 6):
        order = torch.arange(len(pool)) if attempt == 0 else torch.randperm(len(pool), generator=generator)
        start = independent(pool[order])
        if len(start) < basis.rank:
            return None
        found = _exchanged(basis, start, pool[:_LARGEST], forward, flipped)
        if best is None or found.disagreements < best.disagreements:
            best = found
        if best.fits:
            break
    return best


def _exchanged(basis: Basis, q: torch.Tensor, pool: torch.Tensor, forward: torch.Tensor, flipped: float) -> Assembly:
    """Exchange one column at a time for the one of the pool that leaves least disagreement, while it lessens it."""
    alive = basis.alive
    shown, others = (~zeros_along(basis, some)[:, alive] for some in (q, pool))
    forward = forward[alive]
    scaled = (basis.values.unsqueeze(1) * basis.right).T  # inputs with their one, of coordinates
    while True:
        inverse = torch.linalg.inv(q.T)
        ones = inverse @ scaled[-1]
        before = inverse @ forward.T
        wrong = (((before * ones.unsqueeze(1)) > 0) != shown).sum(1)
        # An entry may be hidden, a neuron near its edge be taken for one on the other side.
        chance = basis.chance(q)
        expected = 2.0 * chance + 3.0 * chance.sqrt() + flipped * shown.shape[1]
        now = int(wrong.sum())
        if not now or len(pool) <= basis.rank:
            return Assembly(q, wrong, expected)
        places = wrong.argsort(descending=True, stable=True)[:_PLACES]
        count, place, chosen = _best_exchange((q, shown), (pool, others), (before, ones), places)
        if count >= now:
            return Assembly(q, wrong, expected)
        q, shown = q.clone(), shown.clone()
        q[place], shown[place] = pool[chosen], others[chosen]


def _best_exchange(
    own: tuple[torch.Tensor, torch.Tensor],
    pool: tuple[torch.Tensor, torch.Tensor],
    implied: tuple[torch.Tensor, torch.Tensor],
    places: torch.Tensor,
) -> tuple[int, int, int]:
    """Return the least disagreement after one exchange, which column goes, and which of the pool comes.

    With ``c = sum a_k q_k`` in place of ``q_j``, inputs become ``x_k - (a_k / a_j) x_j`` and ``x_j / a_j``; all that is
    linear in them, pre-activations and the ones, likewise.
    """
    (q, shown), (candidates, others), (before, ones) = own, pool, implied
    rank, rows = shown.shape
    share = torch.linalg.solve(q.T, candidates.T).T
    best = (rank * rows + 1, 0, 0)
    chunk = max(1, _BLOCK // (rank * rows))
    for place in places.tolist():
        usable = torch.nonzero(share[:, place].abs() > _TINY).squeeze(1)
        for part in torch.split(usable, chunk):
            ratio = share[part] / share[part, place : place + 1]
            ratio[:, place] = 1.0 - 1.0 / share[part, place]
            after = before - ratio.unsqueeze(2) * before[place]
            sign = (ones - ratio * ones[place]).unsqueeze(2)
            wanted = shown.repeat(len(part), 1, 1)
            wanted[:, place] = others[part]
            wrong = (((after * sign) > 0) != wanted).sum((1, 2))
            least = int(wrong.argmin())
            if int(wrong[least]) < best[0]:
                best = (int(wrong[least]), place, int(part[least]))
    return best
