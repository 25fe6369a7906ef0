"""Differential privacy in a training: what is added to what, derived from the study; and the site that adds it."""

from sealround.federation.private.histograms import CELL_COUNT, coarse, spread
from sealround.federation.private.terms import PrivacyTerms, SumNoise
from sealround.federation.private.work import Allowance, ClippedUnits, ClippingWork, PrivateWork

__all__ = [
    "CELL_COUNT",
    "Allowance",
    "ClippedUnits",
    "ClippingWork",
    "PrivacyTerms",
    "PrivateWork",
    "SumNoise",
    "coarse",
    "spread",
]
