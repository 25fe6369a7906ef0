"""What is counted of every group of patients, as vectors whose sum over sites is all that matters.

Each array has a row for everybody, which is row 0, and one for each group; a patient can be in many of them.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "BINS",
    "BIN_EDGES",
    "CELLS",
    "COMPARED",
    "COMPARED_CANDIDATE",
    "COMPARED_NEGATIVES",
    "COMPARED_POSITIVES",
    "COMPARED_REFERENCE",
    "CONFUSION",
    "CROSS_ERROR",
    "LOGITS",
    "PATIENTS",
    "RISK",
    "SITES",
    "VARIANCE",
]

BINS = 64
"""Bins of the recalibrated logit, for each class: a quarter of a logit wide, beyond -8 and 8 in the outermost."""

BIN_EDGES = np.linspace(-8.0, 8.0, BINS + 1)
"""Logits between the bins, float64 ``(BINS + 1,)``."""

# --- one model on the patients of a group: float64 (1 + groups, CELLS) -----------------------------------------------

SITES = 0
"""How many sites have anyone there; the first column of a comparison, too."""

PATIENTS = 1
"""How many patients; the second column of a comparison, too. A patient can have several examples."""

CONFUSION = slice(2, 6)
"""True negatives, false positives, false negatives, true positives."""

RISK = 6
"""Sum of the predicted risks p."""

VARIANCE = 7
"""Sum of p (1 - p): the variance of the number of events, if the predictions are right."""

LOGITS = slice(8, 8 + 2 * BINS)
"""Negatives by bin of the logit, then positives."""

CELLS = 8 + 2 * BINS
"""Numbers of a group."""

# --- two models on the same patients of a group: float64 (1 + groups, COMPARED) --------------------------------------

COMPARED_POSITIVES = slice(2, 6)
"""The sick: both models right, only the candidate wrong, only the reference wrong, both wrong."""

COMPARED_NEGATIVES = slice(6, 10)
"""The healthy, in the same order."""

COMPARED_CANDIDATE = slice(10, 12)
"""Sum of the candidate's error e = p - y, and of its square."""

COMPARED_REFERENCE = slice(12, 14)
"""The same of the reference."""

CROSS_ERROR = 14
"""Sum of the product of both errors."""

COMPARED = 15
"""Numbers of a comparison."""
