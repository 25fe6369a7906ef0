"""Is training as private as it claims? Checked on one run, from its noised sums, by whoever planted canaries in it.

`one_run` bounds epsilon from below by guessing which canaries were in the run, and assumes nothing; `f_dp` tests a
whole claimed curve, which finds more; `independent` counts guesses as independent, which finds far more where the sums
claim it; `noise_check` looks at the noise where nobody contributes, which finds what is wrong with noise soonest.
`simulate` is a mechanism of a page, right or with a planted bug, on which all are themselves tested.
"""

from sealround.audit.privacy import f_dp, independent, one_run
from sealround.audit.privacy.canaries import (
    Bug,
    Canaries,
    Mechanism,
    coins,
    contributions,
    directions,
    likelihood_scores,
    project,
    scores,
    simulate,
    unused_directions,
    variation_scores,
)
from sealround.audit.privacy.f_dp import ClaimTest, MuBound
from sealround.audit.privacy.independent import AccuracyBound
from sealround.audit.privacy.noise import NoiseCheck, noise_check
from sealround.audit.privacy.one_run import EpsilonBound, Guesses

__all__ = [
    "AccuracyBound",
    "Bug",
    "Canaries",
    "ClaimTest",
    "EpsilonBound",
    "Guesses",
    "Mechanism",
    "MuBound",
    "NoiseCheck",
    "coins",
    "contributions",
    "directions",
    "f_dp",
    "independent",
    "likelihood_scores",
    "noise_check",
    "one_run",
    "project",
    "scores",
    "simulate",
    "unused_directions",
    "variation_scores",
]
