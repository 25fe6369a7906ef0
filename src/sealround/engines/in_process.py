"""Drives trainings on this machine: coordinators here, their sites in a pool, every round in the journal.

The coordinators never learn that their sites are simulated: bytes go to a named party, and a reply comes back.
"""

from __future__ import annotations

import collections
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sealround.engines.host import Answer, Request
from sealround.errors import CohortError, DivergenceError, ThresholdError
from sealround.federation import Coordinator, Stage
from sealround.federation.aggregator import AggregatorParty
from sealround.federation.site import kept_result
from sealround.storage import Checkpoint, DurableRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sealround.engines.parties import SimulatedParties
    from sealround.engines.pools import Pool
    from sealround.federation import ModelFactory, Plan, Send
    from sealround.federation.update_journal import UpdateJournal
    from sealround.storage import Journal
    from sealround.vocabulary import PartyId
    from sealround.wire import Value

__all__ = ["Job", "Progress", "drive"]

_CHECKPOINT_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training is, for whoever watches.

    Attributes:
        job: Which training.
        stage: What it is doing.
        round: Last concluded round.
        rounds: How many there will be.
        validation: Latest validation metric, ``None`` where unknown.
    """

    job: str
    stage: str
    round: int
    rounds: int
    validation: float | None


@dataclass(slots=True)
class Job:
    """One training and its journal.

    Attributes:
        plan: Which study, who trains, who tests.
        initial_model: Makes the first global model.
        journal: Where it is written down.
        every_round: Checkpoint after each round; else every two seconds (what is lost is computed again).
        may_fail: A comparison that cannot be made (it diverges, its site is too small) is reported; the study goes on.
        parties: Everybody's keys, where this training's sums are sealed.
        updates: Keeps the updates of each round where the gate may need them.
    """

    plan: Plan
    initial_model: ModelFactory
    journal: Journal
    every_round: bool = True
    may_fail: bool = False
    parties: SimulatedParties | None = None
    updates: UpdateJournal | None = None
    aggregators: Mapping[PartyId, AggregatorParty] = field(init=False, default_factory=dict)
    _records: list[DurableRecord] = field(init=False, default_factory=list)
    coordinator: Coordinator = field(init=False)
    snapshots: dict[PartyId, bytes] = field(init=False, default_factory=dict)
    evaluations: Mapping[PartyId, Mapping[str, Value]] | None = field(init=False, default=None)
    failure: str | None = field(init=False, default=None)
    _saved_at: float = field(init=False, default=0.0)
    _round_began: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        """Take up the journal's latest checkpoint."""
        self.rewind()

    def rewind(self) -> None:
        """Go back to the latest checkpoint, or to the start."""
        sealing = None if self.parties is None else self.parties.coordinator()
        self.close()
        if self.parties is not None:
            sealings = self.parties.aggregators()
            self.aggregators = {name: AggregatorParty(sealing) for name, sealing in sealings.items()}
            self._records = [found for each in sealings.values() if isinstance(found := each.record, DurableRecord)]
        self.coordinator = Coordinator(self.plan, self.initial_model, sealing, self.updates)
        checkpoint = self.journal.latest()
        if checkpoint is not None:
            self.coordinator.restore(checkpoint.coordinator)
            self.snapshots = dict(checkpoint.sites)
            self.evaluations = checkpoint.evaluations

    def close(self) -> None:
        """Close the aggregators' records of rounds."""
        for record in self._records:
            record.close()

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.evaluations is not None or self.failure is not None

    @property
    def kept(self) -> Mapping[PartyId, Mapping[str, Value]]:
        """Where test results are sealed: each site's own, which it sends to nobody and a simulation can read."""
        found = {party: kept_result(snapshot, party) for party, snapshot in sorted(self.snapshots.items())}
        return {party: result for party, result in found.items() if result is not None}

    @property
    def progress(self) -> Progress:
        """Where it is."""
        validations = (record.validation for record in reversed(self.coordinator.history))
        stage = Stage.DONE if self.evaluations is not None else self.coordinator.stage
        return Progress(
            job=self.plan.job,
            stage=stage.value if self.failure is None else "failed",
            round=self.coordinator.round,
            rounds=self.coordinator.began + self.plan.study.study.rounds,
            validation=next((known for known in validations if known is not None), None),
        )

    def begin(self) -> tuple[Send, ...]:
        """Start, or go on."""
        self._saved_at = self._round_began = time.monotonic()
        return self.coordinator.begin()

    def take(self, answer: Answer) -> tuple[Send, ...]:
        """Hand a site's reply to the coordinator, write down what that concludes, and return what to send next."""
        before, asked = self.coordinator.round, self._asked
        if answer.party not in self.aggregators:
            self.snapshots[answer.party] = answer.snapshot
        try:
            sends = self.coordinator.receive(answer.party, answer.payload)
        except (CohortError, DivergenceError, ThresholdError) as error:
            if not self.may_fail:
                raise
            self.failure = error.message
            return ()
        if self.coordinator.stage is Stage.DONE:
            self.evaluations = self.coordinator.evaluations
            self._save(self.coordinator.snapshot())
        elif self.coordinator.round != before:
            self._conclude_round()
        elif self._asked != asked:  # what the gate asks may have taken a site as long as all its rounds
            self._save(self.coordinator.snapshot())
        return sends

    @property
    def _asked(self) -> int:
        gate = self.coordinator.gate
        return 0 if gate is None else gate.asked

    def _conclude_round(self) -> None:
        now = time.monotonic()
        if self.every_round or now - self._saved_at > _CHECKPOINT_EVERY_S:
            snapshot = self.coordinator.snapshot()
            # First: a round that gives another result than it once did must not become what a resumed run starts from.
            self.journal.record(self.coordinator.round, snapshot, {"seconds": round(now - self._round_began, 6)})
            self._save(snapshot)
            self._saved_at = now
        self._round_began = time.monotonic()

    def _save(self, snapshot: bytes) -> None:
        self.journal.save(Checkpoint(self.coordinator.round, snapshot, self.snapshots, self.evaluations))
        gate = self.coordinator.gate
        if self.updates is not None and gate is not None and gate.outcome != "open":
            self.updates.clear()  # after the checkpoint that can do without them


def drive(
    jobs: Sequence[Job],
    pool: Pool,
    observe: Callable[[Progress], None],
    *,
    until: Callable[[], bool] = lambda: False,
) -> None:
    """Drive trainings, all at the same time, until each is done.

    Args:
        jobs: The trainings; those that are done already are passed over.
        pool: Where their sites compute.
        observe: Told of every step.
        until: Asked after each concluded round; when true, stop there (the journal has it).
    """
    running = {job.plan.job: job for job in jobs if not job.done}
    waiting = 0
    at_hand: collections.deque[Answer] = collections.deque()  # of aggregators, which live in this process

    def post(job: Job, sends: tuple[Send, ...]) -> int:
        for send in sends:
            if send.to in job.aggregators:
                at_hand.append(Answer(job.plan.job, send.to, job.aggregators[send.to].handle(send.payload), b""))
            else:
                pool.post(Request(job.plan.job, send.to, send.payload))
        observe(job.progress)
        return len(sends)

    for job in running.values():
        waiting += post(job, job.begin())
    while waiting:
        answer = at_hand.popleft() if at_hand else pool.next()
        job = running[answer.job]
        waiting -= 1
        if job.failure is not None:
            continue
        before = job.coordinator.round
        sends = job.take(answer)
        if job.coordinator.round != before and until():
            return
        if sends or job.done:
            waiting += post(job, sends)
