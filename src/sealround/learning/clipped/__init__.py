"""Gradients of single patients, as parts of which lengths and clipped sums are taken: see `clipped_gradients`."""

from sealround.learning.clipped.passes import check_separable, parts_of
from sealround.learning.clipped.parts import Batch, Part

__all__ = ["Batch", "Part", "check_separable", "parts_of"]
