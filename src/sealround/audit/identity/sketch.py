"""Long updates as short vectors that keep inner products: random signs, summed up by random buckets.

Source: M. Charikar, K. Chen, M. Farach-Colton, "Finding frequent items in data streams", ICALP 2002; as a projection,
K. Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009, lemma 2: inner products are
unbiased, with a variance of about 1/width times the product of the squared lengths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sealround.errors import UsageError

__all__ = ["CountSketch", "count_sketch"]


@dataclass(frozen=True, slots=True, eq=False)
class CountSketch:
    """A projection from d numbers to a few.

    Attributes:
        buckets: Which bucket each coordinate is in, int64 ``(d,)``.
        signs: +1 or -1 of each coordinate, float64 ``(d,)``.
        width: How many buckets there are.
    """

    buckets: np.ndarray
    signs: np.ndarray
    width: int

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """Return the sketches of vectors ``(n, d)``, float64 ``(n, width)``; linear, one pass over each.

        Raises:
            UsageError: If the vectors have another length.
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.signs):  # noqa: PLR2004  (vectors, coordinates)
            raise UsageError(f"a sketch of {len(self.signs)} coordinates does not fit vectors {vectors.shape}")
        # A vector at a time: its sums stay in the processor's cache while it is read in order.
        rows = [np.bincount(self.buckets, vector * self.signs, self.width) for vector in vectors]
        return np.array(rows, dtype=np.float64).reshape(len(vectors), self.width)


def count_sketch(length: int, width: int, draw: np.random.Generator) -> CountSketch:
    """Draw a projection from ``length`` numbers to ``width``.

    Raises:
        UsageError: If either is less than 1.
    """
    if length < 1 or width < 1:
        raise UsageError(f"a sketch from {length} to {width} numbers is not possible")
    return CountSketch(draw.integers(width, size=length), draw.choice(np.array([-1.0, 1.0]), size=length), width)
