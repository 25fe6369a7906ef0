"""The coordinator's side of a training, as a state machine without IO.

It says what to send (`Send`), takes replies (`Coordinator.receive`) and missed deadlines (`Coordinator.deadline`), and
moves through the stages of `sealround.federation.stages`. A stage concludes when each party it asked has answered, was
excluded, or missed the deadline. An event that is not legal raises and changes nothing.

A restored coordinator joins and prepares anew, then goes on after the last round that was concluded. What it learns
from there on, byte counts of rounds included, is what it would have learned without the restart: the journal compares.

In a sealed study a stage whose replies are summed is one round of secure aggregation: the coordinator drives it
(`sealround.secagg.SumServer`) and concludes from the sum. Nothing else reaches it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from sealround.errors import DivergenceError, PeerError, ProtocolViolationError, UsageError
from sealround.federation.contributions import SUMMED, form_of, open_total, order_hash
from sealround.federation.learned import Learned
from sealround.federation.messages import Envelope, Refused, SealedAnswer, SealedOrder, SealedStep, pack, unpack
from sealround.federation.scores import Scores
from sealround.federation.stages import RULES
from sealround.federation.training import Answers, Stage, Training

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.federation.gate import Gate
    from sealround.federation.groups import Group
    from sealround.federation.interfaces import ModelFactory
    from sealround.federation.messages import Message
    from sealround.federation.plan import Plan
    from sealround.federation.records import Exclusion, RoundRecord, TrainedModel
    from sealround.federation.sealing import Form, Sealing
    from sealround.federation.update_journal import UpdateJournal
    from sealround.secagg import SumServer
    from sealround.vocabulary import PartyId, RoundId
    from sealround.wire import Value

__all__ = ["Coordinator", "Send", "Stage"]

_ORDER = tuple(RULES)


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes for a party; a reply, or the deadline, is expected back."""

    to: PartyId
    payload: bytes


@dataclass(slots=True)
class _SealedSum:
    """A running round of secure aggregation.

    Attributes:
        server: Drives it.
        form: What its vectors look like.
        order: The packed request, for those who have not been sent it yet.
        unsent: Who has not.
    """

    server: SumServer
    form: Form
    order: bytes
    unsent: set[PartyId]


class Coordinator:
    """Drives one training.

    Args:
        plan: Which study, who trains, who tests.
        initial_model: Makes the first global model once the inputs are known.
        sealing: How sums are sealed; ``None`` where replies come in clear.
        updates: Keeps the updates of each round where the gate may need them; in memory if ``None``.

    Attributes:
        plan: As given.
        stage: Where the training is.
    """

    def __init__(
        self,
        plan: Plan,
        initial_model: ModelFactory,
        sealing: Sealing | None = None,
        updates: UpdateJournal | None = None,
    ) -> None:
        self.plan = plan
        self._sealing = sealing
        self._sum: _SealedSum | None = None
        self.stage = Stage.JOIN
        self._training = Training(plan, initial_model)
        if updates is not None:
            self._training.updates = updates
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
        """Bytes sent to and received from sites and aggregators, up to the last concluded stage.

        What a restart repeats is not counted.
        """
        return self._training.learned.bytes_down, self._training.learned.bytes_up

    @property
    def released(self) -> TrainedModel:
        """The released model.

        Raises:
            UsageError: If the training has not come that far.
        """
        return self._training.learned.known_released

    @property
    def trained(self) -> TrainedModel:
        """The model that was trained: the released one, or the one that the gate withheld.

        Raises:
            UsageError: If the training has not come that far.
        """
        withheld = None if self.gate is None else self.gate.candidate
        return self.released if withheld is None else withheld

    @property
    def gate(self) -> Gate | None:
        """What the gate has found so far; ``None`` before it, and where there is none."""
        return self._training.learned.gate

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of patients that the sites tell apart, once they have joined."""
        return self._training.learned.groups

    @property
    def began(self) -> RoundId:
        """After which round the running training began: 0, or where the gate had it begun anew."""
        return self._training.learned.began

    @property
    def evaluations(self) -> Mapping[PartyId, Mapping[str, Value]]:
        """Test results by tester, once DONE; empty where they are sealed."""
        return self._training.evaluations

    @property
    def scores(self) -> Scores | None:
        """Where test results are sealed, their sum, once DONE; else ``None``."""
        total, study = self._training.learned.scores, self.plan.study
        groups = 0 if self._sealing is None else self._sealing.plan.groups
        noise = self.plan.noise_in_results
        return None if total is None else Scores(study.task, study.evaluation.bootstrap, total, groups, noise)

    def sealing_summary(self) -> dict[str, Value] | None:
        """Return how sums were sealed, as a report states it; ``None`` where they were not."""
        if self._sealing is None:
            return None
        rounds = [record for record in self.history if record.error_bound is not None]
        return {
            **self._sealing.plan.describe(self.plan.round_size(len(self.plan.roster))),
            "sites": len(self.plan.roster),
            "smallest_sum": self._training.learned.smallest_sum,
            "error_bound": max((record.error_bound or 0.0 for record in rounds), default=None),
            "clipped": [record.clipped for record in rounds],
        }

    @property
    def pending(self) -> frozenset[PartyId]:
        """Who has been asked and has not answered: sites, and the aggregators of a sealed sum."""
        return frozenset(self._pending) if self._sum is None else self._sum.server.pending

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
        message = envelope.message
        self._check(sender, envelope)
        if isinstance(message, Refused):
            self._refused(sender, message)
        if self._sum is not None:
            server = self._sum.server
            following = (
                server.receive(sender, message.payload) if isinstance(message, SealedAnswer) else server.leave(sender)
            )
            self._answers.bytes_up += len(payload)
            return self._relay(following)
        if not isinstance(message, Refused):
            RULES[self.stage].accept(self._training, self._answers, sender, message)
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
        if self._sum is not None:
            return self._relay(self._sum.server.deadline())
        late = tuple(sorted(self._pending))
        if self.stage in (Stage.JOIN, Stage.TRAIN):
            self._training.check_root(late, "did not answer in time")
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
        return self._training.learned.to_bytes(self.plan.lineage)

    def restore(self, snapshot: bytes) -> None:
        """Take back a `snapshot` of the same training of the same sites, before `begin`.

        Raises:
            UsageError: If the training has begun.
            ConsistencyError: If it is not a snapshot of it.
        """
        if self._step:
            raise UsageError("a training is restored before it begins")
        self._training.learned = Learned.from_bytes(snapshot, self.plan.lineage)

    # --- the machine --------------------------------------------------------------------------------------------------

    def _ask(self, stage: Stage) -> tuple[Send, ...]:
        self.stage = stage
        if stage is Stage.DONE:
            return ()
        # Named by round and stage, not counted: messages after a restart are as long as they would have been without.
        asked = 0 if self.gate is None else self.gate.asked
        self._step = len(_ORDER) * (self.round + asked) + _ORDER.index(stage) + 1
        rule = RULES[stage]
        parties = rule.asks(self._training)
        self._pending, self._answers, self._sum = set(parties), Answers(parties), None
        request = rule.request(self._training)
        payload = pack(Envelope(self._session, self._step, request))
        if self._sealing is not None and isinstance(request, SUMMED):
            return self._ask_sealed(self._sealing, request, payload, parties)
        self._answers.bytes_down = len(payload) * len(parties)
        return tuple(Send(party, payload) for party in parties)

    def _ask_sealed(
        self, sealing: Sealing, request: Message, order: bytes, parties: tuple[PartyId, ...]
    ) -> tuple[Send, ...]:
        form = form_of(request, sealing.plan)
        roster = self._training.whole_roster(self.stage)
        manifest = sealing.manifest(
            session=self._session,
            step=self._step,
            order_hash=order_hash(order, request, self._training.learned.statistics),
            roster=roster,
            form=form,
            weight_cap=self._weight_cap,
        )
        self._pending = set()
        self._sum = _SealedSum(sealing.server(manifest), form, order, {*parties, *sealing.plan.aggregators})
        server = self._sum.server
        messages = server.begin()
        for party in sorted(set(roster) - set(parties)):
            messages = {**messages, **server.leave(party)}
            messages.pop(party, None)
        return self._relay(messages)

    @property
    def _weight_cap(self) -> int:
        """Largest weight of an update: nobody has more examples than all together."""
        statistics = self._training.learned.statistics
        uniform = self.plan.study.training.weighting == "uniform" or self.plan.privacy is not None
        return 1 if uniform or statistics is None else max(1, round(statistics.examples))

    def _relay(self, messages: Mapping[PartyId, bytes]) -> tuple[Send, ...]:
        """Pass on what the running sum's machine says, or conclude from the sum."""
        assert self._sum is not None  # noqa: S101  (for the type checker: the callers have looked)
        running, server, answers = self._sum, self._sum.server, self._answers
        sends: list[Send] = []
        packed: dict[SealedOrder | SealedStep, bytes] = {}  # an order holds the model: what is for all is packed once
        for party, payload in messages.items():
            order = running.order if party in server.manifest.sites else b""
            message = SealedOrder(order, payload) if party in running.unsent else SealedStep(payload)
            running.unsent.discard(party)
            if message not in packed:
                packed[message] = pack(Envelope(self._session, self._step, message))
            sends.append(Send(party, packed[message]))
            answers.bytes_down += len(packed[message])
        if server.done and not sends:
            manifest, survivors = server.manifest, server.survivors
            answers.opened = open_total(server.total, manifest, running.form, len(survivors))
            learned = self._training.learned
            learned.smallest_sum = min(len(survivors), learned.smallest_sum or len(survivors))
            gone = {*survivors, *(exclusion.site for exclusion in self.excluded)}
            answers.absent = tuple(site for site in manifest.sites if site not in gone)
            self._sum = None
            return self._conclude_when_complete()
        return tuple(sends)

    def _check(self, sender: PartyId, envelope: Envelope) -> None:
        def violation(why: str) -> NoReturn:
            raise ProtocolViolationError(why, party=sender)

        if sender not in self.pending:
            violation("was not asked, or has answered")
        if envelope.session != self._session:
            violation("answers in another session")
        if envelope.step != self._step:
            violation(f"answers step {envelope.step} at step {self._step}")
        reply = RULES[self.stage].reply if self._sum is None else SealedAnswer
        if not isinstance(envelope.message, (reply, Refused)):
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
