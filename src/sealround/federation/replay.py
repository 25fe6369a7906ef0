"""The rounds aggregated again without some sites, from the updates that were sent: only the weights change.

It is an approximation, and a coarse one. The others' updates are those that they sent from models in which the missing
site had its part, and answered to it: in every round they pulled against it. What they pulled is in the replayed model,
what they pulled against is not, so it overshoots, the more the more rounds there were. That shows whose part did what,
in its right direction; it is no model to release.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sealround.errors import ThresholdError, UsageError
from sealround.federation.judgement import RuleMemory, judge
from sealround.federation.optimizers import Average, server_step
from sealround.federation.summation import RosterSum, Rows
from sealround.study.sections import RobustRule
from sealround.vocabulary import RoundId

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sealround.federation.plan import Plan
    from sealround.federation.training import Training
    from sealround.federation.update_journal import RoundUpdates
    from sealround.vocabulary import PartyId, Update

__all__ = ["replay", "replayable"]


def replayable(plan: Plan, sites: int) -> bool:
    """Say whether the study's rule can run in rounds with one site fewer, should that one be one of the liars."""
    rule = plan.rule
    if rule is None:
        return sites > 1
    try:
        fewer = plan_without(plan, 1, plan.round_size(sites) - 1).rule
        assert fewer is not None  # noqa: S101  (for the type checker: a study with a rule has one)
        fewer.check(plan.round_size(sites) - 1 - (plan.root is not None))
    except UsageError:
        return False
    return True


def plan_without(plan: Plan, gone: int, left: int) -> Plan:
    """Return a plan whose rule fits so many sites: the same, or one that takes who is gone for liars."""
    options, rule = plan.study.protection.robustness, plan.rule
    if rule is None or not isinstance(options, RobustRule):
        return plan
    try:
        rule.check(left - (plan.root is not None))
    except UsageError:
        fewer = options.model_copy(update={"num_byzantine": max(0, options.num_byzantine - gone)})
        protection = plan.study.protection.model_copy(update={"robustness": fewer})
        return replace(plan, study=plan.study.model_copy(update={"protection": protection}))
    return plan


def replay(training: Training, round_: RoundId, without: Collection[PartyId]) -> Update:
    """Aggregate the rounds of the running training again.

    Args:
        training: With the updates of its rounds.
        round_: The last round to aggregate.
        without: Whose updates are left out; of nobody's, the result is the model as it was, to the bit.

    Returns:
        The candidate after that round, float32 ``(d,)``. A round of which too little is left for the rule is passed
        over.

    Raises:
        ConsistencyError: If the updates of a round are missing or damaged.
    """
    learned, options = training.learned, training.plan.study.training
    model = training.initial_model(learned.known_inputs, learned.known_statistics)
    average = Average(options.ema, np.zeros_like(model)) if options.ema else None
    state: Mapping[str, np.ndarray] = {}
    memory = RuleMemory()
    for number in range(learned.began + 1, round_ + 1):
        sent = training.updates.read(RoundId(number))
        kept = sent.without(without)
        if not len(kept.parties):
            continue
        plan = plan_without(training.plan, len(sent.parties) - len(kept.parties), len(kept.parties))
        try:
            update = _aggregate(plan, memory, kept)
        except ThresholdError:
            continue
        model, state = server_step(options.server, model, update, state)
        average = None if average is None else average.add(model)
    return average.value if average is not None and average.models else model


def _aggregate(plan: Plan, memory: RuleMemory, sent: RoundUpdates) -> Update:
    if plan.rule is not None:
        rows = Rows(sent.parties)
        for party, weight, update in zip(sent.parties, sent.weights.tolist(), sent.updates, strict=True):
            rows.add(party, weight, update)
        return judge(plan, memory, rows).update
    total = RosterSum(sent.parties)
    for party, weight, update in zip(sent.parties, sent.weights.tolist(), sent.updates, strict=True):
        total.add(party, weight, (update,))
    return (total.sums[0] / total.weight).astype(np.float32)
