"""Membership inference: was this patient in the training?

`attacks` score what a released model says about known records, `updates` what one update of a site shows of their
gradients, `trajectory` what a curious site sees over the rounds; `judging` says how well scores tell members from
others, with intervals.
"""

from sealround.audit.membership.attacks import MEMBERSHIP_ATTACKS, MembershipAttack, membership_scores
from sealround.audit.membership.gradients import example_gradients, shown_gradient
from sealround.audit.membership.judging import FALSE_POSITIVE_RATES, MembershipResult, Rate, area_under_curve, judge
from sealround.audit.membership.lira import difficulty_calibrated, lira, lira_offline
from sealround.audit.membership.rmia import fitted_offline_a, relative_log_likelihood, rmia
from sealround.audit.membership.signals import Signals, log_odds, log_probability
from sealround.audit.membership.trajectory import trajectory_scores
from sealround.audit.membership.updates import (
    ShownGradient,
    gradient_cosine,
    gradient_difference,
    gradient_inner_product,
    update_likelihood_ratio,
)

__all__ = [
    "FALSE_POSITIVE_RATES",
    "MEMBERSHIP_ATTACKS",
    "MembershipAttack",
    "MembershipResult",
    "Rate",
    "ShownGradient",
    "Signals",
    "area_under_curve",
    "difficulty_calibrated",
    "example_gradients",
    "fitted_offline_a",
    "gradient_cosine",
    "gradient_difference",
    "gradient_inner_product",
    "judge",
    "lira",
    "lira_offline",
    "log_odds",
    "log_probability",
    "membership_scores",
    "relative_log_likelihood",
    "rmia",
    "shown_gradient",
    "trajectory_scores",
    "update_likelihood_ratio",
]
