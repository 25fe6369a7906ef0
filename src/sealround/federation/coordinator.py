"""The coordinator's side of a training, as a state machine without IO.

It says what to send (`Send`), takes replies (`Coordinator.receive`) and missed deadlines (`Coordinator.deadline`), and
moves through the stages of `sealround.federation.stages`. A stage concludes when each party it asked has answered, was
excluded, or missed the deadline. An event that is not legal raises and changes nothing.

A restored coordinator joins and prepares anew, then goes on after the last round that was concluded. What it learns
from there on, byte counts of rounds included, is what it would have learned without the restart: the journal compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from sealround.errors import DivergenceError, PeerError, ProtocolViolationError, UsageError
from sealround.federation.learned import Learned
from sealround.federation.messages import Envelope, Refused, pack, unpack
from sealround.federation.stages import RULES, Answers, Stage, Training

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.federation.interfaces import ModelFactory
    from sealround.federation.plan import Plan
    from sealround.federation.records import Exclusion, RoundRecord, TrainedModel
    from sealround.vocabulary import PartyId, RoundId
    from sealround.wire import Value

__all__ = ["Coordinator", "Send", "Stage"]

_ORDER = tuple(RULES)


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes for a party; a reply, or the deadline, is expected back."""

    to: PartyId
    payload: bytes


class Coordinator:
    """Drives one training.

    Args:
        plan: Which study, who trains, who tests.
        initial_model: Makes the first global model once the inputs are known.

    Attributes:
        plan: As given.
        stage: Where the training is.
    """

    def __init__(self, plan: Plan, initial_model: ModelFactory) -> None:
        self.plan = plan
        self.stage = Stage.JOIN
        self._training = Training(plan, initial_model)
        self._session = plan.session
        self._step = 0
        self._pending: set[PartyId] = set()
        self._answers = Answers(())

    # --- what a person may ask ----------------------------------------------------------------------------------------

    @property
    def round(self) -> RoundId:
        """The last round that was concluded."""
        return self._training.learned.round

    @property
    def history(self) -> tuple[RoundRecord, ...]:
        """A record for each concluded round, from the initial model (round 0) on."""
        return self._training.learned.history

    @property
    def excluded(self) -> tuple[Exclusion, ...]:
        """Sites the training went on without."""
        return self._training.learned.excluded

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes sent to and received from the sites up to the last concluded stage, but for what a restart repeats."""
        return self._training.learned.bytes_down, self._training.learned.bytes_up

    @property
    def released(self) -> TrainedModel:
        """The released model.

        Raises:
            UsageError: If the training has not come that far.
        """
        return self._training.learned.known_released

    @property
    def evaluations(self) -> Mapping[PartyId, Mapping[str, Value]]:
        """Test results by tester, once DONE."""
        return self._training.evaluations

    # --- events -------------------------------------------------------------------------------------------------------

    def begin(self) -> tuple[Send, ...]:
        """Start, or go on after `restore`."""
        if self._step:
            raise UsageError("a training begins once")
        return self._ask(Stage.JOIN)

    def receive(self, sender: PartyId, payload: bytes) -> tuple[Send, ...]:
        """Take one reply.

        Args:
            sender: Who it is from, as the transport knows it.
            payload: An encoded `Envelope`.

        Returns:
            What to send next: nothing until the stage concludes.

        Raises:
            MalformedMessageError: If it does not decode.
            ProtocolViolationError: If it is not an answer to what ``sender`` was asked. Nothing has changed.
            DivergenceError: If training at ``sender`` diverged and the study says to stop.
            PeerError: If ``sender`` refused.
            CohortError: If sites' inputs differ, or there is nothing to train on.
            ThresholdError: If too few sites are left.
        """
        envelope = unpack(payload, sender=sender)
        self._check(sender, envelope)
        if isinstance(envelope.message, Refused):
            self._refused(sender, envelope.message)
        else:
            RULES[self.stage].accept(self._training, self._answers, sender, envelope.message)
        self._answers.bytes_up += len(payload)
        self._pending.discard(sender)
        return self._conclude_when_complete()

    def deadline(self) -> tuple[Send, ...]:
        """Go on without the answers that have not come.

        A site that does not join in time is excluded; one that misses a later deadline is left out of that stage only.

        Raises:
            UsageError: If the training has not begun.
            ThresholdError: If too few came; nothing was computed from them, and nothing has changed.
        """
        if not self._step:
            raise UsageError("a training begins before its first deadline")
        late = tuple(sorted(self._pending))
        asked = len(self._answers.replies) + len(late)
        if self.stage is Stage.JOIN:
            joined = [party for party in self._training.roster() if party not in late]
            if len(joined) < self.plan.quorum:
                self._training.too_few(len(joined))
            for party in late:
                self._training.exclude(party, "did not join in time")
        elif len(self._answers.replies) <= asked // 2:
            self._training.too_few(len(self._answers.replies))
        self._answers.absent = late
        for party in late:
            self._answers.leave_out(party)
        self._pending.clear()
        return self._conclude_when_complete()

    def snapshot(self) -> bytes:
        """Return everything learned up to the last conclusion, canonically encoded."""
        return self._training.learned.to_bytes(self._session)

    def restore(self, snapshot: bytes) -> None:
        """Take back a `snapshot` of the same session, before `begin`.

        Raises:
            UsageError: If the training has begun.
            ConsistencyError: If it is not a snapshot of this session.
        """
        if self._step:
            raise UsageError("a training is restored before it begins")
        self._training.learned = Learned.from_bytes(snapshot, self._session)

    # --- the machine --------------------------------------------------------------------------------------------------

    def _ask(self, stage: Stage) -> tuple[Send, ...]:
        self.stage = stage
        if stage is Stage.DONE:
            return ()
        # Named by round and stage, not counted: messages after a restart are as long as they would have been without.
        self._step = len(_ORDER) * self.round + _ORDER.index(stage) + 1
        rule = RULES[stage]
        parties = rule.asks(self._training)
        self._pending, self._answers = set(parties), Answers(parties)
        payload = pack(Envelope(self._session, self._step, rule.request(self._training)))
        self._answers.bytes_down = len(payload) * len(parties)
        return tuple(Send(party, payload) for party in parties)

    def _check(self, sender: PartyId, envelope: Envelope) -> None:
        def violation(why: str) -> NoReturn:
            raise ProtocolViolationError(why, party=sender)

        if sender not in self._pending:
            violation("was not asked, or has answered")
        if envelope.session != self._session:
            violation("answers in another session")
        if envelope.step != self._step:
            violation(f"answers step {envelope.step} at step {self._step}")
        if not isinstance(envelope.message, (RULES[self.stage].reply, Refused)):
            violation(f"answers with {envelope.message.type!r} while {self.stage.value}")

    def _refused(self, party: PartyId, refusal: Refused) -> None:
        if refusal.code != DivergenceError.code:
            raise PeerError(f"refused: {refusal.reason}", party=party, hint=refusal.hint)
        self._training.diverged(party, refusal.reason.removeprefix(f"{party}: "), refusal.hint)
        self._answers.leave_out(party)

    def _conclude_when_complete(self) -> tuple[Send, ...]:
        if self._pending or self.stage is Stage.DONE:
            return ()
        learned = self._training.learned
        again = learned.model is not None and self.stage in (Stage.JOIN, Stage.PREPARE)
        following = RULES[self.stage].conclude(self._training, self._answers)
        if not again:
            learned.bytes_down += self._answers.bytes_down
            learned.bytes_up += self._answers.bytes_up
        return self._ask(following)
