"""A site's side of a training: a request in, a reply out, and nothing else.

What is legal when, as a table: a request that is not in the row of the site's state is refused and changes nothing.

=========  ==========================================================================
State      Requests
=========  ==========================================================================
new        `Join`
joined     `AskLevels` `AskCounts` `AskSquares` `Prepare` `Evaluate`
prepared   `Train` (each round once, rising) `Validate` `Evaluate`
=========  ==========================================================================
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, assert_never

from sealround import wire
from sealround.errors import ConsistencyError, ProtocolViolationError, SealroundError, UsageError
from sealround.federation.interfaces import EvaluateOrder, TrainOrder
from sealround.federation.messages import (
    AskCounts,
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
    Sums,
    Train,
    Trained,
    Validate,
    pack,
    unpack,
)
from sealround.vocabulary import COORDINATOR, PartyId, RoundId

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from sealround.federation.interfaces import LocalWork
    from sealround.federation.statistics import Statistics
    from sealround.wire import Value

__all__ = ["Site"]


class _State(enum.Enum):
    NEW = "new"
    JOINED = "joined"
    PREPARED = "prepared"


_LEGAL: dict[_State, tuple[type[Message], ...]] = {
    _State.NEW: (Join,),
    _State.JOINED: (AskLevels, AskCounts, AskSquares, Prepare, Evaluate),
    _State.PREPARED: (Train, Validate, Evaluate),
}


class Site:
    """One site in one training.

    Args:
        party: This site.
        study_digest: Digest of the study this site agreed to (32 bytes).
        work: What it computes on its own records.
        min_cell_count: Smallest count of patients it reports: the larger of the study's and its own.
    """

    def __init__(self, party: PartyId, study_digest: bytes, work: LocalWork, min_cell_count: int) -> None:
        self.party = party
        self._digest = study_digest
        self._work = work
        self._min_cell_count = min_cell_count
        self._state = _State.NEW
        self._session = b""
        self._job = ""
        self._statistics: Statistics | None = None
        self._last_round = RoundId(0)
        self._memory: Mapping[str, Value] = {}

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
        self._check(request)
        try:
            reply = self._answer(request.message)
        except SealroundError as error:
            reply = Refused(error.code, error.message, error.hint)
        if isinstance(request.message, Join) and isinstance(reply, Joined):
            self._session = request.session
        return pack(Envelope(request.session, request.step, reply))

    def snapshot(self) -> bytes:
        """Return what this site must remember between rounds, to go on after a restart."""
        return wire.encode({"v": 1, "round": self._last_round, "memory": dict(self._memory)})

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
            case {"v": 1, "round": int(round_), "memory": dict(memory)}:
                self._last_round, self._memory = RoundId(round_), memory
            case _:
                raise ConsistencyError(f"{self.party}: not a snapshot of a site")

    def _check(self, request: Envelope) -> None:
        message = request.message
        if not isinstance(message, _LEGAL[self._state]):
            self._violation(f"{message.type!r} is not allowed while {self._state.value}")
        if self._state is not _State.NEW and request.session != self._session:
            self._violation("the request belongs to another session")
        if isinstance(message, Train) and message.round <= self._last_round:
            self._violation(f"round {message.round} after round {self._last_round}")

    def _violation(self, why: str) -> None:
        raise ProtocolViolationError(why, party=COORDINATOR)

    def _answer(self, message: Message) -> Message:  # noqa: PLR0911  (one return per request)
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
                return Sums(self._work.validate(self._order(model, self._agreed_statistics)))
            case Evaluate():
                return self._evaluate(message)
            case Joined() | Levels() | Sums() | Prepared() | Trained() | Evaluated() | Refused():
                raise AssertionError  # `_check` lets no reply in
            case _:
                assert_never(message)

    def _join(self, message: Join) -> Message:
        if message.study_digest != self._digest:
            return Refused(
                ConsistencyError.code,
                "the coordinator's study is not the one this site agreed to",
                "compare `sealround check` at both places: the digests must be equal",
            )
        self._job = message.job
        self._state = _State.JOINED
        return Joined(self._work.inputs, self._work.layout)

    @property
    def _agreed_statistics(self) -> Statistics:
        if self._statistics is None:  # unreachable through `handle`: only a prepared site trains
            raise UsageError("the site is not prepared")
        return self._statistics

    def _train(self, message: Train) -> Trained:
        outcome = self._work.train(
            TrainOrder(
                job=self._job,
                round=message.round,
                model=message.model,
                statistics=self._agreed_statistics,
                candidate=message.candidate,
                control=message.control,
                memory=self._memory,
            )
        )
        self._last_round, self._memory = message.round, outcome.memory
        return Trained(outcome.update, outcome.weight, outcome.tally, outcome.control)

    def _order(self, model: np.ndarray, statistics: Statistics) -> EvaluateOrder:
        return EvaluateOrder(self._job, model, statistics, threshold=0.5, memory=self._memory)

    def _evaluate(self, message: Evaluate) -> Evaluated:
        order = EvaluateOrder(
            job=self._job,
            model=message.model,
            statistics=message.statistics,
            threshold=message.threshold,
            calibration=(message.slope, message.intercept),
            memory=self._memory,
        )
        return Evaluated(self._work.evaluate(order))
