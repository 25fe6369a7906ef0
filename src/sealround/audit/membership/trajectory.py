"""Membership from the sequence of global models: does a record's fit grow faster than that of strangers?

A curious site sees the global model of every round and needs nothing else. A member's advantage grows while the model
is trained on it: it is taken for proportional to the round, starting from nothing at the initial model. The score is
the test that is best against such a drift, given how the signals of records that nobody trained on vary over rounds;
how easy a record is, which shows from the first round on, so takes itself out.

Source: the idea that the course of a record's loss tells members is of Y. Liu, Z. Zhao, M. Backes, Y. Zhang,
"Membership Inference Attacks by Exploiting Loss Trajectory", CCS 2022, and of M. Nasr, R. Shokri, A. Houmansadr, IEEE
S&P 2019, who train networks on it; here a matched filter (Neyman and Pearson for normal signals and a known drift), for
which tens of strangers are enough. With reference trainings, `lira` over rounds is the stronger test.
"""

from __future__ import annotations

import numpy as np

from sealround.audit.membership.shrinkage import shrunk_covariance
from sealround.errors import UsageError

__all__ = ["trajectory_scores"]

_LEAST = 1e-9


def trajectory_scores(signals: np.ndarray, strangers: np.ndarray, drift: np.ndarray | None = None) -> np.ndarray:
    """Return how many standard deviations of a stranger's each record drifts with the rounds, float64 ``(n,)``.

    Args:
        signals: Log odds of the true label under the model of each round, ``(rounds, n)``.
        strangers: The same of records that nobody trained on, ``(rounds, m)``, at least two.
        drift: What membership is expected to add in each round, ``(rounds,)``, up to a factor; if ``None``, it grows
            from 0 in the first model given to 1 in the last.

    Raises:
        UsageError: If shapes differ, there is one round or one stranger, or a number is not finite.
    """
    rounds = len(signals)
    if signals.ndim != 2 or strangers.ndim != 2 or len(strangers) != rounds:  # noqa: PLR2004  (rounds, examples)
        raise UsageError(f"trajectories {signals.shape} and {strangers.shape} are not of the same rounds")
    if rounds < 2 or strangers.shape[1] < 2:  # noqa: PLR2004  (nothing changes in one round, one has no spread)
        raise UsageError("a trajectory takes two rounds at least, and two strangers to compare with")
    drift = np.linspace(0.0, 1.0, rounds) if drift is None else np.asarray(drift, dtype=np.float64)
    if drift.shape != (rounds,) or not all(np.isfinite(a).all() for a in (signals, strangers, drift)):
        raise UsageError("trajectories and the drift are finite numbers, one a round")
    mean = strangers.mean(axis=1)
    covariance = shrunk_covariance((strangers - mean[:, None]).T)
    covariance += _LEAST * max(float(np.trace(covariance)) / rounds, _LEAST) * np.eye(rounds)
    weights = np.linalg.solve(covariance, drift)
    spread = float((weights @ strangers).std(ddof=1))
    return np.asarray(weights @ (signals - mean[:, None]) / (spread or 1.0))
