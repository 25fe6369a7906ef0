"""The stages of a training: whom each asks what, how an answer is checked, and what its conclusion teaches.

========  ===================  ==============  ==========================================================
Stage     Asks                 Of              Concludes with
========  ===================  ==============  ==========================================================
JOIN      `Join`               everyone        one input shape and layout, and the groups
LEVELS    `AskLevels`          the roster      union of levels (skipped where the study gives them all, and with
                                               SQUARES and COUNTS where answers are private)
COUNTS    `AskCounts`          the roster      means, class counts
SQUARES   `AskSquares`         the roster      scales (skipped unless standardisation is federated)
PREPARE   `Prepare`            the roster      the initial model
TRAIN     `Train`              participants    the next global model; once for each round
VALIDATE  `Validate`           the roster      the model to release, its threshold and calibration
GATE      `AskGroups`          the roster      its release; or whom harm is traced to, and TRAIN again or DONE
EVALUATE  `Evaluate`           the testers     test results
DONE      --                   --              --
========  ===================  ==============  ==========================================================

Every function here takes the `Training` (what is known) and the `Answers` of the running stage. Checks come before
changes, so that a refused answer leaves no trace. Where the study seals its sums, a stage whose replies are summed
concludes from the sum alone (`Answers.opened`), and no reply is ever seen. TRAIN has a module of its own,
`sealround.federation.rounds`, and so has GATE, `sealround.federation.gating`; only studies with a gate have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sealround.errors import CohortError
from sealround.federation import tally as tallies
from sealround.federation.gating import accept_gate, ask_gate, begin_gate, conclude_gate
from sealround.federation.group_thresholds import group_thresholds
from sealround.federation.messages import (
    AskCounts,
    AskLevels,
    AskSquares,
    Evaluate,
    Evaluated,
    Join,
    Joined,
    Levels,
    Message,
    Prepare,
    Prepared,
    Sums,
    Trained,
    Validate,
)
from sealround.federation.records import RoundRecord, TrainedModel
from sealround.federation.rounds import (
    accept_trained,
    ask_train,
    begin_rounds,
    conclude_train,
    participants,
    record_validation,
    train_or_validate,
)
from sealround.federation.statistics import Statistics
from sealround.federation.training import Answers, Stage, Training, check_numbers
from sealround.study import study_digest
from sealround.vocabulary import PartyId, RoundId

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RULES", "Rule"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One stage.

    Attributes:
        asks: Whom.
        request: What.
        reply: Type of the answer.
        accept: Checks an answer, then keeps it.
        conclude: Learns from all answers and names the next stage.
    """

    asks: Callable[[Training], tuple[PartyId, ...]]
    request: Callable[[Training], Message]
    reply: type[Message]
    accept: Callable[[Training, Answers, PartyId, Any], None]
    conclude: Callable[[Training, Answers], Stage]


def _everyone(training: Training) -> tuple[PartyId, ...]:
    return tuple(sorted({*training.roster(), *training.testers()}))


def _keep(_: Training, answers: Answers, party: PartyId, reply: Message) -> None:
    answers.replies[party] = reply


def _accept_sums(size: Callable[[Training], int]) -> Callable[[Training, Answers, PartyId, Sums], None]:
    def accept(training: Training, answers: Answers, party: PartyId, reply: Sums) -> None:
        check_numbers(party, reply.values, size(training))
        answers.replies[party] = reply

    return accept


# --- joining ----------------------------------------------------------------------------------------------------------


def _conclude_join(training: Training, answers: Answers) -> Stage:
    (first, agreed), *others = sorted(answers.replies.items())
    for party, joined in others:
        if joined.groups != agreed.groups:
            raise CohortError(
                f"{party} and {first} tell different groups of patients apart",
                hint="groups follow from the study: compare the digests that `sealround check` prints at both",
            )
        if joined != agreed:
            raise CohortError(
                f"{party} and {first} have different inputs",
                hint="run `sealround data check` at both: columns, image size and channels must be the same",
            )
    learned = training.learned
    learned.inputs, learned.layout, learned.groups = agreed.inputs, agreed.layout, agreed.groups
    if learned.model is not None:
        return Stage.PREPARE
    if (privacy := training.plan.privacy) is not None:  # counts would tell who is there
        learned.statistics = Statistics.declared(agreed.layout, privacy.options.patients, training.plan.ranges)
        return Stage.PREPARE
    open_features = any(not levels for _, levels in agreed.layout.categories)
    return Stage.LEVELS if open_features else Stage.COUNTS


# --- statistics -------------------------------------------------------------------------------------------------------


def _conclude_levels(training: Training, answers: Answers) -> Stage:
    found: dict[str, set[str]] = {}
    for reply in answers.replies.values():
        for feature, levels in reply.levels.items():
            found.setdefault(feature, set()).update(levels)
    training.learned.layout = training.learned.known_layout.with_levels(found)
    return Stage.COUNTS


def _conclude_counts(training: Training, answers: Answers) -> Stage:
    statistics = Statistics.from_counts(training.learned.known_layout, answers.total())
    if statistics.examples <= 0:
        raise CohortError(
            "no site reports training data: a site with fewer training patients than the minimum cell count does not",
            hint="run `sealround data check` and look at the split",
        )
    training.learned.statistics = statistics
    federated = training.plan.study.standardisation.kind == "federated" and statistics.layout.numeric
    return Stage.SQUARES if federated else Stage.PREPARE


def _conclude_squares(training: Training, answers: Answers) -> Stage:
    training.learned.statistics = training.learned.known_statistics.with_squares(answers.total())
    return Stage.PREPARE


# --- the initial model ------------------------------------------------------------------------------------------------


def _conclude_prepare(training: Training, _: Answers) -> Stage:
    learned = training.learned
    if learned.model is None:
        begin_rounds(training)
        learned.history = (RoundRecord(RoundId(0)),)
    if learned.gate is not None and learned.gate.candidate is not None:  # withheld is the end, and nobody asks again
        return Stage.GATE
    return Stage.EVALUATE if learned.released is not None else train_or_validate(training)


# --- release ----------------------------------------------------------------------------------------------------------


def _conclude_validate(training: Training, answers: Answers) -> Stage:
    learned, plan = training.learned, training.plan
    size = tallies.size(plan.study.task)
    total, tail = answers.total()[:size], answers.total()[size:]
    if plan.privacy is not None:  # noise may take more patients out of a bin than there are
        total = np.maximum(total, 0.0)
    chosen = record_validation(training, total, {party: values[:size] for party, values in answers.by_site().items()})
    if plan.study.evaluation.selection == "best-validation" and learned.best is not None:
        chosen = learned.best
    calibration = plan.calibration(chosen.tally)
    threshold = plan.threshold(chosen.tally, calibration)
    fewest = plan.study.fairness.min_group
    by_group = group_thresholds(chosen.tally, tail, threshold, calibration, fewest)
    model = TrainedModel(
        vector=chosen.model,
        inputs=learned.known_inputs,
        statistics=learned.known_statistics,
        round=chosen.round,
        threshold=threshold,
        calibration=calibration,
        group_thresholds=by_group,
    )
    if plan.gate is not None:
        return begin_gate(training, model)
    learned.released = model
    return Stage.EVALUATE


def _ask_evaluate(training: Training) -> Evaluate:
    model = training.learned.known_released
    return Evaluate(
        model.statistics, model.vector, model.threshold, *model.calibration, group_thresholds=model.group_thresholds
    )


def _conclude_evaluate(training: Training, answers: Answers) -> Stage:
    if answers.opened is not None:
        training.learned.scores = answers.opened.numbers
    training.evaluations = {party: reply.result for party, reply in sorted(answers.replies.items())}
    return Stage.DONE


RULES: dict[Stage, Rule] = {
    Stage.JOIN: Rule(
        asks=_everyone,
        request=lambda training: Join(study_digest(training.plan.study), training.plan.job),
        reply=Joined,
        accept=_keep,
        conclude=_conclude_join,
    ),
    Stage.LEVELS: Rule(
        asks=Training.roster,
        request=lambda _: AskLevels(),
        reply=Levels,
        accept=_keep,
        conclude=_conclude_levels,
    ),
    Stage.COUNTS: Rule(
        asks=Training.roster,
        request=lambda training: AskCounts(training.learned.known_layout),
        reply=Sums,
        accept=_accept_sums(lambda training: training.learned.known_layout.size),
        conclude=_conclude_counts,
    ),
    Stage.SQUARES: Rule(
        asks=Training.roster,
        request=lambda training: AskSquares(training.learned.known_layout, training.learned.known_statistics.mean),
        reply=Sums,
        accept=_accept_sums(lambda training: len(training.learned.known_layout.numeric)),
        conclude=_conclude_squares,
    ),
    Stage.PREPARE: Rule(
        asks=Training.roster,
        request=lambda training: Prepare(training.learned.known_statistics),
        reply=Prepared,
        accept=_keep,
        conclude=_conclude_prepare,
    ),
    Stage.TRAIN: Rule(
        asks=participants,
        request=ask_train,
        reply=Trained,
        accept=accept_trained,
        conclude=conclude_train,
    ),
    Stage.VALIDATE: Rule(
        asks=Training.roster,
        request=lambda training: Validate(training.learned.candidate),
        reply=Sums,
        accept=_accept_sums(lambda training: training.validated_tally()),
        conclude=_conclude_validate,
    ),
    Stage.GATE: Rule(
        asks=Training.roster,
        request=ask_gate,
        reply=Sums,
        accept=accept_gate,
        conclude=conclude_gate,
    ),
    Stage.EVALUATE: Rule(
        asks=Training.testers,
        request=_ask_evaluate,
        reply=Evaluated,
        accept=_keep,
        conclude=_conclude_evaluate,
    ),
}
