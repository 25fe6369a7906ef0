"""Gradients of single patients, as parts of which lengths and clipped sums are taken: see `clipped_gradients`."""

from sealround.learning.clipped.parts import Batch, Part
from sealround.learning.clipped.passes import PatientGradients, check_separable

__all__ = ["Batch", "Part", "PatientGradients", "check_separable"]
