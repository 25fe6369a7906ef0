"""Differential privacy of patients: noise that is exact, what it is worth, and what is left to spend.

Pure functions on numbers. What a round adds, and where it is added, is `sealround.federation`'s and
`sealround.learning`'s.
"""

from sealround.privacy.accounting import Accountant, delta_of, epsilon_of, profile, spent_over
from sealround.privacy.events import NeighboringRelation, PrivacyEvent, Release
from sealround.privacy.planning import Plan, noise_std, noise_to_signal, patients_needed, solve
from sealround.privacy.tradeoff import (
    Guarantee,
    max_true_positive_rate,
    membership_advantage,
    posterior,
    tradeoff_curve,
)

__all__ = [
    "Accountant",
    "Guarantee",
    "NeighboringRelation",
    "Plan",
    "PrivacyEvent",
    "Release",
    "delta_of",
    "epsilon_of",
    "max_true_positive_rate",
    "membership_advantage",
    "noise_std",
    "noise_to_signal",
    "patients_needed",
    "posterior",
    "profile",
    "solve",
    "spent_over",
    "tradeoff_curve",
]
