"""GATE: the model that would be released, compared group by group with one that is good enough.

One look, and if it fails in an open study, a request or more about every site's influence. Then the model is released;
or it is not, and the study is over; or the rounds are trained anew without the sites that the harm is traced to.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sealround.errors import ProtocolViolationError, UsageError
from sealround.fairness.cells import COMPARED, COMPARED_CANDIDATE, PATIENTS, SITES
from sealround.federation.gate import Gate, Look, decide, influences, traced
from sealround.federation.interfaces import Contender
from sealround.federation.messages import AskGroups, Sums
from sealround.federation.replay import replay, replayable
from sealround.federation.rounds import begin_rounds
from sealround.federation.training import Stage, check_numbers
from sealround.study.sections import RobustRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealround.fairness import Assessment
    from sealround.federation.gate import Pair
    from sealround.federation.records import TrainedModel
    from sealround.federation.training import Answers, Training
    from sealround.vocabulary import PartyId, Tally, Update

__all__ = ["accept_gate", "ask_gate", "begin_gate", "conclude_gate"]

_LARGEST_REQUEST = 1 << 24
"""Parameters of models to compare with in one request, 64 MiB; a larger model goes alone."""

_COUNTS = slice(0, COMPARED_CANDIDATE.start)


def begin_gate(training: Training, candidate: TrainedModel) -> Stage:
    """Have a model compared before it is released."""
    learned = training.learned
    learned.gate = replace(learned.gate or Gate(), candidate=candidate, ahead=())
    return Stage.GATE


def _running(training: Training) -> tuple[Gate, TrainedModel]:
    gate = training.learned.gate
    if gate is None or gate.candidate is None:  # unreachable: GATE follows `begin_gate`
        raise UsageError("no model waits at the gate")
    return gate, gate.candidate


def _next_sites(training: Training) -> tuple[PartyId, ...]:
    """Return whose influence the running request asks about."""
    gate, candidate = _running(training)
    return gate.ahead[: max(1, _LARGEST_REQUEST // candidate.vector.size)]


def _contender(model: TrainedModel, vector: Update) -> Contender:
    return Contender(vector, model.threshold, *model.calibration, group_thresholds=model.group_thresholds)


def ask_gate(training: Training) -> AskGroups:
    """Return what the sites are asked: to compare with the reference, or with the model without one site or another."""
    _, candidate = _running(training)
    ours, groups = _contender(candidate, candidate.vector), training.learned.groups
    if sites := _next_sites(training):
        # With the candidate's threshold: what is asked is what a site's updates did, and nothing else may change.
        without = (_contender(candidate, replay(training, candidate.round, {site})) for site in sites)
        return AskGroups(groups, ours, tuple(without), own=False)
    reference = training.plan.reference
    return AskGroups(groups, ours, () if reference is None else (reference,), own=reference is None)


def accept_gate(training: Training, answers: Answers, party: PartyId, reply: Sums) -> None:
    """Check a site's counts, then keep them.

    Raises:
        ProtocolViolationError: If no patients can be counted so.
    """
    comparisons = max(1, len(_next_sites(training)))
    groups = 1 + len(training.learned.groups)
    check_numbers(party, reply.values, comparisons * groups * COMPARED)
    counts = reply.values.reshape(-1, COMPARED)[:, _COUNTS]
    examples = counts[:, PATIENTS + 1 :].sum(axis=1)
    wrong = (counts < 0).any() or (counts != np.rint(counts)).any() or (counts[:, SITES] > 1).any()
    if wrong or (counts[:, PATIENTS] > examples).any() or examples.max(initial=0.0) > training.plan.max_examples:
        raise ProtocolViolationError("sent counts that no patients can give", party=party)
    answers.replies[party] = Sums(np.array(reply.values))


def conclude_gate(training: Training, answers: Answers) -> Stage:
    """Release the model, look into who harmed a group, or decide what follows from that."""
    gate, candidate = _running(training)
    learned, study = training.learned, training.plan.study
    sites = _next_sites(training)
    gate = replace(gate, asked=gate.asked + 1)
    if sites:
        learned.gate = gate = gate.with_influence(_by_others(answers, sites))
        if gate.ahead:
            return Stage.GATE
        _, failed = decide(study, learned.groups, gate.looks)
        return _go_on_without(training, failed[0])
    look = Look(candidate.round, gate.without, answers.total())
    found, failed = decide(study, learned.groups, (*gate.looks, look))
    if not failed:
        gate = replace(gate, candidate=None, looks=(*gate.looks, look), outcome="released")
        learned.gate, learned.released = gate, candidate
        return Stage.EVALUATE
    ahead, why = _suspects(training, found, failed[0])
    learned.gate = replace(gate, looks=(*gate.looks, replace(look, untraced=why)), ahead=ahead)
    return Stage.GATE if ahead else _go_on_without(training, failed[0])


def _by_others(answers: Answers, sites: tuple[PartyId, ...]) -> dict[PartyId, Tally]:
    """Return, for each site, the comparison with the model without it, as all other sites count it."""
    parts = {party: reply.values.reshape(len(sites), -1) for party, reply in sorted(answers.replies.items())}
    return {
        site: np.sum([part[place] for party, part in parts.items() if party != site], axis=0)
        for place, site in enumerate(sites)
    }


def _suspects(training: Training, found: Sequence[Assessment], pair: Pair) -> tuple[tuple[PartyId, ...], str]:
    """Return whom to look into, or why nobody can be."""
    plan, roster = training.plan, training.roster()
    entry = next(entry for entry in found if (entry.group, entry.metric) == pair)
    if plan.study.protection.sealed:
        return (), "updates are sealed, so that nobody can tell what one site's did"
    if entry.verdict != "worse":
        return (), "no group was found to be worse off"
    if not replayable(plan, len(roster)):
        return (), "the study's rule cannot aggregate without a site"
    return tuple(site for site in roster if site != plan.root), ""


def _go_on_without(training: Training, pair: Pair) -> Stage:
    """Train again without those that the harm is traced to, if the study says so and enough are left; else be done."""
    learned, plan = training.learned, training.plan
    gate, _ = _running(training)
    found = influences(plan.study, learned.groups, gate.looks[-1], pair)
    culprits = traced(found, _most(training, gate))
    looks = (*gate.looks[:-1], replace(gate.looks[-1], traced=culprits))
    exclude = plan.gate is not None and plan.gate.on_failure == "exclude"
    if not exclude or not culprits:
        learned.gate = replace(gate, looks=looks, outcome="withheld")
        return Stage.DONE
    for site in culprits:
        training.exclude(site, _why(pair))
    learned.gate = replace(gate, candidate=None, looks=looks)
    begin_rounds(training)
    return Stage.TRAIN


def _most(training: Training, gate: Gate) -> int:
    """Return how many more sites harm may be traced to: as many as the study assumes to lie, and a quorum stays."""
    plan, roster = training.plan, training.roster()
    options = plan.study.protection.robustness
    assumed = options.num_byzantine if isinstance(options, RobustRule) and options.num_byzantine else 0
    most = (assumed or len(plan.roster) // 3) - len(gate.without)
    most = min(most, len(roster) - plan.quorum)
    rule = plan.rule
    while rule is not None and most > 0:
        try:
            rule.check(plan.round_size(len(roster) - most) - (plan.root is not None))
        except UsageError:
            most -= 1
        else:
            break
    return max(most, 0)


def _why(pair: Pair) -> str:
    group, metric = pair
    harm = {"fnr": "sick who are missed", "fpr": "healthy who are called sick"}.get(metric, "risks that are off")
    return f"the gate traced harm to its updates: more {harm} ({group})"
