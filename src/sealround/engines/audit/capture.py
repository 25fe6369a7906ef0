"""What passes in a study's own training, as each party has it: the same machines, bytes and arithmetic as `run`.

A training is driven up to the last round that is asked for, as `sealround run` drives it. Of each such round is kept
what the coordinator decodes (each site's update, or the opened sum), the models before and after it, and each site's
own addend, which a site that colludes knows. Apart from that, for the judge alone: which records were behind it.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sealround.clinical.cells import finite_numbers
from sealround.clinical.cohort import SplitName
from sealround.clinical.roles import declared_ranges, roles_of
from sealround.engines.audit.taps import Tape, TappedNoise, TappedParties, TappedPool
from sealround.engines.in_process import Job, drive
from sealround.engines.noise import SimulatedNoise
from sealround.engines.parties import SimulatedParties, sealed_plan
from sealround.engines.pools import Setup
from sealround.errors import UsageError
from sealround.federation import Plan
from sealround.federation.contributions import form_of, open_total
from sealround.federation.learned import Learned
from sealround.federation.plan import FEDERATED
from sealround.federation.randomness import stream
from sealround.learning import initial_model
from sealround.secagg import SitePolicy
from sealround.storage import Journal
from sealround.study import study_digest
from sealround.study.sections import DifferentialPrivacy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import polars as pl

    from sealround.clinical.cohort import SiteCohort
    from sealround.engines.in_process import Progress
    from sealround.federation import ModelFactory
    from sealround.federation.contributions import Opened
    from sealround.federation.interfaces import InputShape
    from sealround.federation.messages import Train
    from sealround.federation.optimizers import State
    from sealround.federation.statistics import Statistics
    from sealround.storage import Checkpoint
    from sealround.study import Study
    from sealround.vocabulary import PartyId, Rows, Update

__all__ = ["Addend", "Captured", "Round", "Sent", "Truth", "capture"]


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """One site's update as the coordinator decodes it, in an open study.

    Attributes:
        update: Local minus global parameters, float32 ``(d,)``.
        weight: Its weight in the mean.
    """

    update: Update
    weight: float


@dataclass(frozen=True, slots=True, eq=False)
class Addend:
    """One site's own addend to a sealed sum, which nobody but that site has.

    Attributes:
        coordinates: Its update, clipped, weighted and rounded, float64 ``(d,)``.
        weight: Its weight, in shares of the cap.
    """

    coordinates: np.ndarray
    weight: float


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Which records are behind one site's update: for the judge, and for no attacker.

    Attributes:
        site: Whose.
        rows: Row numbers of the site's cohort, each once, ascending, int64 ``(n,)``.
        batches: Of each step, positions in `rows`, int64.
    """

    site: PartyId
    rows: Rows
    batches: tuple[Rows, ...]

    def __repr__(self) -> str:
        """Sizes only."""
        return f"Truth(site={self.site!r}, rows={self.rows.size}, batches={len(self.batches)})"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Round:
    """One round as it passed.

    Attributes:
        number: Which.
        model: What its sites started from, float32 ``(d,)``.
        following: The global model that came of it, float32 ``(d,)``.
        before: What the round before started from; ``None`` in the first.
        optimizer: State of the server optimiser before it.
        participants: Whose updates are in it.
        sent: What each site sent, where that is in clear.
        opened: What the coordinator opened, where it is a sealed sum.
        addends: Of a sealed sum, each site's own.
        truth: Which records were behind each site's update.
        scale_bits: Of a sealed sum, the bits of a fraction; else ``None``.
        clip_norm: Of a private round whose norm follows the gradients, that norm; else ``None``.
        corrected: Whether sites corrected their steps by control variates that are not all zero.
    """

    number: int
    model: Update
    following: Update
    before: Update | None
    optimizer: State
    participants: tuple[PartyId, ...]
    sent: Mapping[PartyId, Sent]
    opened: Opened | None
    addends: Mapping[PartyId, Addend]
    truth: Mapping[PartyId, Truth]
    scale_bits: int | None
    clip_norm: float | None
    corrected: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Captured:
    """A training as it passed.

    Attributes:
        study: Whose.
        inputs: What one example looks like.
        statistics: What inputs are encoded with, which every party has.
        sizes: How many records each site trains on.
        mixes: Where each site's counts came in clear, its examples and those of them with the outcome.
        whole: Numeric columns in which every site writes whole numbers, as a data dictionary would say.
        rounds: Those that were asked for, by number.
    """

    study: Study
    inputs: InputShape
    statistics: Statistics
    sizes: Mapping[PartyId, int]
    mixes: Mapping[PartyId, tuple[float, float]]
    whole: tuple[str, ...]
    rounds: Mapping[int, Round]


class _NoJournal(Journal):
    """The journal of a training that nobody goes on with."""

    def __init__(self) -> None:
        """Write nothing."""

    def latest(self) -> None:
        """There is no checkpoint."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Write nothing."""

    def record(self, round_: int, snapshot: bytes, numbers: Mapping[str, Any]) -> None:
        """Write nothing."""


def capture(
    study: Study,
    cohorts: Mapping[PartyId, SiteCohort],
    rounds: Iterable[int],
    folder: Path,
    *,
    planted: ModelFactory | None = None,
) -> Captured:
    """Train as the study says, up to the last of some rounds, and keep what passed in these.

    Args:
        study: The study.
        cohorts: Each site's records.
        rounds: Numbers from 1.
        folder: Where the parties keep their records of rounds while it lasts; made when missing.
        planted: Makes the model that a malicious coordinator sends in the first round, in place of the study's.

    Returns:
        What passed.

    Raises:
        UsageError: If there are no such rounds.
        PeerError: If a site refuses; what a planted model should come to.
        SealroundError: As a run does.
    """
    wanted = sorted(set(rounds))
    if not wanted or wanted[0] < 1 or wanted[-1] > study.study.rounds:
        raise UsageError(f"the rounds of this study are 1 to {study.study.rounds}")
    folder.mkdir(parents=True, exist_ok=True)
    tape, sites = Tape(), tuple(sorted(cohorts))
    plan = Plan(study, FEDERATED, sites, sites, ranges=declared_ranges(study))
    noise = SimulatedNoise.of(study, plan.round_size(len(sites)))
    tapped_noise = None if noise is None else TappedNoise(noise.terms, noise.seed, noise.digest, None, tape)
    with tempfile.TemporaryDirectory(dir=folder, prefix="records-") as records:
        parties = None
        if study.protection.sealed:
            drawn = SimulatedParties.draw(study, sites, SitePolicy(), Path(records))
            parties = TappedParties.beside(drawn, tape)
        job = Job(plan, planted or initial_model(study), _NoJournal(), every_round=False, parties=parties)
        pool = TappedPool(Setup(study, study_digest(study), cohorts, {}, parties, tapped_noise), tape)
        watch = _Watch(job, tape, frozenset(wanted), cohorts)
        try:
            drive([job], pool, _unseen, until=watch.concluded)
        finally:
            pool.close()
            job.close()
    return watch.captured()


def _unseen(progress: Progress) -> None:
    """Nobody watches."""


@dataclass(slots=True)
class _Watch:
    """Takes from the tape what is kept of a round once it is concluded."""

    job: Job
    tape: Tape
    wanted: frozenset[int]
    cohorts: Mapping[PartyId, SiteCohort]
    statistics: Statistics | None = None
    rounds: dict[int, Round] = field(default_factory=dict)
    _optimizer: State = field(default_factory=dict)

    def concluded(self) -> bool:
        """Keep what is asked for; return whether that was all."""
        number = int(self.job.coordinator.round)
        if number in self.wanted or number + 1 in self.wanted:
            learned = Learned.from_bytes(self.job.coordinator.snapshot(), self.job.plan.lineage)
            if number in self.wanted:
                self.statistics = learned.known_statistics
                self.rounds[number] = self._round(number, learned.known_model)
            self._optimizer = dict(learned.optimizer)
        return number >= max(self.wanted)

    def captured(self) -> Captured:
        """Return all that was kept."""
        if self.statistics is None or self.tape.inputs is None:
            raise UsageError("the training ended before the rounds that were asked for")
        study, layout = self.job.plan.study, self.statistics.layout
        return Captured(
            study=study,
            inputs=self.tape.inputs,
            statistics=self.statistics,
            sizes={site: int(cohort.where(SplitName.TRAIN).size) for site, cohort in self.cohorts.items()},
            mixes={site: layout.split(counts)[:2] for site, counts in self.tape.counts.items()},
            whole=_whole(study, self.cohorts),
            rounds=self.rounds,
        )

    def _round(self, number: int, following: Update) -> Round:
        tape, study = self.tape, self.job.plan.study
        step, order = tape.orders[number]
        sent = {site: Sent(found.update, found.weight) for site, found in sorted(tape.sent.get(number, {}).items())}
        addends, opened, bits = self._opened(step, order)
        participants = tuple(sorted(sent if opened is None else addends))
        private = isinstance(study.protection.privacy, DifferentialPrivacy) and study.protection.privacy.unit != "site"
        find = _drawn if private else _trained
        truth = {site: find(study, self.cohorts[site], number, tape) for site in participants}
        return Round(
            number=number,
            model=order.model,
            following=following,
            before=tape.orders[number - 1][1].model if number - 1 in tape.orders else None,
            optimizer=self._optimizer,
            participants=participants,
            sent=sent,
            opened=opened,
            addends=addends,
            truth=truth,
            scale_bits=bits,
            clip_norm=order.clip_norm,
            corrected=order.control is not None and bool(order.control.any()),
        )

    def _opened(self, step: int, order: Train) -> tuple[dict[PartyId, Addend], Opened | None, int | None]:
        """Return every site's addend, and the sum as the coordinator opens it."""
        server = self.tape.servers.get(self.tape.first_round + step)
        if server is None:
            return {}, None, None
        manifest, survivors = server.manifest, server.survivors
        form = form_of(order, sealed_plan(self.job.plan.study))
        opened = open_total(server.total, manifest, form, len(survivors))
        addends = {}
        for site in survivors:
            coordinates, numbers = manifest.fixed_point.decode(self.tape.vectors[manifest.round][site])
            weight = float(numbers[0]) / manifest.weight_cap
            addends[site] = Addend(coordinates[: order.model.size], weight)
        return addends, opened, manifest.scale_bits


def _trained(study: Study, cohort: SiteCohort, number: int, _: Tape) -> Truth:
    """Return the batches of a round, drawn as the site draws them (`sealround.learning.rounds.randomness`)."""
    rows = cohort.where(SplitName.TRAIN)
    shuffle = stream(study.study.seed, "batches", FEDERATED, cohort.site, number)
    return _truth(cohort, list(_batches(study, rows.size, shuffle)))


def _batches(study: Study, size: int, shuffle: np.random.Generator) -> Iterator[Rows]:
    """Yield positions among the training rows, a step after the other, as `sealround.learning.training.fit` does."""
    training = study.training
    if not size:
        return
    if training.local_epochs is not None:
        left = training.local_epochs * size
    else:
        whole, rest = divmod(training.local_steps or 0, -(-size // training.batch_size))
        left = whole * size + rest * training.batch_size
    while left > 0:
        order = shuffle.permutation(size)[:left]
        yield from np.split(order, range(training.batch_size, order.size, training.batch_size))
        left -= order.size


def _drawn(study: Study, cohort: SiteCohort, _: int, tape: Tape) -> Truth:
    """Return the rows of the units that a site drew, a step after the other."""
    patient = cohort.patient[cohort.where(SplitName.TRAIN)]
    by_patient = study.protection.privacy.unit == "patient"
    unit = np.unique(patient, return_inverse=True)[1] if by_patient else np.arange(patient.size)
    return _truth(cohort, [np.flatnonzero(np.isin(unit, chosen)) for chosen in tape.drawn.get(cohort.site, [])])


def _truth(cohort: SiteCohort, batches: list[Rows]) -> Truth:
    used = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *batches]))
    rows = cohort.where(SplitName.TRAIN)[used]
    return Truth(cohort.site, rows, tuple(np.searchsorted(used, batch) for batch in batches))


def _whole(study: Study, cohorts: Mapping[PartyId, SiteCohort]) -> tuple[str, ...]:
    """Name the numeric columns of which every value at every site is a whole number."""
    tables = [cohort.table for cohort in cohorts.values()]
    names = [name for name in roles_of(study.cohort).numeric if all(name in table.columns for table in tables)]
    return tuple(name for name in names if all(_is_whole(table[name]) for table in tables))


def _is_whole(column: pl.Series) -> bool:
    values = finite_numbers(column)[0]
    known = values[~np.isnan(values)]
    return bool(np.all(known == np.rint(known)))
