"""Sparse vectors in a subspace: the columns of a factor, half of which are zeros, from the span of all of them.

A layer of m neurons with ReLU sends back, for each example, a column of m numbers with zeros where the neuron was off.
The gradient of the layer's weights shows the columns' span only. A column is a vector of the span with many more zeros
than a vector of the span must have; finding one is fitting a hyperplane through the origin to the rows of a basis of
which about half lie on it, and half do not.

SPEAR draws b - 1 rows and hopes that all lie on it: 2^(b-1) draws a column. Here a draw is only where a search starts:
iteratively reweighted least squares walks from it to a local minimum of the sum of absolute values on the sphere, and
minima with surplus zeros are columns. Starts needed grow far slower.

Sources: D. I. Dimitrov et al., "SPEAR: Exact Gradient Inversion of Batches in Federated Learning", NeurIPS 2024
(draws); M. C. Tsakiris, R. Vidal, "Dual Principal Component Pursuit", JMLR 19 (2018) (reweighting on the sphere); P. J.
Rousseeuw, K. Van Driessen, "Computing LTS Regression for Large Data Sets", 2006 (elemental starts).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["BATCH", "Basis", "basis_of", "complement", "completed", "implied", "search", "zeros_along"]

BATCH = 64
_COOLING, _SHARP = 0.75, 5e-7
_SURPLUS = 4
_KAPPA = 6.0
_COARSE, _FINE = 1e-3, 1e-9  # of an ordinary entry, as the next ones
_BANDS = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)
_ALIKE = 1.0 - 1e-6
_POOL = 200
_NEAR = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """A span of columns, from a singular value decomposition.

    Attributes:
        left: Orthonormal columns ``(m, b)``: coordinates of the span are coefficients of these.
        values: Singular values ``(b,)``.
        right: ``(b, n)``: what the decomposed matrix is ``left @ diag(values) @ right``.
        noise: Standard deviation of what blurs each entry of the decomposed matrix, as its tail shows.
        gap: Last singular value that counts, as a multiple of the first that does not.
    """

    left: torch.Tensor
    values: torch.Tensor
    right: torch.Tensor
    noise: float
    gap: float

    @property
    def rank(self) -> int:
        """How many columns span it."""
        return self.values.numel()

    @property
    def alive(self) -> torch.Tensor:
        """Which rows are more than noise, bool ``(m,)``: the others say nothing about zeros."""
        length: torch.Tensor = (self.left * self.values).norm(dim=1)
        return torch.gt(length, _KAPPA * self.noise * self.rank**0.5)

    def chance(self, directions: torch.Tensor) -> torch.Tensor:
        """Return how many entries of columns ``(k, b)`` the noise hides, of those that are not zero, ``(k,)``."""
        rows = self.left.shape[0]
        share: torch.Tensor = (_KAPPA * self.spread(directions).squeeze(1) * rows**0.5).clamp(max=1.0)
        return (rows - self.rank) * share

    def spread(self, directions: torch.Tensor) -> torch.Tensor:
        """Return the standard deviation of the entries of columns ``(k, b)`` that the noise makes, ``(k, 1)``."""
        length: torch.Tensor = (directions / self.values).norm(dim=1, keepdim=True)
        return self.noise * length


def basis_of(matrix: torch.Tensor, most: int, noise: float = 0.0) -> Basis | None:
    """Return the span of the columns of a matrix of low rank, the rank where its singular values drop most.

    Args:
        matrix: ``(m, n)``.
        most: The rank is no greater.
        noise: Standard deviation of each entry, if known.

    Returns:
        ``None`` if no drop is greater than tenfold: the rank is full, or noise hides it.
    """
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    rows, columns = matrix.shape
    floor = float(values[0]) * torch.finfo(matrix.dtype).eps * max(rows, columns) ** 0.5
    floor = max(floor, noise * (rows**0.5 + columns**0.5))
    padded = torch.cat([values, values.new_zeros(1)]).clamp_min(max(floor, torch.finfo(matrix.dtype).tiny))
    drops = (padded[:-1] / padded[1:])[: min(most, values.numel())]
    rank = int(torch.argmax(drops)) + 1
    gap = float(drops[rank - 1])
    if gap < 10.0:  # noqa: PLR2004
        return None
    free = max((rows - rank) * (columns - rank), 1)
    tail = float((values[rank:].square().sum() / free).sqrt())
    least = float(values[0]) * torch.finfo(matrix.dtype).eps
    return Basis(left[:, :rank], values[:rank], right[:rank], max(tail, noise, least), gap)


def search(basis: Basis, found: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Search for columns from 64 starts.

    Args:
        basis: The span.
        found: Directions found before, ``(j, b)``.
        generator: Draws the starts.

    Returns:
        Those found before or now, ``(k, b)``, of unit length, those with most zeros first.
    """
    rank = basis.rank
    if rank == 1:
        return torch.ones((1, 1), dtype=basis.left.dtype)
    outer = _outer(basis)
    ends = _descend(basis, outer, _elemental(basis, outer, BATCH, generator))
    return _merged((found, zeros_along(basis, found).sum(1)), _refined(basis, outer, ends))


def _outer(basis: Basis) -> torch.Tensor:
    """Return the outer products of the rows, ``(m, b * b)``."""
    rows, rank = basis.left.shape
    return (basis.left.unsqueeze(2) * basis.left.unsqueeze(1)).reshape(rows, rank * rank)


def _elemental(basis: Basis, outer: torch.Tensor, number: int, generator: torch.Generator) -> torch.Tensor:
    """Return directions that are orthogonal to b - 1 rows drawn at random, ``(number, b)``."""
    rows, rank = basis.left.shape
    order = torch.rand((number, rows), dtype=basis.left.dtype, generator=generator).argsort(1)
    drawn = torch.zeros_like(order, dtype=basis.left.dtype).scatter_(1, order[:, : rank - 1], 1.0)
    start = torch.randn((number, rank), dtype=basis.left.dtype, generator=generator)
    return _smallest(outer, drawn, start, 3)


def _smallest(outer: torch.Tensor, weights: torch.Tensor, start: torch.Tensor, steps: int) -> torch.Tensor:
    """Return directions along which weighted rows are shortest, by inverse iteration from a start, ``(k, b)``."""
    number, rank = start.shape
    moments = (weights @ outer).view(number, rank, rank)
    ridge = moments.diagonal(dim1=1, dim2=2).sum(1) * 1e-15 + torch.finfo(start.dtype).tiny
    factor = torch.linalg.cholesky_ex(moments + ridge.view(-1, 1, 1) * torch.eye(rank, dtype=start.dtype))[0]
    q = start
    for _ in range(steps):
        q = torch.cholesky_solve(q.unsqueeze(2), factor).squeeze(2)
        q = torch.nan_to_num(q / q.norm(dim=1, keepdim=True), nan=rank**-0.5)
    return q


def _descend(basis: Basis, outer: torch.Tensor, q: torch.Tensor, smooth: float = 1.0) -> torch.Tensor:
    """Walk to local minima of the sum of absolute values on the sphere, smoothed less and less, from a first value."""
    scale = basis.left.shape[0] ** 0.5
    while smooth > _SHARP:
        entries = (q @ basis.left.T).abs()
        least = basis.spread(q) * scale
        q = _smallest(outer, 1.0 / (entries * scale + (least + 1e-9).clamp_min(smooth)), q, 1)
        smooth *= _COOLING
    return q


def _refined(
    basis: Basis, outer: torch.Tensor, q: torch.Tensor, surplus: int = _SURPLUS
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fit directions to all rows that are zero along them; keep those with more zeros than any direction can have.

    Args:
        basis: The span.
        outer: Outer products of its rows, ``(m, b * b)``.
        q: Directions ``(k, b)``.
        surplus: How many more zeros, chance aside.

    Returns:
        Kept directions ``(j, b)`` and their numbers of zeros, int64 ``(j,)``.
    """
    rank = basis.rank
    scale = basis.left.shape[0] ** -0.5
    q = q[zeros_along(basis, q, _COARSE).sum(1) >= rank - 1 + surplus]
    for band in _BANDS:
        # Rows are left out little by little: one that is nearly zero, and no zero, must not bend the others' fit.
        width = _KAPPA * basis.spread(q) + band * scale
        weights = 1.0 / (1.0 + (q @ basis.left.T / width).square())
        q = _smallest(outer, weights, q, 2)
    zero = zeros_along(basis, q)
    # A direction has b - 1 zeros by choice of it; others by chance, where a narrow band about zero has some.
    chance = basis.chance(q)
    needed = rank - 1 + surplus + chance + 4.0 * chance.sqrt()
    kept = zero.sum(1) >= needed
    return q[kept], zero[kept].sum(1)


def zeros_along(basis: Basis, q: torch.Tensor, least: float = _FINE) -> torch.Tensor:
    """Return which entries of columns are zero up to the noise, bool ``(k, m)``; rows that are all noise are not."""
    rows = basis.left.shape[0]
    band = _KAPPA * basis.spread(q) + least * rows**-0.5
    zero: torch.Tensor = (q @ basis.left.T).abs() <= band
    return zero & basis.alive


def _merged(old: tuple[torch.Tensor, torch.Tensor], new: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Join directions with their numbers of zeros, of those alike the one with most; most zeros first."""
    q, counts = torch.cat([old[0], new[0]]), torch.cat([old[1], new[1]])
    if not q.shape[0]:
        return q
    alike = (q @ q.T).abs() > _ALIKE
    # Of a group, the first of those with most zeros stays: nobody before it that is as good, nobody better.
    number = torch.arange(q.shape[0])
    better = counts.unsqueeze(0) > counts.unsqueeze(1)
    equal = (counts.unsqueeze(0) == counts.unsqueeze(1)) & (number.unsqueeze(0) < number.unsqueeze(1))
    keep = ~(alike & (better | equal)).any(1)
    q, counts = q[keep], counts[keep]
    order = torch.argsort(counts, descending=True, stable=True)[:_POOL]
    return q[order]


def implied(basis: Basis, q: torch.Tensor, forward: torch.Tensor, pool: torch.Tensor) -> torch.Tensor:
    """Add to a pool the columns that the inputs of a set imply, by the neurons which they leave off.

    An input is a row of the inverse of all directions: orthogonal to those of others, and independent of its own. So
    where all but one are right, that input is right, and implies its column.

    Args:
        basis: The span.
        q: As many directions as examples, ``(b, b)``.
        forward: Pre-activations by coordinates of an input, ``(m, b)``: ``[W, bias] @ right.T @ diag(values)``.
        pool: Directions to return too, ``(j, b)``.

    Returns:
        Directions ``(k, b)``, those with most zeros first.
    """
    along = torch.linalg.inv(q.T) @ forward.T
    return _with_patterns(basis, torch.cat([along > 0, along < 0]), pool)


def completed(basis: Basis, q: torch.Tensor, forward: torch.Tensor, pool: torch.Tensor) -> torch.Tensor:
    """Add to a pool the columns of two examples that the other columns leave possible.

    The two inputs lie on a line, which the neurons' boundaries cut into at most m pieces with one pattern each.

    Args:
        basis: The span.
        q: Directions of the others, ``(b - 2, b)``.
        forward: As `implied` takes it.
        pool: Directions to return too, ``(j, b)``.

    Returns:
        Directions ``(k, b)``, those with most zeros first.
    """
    along = forward @ complement(q).T
    angles = torch.atan2(-along[:, 0], along[:, 1]) % torch.pi
    edges = torch.cat([angles.sort().values, angles.min().view(1) + torch.pi])
    middle = (edges[:-1] + edges[1:]) / 2
    turned = along @ torch.stack([torch.cos(middle), torch.sin(middle)])
    return _with_patterns(basis, torch.cat([turned > 0, turned < 0], 1).T, pool)


def complement(q: torch.Tensor) -> torch.Tensor:
    """Return an orthonormal basis of what is orthogonal to directions ``(k, b)``, ``(b - k, b)``."""
    number, rank = q.shape
    return torch.linalg.svd(q, full_matrices=True)[2][number:] if number else torch.eye(rank, dtype=q.dtype)


def _with_patterns(basis: Basis, on: torch.Tensor, pool: torch.Tensor) -> torch.Tensor:
    """Add to a pool the directions whose columns are zero where neurons are off, patterns ``(k, m)``."""
    outer = _outer(basis)
    start = torch.ones((len(on), basis.rank), dtype=pool.dtype)
    ends = _smallest(outer, (~on).to(pool.dtype), start, 6)
    if len(on) <= 4 * basis.rank:  # few: worth a walk, in case some neurons have changed sides
        ends = torch.cat([ends, _descend(basis, outer, ends, _NEAR)])
    return _merged((pool, zeros_along(basis, pool).sum(1)), _refined(basis, outer, ends, 0))
