"""One training of a drill: real coordinator, real sites, some of which lie."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from sealround.clinical.cohort import SplitName
from sealround.engines.drill.conspiracy import Conspirators, Honest, Liar, Script
from sealround.engines.drill.exclusion import treated
from sealround.engines.drill.measuring import Meter
from sealround.engines.drill.mixes import cohorts_of
from sealround.engines.drill.plays import NOBODY, PLAYS
from sealround.engines.drill.sending import as_sent
from sealround.engines.drill.setting import NotApplicableError, campaigns_of, liars_of, trials_of, variant
from sealround.errors import DivergenceError, SealroundError
from sealround.federation import Coordinator, Plan, Site
from sealround.federation.plan import FEDERATED
from sealround.learning import initial_model
from sealround.study import study_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.audit.data_poisoning import Campaign
    from sealround.clinical import SiteCohort
    from sealround.engines.drill.grid import Cell, Grid
    from sealround.engines.drill.setting import Setting
    from sealround.federation.interfaces import TrainOrder
    from sealround.vocabulary import PartyId

__all__ = ["Player", "play_cell"]


class Player:
    """Plays the cells of one drill, one after the other; keeps the records of the last two ways to divide patients.

    Args:
        setting: The drill.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._recent: list[tuple[str, Mapping[PartyId, SiteCohort]]] = []

    def play(self, cell: Cell) -> dict[str, Any]:
        """Return what `play_cell` returns."""
        return play_cell(self._setting, self.cohorts(cell.heterogeneity), cell)

    def cohorts(self, key: str) -> Mapping[PartyId, SiteCohort]:
        """Return every site's records, divided in one way."""
        for known, cohorts in self._recent:
            if known == key:
                return cohorts
        setting = self._setting
        cohorts = cohorts_of(setting.grid.mix(key), setting.study, setting.places)
        self._recent = [*self._recent[-1:], (key, cohorts)]
        return cohorts


def play_cell(setting: Setting, cohorts: Mapping[PartyId, SiteCohort], cell: Cell) -> dict[str, Any]:
    """Train once, with the cell's liars, and measure.

    Args:
        setting: The drill.
        cohorts: Every site's records, divided as the cell says.
        cell: Which training.

    Returns:
        What was found, fit for JSON: ``why_not`` says why the attack cannot exist there, ``stopped`` why there is no
        model.
    """
    began = time.monotonic()
    study = variant(setting.study, setting.grid.rule(cell.rule), cell.seed, setting.grid.rounds)
    liars = liars_of(setting.study, setting.grid, cohorts, cell.seed)
    found: dict[str, Any] = {"liars": list(liars), "why_not": None, "stopped": None}
    honest = {site: cohort for site, cohort in cohorts.items() if site not in liars}
    roster = tuple(sorted(cohorts))
    plan = Plan(study, FEDERATED, roster, roster, setting.reference)
    try:
        campaigns = campaigns_of(setting, cell, cohorts, liars)
    except NotApplicableError as error:
        return found | {"why_not": error.message, "seconds": time.monotonic() - began}
    meter = Meter(
        plan, setting.study.study.seed, honest, trials_of(campaigns, honest), _moments(setting.grid, cell.attack)
    )
    training = _Training(plan, _script(setting, cell, liars, campaigns, plan), cohorts, meter)
    try:
        # What liars send may be as large as numbers get.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            training.run()
    except SealroundError as error:
        found["stopped"] = error.message
    if training.why_not is not None:
        return found | {"stopped": None, "why_not": training.why_not, "seconds": time.monotonic() - began}
    if found["stopped"] is None:
        found["withheld"] = training.withheld
        found["moments"] = {str(number): meter.moment(number) for number in _moments(setting.grid, cell.attack)}
    found["parameters"] = training.parameters
    return found | training.exclusion() | {"curve": meter.curve(cell.attack), "seconds": time.monotonic() - began}


def _moments(grid: Grid, attack: str) -> tuple[int, ...]:
    """Return after which rounds a cell is looked at closely: where its liars stop; for all, where nobody lies."""
    attacks = grid.attacks if attack == NOBODY else (attack,)
    return tuple(sorted({grid.last_lie(key) for key in attacks if key != NOBODY} or {grid.rounds}))


def _script(
    setting: Setting, cell: Cell, liars: tuple[PartyId, ...], campaigns: Mapping[str, Campaign], plan: Plan
) -> Script:
    play = PLAYS[cell.attack]
    lying = () if cell.attack == NOBODY else liars
    poisoned = campaigns[play.key].poisoned if play.data else ()
    return Script(
        play=play,
        liars=lying,
        last_lie=setting.grid.last_lie(cell.attack),
        poisoned=dict(zip(liars, poisoned, strict=True)) if poisoned else {},
        sent=as_sent(setting.study, cell.seed, frozenset(lying), plan.round_size(len(plan.roster))),
    )


class _Training:
    """One training among machines of this process.

    Args:
        plan: Of the training.
        script: Who lies, and how.
        cohorts: Every site's records.
        meter: Measures what honest sites get.
    """

    def __init__(self, plan: Plan, script: Script, cohorts: Mapping[PartyId, SiteCohort], meter: Meter) -> None:
        study, digest = plan.study, study_digest(plan.study)
        self._script = script
        self._meter = meter
        self._conspirators = Conspirators(plan, script, cohorts, self._began)
        self._coordinator = Coordinator(plan, initial_model(study))
        self._sizes = {site: cohort.where(SplitName.TRAIN).size for site, cohort in cohorts.items()}
        minimum = study.standardisation.min_cell_count
        self._honest = [
            Honest(study, cohort, self._conspirators, meter)
            for site, cohort in cohorts.items()
            if site not in script.liars
        ]
        lying = {site: Liar(study, cohorts[site], self._conspirators) for site in script.liars}
        works = {work.site: work for work in self._honest} | lying
        self._sites = {site: Site(site, digest, work, minimum) for site, work in works.items()}

    def run(self) -> None:
        """Run it to its end: in every wave of requests, liars are the last to answer.

        Raises:
            SealroundError: As the coordinator does where a real training would stop, or if the attack cannot exist.
        """
        liars = frozenset(self._script.liars)
        wave = self._coordinator.begin()
        while wave:
            self._conspirators.wave(frozenset(send.to for send in wave))
            following: list[Any] = []
            for send in sorted(wave, key=lambda send: (send.to in liars, send.to)):
                following += self._coordinator.receive(send.to, self._sites[send.to].handle(send.payload))
            wave = tuple(following)
        for site in self._honest:
            if not self._meter.tested(site.site):  # withheld, or excluded: its patients are there all the same
                self._meter(site, site.as_used(self._coordinator.trained), None)

    def _began(self, order: TrainOrder) -> None:
        """Measure the model that a round begins with at every honest site, also where nobody trains."""
        for site in self._honest:
            # A model that predicts no numbers is told to the study by whoever trains on it.
            with contextlib.suppress(DivergenceError):
                self._meter(site, site.as_trained(order), order.round - 1)

    @property
    def withheld(self) -> bool:
        """Whether the study's gate did not release the model."""
        gate = self._coordinator.gate
        return gate is not None and gate.outcome == "withheld"

    @property
    def why_not(self) -> str | None:
        """Why the attack cannot exist, if it turned out that it cannot."""
        return self._conspirators.why_not

    @property
    def parameters(self) -> int | None:
        """How many the model has; ``None`` before anybody trained."""
        return self._conspirators.parameters

    def exclusion(self) -> dict[str, Any]:
        """Return each site's part in the rounds in which liars lied, and who was excluded for good."""
        gone = {found.site: found.round for found in self._coordinator.excluded}
        history = [record for record in self._coordinator.history if 1 <= record.round <= self._script.last_lie]
        parts = [
            {site: part for site, (part, _) in record.influence.items()}
            | {site: 0.0 for site, since in gone.items() if since <= record.round}
            for record in history
            if record.influence or gone
        ]
        return {
            "parts": treated(parts, self._sizes),
            "excluded": [[found.site, found.round, found.why] for found in self._coordinator.excluded],
        }
