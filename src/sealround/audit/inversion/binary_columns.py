"""Columns that are a known vector with entries left out, from the span of all of them.

Between one hidden layer and one output, what the loss sends back to the neurons for an example is its residual times
the output's weights, with zeros where ReLU was off. Divided by the output's weights, a column is constant where it is
not zero: a vector of ones and zeros, its length aside. That leaves 2^b vectors of the span to try, one for each pattern
on b rows that determine the rest; halves of the pattern are tried apart and joined, so that it takes the square root
of it. No draw, no luck, and barely more rows than examples are enough, where counting zeros needs many times as many.

Source: the structure is that of SPEAR (Dimitrov et al., NeurIPS 2024); joining halves is E. Horowitz, S.
Sahni,
"Computing Partitions with Applications to the Knapsack Problem", Journal of the ACM 21 (1974).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from sealround.audit.inversion.sparse_columns import Basis

__all__ = ["MOST", "binary_columns"]

MOST = 32
"""Largest number of columns: halves of 2^16 patterns."""

_KAPPA = 6.0
_WIDEST = 0.2
_FLOOR = 1e-7
_CHUNK = 1 << 22
_PAIRS = 1 << 26


def binary_columns(basis: Basis, scale: torch.Tensor) -> torch.Tensor:
    """Return the directions whose columns, divided by a vector, have one value besides zero.

    Args:
        basis: The span, b columns of m rows.
        scale: What entries are divided by, ``(m,)``.

    Returns:
        Directions ``(k, b)``, of unit length, those that fit best first; none if noise leaves too many patterns.
    """
    rank = basis.rank
    rows = basis.left * basis.values  # of equal noise
    alive = (rows.norm(dim=1) > _KAPPA * basis.noise * rank**0.5) & (scale != 0)
    rows, scale = rows[alive], scale[alive]
    if len(rows) < rank:
        return rows.new_zeros((0, rank))
    chosen = _pivots(rows, rank)
    rest = torch.ones(len(rows), dtype=torch.bool)
    rest[chosen] = False
    inverse = torch.linalg.solve(rows[chosen], torch.diag(scale[chosen]))
    others, by = rows[rest], scale[rest].unsqueeze(1)
    predicted = others @ inverse / by
    # What noise does to a prediction, for a pattern of ordinary length.
    typical = inverse.norm() * 0.5
    share = (1.0 + torch.linalg.solve(rows[chosen].T, others.T).square().sum(0)).sqrt()
    band = (_KAPPA * basis.noise * typical * share / by.squeeze(1).abs()).clamp_min(_FLOOR)
    order = torch.argsort(band)
    usable = order[band[order] < _WIDEST]
    patterns = _joined(predicted[usable], band[usable], rank)
    return _fitted(basis, rows, scale, patterns @ inverse.T)


def _pivots(rows: torch.Tensor, rank: int) -> torch.Tensor:
    """Choose rows that determine the rest, each the longest of what those before leave (pivoted Gram and Schmidt)."""
    left = rows.clone()
    chosen = []
    for _ in range(rank):
        chosen.append(int(left.square().sum(1).argmax()))
        unit = left[chosen[-1]] / left[chosen[-1]].norm()
        left -= torch.outer(left @ unit, unit)
    return torch.tensor(chosen)


def _halves(number: int, dtype: torch.dtype) -> torch.Tensor:
    """Return all patterns of some zeros and ones, ``(2**number, number)``."""
    bits: torch.Tensor = (torch.arange(1 << number).unsqueeze(1) >> torch.arange(number)) & 1
    return bits.to(dtype)


def _joined(predicted: torch.Tensor, band: torch.Tensor, rank: int) -> torch.Tensor:
    """Return patterns ``(k, b)`` whose predicted entries ``(j, b)`` are all zero or one within bands ``(j,)``."""
    cut = rank // 2
    first, second = _halves(cut, predicted.dtype), _halves(rank - cut, predicted.dtype)
    none = predicted.new_zeros((0, rank))
    if not len(predicted):
        every = torch.cat([first.repeat_interleave(len(second), 0), second.repeat(len(first), 1)], 1)
        return every if rank == 1 else none
    sums, order = (second @ predicted[0, cut:]).sort()
    have = first @ predicted[0, :cut]
    kept = []
    pairs = 0
    for target in (0.0, 1.0):
        low = torch.searchsorted(sums, target - have - band[0])
        number = torch.searchsorted(sums, target - have + band[0], right=True) - low
        pairs += int(number.sum())
        if pairs > _PAIRS:
            return none
        for part in _parts(number):
            left = torch.repeat_interleave(part, number[part])
            offset = torch.arange(left.numel()) - torch.repeat_interleave(
                number[part].cumsum(0) - number[part], number[part]
            )
            right = order[low[left] + offset]
            kept.append(_filtered(predicted, band, (first, second), (left, right)))
    patterns = torch.cat(kept)
    return patterns[patterns.any(1)]


def _parts(number: torch.Tensor) -> list[torch.Tensor]:
    """Cut rows into groups with some millions of pairs each."""
    group = number.cumsum(0) // _CHUNK
    nonzero = number > 0
    return [torch.nonzero((group == k) & nonzero).squeeze(1) for k in torch.unique(group[nonzero])]


def _filtered(
    predicted: torch.Tensor,
    band: torch.Tensor,
    halves: tuple[torch.Tensor, torch.Tensor],
    pairs: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """Return the patterns of those pairs of halves that all rows allow."""
    cut = halves[0].shape[1]
    sums = halves[0] @ predicted[:, :cut].T, halves[1] @ predicted[:, cut:].T
    left, right = pairs
    for row in range(1, len(predicted)):
        value = sums[0][left, row] + sums[1][right, row]
        fits = torch.minimum(value.abs(), (value - 1.0).abs()) <= band[row]
        left, right = left[fits], right[fits]
    return torch.cat([halves[0][left], halves[1][right]], 1)


def _fitted(basis: Basis, rows: torch.Tensor, scale: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Round the columns of directions to patterns, and fit directions to these: least squares over all rows."""
    if not len(q):
        return q
    rounded = (q @ rows.T / scale).round().clamp(0.0, 1.0)
    rounded = torch.unique(rounded, dim=0)
    solved = torch.linalg.lstsq(rows, (rounded * scale).T, driver="gelsd").solution.T
    misfit = (solved @ rows.T - rounded * scale).norm(dim=1) / (rounded * scale).norm(dim=1)
    # In coordinates of the orthonormal basis, as others return them.
    q = solved * basis.values
    units: torch.Tensor = q / q.norm(dim=1, keepdim=True)
    return units[torch.argsort(misfit, stable=True)]
