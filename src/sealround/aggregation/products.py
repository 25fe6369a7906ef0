r"""One Gram matrix, one combination: all that a rule which goes by distances needs of the updates.

Such a rule never looks at a parameter. It reads the inner products of the sites' updates, decides on a weight for each,
and the next change of the model is the weighted sum. The distance of any combination to any update is in the products
too: with :math:`G = X X^T` and weights :math:`w` that sum to 1,

.. math:: \lVert x_i - \sum_j w_j x_j \rVert^2 = G_{ii} - 2 (G w)_i + w^T G w.

So n sites with d parameters cost one pass of n² d / 2 multiplications, whatever the rule does afterwards on its n × n
numbers; and a rule that sees nothing but products can be given products that were computed on secret shares.

Precision. Products are of float32, taken a block of columns at a time about a *centre* that is subtracted first, and
added up in float64. Distances do not depend on the centre, their rounding errors do: about 1e-7 of the squared distance
to it. The centre is the vector that the rule compares with, or zero if a few columns say that updates are near it for
how they differ, and nothing is subtracted; or else the mean of the rows. Any of these may be far from everybody, as the
mean is where there is one hostile update of 1e6; and then the distances between honest sites would be noise for a
second hostile site to hide in. So the products tell whether the densest half of the sites is far from the centre for
its width; if it is, the pass is done again about the site in the middle of that half. Nobody pays for that but a round
under attack, and rounds whose sites agree nearly to the last bit.
A rule that counts on no honest majority has no such half to go by. It goes by directions and lengths alone, and these
are exact to about 1e-6 of each where the centre is the origin, whatever the others send.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from sealround.aggregation.blocks import check_updates, over_columns
from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sealround.vocabulary import Update, Updates

__all__ = ["HISTORY", "ORIGIN", "ROOT", "Gram", "combine", "gram"]

ORIGIN = "origin"
"""The zero vector: a rule about norms measures distances to it."""

HISTORY = "history"
"""What the last round's aggregation returned."""

ROOT = "root"
"""The update that the consortium computed on data of its own."""

_COLUMNS, _FEWEST_COLUMNS = 8192, 1024
_COMBINE_COLUMNS = 1 << 15
_MAX_PASSES = 5
_BLUR = 64.0
"""How far from the centre the densest half may be, squared, in squared radii: errors are below 1e-4 of those then."""
_PILOTS, _PILOT_COLUMNS = 4, 1024
_NOTHING: Mapping[str, Update] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Gram:
    """Inner products of the sites' updates, and of vectors to compare them with, about a common centre.

    Attributes:
        products: float64 ``(n + r, n + r)``, symmetric; the n sites come first.
        sites: n.
        references: Names of the r other vectors, in the order of their rows.
    """

    products: np.ndarray
    sites: int
    references: tuple[str, ...] = ()

    @property
    def distances(self) -> np.ndarray:
        """Squared distances between the sites, float64 ``(n, n)``; never negative."""
        return np.asarray(self.all_distances[: self.sites, : self.sites])

    @property
    def all_distances(self) -> np.ndarray:
        """Squared distances between sites and references, float64 ``(n + r, n + r)``."""
        squares = np.diagonal(self.products)
        found: np.ndarray = np.maximum(squares[:, None] + squares[None, :] - 2.0 * self.products, 0.0)
        np.fill_diagonal(found, 0.0)
        return found

    def row(self, name: str) -> int:
        """Return the row of a reference.

        Raises:
            UsageError: If it is not among the products.
        """
        if name not in self.references:
            raise UsageError(f"this rule compares with {name!r}, and the products are without it")
        return self.sites + self.references.index(name)

    def about(self, name: str) -> np.ndarray:
        """Return the inner products of everything with the named reference as the zero, float64 ``(n + r, n + r)``."""
        row = self.products[self.row(name)]
        return np.asarray(self.products - row[:, None] - row[None, :] + row[self.row(name)])

    def mixed(self, mixing: np.ndarray) -> Gram:
        """Return the products of mixtures of the updates, without mixing an update.

        Args:
            mixing: float64 ``(m, n)``; each row sums to 1, so that the centre stays where it is.

        Returns:
            Products of the m mixtures and the same references.
        """
        others = len(self.references)
        whole = np.zeros((len(mixing) + others, len(self.products)))
        whole[: len(mixing), : self.sites] = mixing
        whole[len(mixing) :, self.sites :] = np.eye(others)
        return Gram(whole @ self.products @ whole.T, len(mixing), self.references)


def gram(
    updates: Updates,
    references: Mapping[str, Update] = _NOTHING,
    *,
    origin: bool = False,
    central: bool = False,
    threads: int = 1,
) -> Gram:
    """Return the inner products of updates.

    Args:
        updates: float32 ``(n, d)``, finite (see `sealround.aggregation.admit`).
        references: Other vectors to compare with, float32 ``(d,)`` each, under their names.
        origin: Whether to compare with the zero vector too.
        central: Whether that is the centre, for directions and lengths; else one that suits distances.
        threads: How many threads share the work; the result is the same to the last bit.

    Returns:
        The products; memory in use besides ``updates`` is one block of columns for each thread.

    Raises:
        UsageError: If an array is of another type or shape, or a product is not finite.
    """
    check_updates(updates)
    n, d = updates.shape
    for name, vector in references.items():
        if vector.dtype != np.float32 or vector.shape != (d,):
            raise UsageError(f"{name} is a float32 vector of {d} parameters, not {vector.dtype} {vector.shape}")
    zero = {ORIGIN: None} if origin or central else {}
    others, names = [*references.values(), *zero.values()], (*references, *zero)
    # A rule that compares with one vector goes by distances to that one: they are the lengths about it, and cost less.
    centre = n + len(others) - 1 if central or len(others) == 1 else None
    if not others and _is_near_origin(updates):
        centre = n
    distance = np.inf
    for _ in range(1 if central else _MAX_PASSES):
        found = Gram(_products(updates, others, centre, threads), n, names)
        if not np.isfinite(found.products).all():
            raise UsageError("an update is not finite, or too large for float32", hint="admit updates first")
        site, width, to_centre = _densest_half(found)
        if to_centre <= _BLUR * width or to_centre > distance / 4:
            break
        centre, distance = site, to_centre
    return found


def _products(updates: Updates, others: Sequence[Update | None], centre: int | None, threads: int) -> np.ndarray:
    """Return products about one row of all, the origin after them, or the mean; a ``None`` is the origin as well."""
    n, d = updates.shape
    columns = min(_COLUMNS, max(d // 32, _FEWEST_COLUMNS), d)
    mean = np.full(n, 1.0 / n, dtype=np.float32)
    # A centre that is no site is nothing but zeros, and takes no part.
    kept = [row for row in range(n + len(others)) if row != centre or row < n]
    rest = [others[row - n] for row in kept[n:]]
    parts = np.empty((-(-d // columns), len(kept), len(kept)), dtype=np.float32)

    def work(blocks: Sequence[slice]) -> None:
        buffer, middle = np.empty((len(kept), columns), dtype=np.float32), np.zeros(columns, dtype=np.float32)
        for block in blocks:
            x = updates[:, block]
            y, zero = buffer[:, : x.shape[1]], middle[: x.shape[1]]
            if centre is None:
                np.matmul(mean, x, out=zero)
            elif centre < n:
                np.copyto(zero, x[centre])
            elif (reference := [*others, None][centre - n]) is not None:
                np.copyto(zero, reference[block])
            elif not rest:
                y = x  # about the origin, as it is
            if y is not x:
                np.subtract(x, zero, out=y[:n])
            for row, other in enumerate(rest, start=n):
                np.subtract(np.float32(0) if other is None else other[block], zero, out=y[row])
            # numpy sees a matrix times its own transpose, and computes one triangle (BLAS syrk).
            np.matmul(y, y.T, out=parts[block.start // columns])

    over_columns(work, d, columns=columns, threads=threads)
    found = np.zeros((n + len(others),) * 2)
    found[np.ix_(kept, kept)] = parts.sum(axis=0, dtype=np.float64)
    return found


def _is_near_origin(updates: Updates) -> bool:
    """Return whether the densest half of the sites is near zero for its width, by a few columns: then as they are."""
    n, d = updates.shape
    products = np.zeros((n, n))
    for start in np.linspace(0, max(d - _PILOT_COLUMNS, 0), _PILOTS, dtype=np.int64):
        x = updates[:, start : start + _PILOT_COLUMNS]
        products += x @ x.T
    if not np.isfinite(products).all():
        return False
    _, width, to_centre = _densest_half(Gram(products, n))
    return to_centre <= _BLUR / 4 * width


def _densest_half(found: Gram) -> tuple[int, float, float]:
    """Return the site amid the nearest majority, that one's squared radius, and its squared distance to the centre."""
    distances = found.distances
    majority = found.sites // 2  # others, beside the site itself
    radii = np.partition(distances, majority, axis=1)[:, majority]
    site = int(np.argmin(radii))
    squares = np.diagonal(found.products)[: found.sites]
    return site, float(radii[site]), float(squares[distances[site] <= radii[site]].max())


def combine(
    weights: np.ndarray,
    updates: Updates,
    references: Sequence[tuple[float, Update]] = (),
    *,
    threads: int = 1,
) -> Update:
    """Return a weighted sum of updates, in one pass.

    Args:
        weights: float64 ``(n,)``, finite.
        updates: float32 ``(n, d)``, finite.
        references: Further weights and vectors to add.
        threads: How many threads share the work; the result is the same to the last bit.

    Returns:
        float32 ``(d,)``.

    Raises:
        UsageError: If there is not one weight for each update.
    """
    check_updates(updates)
    n, d = updates.shape
    if weights.shape != (n,):
        raise UsageError(f"{n} updates take {n} weights, not {weights.shape}")
    narrow = weights.astype(np.float32)
    out = np.empty(d, dtype=np.float32)

    def work(blocks: Sequence[slice]) -> None:
        for block in blocks:
            np.matmul(narrow, updates[:, block], out=out[block])
            for weight, vector in references:
                out[block] += np.float32(weight) * vector[block]

    over_columns(work, d, columns=_COMBINE_COLUMNS, threads=threads)
    return out
