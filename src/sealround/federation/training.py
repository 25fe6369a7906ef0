"""One training as far as it has come, and what its running stage has collected."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from sealround.errors import DivergenceError, ProtocolViolationError, ThresholdError
from sealround.federation import tally as tallies
from sealround.federation.group_thresholds import histograms_size, levels_with_threshold
from sealround.federation.judgement import rootless
from sealround.federation.learned import Learned
from sealround.federation.records import Exclusion
from sealround.federation.summation import RosterSum, Rows
from sealround.federation.update_journal import MemoryUpdates
from sealround.federation.weighing import Partition, tail_size
from sealround.vocabulary import PartyId, RoundId

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sealround.federation.contributions import Opened
    from sealround.federation.interfaces import ModelFactory
    from sealround.federation.plan import Plan
    from sealround.federation.update_journal import UpdateJournal
    from sealround.vocabulary import Tally
    from sealround.wire import Value

__all__ = ["Answers", "Stage", "Training", "check_numbers"]


class Stage(enum.Enum):
    """Where a training is; the value is what a person is told."""

    JOIN = "joining"
    LEVELS = "collecting levels"
    COUNTS = "counting"
    SQUARES = "measuring spread"
    PREPARE = "encoding"
    TRAIN = "training"
    VALIDATE = "validating"
    GATE = "comparing groups"
    EVALUATE = "testing"
    DONE = "done"


@dataclass(slots=True)
class Training:
    """One training as far as it has come.

    Attributes:
        plan: Which study, who trains, who tests.
        initial_model: Makes the first global model once the inputs are known.
        learned: What concluded stages taught: all that a snapshot keeps.
        updates: The updates of each round, where they are kept.
        evaluations: Test results by tester, once DONE.
    """

    plan: Plan
    initial_model: ModelFactory
    learned: Learned = field(default_factory=Learned)
    updates: UpdateJournal = field(default_factory=MemoryUpdates)
    evaluations: Mapping[PartyId, Mapping[str, Value]] = field(default_factory=dict)

    def roster(self) -> tuple[PartyId, ...]:
        """Who trains and is not excluded."""
        return self._active(self.plan.roster)

    def testers(self) -> tuple[PartyId, ...]:
        """Who tests and is not excluded."""
        return self._active(self.plan.testers)

    def whole_roster(self, stage: Stage) -> tuple[PartyId, ...]:
        """Whom a stage would ask if nobody were excluded: the roster of a sealed sum.

        Who is excluded stays in it and is not asked. Two sums over rosters that differ by one site are nearly that
        site's numbers, and sites take part in no such two.
        """
        if stage is Stage.TRAIN:
            return self.plan.participants(RoundId(self.learned.round + 1), self.plan.roster)
        return self.plan.testers if stage is Stage.EVALUATE else self.plan.roster

    def trained_tally(self) -> int:
        """Numbers of the tally of one site's round."""
        study = self.plan.study
        return tallies.size(study.task) + tail_size(study, Partition.of(self.learned.groups).size)

    def validated_tally(self) -> int:
        """Numbers that a site's validation is."""
        study = self.plan.study
        return tallies.size(study.task) + histograms_size(len(levels_with_threshold(study, self.learned.groups)))

    def _active(self, parties: tuple[PartyId, ...]) -> tuple[PartyId, ...]:
        gone = {exclusion.site for exclusion in self.learned.excluded}
        return tuple(party for party in parties if party not in gone)

    def exclude(self, party: PartyId, why: str) -> None:
        """Go on without a site from here on.

        Raises:
            ThresholdError: If too few would be left, or it is the root of trust; nothing has changed.
        """
        self.check_root((party,), why)
        remaining = [site for site in self.roster() if site != party]
        if len(remaining) < self.plan.quorum:
            self.too_few(len(remaining))
        gone = (*self.learned.excluded, Exclusion(party, RoundId(self.learned.round + 1), why))
        # Sorted, so that of two who go in one round it does not show whose answer came first.
        self.learned.excluded = tuple(sorted(gone, key=lambda exclusion: (exclusion.round, exclusion.site)))

    def check_root(self, gone: Collection[PartyId], why: str) -> None:
        """Check that the root of trust is not among those who are to be gone on without.

        Raises:
            ThresholdError: If it is.
        """
        if self.plan.root is not None and self.plan.root in gone:
            raise rootless(self.plan.root, why)

    def too_few(self, number: int) -> NoReturn:
        """Refuse to go on."""
        raise ThresholdError(
            f"{number} of {len(self.plan.roster)} sites are left, {self.plan.quorum} are needed",
            hint="see which sites are excluded or absent and why, mend them, then resume the run",
        )

    def diverged(self, party: PartyId, why: str, hint: str) -> None:
        """Stop, or go on without the site, as the study says; alone it cannot go on without itself.

        Raises:
            DivergenceError: If the study stops.
        """
        if self.plan.study.training.on_divergence == "stop" or self.roster() == (party,):
            raise DivergenceError(why, party=party, hint=hint)
        self.exclude(party, why)


class Answers:
    """What the running stage has collected.

    Attributes:
        replies: By party; of a `Trained` its tally only, as `Sums`, for its vectors go into the sums. In a sealed stage
            there are none.
        rows: Each update by itself, where the study's rule has to look at them.
        updates: Weighted sum of updates, where it does not.
        controls: Sum of control variates' changes.
        opened: The sum that a sealed stage ended in, and nothing of whose it is.
        absent: Who missed the deadline.
        bytes_down: Sent to the sites since the last booking.
        bytes_up: Received from them.
    """

    def __init__(self, parties: tuple[PartyId, ...]) -> None:
        self.replies: dict[PartyId, Any] = {}
        self.rows = Rows(parties)
        self.updates = RosterSum(parties)
        self.controls = RosterSum(parties)
        self.opened: Opened | None = None
        self.absent: tuple[PartyId, ...] = ()
        self.bytes_down = self.bytes_up = 0

    def leave_out(self, party: PartyId) -> None:
        """Wait for a party no longer."""
        self.updates.skip(party)
        self.controls.skip(party)

    def total(self) -> Tally:
        """Sum of the replies, in roster order so that the order of arrival does not show."""
        if self.opened is not None:
            return self.opened.numbers
        return np.asarray(np.sum([self.replies[party].values for party in sorted(self.replies)], axis=0))

    def by_site(self) -> dict[PartyId, Tally]:
        """The replies as vectors; none where they were sealed."""
        return {party: reply.values for party, reply in self.replies.items()}

    @property
    def trained(self) -> tuple[float, tuple[np.ndarray, ...]]:
        """Sum of weights; weighted sum of updates and, with SCAFFOLD, sum of control variates' changes."""
        if self.opened is not None:
            return self.opened.weight, self.opened.sums
        return self.updates.weight, (*self.updates.sums, *self.controls.sums)


def check_numbers(party: PartyId, values: np.ndarray, size: int) -> None:
    """Check the numbers that a party sent.

    Raises:
        ProtocolViolationError: If there are more or fewer than belong, or one is not finite.
    """
    if values.size != size:
        raise ProtocolViolationError(f"sent {values.size} numbers where {size} belong", party=party)
    if not np.isfinite(values).all():
        raise ProtocolViolationError("sent a number that is not finite", party=party)
