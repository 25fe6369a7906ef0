"""RMIA: how many other records does the model prefer this one to, once it is known how easy each of them is?

For a record x and a record z of the population, LR(x, z) = [Pr(x|θ) / Pr(x)] / [Pr(z|θ) / Pr(z)], where Pr(x|θ) is the
probability that the attacked model gives x's label and Pr(x) what a model of the same kind gives it on average, whether
it saw x or not. The score is the share of population records with LR(x, z) >= gamma.

Source: S. Zarifzadeh, P. Liu, R. Shokri, "Low-Cost High-Power Membership Inference Attacks", ICML 2024, equations 2 to
4 and Algorithm 1. Offline, where no reference model saw x, Pr(x) = ((1 + a) Pr(x)_OUT + (1 - a)) / 2, from their model
Pr(x)_IN = a Pr(x)_OUT + (1 - a); the same a for z.

With one gamma and one population for all records, the score rises with Pr(x|θ) / Pr(x), and with nothing else:
the population turns a ratio into a probability and does not change the order. So records that the paper leaves tied
(a population of m has m + 1 scores) are ordered here by that ratio, by less than one step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sealround.audit.membership.signals import Signals, log_probability
from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GAMMA", "OFFLINE_A", "fitted_offline_a", "relative_log_likelihood", "rmia"]

GAMMA = 1.0
"""With two classes most ratios are near 1, and the paper's 2 (for images of ten classes and more) leaves the score to a
few records of the population: it then compares badly from one model to the next. On one model it changes nothing."""

OFFLINE_A = 0.3
"""The paper's a for images; see `fitted_offline_a`."""


def rmia(signals: Signals, gamma: float = GAMMA, offline_a: float | None = None) -> np.ndarray:
    """Return the score of each example, float64 ``(n,)``, within 0..1.

    Args:
        signals: One query an example, with a population.
        gamma: Above 0; at least 1 in the paper.
        offline_a: a, within 0..1, to use only reference models that did not see an example; ``None`` for the online
            attack, which takes Pr(x) for the mean of models with and without it.

    Raises:
        UsageError: If there is no population, several queries, a parameter is out of range, or an example has no
            reference models of the kind that is asked for.
    """
    if signals.population is None or signals.population_references is None:
        raise UsageError("RMIA takes records of a population", hint="pass signals of records that nobody trained on")
    if gamma <= 0.0:
        raise UsageError(f"gamma is above 0, not {gamma}")
    ratio = relative_log_likelihood(signals, offline_a)
    outside = Signals(
        signals.population, signals.population_references, np.zeros(signals.population_references.shape, dtype=np.bool_)
    )
    # Reference models saw no record of the population: offline their mean is corrected as x's is, online it stands
    # for itself, as in the authors' program.
    others = np.sort(relative_log_likelihood(outside, 1.0 if offline_a is None else offline_a))
    passed = np.searchsorted(others, ratio - np.log(gamma), side="right")
    _, rank = np.unique(ratio, return_inverse=True)
    return np.asarray((passed + rank / len(ratio)) / (len(others) + 1.0))


def relative_log_likelihood(signals: Signals, offline_a: float | None = None) -> np.ndarray:
    """Return log Pr(x|θ) - log Pr(x), float64 ``(n,)``.

    Args:
        signals: One query an example.
        offline_a: As `rmia` takes it.

    Raises:
        UsageError: As `rmia`.
    """
    if signals.target.ndim != 1:
        raise UsageError("RMIA takes one query an example", hint="average the log odds of several queries first")
    # 1 - p, which keeps its digits where the model is sure and p rounds to 1.
    doubt = np.exp(log_probability(-signals.references))
    outside = ~signals.inside
    if not outside.any(axis=0).all():
        raise UsageError("RMIA takes, for each example, a reference model that never saw it")
    doubt_out = (doubt * outside).sum(axis=0) / outside.sum(axis=0)
    if offline_a is not None:
        if not 0.0 <= offline_a <= 1.0:
            raise UsageError(f"a is within 0 and 1, not {offline_a}")
        mean_doubt = (1.0 + offline_a) / 2.0 * doubt_out
    else:
        if not signals.inside.any(axis=0).all():
            raise UsageError(
                "online RMIA takes, for each example, a reference model that saw it", hint="pass offline_a instead"
            )
        mean_doubt = (doubt_out + (doubt * signals.inside).sum(axis=0) / signals.inside.sum(axis=0)) / 2.0
    with np.errstate(divide="ignore"):  # A doubt of exactly 1: log Pr(x) is that of the smallest number there is.
        mean = np.maximum(np.log1p(-np.minimum(mean_doubt, 1.0)), np.log(np.finfo(np.float64).tiny))
    return np.asarray(log_probability(signals.target) - mean)


def fitted_offline_a(signals: Signals, choices: Sequence[float] = tuple(np.linspace(0.0, 1.0, 11))) -> float:
    """Return the a with which each reference model, attacked by means of the others, gives away most.

    Source: Zarifzadeh et al. 2024, appendix on a: it is chosen on a reference model, whose records the attacker knows,
    and never on the attacked one.

    Args:
        signals: Two reference models or more, of records some of which they saw. The attacked model's are not used.
        choices: To choose from; the first best is taken.

    Returns:
        a; `OFFLINE_A` if no reference model can be attacked by the others.
    """
    found = np.zeros(len(choices))
    tried = 0
    for k in range(signals.models):
        others = np.arange(signals.models) != k
        usable = (~signals.inside[others]).any(axis=0)
        member = signals.inside[k, usable]
        if not member.any() or member.all():
            continue
        attack = Signals(
            signals.references[k, usable], signals.references[others][:, usable], signals.inside[others][:, usable]
        )
        for index, a in enumerate(choices):
            score = relative_log_likelihood(attack, a)
            rank = np.unique(score, return_inverse=True)[1]
            found[index] += float(rank[member].mean() - rank[~member].mean()) / len(rank)
        tried += 1
    return float(choices[int(found.argmax())]) if tried else OFFLINE_A
