"""The membership attacks that take signals of models, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, assert_never, get_args

import numpy as np

from sealround.audit.membership.lira import difficulty_calibrated, lira, lira_offline
from sealround.audit.membership.rmia import OFFLINE_A, rmia

if TYPE_CHECKING:
    from sealround.audit.membership.signals import Signals

__all__ = ["MEMBERSHIP_ATTACKS", "MembershipAttack", "membership_scores"]

MembershipAttack: TypeAlias = Literal["loss", "calibrated", "lira", "lira-offline", "rmia", "rmia-offline"]
"""The loss threshold; the same less what reference models say; the two tests, with and without models that saw x."""

MEMBERSHIP_ATTACKS: tuple[MembershipAttack, ...] = get_args(MembershipAttack)


def membership_scores(signals: Signals, attack: MembershipAttack, offline_a: float = OFFLINE_A) -> np.ndarray:
    """Return a score for each example, higher for those that look like members, float64 ``(n,)``.

    Args:
        signals: Of the attacked and of reference models. The loss threshold uses the first only (the loss falls as the
            signal rises): S. Yeom, I. Giacomelli, M. Fredrikson, S. Jha, "Privacy Risk in Machine Learning", CSF 2018,
            adversary 2.
        attack: Which.
        offline_a: Of offline RMIA.

    Raises:
        UsageError: If the attack needs other signals than these.
    """
    match attack:
        case "loss":
            return np.asarray(signals.queries[0].mean(axis=1))
        case "calibrated":
            return difficulty_calibrated(signals)
        case "lira":
            return lira(signals)
        case "lira-offline":
            return lira_offline(signals)
        case "rmia":
            return rmia(signals)
        case "rmia-offline":
            return rmia(signals, offline_a=offline_a)
        case _:
            assert_never(attack)
