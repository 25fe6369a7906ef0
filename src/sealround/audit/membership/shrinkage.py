"""A covariance from fewer examples than it has columns: shrunk towards a multiple of the identity, and never inverted.

Source: O. Ledoit, M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of
Multivariate Analysis 88 (2004), section 3.2. Everything comes from the Gram matrix of the examples where these are
fewer than the columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sealround.errors import UsageError

__all__ = ["Spectrum", "shrunk_covariance", "spectrum"]

_NEGLIGIBLE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """A covariance by its eigenvalues: ``values`` along ``axes``, ``floor`` in every direction at right angles to them.

    Attributes:
        mean: Of the examples, ``(d,)``.
        axes: Orthonormal, ``(r, d)``.
        values: ``(r,)``, positive.
        floor: Positive.
    """

    mean: np.ndarray
    axes: np.ndarray
    values: np.ndarray
    floor: float

    def project(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return coordinates along the axes ``(n, r)``, and the squared length of the rest ``(n,)``."""
        along = vectors @ self.axes.T
        return along, np.maximum(np.einsum("nd,nd->n", vectors, vectors) - np.square(along).sum(axis=1), 0.0)


def _intensity(trace: float, squared: float, fourth: float, size: tuple[int, int]) -> float:
    """Return the share of the identity's multiple, within 0..1 (Ledoit and Wolf 2004, lemmas 3.2 to 3.4).

    Args:
        trace: Of the sample covariance S.
        squared: Its squared Frobenius norm.
        fourth: Sum over examples of the fourth power of their length.
        size: Examples and columns.
    """
    n, d = size
    distance = squared - trace**2 / d
    if distance <= 0.0:
        return 1.0
    return float(np.clip((fourth / n - squared) / n / distance, 0.0, 1.0))


def shrunk_covariance(centred: np.ndarray, freedom: int | None = None) -> np.ndarray:
    """Return the shrunk covariance of a few columns, ``(q, q)``; of one column, its variance.

    Args:
        centred: Examples less their mean, ``(n, q)``.
        freedom: Degrees of freedom; n - 1 if ``None``.

    Raises:
        UsageError: If there is none.
    """
    n, q = centred.shape
    freedom = n - 1 if freedom is None else freedom
    if freedom < 1:
        raise UsageError("a covariance takes at least two examples")
    sample = centred.T @ centred / n
    fourth = float((np.square(centred).sum(axis=1) ** 2).sum())
    share = _intensity(float(np.trace(sample)), float(np.square(sample).sum()), fourth, (n, q))
    shrunk = (1.0 - share) * sample + share * np.trace(sample) / q * np.eye(q)
    return np.asarray(shrunk * (n / freedom))


def spectrum(examples: np.ndarray) -> Spectrum:
    """Return the shrunk covariance of many columns by its eigenvalues.

    O(n² d) time, O(n d) memory; no ``d x d`` matrix is formed.

    Args:
        examples: ``(n, d)``, at least two.

    Raises:
        UsageError: If there are fewer, or they are all the same.
    """
    n, d = examples.shape
    if n < 2:  # noqa: PLR2004  (one example has no spread)
        raise UsageError("a covariance takes at least two reference examples")
    mean = examples.mean(axis=0)
    centred = examples - mean
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    values = np.square(singular) / n
    trace = float(values.sum())
    if trace <= 0.0:
        raise UsageError("reference examples are all the same", hint="pass gradients of different records")
    fourth = float((np.square(centred).sum(axis=1) ** 2).sum())
    share = _intensity(trace, float(np.square(values).sum()), fourth, (n, d))
    kept = values > _NEGLIGIBLE * values[0]
    # Without any shrinkage a direction that no example has would be impossible; it is improbable.
    floor = max(share * trace / d, _NEGLIGIBLE * trace / d)
    scale = n / (n - 1)
    return Spectrum(mean, axes[kept], ((1.0 - share) * values[kept] + floor) * scale, floor * scale)
