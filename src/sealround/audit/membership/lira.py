"""LiRA: is this what models say about an example that they were trained on, or about one that they were not?

For every example the signals of models trained with it, and of those trained without, are taken for normal; the score
is the likelihood ratio of the attacked model's signal. Without models trained on the example (offline), the score is
how far its signal is above what models that never saw it say.

Source: N. Carlini, S. Chien, M. Nasr, S. Song, A. Terzis, F. Tramer, "Membership Inference Attacks From First
Principles", IEEE S&P 2022: Algorithm 1 (online) and equation 4 (offline). Their ablation (section VI) finds that below
64 shadow models one variance for all examples serves better than one each; that is the rule here.

Where this differs:

- Their program takes medians for means, and for the global variance that of all examples and models together, which
  has the spread between examples in it. Here means, as in the paper, and the spread of models within examples.
- Their program's offline score is minus the log density, which also accuses examples that fit *worse* than expected.
  Here the paper's one-sided test, as a z-value, which orders as 1 - Pr[Z > signal] does and does not round to 1.
- An example that every reference model saw, or none, has its missing mean from the other one and the mean effect of
  seeing an example, so that one or two reference models are enough for the online test. The paper does not say.
- Several queries are normal with one covariance for all examples, shrunk (Ledoit and Wolf 2004).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from sealround.audit.membership.shrinkage import shrunk_covariance
from sealround.errors import UsageError

if TYPE_CHECKING:
    from sealround.audit.membership.signals import Signals

__all__ = ["ENOUGH_MODELS", "Variance", "difficulty_calibrated", "lira", "lira_offline"]

Variance: TypeAlias = Literal["auto", "global", "example"]
"""One variance for all examples, one each, or the paper's rule."""

ENOUGH_MODELS = 64
"""From this number of reference models on, each example has a variance of its own."""

_LEAST = 1e-12


def lira(signals: Signals, variance: Variance = "auto") -> np.ndarray:
    """Return log p(signal | trained on it) - log p(signal | not), float64 ``(n,)``.

    Args:
        signals: Every example in some reference models and not in others; see the module for those that are not.
        variance: Of a signal over trainings.

    Raises:
        UsageError: If no reference model saw any example, or all saw all.
    """
    x, references = signals.queries
    inside = signals.inside
    if inside.all() or not inside.any():
        raise UsageError(
            "the online test takes reference models with and without an example",
            hint="train reference models on random halves of the records, or use lira_offline",
        )
    mean_in, mean_out = _means(references, inside)
    if x.shape[1] > 1 or _is_global(variance, signals.models):
        one = _covariance(references, inside)
        two = _covariance(references, ~inside)
        # Where no example had two such models the other estimate serves; without either only ranks have meaning.
        one, two = (two if one is None else one), (one if two is None else two)
        if one is None or two is None:
            one = two = np.eye(x.shape[1])
        return np.asarray(_log_normal(x - mean_in, one) - _log_normal(x - mean_out, two))
    with_it = _log_normal_each(x - mean_in, _variances(references, inside))
    return np.asarray(with_it - _log_normal_each(x - mean_out, _variances(references, ~inside)))


def lira_offline(signals: Signals, variance: Variance = "auto") -> np.ndarray:
    """Return how many standard deviations a signal is above those of models that never saw the example, ``(n,)``.

    Signals of reference models that did see it are not used. Several queries are added up with the weights that are
    best against a shift of all of them together.

    Args:
        signals: Every example outside at least one reference model.
        variance: Of a signal over trainings.

    Raises:
        UsageError: If every reference model saw an example.
    """
    x, references = signals.queries
    outside = ~signals.inside
    if not outside.any(axis=0).all():
        raise UsageError(
            "the offline test takes, for each example, a reference model that never saw it",
            hint="train reference models on records that are not asked about",
        )
    apart = x - _mean(references, outside)
    if x.shape[1] > 1 or _is_global(variance, signals.models):
        covariance = _covariance(references, outside)
        weights = np.linalg.solve(np.eye(x.shape[1]) if covariance is None else covariance, np.ones(x.shape[1]))
        return np.asarray(apart @ weights / np.sqrt(weights.sum()))
    return np.asarray(apart[:, 0] / np.sqrt(_variances(references, outside)))


def difficulty_calibrated(signals: Signals) -> np.ndarray:
    """Return how far a signal is above the mean of models that never saw the example, ``(n,)``.

    Source: L. Watson, C. Guo, G. Cormode, A. Sablayrolles, "On the Importance of Difficulty Calibration in Membership
    Inference Attacks", ICLR 2022, equation 3.

    Raises:
        UsageError: If every reference model saw an example.
    """
    x, references = signals.queries
    outside = ~signals.inside
    if not outside.any(axis=0).all():
        raise UsageError("calibration takes, for each example, a reference model that never saw it")
    return np.asarray((x - _mean(references, outside)).mean(axis=1))


def _is_global(variance: Variance, models: int) -> bool:
    return models < ENOUGH_MODELS if variance == "auto" else variance == "global"


def _mean(references: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mean over the chosen models, ``(n, q)``; NaN where there is none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.einsum("kn,knq->nq", chosen, references) / chosen.sum(axis=0)[:, None])


def _means(references: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means with and without, the missing ones filled in by the mean effect of seeing an example."""
    mean_in, mean_out = _mean(references, inside), _mean(references, ~inside)
    effects = (mean_in - mean_out)[np.isfinite(mean_in - mean_out).all(axis=1)]
    # Who is in which training was drawn, so that means over other examples differ by the effect alone, up to chance.
    effect = effects.mean(axis=0) if len(effects) else np.nanmean(mean_in, axis=0) - np.nanmean(mean_out, axis=0)
    return (
        np.where(np.isnan(mean_in), mean_out + effect, mean_in),
        np.where(np.isnan(mean_out), mean_in - effect, mean_out),
    )


def _covariance(references: np.ndarray, chosen: np.ndarray) -> np.ndarray | None:
    """Covariance of queries over models within examples, pooled, ``(q, q)``; ``None`` if no example has two models."""
    freedom = int(np.maximum(chosen.sum(axis=0) - 1, 0).sum())
    if freedom < 1:
        return None
    apart = np.where(chosen[:, :, None], references - np.nan_to_num(_mean(references, chosen)), 0.0)
    return shrunk_covariance(apart[chosen.nonzero()], freedom) + _LEAST * np.eye(references.shape[2])


def _variances(references: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Variance of each example over models, ``(n,)``; the pooled one for examples with fewer than two models."""
    count = chosen.sum(axis=0)
    apart = np.where(chosen, references[:, :, 0] - np.nan_to_num(_mean(references, chosen)[:, 0]), 0.0)
    squares = np.square(apart).sum(axis=0)
    pooled = squares.sum() / max(np.maximum(count - 1, 0).sum(), 1)
    return np.asarray(np.where(count > 1, squares / np.maximum(count - 1, 1), pooled) + _LEAST)


def _log_normal(apart: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Log density of ``(n, q)`` deviations, up to a constant of q."""
    solved = np.linalg.solve(covariance, apart.T)
    return np.asarray(-0.5 * (np.einsum("nq,qn->n", apart, solved) + np.linalg.slogdet(covariance)[1]))


def _log_normal_each(apart: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return np.asarray(-0.5 * (np.square(apart[:, 0]) / variance + np.log(variance)))
