"""A site's side of a training: a request in, a reply out, and nothing else.

What is legal when, as a table: a request that is not in the row of the site's state is refused and changes nothing.

=========  ==========================================================================
State      Requests
=========  ==========================================================================
new        `Join`
joined     `AskLevels` `AskCounts` `AskSquares` `Prepare` `Evaluate`
prepared   `Train` (each round once, rising) `Validate` `AskGroups` `Evaluate`
=========  ==========================================================================

In a sealed study, a request whose answers are summed is legal inside a `SealedOrder` only, whatever the coordinator
asks; a `SealedStep` is legal after one. All but `Train` are one request each: asked again in other words, and summed
over all sites but one, the same numbers would be that one's.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, assert_never

import numpy as np

from sealround import wire
from sealround.errors import ConsistencyError, PeerError, ProtocolViolationError, SealroundError, UsageError
from sealround.federation.contributions import SUMMED, encode, form_of, order_hash
from sealround.federation.interfaces import CompareOrder, EvaluateOrder, TrainOrder
from sealround.federation.messages import (
    AskCounts,
    AskGroups,
    AskLevels,
    AskSquares,
    Envelope,
    Evaluate,
    Evaluated,
    Join,
    Joined,
    Levels,
    Message,
    Prepare,
    Prepared,
    Refused,
    SealedAnswer,
    SealedOrder,
    SealedStep,
    Sums,
    Train,
    Trained,
    Validate,
    pack,
    unpack,
)
from sealround.federation.plan import FEDERATED, session_of
from sealround.federation.private.work import PrivateWork
from sealround.federation.weighing import weights_fit
from sealround.secagg import Expected
from sealround.vocabulary import COORDINATOR, PartyId, RoundId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.federation.interfaces import LocalWork
    from sealround.federation.sealing import SiteSealing
    from sealround.federation.statistics import Statistics
    from sealround.secagg import SumSite
    from sealround.wire import Value

__all__ = ["Site", "kept_result"]


class _State(enum.Enum):
    NEW = "new"
    JOINED = "joined"
    PREPARED = "prepared"


_LEGAL: dict[_State, tuple[type[Message], ...]] = {
    _State.NEW: (Join,),
    _State.JOINED: (AskLevels, AskCounts, AskSquares, Prepare, Evaluate),
    _State.PREPARED: (Train, Validate, AskGroups, Evaluate),
}


@dataclass(slots=True)
class _SealedSum:
    """A running round of secure aggregation, and the request that it answers."""

    machine: SumSite
    order: Envelope


class Site:
    """One site in one training.

    Args:
        party: This site.
        study_digest: Digest of the study this site agreed to (32 bytes).
        work: What it computes on its own records.
        min_cell_count: Smallest count of patients it reports: the larger of the study's and its own.
        sealing: How its numbers are hidden; ``None`` where the study says that they are not.
    """

    def __init__(
        self,
        party: PartyId,
        study_digest: bytes,
        work: LocalWork,
        min_cell_count: int,
        sealing: SiteSealing | None = None,
    ) -> None:
        self.party = party
        self._sealing = sealing
        self._sum: _SealedSum | None = None
        self._digest = study_digest
        self._work = work
        self._min_cell_count = min_cell_count
        self._state = _State.NEW
        self._session = b""
        self._job = ""
        self._statistics: Statistics | None = None
        self._last_round = RoundId(0)
        self._memory: Mapping[str, Value] = {}
        self._kept: Mapping[str, Value] | None = None
        self._asked: dict[str, Value] = {}  # by type of a request to be summed, the hash of the one there is

    @property
    def kept(self) -> Mapping[str, Value] | None:
        """In a sealed or private study, this site's own test results, which it sends to nobody; else ``None``."""
        return self._kept

    def handle(self, payload: bytes) -> bytes:
        """Answer one request of the coordinator.

        Args:
            payload: An encoded `Envelope`.

        Returns:
            The encoded reply. What this site cannot do (its data do not fit, training diverged) is a `Refused`.

        Raises:
            MalformedMessageError: If the request does not decode.
            ProtocolViolationError: If it is not legal now; nothing has changed.
        """
        request = unpack(payload, sender=COORDINATOR)
        order = self._order_of(request)
        if not isinstance(request.message, SealedStep):
            self._check(order or request)
        try:
            reply = self._answer_sealed(request.message, order) if order else self._answer(request.message)
        except SealroundError as error:
            if isinstance(request.message, SealedStep) and self._goes_on(error):
                raise
            self._leave_sum()
            reply = Refused.of(error)
        if isinstance(request.message, Join) and isinstance(reply, Joined):
            self._session = request.session
        return pack(Envelope(request.session, request.step, reply))

    def snapshot(self) -> bytes:
        """Return what this site must remember between rounds, to go on after a restart."""
        kept = None if self._kept is None else dict(self._kept)
        return wire.encode(
            {"v": 3, "round": self._last_round, "memory": dict(self._memory), "kept": kept, "asked": self._asked}
        )

    def restore(self, snapshot: bytes) -> None:
        """Take back what `snapshot` returned; the coordinator will join and prepare anew.

        Raises:
            UsageError: If this site has already joined.
            ConsistencyError: If it is not a snapshot.
        """
        if self._state is not _State.NEW:
            raise UsageError("a site is restored before it joins")
        state = wire.decode(snapshot, sender=self.party)
        match state:
            case {
                "v": 3,
                "round": int(round_),
                "memory": dict(memory),
                "kept": None | dict() as kept,
                "asked": dict(asked),
            }:
                self._last_round, self._memory, self._kept, self._asked = RoundId(round_), memory, kept, asked
            case _:
                raise ConsistencyError(f"{self.party}: not a snapshot of a site")

    def _order_of(self, request: Envelope) -> Envelope | None:
        """Return the request that a part of a sealed sum is about; ``None`` if it is no such part."""
        message = request.message
        if isinstance(message, SealedOrder):
            if self._sealing is None:
                self._violation("a sealed sum is not what this study's sites take part in")
            order = unpack(message.order, sender=COORDINATOR)
            if not isinstance(order.message, SUMMED):
                self._violation(f"{order.message.type!r} is not answered by a sum")
            if self._sum is not None and order.step == self._sum.order.step:
                self._violation("this sum has begun already")
            return order
        if isinstance(message, SealedStep):
            if self._sum is None:
                self._violation("there is no sealed sum to go on with")
            if (request.session, request.step) != (self._session, self._sum.order.step):
                self._violation("the message belongs to another sum")
            return self._sum.order
        if self._sealing is not None and isinstance(message, SUMMED):
            self._violation(f"{message.type!r} asks in clear for what the study says is sealed")
        return None

    def _check(self, request: Envelope) -> None:
        message = request.message
        if not isinstance(message, _LEGAL[self._state]):
            self._violation(f"{message.type!r} is not allowed while {self._state.value}")
        agreed = isinstance(message, Join) and message.study_digest == self._digest  # else the answer says so
        if agreed and self._sealing is not None and request.session != self._only_session:
            self._violation("a sealed study has one training, and its session follows from the study")
        if self._state is not _State.NEW and request.session != self._session:
            self._violation("the request belongs to another session")
        if isinstance(message, Train) and message.round <= self._last_round:
            self._violation(f"round {message.round} after round {self._last_round}")

    @property
    def _only_session(self) -> bytes:
        """Whom a site was summed with it remembers by session: the coordinator does not get to choose another."""
        return session_of(self._digest, FEDERATED)

    def _violation(self, why: str) -> NoReturn:
        raise ProtocolViolationError(why, party=COORDINATOR)

    def _answer(self, message: Message) -> Message:  # noqa: C901, PLR0911  (one case, one return per request)
        match message:
            case Join():
                return self._join(message)
            case AskLevels():
                return Levels(self._work.levels(self._min_cell_count))
            case AskCounts(layout=layout):
                return Sums(self._work.counts(layout, self._min_cell_count))
            case AskSquares(layout=layout, mean=mean):
                return Sums(self._work.squares(layout, self._min_cell_count, mean))
            case Prepare(statistics=statistics):
                self._statistics = statistics
                self._state = _State.PREPARED
                return Prepared()
            case Train():
                return self._train(message)
            case Validate(model=model):
                order = self._order(model, self._agreed_statistics)
                return Sums(np.concatenate((self._work.validate(order), self._work.group_histograms(order))))
            case AskGroups():
                return self._compare(message)
            case Evaluate():
                return self._evaluate(message)
            case SealedOrder() | SealedStep():
                raise AssertionError  # `_answer_sealed` has them
            case Joined() | Levels() | Sums() | Prepared() | Trained() | Evaluated() | SealedAnswer() | Refused():
                raise AssertionError  # `_check` lets no reply in
            case _:
                assert_never(message)

    def _answer_sealed(self, message: Message, order: Envelope) -> SealedAnswer:
        if self._sealing is None:
            raise AssertionError  # `_check` lets nothing sealed in
        if isinstance(message, SealedOrder):
            self._leave_sum()
            form = form_of(order.message, self._sealing.plan)
            asked = order_hash(message.order, order.message, self._statistics)
            if not isinstance(order.message, Train) and self._asked.setdefault(order.message.type, asked) != asked:
                self._violation(f"another {order.message.type!r} than before: it is summed once")
            expected = Expected(
                session=order.session,
                order_hash=asked,
                plan_hash=self._digest,
                coordinates=form.coordinates,
                numbers=form.numbers,
            )
            self._sum = _SealedSum(self._sealing.machine(expected), order)
        running = self._sum
        if running is None or not isinstance(message, SealedOrder | SealedStep):
            raise AssertionError  # `_check` again
        reply = running.machine.handle(message.payload)
        if isinstance(message, SealedOrder):
            self._sealing.check(running.machine.manifest)
        if running.machine.ready:
            seed = self._sealing.rounding(self._job, order.step)
            manifest, plan = running.machine.manifest, self._sealing.plan
            # No name for the open reply: it can go while the vector is masked.
            vector = encode(self._answer(order.message), manifest, plan, seed, self.party)
            reply = running.machine.submit(vector)
        if reply is None:
            raise AssertionError  # a machine replies, or is ready
        return SealedAnswer(reply)

    def _goes_on(self, error: SealroundError) -> bool:
        """Whether the running sum's machine refused a message without leaving the round."""
        # A machine that is ready has taken the message: the error is of this site's own work.
        if self._sum is None or self._sum.machine.ready or not isinstance(error, PeerError):
            return False
        try:
            _ = self._sum.machine.manifest
        except UsageError:
            return False
        return True

    def _leave_sum(self) -> None:
        if self._sum is not None:
            self._sum.machine.abort()
            self._sum = None

    def _join(self, message: Join) -> Message:
        if message.study_digest != self._digest:
            return Refused(
                ConsistencyError.code,
                "the coordinator's study is not the one this site agreed to",
                "compare `sealround check` at both places: the digests must be equal",
            )
        self._job = message.job
        self._state = _State.JOINED
        return Joined(self._work.inputs, self._work.layout, self._work.groups)

    @property
    def _agreed_statistics(self) -> Statistics:
        if self._statistics is None:  # unreachable through `handle`: only a prepared site trains
            raise UsageError("the site is not prepared")
        return self._statistics

    def _train(self, message: Train) -> Trained:
        if message.weights is not None and not weights_fit(message.weights, self._work.groups):
            self._violation("weighs cells that are not the study's, or beyond what any patient may count")
        outcome = self._work.train(
            TrainOrder(
                job=self._job,
                round=message.round,
                model=message.model,
                statistics=self._agreed_statistics,
                candidate=message.candidate,
                control=message.control,
                memory=self._memory,
                weights=message.weights,
                clip_norm=message.clip_norm,
            )
        )
        self._last_round, self._memory = message.round, outcome.memory
        return Trained(outcome.update, outcome.weight, outcome.tally, outcome.control)

    def _order(self, model: np.ndarray, statistics: Statistics) -> EvaluateOrder:
        return EvaluateOrder(self._job, model, statistics, threshold=0.5, memory=self._memory)

    def _compare(self, message: AskGroups) -> Sums:
        if message.groups != self._work.groups:
            self._violation("asks about groups of patients that are not the study's")
        for contender in (message.candidate, *message.references):
            self._check_thresholds(contender.group_thresholds)
        order = CompareOrder(
            job=self._job,
            candidate=message.candidate,
            references=message.references,
            own=message.own,
            statistics=self._agreed_statistics,
            # Where only the sum is seen, a small group is hidden in it, and leaving it out would only bias the sum.
            min_cell_count=self._min_cell_count if self._sealing is None else 1,
            memory=self._memory,
        )
        return Sums(self._work.compare(order))

    def _check_thresholds(self, by_group: tuple[float, ...]) -> None:
        if by_group and len(by_group) != self._work.levels_with_threshold:
            self._violation("has thresholds of other groups of patients than the study permits")

    def _evaluate(self, message: Evaluate) -> Evaluated:
        self._check_thresholds(message.group_thresholds)
        order = EvaluateOrder(
            job=self._job,
            model=message.model,
            statistics=message.statistics,
            threshold=message.threshold,
            calibration=(message.slope, message.intercept),
            memory=self._memory,
            group_thresholds=message.group_thresholds,
        )
        result = self._work.evaluate(order)
        self._kept = None if self._sealing is None else result
        if isinstance(self._work, PrivateWork):
            self._kept = self._work.evaluate_here(order)
        return Evaluated(result)


def kept_result(snapshot: bytes, party: PartyId) -> Mapping[str, Value] | None:
    """Return what a site's snapshot says of its own test results, `Site.kept`.

    Raises:
        ConsistencyError: If it is not a snapshot.
    """
    match wire.decode(snapshot, sender=party):
        case {"kept": None | dict() as kept}:
            return kept
    raise ConsistencyError(f"{party}: not a snapshot of a site")
