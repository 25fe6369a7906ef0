"""Canaries in gradient space, what a run's noised sums say about them, and a reference mechanism with planted bugs.

A canary is one patient made up by the auditor, whose clipped gradient is the same in every round: a vector of the clip
norm in a direction of its own. It is in the run or not by a fair coin, tossed once. If it is in, it is sampled and
summed as any other patient. So the sums of a run, seen from its direction, hold its sampled rounds, the noise, and what
others contribute there.

Sums are those that were opened, before any division by a batch size: a patient adds the clip norm at most.

Source: "Dirac" canaries as of M. Nasr et al., "Tight Auditing of Differentially Private Machine Learning", USENIX
Security 2023; many in one run as of Steinke, Nasr, Jagielski, NeurIPS 2023, section 6 (white-box).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from sealround.errors import UsageError

__all__ = [
    "Bug",
    "Canaries",
    "Mechanism",
    "coins",
    "contributions",
    "directions",
    "likelihood_scores",
    "project",
    "scores",
    "simulate",
    "unused_directions",
    "variation_scores",
]

Bug: TypeAlias = Literal[
    "no noise",
    "no clipping",
    "clipping per record",
    "everyone in every round",
    "noise reused",
    "share missing",
]
"""What can be wrong with a mechanism, one at a time.

``no clipping``: the canary is ten times the clip norm. ``clipping per record``: each record of a canary is clipped, so
that it adds the clip norm times their number. ``everyone in every round``: nobody is left out by sampling. ``noise
reused``: every round has the noise of the first. ``share missing``: one site does not add its share of the noise.
"""

_UNCLIPPED = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Canaries:
    """Which canaries a run has; the same arguments give the same ones.

    Attributes:
        count: m.
        dimension: d, model parameters.
        seed: Of the coins and of random directions. It stays with the auditor until the run is over.
        quiet: Of the last coordinates, how many no canary touches, for `unused_directions`.
        axes: Whether canary i is coordinate i, so that none disturbs another; otherwise directions are random, and each
            sees others as noise of variance l2_clip_norm^2 / (d - quiet) for each that is sampled.

    Raises:
        UsageError: If a number is out of range, or axes do not suffice.
    """

    count: int
    dimension: int
    seed: int = field(repr=False)
    quiet: int = 0
    axes: bool = True

    def __post_init__(self) -> None:
        """Check the numbers."""
        busy = self.dimension - self.quiet
        if self.count < 1 or self.quiet < 0 or busy < 1 or self.seed < 0:
            raise UsageError("canaries are at least one, in at least one dimension, with a seed that is not negative")
        if self.axes and self.count > busy:
            raise UsageError(
                f"{self.count} canaries do not fit on {busy} axes", hint="take fewer, or random directions"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """Training with noise as the simulator runs it.

    Attributes:
        rounds: T.
        sampling_probability: q, of each patient in each round.
        noise_multiplier: sigma: the noise of a sum has a standard deviation of sigma times the clip norm.
        l2_clip_norm: C.
        sites: Over how many the noise is split, each adding a variance of (sigma C)^2 / sites.
        background: Standard deviation, in each coordinate that is not quiet, of what honest patients add in a round.
        records: Of each canary.
        bug: What is wrong; ``None`` if nothing is.

    Raises:
        UsageError: If a number is out of range.
    """

    rounds: int
    sampling_probability: float
    noise_multiplier: float
    l2_clip_norm: float = 1.0
    sites: int = 3
    background: float = 0.0
    records: int = 1
    bug: Bug | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.rounds < 1 or self.sites < 1 or self.records < 1:
            raise UsageError("rounds, sites and records are at least one each")
        if not 0.0 < self.sampling_probability <= 1.0:
            raise UsageError("a sampling probability is above 0 and at most 1")
        if min(self.noise_multiplier, self.background) < 0.0 or self.l2_clip_norm <= 0.0:
            raise UsageError("noise and background are not negative, and the clip norm is above 0")


def coins(canaries: Canaries) -> np.ndarray:
    """Return which canaries are in the run, ``(m,)``: a fair coin each."""
    return np.random.default_rng([canaries.seed, 0]).integers(0, 2, canaries.count).astype(np.bool_)


def directions(canaries: Canaries) -> np.ndarray:
    """Return unit vectors: axes as int64 coordinates ``(m,)``, random ones as float64 ``(m, d)``."""
    if canaries.axes:
        return np.arange(canaries.count, dtype=np.int64)
    found = np.random.default_rng([canaries.seed, 1]).normal(size=(canaries.count, canaries.dimension))
    found[:, canaries.dimension - canaries.quiet :] = 0.0
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), dtype=np.float64)


def unused_directions(canaries: Canaries) -> np.ndarray:
    """Return the coordinates, int64 ``(k,)``, that no canary touches; where no patient does either, sums are noise."""
    return np.arange(canaries.dimension - canaries.quiet, canaries.dimension, dtype=np.int64)


def contributions(weights: np.ndarray, canaries: Canaries) -> np.ndarray:
    """Return what canaries add to each sum, ``(T, d)``, each with so much of its direction.

    Args:
        weights: ``(T, m)``; the clip norm where a canary was sampled, else 0.
        canaries: Which.
    """
    along = directions(canaries)
    if along.ndim == 2:  # noqa: PLR2004, a row each
        return np.asarray(weights @ along, dtype=np.float64)
    added = np.zeros((len(weights), canaries.dimension))
    added[:, along] = weights
    return added


def project(sums: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Return the sums seen from each direction, ``(T, m)``.

    Args:
        sums: ``(T, d)``, a row for each round.
        along: Coordinates ``(m,)``, or vectors ``(m, d)``.

    Raises:
        UsageError: If shapes do not fit, or a sum is not finite.
    """
    if sums.ndim != 2 or not sums.size or not np.isfinite(sums).all():  # noqa: PLR2004, rounds and coordinates
        raise UsageError("sums are finite numbers, a row for each round")
    if along.ndim == 1:
        if along.dtype.kind != "i" or not along.size or along.min() < 0 or along.max() >= sums.shape[1]:
            raise UsageError(f"coordinates are whole numbers from 0 to {sums.shape[1] - 1}, at least one")
        return np.asarray(sums[:, along], dtype=np.float64)
    if along.ndim != 2 or along.shape[1] != sums.shape[1] or not len(along):  # noqa: PLR2004, a row each
        raise UsageError(f"directions of shape {along.shape} do not fit sums of shape {sums.shape}")
    return np.asarray(sums @ along.T, dtype=np.float64)


def scores(sums: np.ndarray, along: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return each canary's score: the sum over rounds of the inner product with its direction.

    Args:
        sums: ``(T, d)``.
        along: As `directions`.
        weights: Of rounds, ``(T,)``, such as q_t / sigma_t^2 where these change; 1 if ``None``.

    Raises:
        UsageError: If shapes do not fit, or a sum is not finite.
    """
    seen = project(sums, along)
    if weights is None:
        return np.asarray(seen.sum(axis=0))
    if weights.shape != (len(seen),):
        raise UsageError(f"{weights.shape} weights do not fit {len(seen)} rounds")
    return np.asarray(weights @ seen)


def likelihood_scores(sums: np.ndarray, along: np.ndarray, claimed: Mechanism) -> np.ndarray:
    """Return each canary's log likelihood ratio, in against out, were the mechanism the claimed one.

    The best score there is if it is, and no other canary or patient is seen from a canary's direction: the sum over
    rounds of log(1 - q + q exp((2 x - 1) / (2 sigma^2))), x in units of the clip norm.

    Args:
        sums: ``(T, d)``.
        along: As `directions`.
        claimed: Its sampling probability, noise multiplier (above 0) and clip norm are used.

    Raises:
        UsageError: If shapes do not fit, a sum is not finite, or there is no noise.
    """
    q, sigma = claimed.sampling_probability, claimed.noise_multiplier
    if sigma <= 0.0:
        raise UsageError("without noise there is no likelihood ratio")
    x = project(sums, along) / claimed.l2_clip_norm
    absent = math.log1p(-q) if q < 1.0 else -math.inf
    return np.asarray(np.logaddexp(absent, math.log(q) + (2.0 * x - 1.0) / (2.0 * sigma**2)).sum(axis=0))


def variation_scores(sums: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Return each canary's variance over rounds, which noise that is the same in all rounds does not hide.

    Raises:
        UsageError: If shapes do not fit, or a sum is not finite.
    """
    return np.asarray(project(sums, along).var(axis=0))


def simulate(canaries: Canaries, included: np.ndarray, mechanism: Mechanism, seed: int) -> np.ndarray:
    """Return the sums of a run, float64 ``(T, d)``: a reference for tests of the audit, not for training.

    Noise is drawn by numpy in floating point, which is not fit for real patients.

    Args:
        canaries: Which.
        included: Their coins, ``(m,)``.
        mechanism: What is run, with what bug.
        seed: Of sampling, noise and background.

    Raises:
        UsageError: If the coins do not fit.
    """
    if included.shape != (canaries.count,):
        raise UsageError(f"{included.shape} coins do not fit {canaries.count} canaries")
    draw, bug, T = np.random.default_rng(seed), mechanism.bug, mechanism.rounds
    sampled = draw.random((T, canaries.count)) < mechanism.sampling_probability
    if bug == "everyone in every round":
        sampled[:] = True
    size = mechanism.l2_clip_norm
    if bug == "no clipping":
        size *= _UNCLIPPED
    elif bug == "clipping per record":
        size *= mechanism.records
    sums = contributions(np.where(sampled & included, size, 0.0), canaries)
    busy = canaries.dimension - canaries.quiet
    if mechanism.background > 0.0:
        sums[:, :busy] += draw.normal(0.0, mechanism.background, (T, busy))
    return np.asarray(sums + _noise(mechanism, canaries.dimension, draw), dtype=np.float64)


def _noise(mechanism: Mechanism, dimension: int, draw: np.random.Generator) -> np.ndarray:
    """The noise of all rounds, a share from each site."""
    shares = mechanism.sites
    if mechanism.bug == "no noise":
        shares = 0
    elif mechanism.bug == "share missing":
        shares -= 1
    deviation = mechanism.noise_multiplier * mechanism.l2_clip_norm / math.sqrt(mechanism.sites)
    rounds = 1 if mechanism.bug == "noise reused" else mechanism.rounds
    noise = np.zeros((rounds, dimension))
    for _ in range(shares):
        noise += draw.normal(0.0, deviation, noise.shape)
    return np.broadcast_to(noise, (mechanism.rounds, dimension))
