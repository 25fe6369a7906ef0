"""One round of training: whom it asks, which updates it takes, and the global model it makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sealround.aggregation import Limits, refusal
from sealround.errors import CohortError, ProtocolViolationError
from sealround.federation import tally as tallies
from sealround.federation.judgement import RuleMemory, judge
from sealround.federation.learned import Validated
from sealround.federation.messages import Sums, Train, Trained
from sealround.federation.optimizers import Average, server_step
from sealround.federation.records import RoundRecord
from sealround.federation.training import Stage, check_numbers
from sealround.federation.update_journal import RoundUpdates
from sealround.federation.weighing import next_weighing
from sealround.study.sections import Scaffold
from sealround.vocabulary import PartyId, RoundId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.federation.private.terms import PrivacyTerms
    from sealround.federation.training import Answers, Training
    from sealround.vocabulary import Tally

__all__ = [
    "accept_trained",
    "ask_train",
    "begin_rounds",
    "conclude_train",
    "participants",
    "record_validation",
    "train_or_validate",
]


def participants(training: Training) -> tuple[PartyId, ...]:
    """Return whom the next round asks."""
    return training.plan.participants(RoundId(training.learned.round + 1), training.roster())


def train_or_validate(training: Training) -> Stage:
    """Name the stage that follows a concluded round."""
    learned, rounds = training.learned, training.plan.study.study.rounds
    return Stage.TRAIN if learned.round < learned.began + rounds else Stage.VALIDATE


def begin_rounds(training: Training) -> None:
    """Begin with the initial model, for the first time or anew; what earlier rounds made is forgotten."""
    learned, options = training.learned, training.plan.study.training
    learned.began = learned.round
    learned.model = training.initial_model(learned.known_inputs, learned.known_statistics)
    learned.average = Average(options.ema, np.zeros_like(learned.model)) if options.ema else None
    learned.control = np.zeros_like(learned.model) if isinstance(options.algorithm, Scaffold) else None
    learned.optimizer, learned.best, learned.rule_memory = {}, None, RuleMemory()
    learned.weighing = None
    learned.clip_norm = None if training.plan.privacy is None else training.plan.privacy.first_clip_norm


def ask_train(training: Training) -> Train:
    """Return what the next round is asked: the global model, and the candidate and control variate where needed."""
    learned = training.learned
    # A private round validates nothing, and a candidate is there to be validated.
    wanted = learned.average is not None and training.plan.privacy is None
    candidate = learned.candidate if wanted else None
    weights = None if learned.weighing is None else learned.weighing.weights
    return Train(
        RoundId(learned.round + 1), learned.known_model, candidate, learned.control, weights, learned.clip_norm
    )


def accept_trained(training: Training, answers: Answers, party: PartyId, reply: Trained) -> None:
    """Check a site's update, then keep it.

    Raises:
        ProtocolViolationError: If it is no update of this training, and the study has no rule that would go on.
        DivergenceError: If it is not finite and the study says to stop.
        ThresholdError: If the site is excluded and too few would be left.
    """
    if training.plan.rule is not None:
        _accept_row(training, answers, party, reply)
        return
    size = training.learned.known_model.size
    for vector in (reply.update, reply.control):
        if vector is not None and vector.size != size:
            raise ProtocolViolationError(f"sent {vector.size} parameters where {size} belong", party=party)
    if (reply.control is None) != (training.learned.control is None):
        raise ProtocolViolationError("sent a control variate where none belongs, or none where one does", party=party)
    _check_tally(training, party, reply.tally)
    if not 0.0 <= reply.weight < np.inf:
        raise ProtocolViolationError("sent a weight that is negative or not finite", party=party)
    if not all(np.isfinite(vector).all() for vector in (reply.update, reply.control) if vector is not None):
        training.diverged(party, "sent an update that is not finite", "lower the learning rate, or look at its data")
        answers.leave_out(party)
        return
    answers.updates.add(party, reply.weight, (reply.update,))
    if training.plan.keeps_updates and reply.weight:
        answers.rows.add(party, reply.weight, reply.update)
    if reply.control is not None:
        answers.controls.add(party, 1.0, (reply.control,))
    # The vectors are in the sums; holding on to the reply would hold every site's in memory.
    answers.replies[party] = Sums(np.array(reply.tally))


def _accept_row(training: Training, answers: Answers, party: PartyId, reply: Trained) -> None:
    """Keep an update for the rule; a site that sends what no site can have is excluded, and the training goes on."""
    try:
        _check_tally(training, party, reply.tally)
        why = "sent a control variate where none belongs" if reply.control is not None else None
    except ProtocolViolationError as error:
        why = error.message.removeprefix(f"{party}: ")
    limits = Limits(parameters=training.learned.known_model.size, max_examples=training.plan.max_examples)
    # A site without training examples has a tally and no say.
    if reply.weight != 0.0:
        why = why or refusal(reply.update, reply.weight, limits)
    if why is not None:
        training.exclude(party, why)
        answers.leave_out(party)
        return
    if reply.weight:
        answers.rows.add(party, reply.weight, reply.update)
    answers.replies[party] = Sums(np.array(reply.tally))


def _check_tally(training: Training, party: PartyId, values: Tally) -> None:
    check_numbers(party, values, training.trained_tally())
    if (values[tallies.size(training.plan.study.task) :] < 0).any():
        raise ProtocolViolationError("sent a loss or a number of patients below zero", party=party)


def conclude_train(training: Training, answers: Answers) -> Stage:
    """Make the next global model of a round's updates.

    Raises:
        CohortError: If nobody has training data.
        ThresholdError: If too few updates are left for the rule, or that of the root of trust is missing.
    """
    learned, options = training.learned, training.plan.study.training
    if not answers.replies and answers.opened is None:  # all who were drawn diverged: the round is for others
        return Stage.TRAIN
    influence: Mapping[PartyId, tuple[float, str]] = {}
    if training.plan.rule is not None:
        judged = judge(training.plan, learned.rule_memory, answers.rows)
        learned.rule_memory.forget_all_but(training.roster())
        mean_update, influence = judged.update, judged.influence
        sums: tuple[np.ndarray, ...] = ()
    else:
        weight, sums = answers.trained
        if not weight:
            raise CohortError("no site of this round has training data", hint="raise `training.participation`")
        mean_update = _mean(training, sums[0], weight).astype(np.float32)
    if training.plan.keeps_updates:
        parties, updates, weights = answers.rows.stacked()
        training.updates.keep(RoundId(learned.round + 1), RoundUpdates(parties, np.array(weights), updates))
    total, by_site = answers.total(), answers.by_site()
    size = tallies.size(training.plan.study.task)
    total, tail = total[:size], total[size:]
    by_site = {party: values[:size] for party, values in by_site.items()}
    if training.plan.privacy is not None:
        total, by_site = _follow(training, training.plan.privacy, total), {}
    if tail.size:
        learned.weighing = next_weighing(training.plan.study, learned.weighing, tail)
    if not learned.began or learned.round > learned.began:  # of the model that rounds begin with, once is enough
        record_validation(training, total, by_site)
    record = RoundRecord(
        RoundId(learned.round + 1),
        bytes_down=answers.bytes_down,
        bytes_up=answers.bytes_up,
        absent=answers.absent,
        clipped=None if answers.opened is None else answers.opened.clipped,
        error_bound=None if answers.opened is None else answers.opened.error_bound,
        influence=influence,
    )
    learned.history += (record.with_training(total, by_site),)
    learned.model, learned.optimizer = server_step(options.server, learned.known_model, mean_update, learned.optimizer)
    if learned.control is not None:
        # Karimireddy et al. 2020, Algorithm 1, line 17: the participants' sum, divided by the number of all sites.
        learned.control = learned.control + (sums[1] / len(training.roster())).astype(np.float32)
    if learned.average is not None:
        learned.average = learned.average.add(learned.model)
    learned.round = RoundId(learned.round + 1)
    return train_or_validate(training)


def _mean(training: Training, total: np.ndarray, weight: float) -> np.ndarray:
    """Return the mean of a round's updates from their weighted sum; both float64 ``(d,)``."""
    privacy = training.plan.privacy
    if privacy is None or privacy.options.trust == "local":
        return total / weight
    # Divided by public numbers only: how many were drawn tells who is there.
    return total * privacy.step_at(training.learned.clip_norm)


def _follow(training: Training, privacy: PrivacyTerms, total: Tally) -> Tally:
    """Let the norm of the next round follow a private round's count; return the tally without it, which is no loss."""
    training.learned.clip_norm = privacy.next_clip_norm(training.learned.clip_norm, float(total[0]))
    return np.zeros_like(total)


def record_validation(training: Training, total: Tally, by_site: Mapping[PartyId, Tally]) -> Validated:
    """Write down the validation of the candidate that the stage was asked about."""
    learned, plan = training.learned, training.plan
    *earlier, last = learned.history
    learned.history = (*earlier, last.with_validation(plan, total, by_site))
    validated = Validated(learned.candidate, learned.round, total, plan.score(total))
    if learned.best is None or _better(validated, learned.best):
        learned.best = validated
    return validated


def _better(challenger: Validated, champion: Validated) -> bool:
    """Whether a score beats another: any beats none, the first of equals stays; where there is none, the last model."""
    if challenger.score is None:
        return champion.score is None
    return champion.score is None or challenger.score > champion.score
