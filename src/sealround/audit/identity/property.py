"""Property inference: what share of a site's patients has a trait, read off its update?

The attacker draws cohorts with known shares from records of its own, trains each as the site would from the same global
model (shadow updates), and regresses the share on the update. All shadow updates start from one model, so that neurons
are where they are in the site's: the sorting of neurons by which G. Ganju et al., "Property Inference Attacks on Fully
Connected Neural Networks using Permutation Invariant Representations", CCS 2018, section 5, make trained models
comparable is not needed. Reading properties off updates is of L. Melis, C. Song, E. De Cristofaro, V. Shmatikov,
"Exploiting Unintended Feature Leakage in Collaborative Learning", IEEE S&P 2019, section 5, who train random forests;
here a ridge regression, chosen by its exact leave-one-out error, for which tens of shadow updates are enough.

What is inferred is of a group, not of a person; differential privacy of each patient does not hide it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sealround.audit.inversion.intervals import Number, bca
from sealround.audit.membership.judging import Rate, area_under_curve
from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PropertyResult", "cohort_with_share", "infer_share", "judge_presence", "judge_share", "presence_scores"]

_PENALTIES = np.geomspace(1e-6, 1e3, 28)
_LEAST_SHADOWS = 4


@dataclass(frozen=True, slots=True, eq=False)
class PropertyResult:
    """How well shares are inferred.

    Attributes:
        predicted: Shares, within 0..1, ``(t,)``.
        error: Mean absolute error; the baseline is that of guessing the mean share of the shadow cohorts.
        gain: How much smaller the error is than the guess's on the same update, mean with its interval: above 0 where
            the update shows the trait.
        margin: 95 % of the shadow cohorts' own shares are within so much of what the others predict.
    """

    predicted: np.ndarray
    error: Number
    gain: Number
    margin: float


def cohort_with_share(has: np.ndarray, share: float, size: int, draw: np.random.Generator) -> np.ndarray:
    """Draw a cohort in which a given share has a trait, rows int64 ``(size,)``, nobody twice.

    Args:
        has: Who has the trait, bool ``(n,)``.
        share: Within 0..1; rounded to a whole number of people.
        size: Of the cohort.
        draw: Where it comes from.

    Raises:
        UsageError: If there are not enough people of either kind.
    """
    wanted = round(share * size)
    with_it, without = np.flatnonzero(has), np.flatnonzero(~has)
    if not 0 <= wanted <= len(with_it) or not 0 <= size - wanted <= len(without):
        raise UsageError(
            f"{len(with_it)} people with the trait and {len(without)} without make no cohort of {size} with a share of "
            f"{share:.3g}",
            hint="draw smaller cohorts, or a narrower range of shares",
        )
    chosen = (draw.choice(with_it, wanted, replace=False), draw.choice(without, size - wanted, replace=False))
    return draw.permutation(np.concatenate(chosen))


def infer_share(shadows: np.ndarray, shares: np.ndarray, updates: np.ndarray) -> np.ndarray:
    """Return the share that each update shows, within 0..1, float64 ``(t,)``.

    Args:
        shadows: Updates of cohorts with known shares, ``(s, d)``; sketched if d is large
            (`sealround.audit.identity.sketch`).
        shares: Those shares, ``(s,)``.
        updates: To read, ``(t, d)``.

    Raises:
        UsageError: If shapes differ, there are fewer than four shadow updates, or a number is not finite.
    """
    return np.asarray(np.clip(_Ridge.fitted(shadows, shares).predict(updates), 0.0, 1.0))


def judge_share(
    shadows: np.ndarray, shares: np.ndarray, updates: np.ndarray, true: np.ndarray, draw: np.random.Generator
) -> PropertyResult:
    """Infer the shares of sites' updates and hold them against the truth.

    Args:
        shadows: As `infer_share` takes them.
        shares: Of the shadow cohorts.
        updates: Of sites, or of cohorts that play them, ``(t, d)``.
        true: Their shares, ``(t,)``.
        draw: For the bootstrap.

    Raises:
        UsageError: As `infer_share`.
    """
    if true.shape != (len(updates),) or not len(updates):
        raise UsageError(f"{true.shape} shares do not fit {len(updates)} updates")
    ridge = _Ridge.fitted(shadows, shares)
    predicted = np.clip(ridge.predict(updates), 0.0, 1.0)
    error, guess = np.abs(predicted - true), np.abs(float(shares.mean()) - true)
    return PropertyResult(
        predicted=predicted,
        error=_mean(error, draw, float(guess.mean())),
        gain=_mean(guess - error, draw, 0.0),
        margin=float(np.quantile(np.abs(ridge.left_out), 0.95, method="higher")),
    )


def presence_scores(shadows: np.ndarray, has: np.ndarray, updates: np.ndarray) -> np.ndarray:
    """Return a score for each update, higher where its cohort looks as if it had a property, ``(t,)``.

    Args:
        shadows: Updates of cohorts with the property and without, ``(s, d)``.
        has: Which have it, bool ``(s,)``.
        updates: To read, ``(t, d)``.

    Raises:
        UsageError: As `infer_share`, or if all shadow cohorts have it, or none.
    """
    if has.dtype != np.bool_ or has.all() or not has.any():
        raise UsageError("a property is learnt from cohorts that have it and cohorts that do not")
    return _Ridge.fitted(shadows, np.where(has, 1.0, -1.0)).predict(updates)


def judge_presence(scores: np.ndarray, has: np.ndarray) -> Rate:
    """Return the AUC of `presence_scores` against the truth, with its 95 % interval.

    Raises:
        UsageError: If shapes differ, or all updates have the property, or none.
    """
    if scores.shape != has.shape or has.dtype != np.bool_ or has.all() or not has.any():
        raise UsageError("a property is judged on updates that have it and updates that do not")
    return area_under_curve(scores, has)


@dataclass(frozen=True, slots=True, eq=False)
class _Ridge:
    """A ridge regression in its dual form: as many unknowns as there are shadow updates."""

    shadows: np.ndarray
    mean: np.ndarray
    scale: float
    dual: np.ndarray
    intercept: float
    left_out: np.ndarray

    @classmethod
    def fitted(
        cls, shadows: np.ndarray, targets: np.ndarray, penalties: Sequence[float] | np.ndarray = _PENALTIES
    ) -> _Ridge:
        """Fit with the penalty, relative to the mean squared length, whose leave-one-out error is smallest.

        Leaving one out is exact from one eigendecomposition: its residual is the ordinary one over 1 - leverage (Allen
        1974), the intercept's leverage of 1/s included.
        """
        if shadows.ndim != 2 or targets.shape != (len(shadows),):  # noqa: PLR2004  (updates, parameters)
            raise UsageError(f"{targets.shape} shares do not fit shadow updates {shadows.shape}")
        if len(shadows) < _LEAST_SHADOWS:
            raise UsageError(f"{len(shadows)} shadow updates teach nothing", hint="train at least four, better fifty")
        if not (np.isfinite(shadows).all() and np.isfinite(targets).all()):
            raise UsageError("an update or a share is not a finite number")
        mean = shadows.mean(axis=0)
        centred = (shadows - mean).astype(np.float64)
        scale = float(np.square(centred).sum()) / len(shadows) or 1.0
        values, vectors = np.linalg.eigh(centred @ centred.T / scale)
        values, wanted = np.maximum(values, 0.0), targets - targets.mean()
        along = vectors.T @ wanted
        kept = values[:, None] / (values[:, None] + np.asarray(penalties))
        residuals = wanted[:, None] - vectors @ (kept * along[:, None])
        leverage = np.square(vectors) @ kept + 1.0 / len(shadows)
        left_out = residuals / np.maximum(1.0 - leverage, 1e-12)
        best = int(np.square(left_out).mean(axis=0).argmin())
        dual = vectors @ (along / (values + penalties[best]))
        return cls(centred, mean, scale, dual, float(targets.mean()), left_out[:, best])

    def predict(self, updates: np.ndarray) -> np.ndarray:
        if updates.ndim != 2 or updates.shape[1] != len(self.mean):  # noqa: PLR2004  (updates, parameters)
            raise UsageError(f"updates {updates.shape} do not fit shadow updates of {len(self.mean)} numbers")
        return np.asarray((updates - self.mean) @ (self.shadows.T @ self.dual) / self.scale + self.intercept)


def _mean(values: np.ndarray, draw: np.random.Generator, baseline: float) -> Number:
    low, high = bca(values, draw)
    return Number(float(values.mean()), low, high, baseline, values.size, "BCa bootstrap")
