"""What every training of a drill has in common, and what one of them starts from: study, records, liars, campaigns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sealround.audit.data_poisoning import DATA_ATTACKS, Conspiracy
from sealround.clinical.cohort import SplitName
from sealround.clinical.groups import groups_of, memberships
from sealround.engines.drill.plays import NOBODY, PLAYS
from sealround.errors import UsageError
from sealround.federation.randomness import stream
from sealround.study import Study
from sealround.study.sections import RobustRule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.audit.data_poisoning import Campaign, Trial
    from sealround.clinical import Places, SiteCohort
    from sealround.engines.drill.grid import Cell, Grid, RuleChoice
    from sealround.engines.drill.measuring import Trials
    from sealround.federation.interfaces import Contender
    from sealround.vocabulary import PartyId

__all__ = ["NotApplicableError", "Setting", "campaigns_of", "harmed_group", "liars_of", "trials_of", "variant"]


@dataclass(frozen=True, slots=True)
class Setting:
    """What every training of a drill has in common.

    Attributes:
        study: The study.
        places: Where its files are.
        grid: All that the drill goes through.
        reference: What the study's gate compares with, where that is a given model.
    """

    study: Study
    places: Places
    grid: Grid
    reference: Contender | None = None


class NotApplicableError(UsageError):
    """An attack cannot exist in a study."""


def variant(study: Study, rule: RuleChoice, seed: int, rounds: int) -> Study:
    """Return a study with another rule, seed and number of rounds; sums in the open, and compared with nothing.

    What sealing does to the numbers is played by `sealround.engines.drill.sending`.
    """
    tree = study.model_dump(mode="json", exclude_none=True)
    tree["study"] |= {"seed": seed, "rounds": rounds}
    tree["evaluation"] |= {"compare": [], "bootstrap": 100}
    tree["protection"]["robustness"] = dict(rule.section)
    if study.protection.sealed:
        tree["protection"]["secure_aggregation"] = {"mode": "none", "reason": "a drill plays the arithmetic of sums"}
    return Study.model_validate(tree, strict=False)


def liars_of(study: Study, grid: Grid, cohorts: Mapping[PartyId, SiteCohort], seed: int) -> tuple[PartyId, ...]:
    """Return who lies with one seed: with the first, those who have most training records; with others, any."""
    options = study.protection.robustness
    root = options.root if isinstance(options, RobustRule) else None  # trusted by everybody, so it is honest
    sizes = {site: cohort.where(SplitName.TRAIN).size for site, cohort in cohorts.items() if site != root}
    if seed == grid.seeds[0]:
        largest = sorted(sizes, key=lambda site: (-sizes[site], site))
        return tuple(sorted(largest[: grid.num_byzantine]))
    able = sorted(site for site, size in sizes.items() if size)
    draw = stream(seed, "drill", "liars", grid.num_byzantine)
    chosen = draw.choice(len(able), size=min(grid.num_byzantine, len(able)), replace=False)
    return tuple(sorted(able[number] for number in chosen))


def harmed_group(study: Study, grid: Grid, cohorts: Mapping[PartyId, SiteCohort]) -> int | None:
    """Return which of a study's groups is attacked, ``None`` without groups.

    The smallest with enough sick test patients at honest sites, whoever lies, for harm to be seen; else the largest.
    """
    singles = [number for number, group in enumerate(groups_of(study)) if len(group.terms) == 1]
    if not singles:
        return None
    sick: dict[PartyId, np.ndarray] = {}
    for site, cohort in cohorts.items():
        rows = np.flatnonzero((cohort.split == SplitName.TEST) & (cohort.outcome.event > 0))
        sick[site] = memberships(study, cohort, rows).sum(axis=0)
    honest = [
        np.sum([found for site, found in sick.items() if site not in liars_of(study, grid, cohorts, seed)], axis=0)
        for seed in grid.seeds
    ]
    least: list[int] = np.min(honest, axis=0).tolist()
    enough = [number for number in singles if least[number] >= study.fairness.min_group]
    if enough:
        return min(enough, key=lambda number: (least[number], number))
    return max(singles, key=lambda number: (least[number], -number))


def campaigns_of(
    setting: Setting, cell: Cell, cohorts: Mapping[PartyId, SiteCohort], liars: tuple[PartyId, ...]
) -> dict[str, Campaign]:
    """Plan the cell's attack on records; where nobody lies, every one of the grid, to see what it has to beat.

    Raises:
        NotApplicableError: If the cell's own cannot exist.
    """
    study = setting.study
    group = harmed_group(study, setting.grid, cohorts)

    def members(cohort: SiteCohort) -> np.ndarray:
        return memberships(study, cohort, np.arange(cohort.rows))[:, group]

    campaigns = {}
    for key in setting.grid.attacks if cell.attack == NOBODY else (cell.attack,):
        name = PLAYS[key].data
        if name is None:
            continue
        generator = stream(study.study.seed, "drill", "records", key)
        data = Conspiracy(study, tuple(cohorts[site] for site in liars), generator, None if group is None else members)
        why_not = DATA_ATTACKS[name].why_not(data)
        if why_not is None:
            campaigns[key] = DATA_ATTACKS[name].plan(data)
        elif key == cell.attack:
            raise NotApplicableError(why_not)
    if cell.attack == "not-finite" and study.protection.sealed:
        raise NotApplicableError("a sealed sum is of whole numbers: there is no way to write what is not a number")
    return campaigns


def trials_of(campaigns: Mapping[str, Campaign], honest: Mapping[PartyId, SiteCohort]) -> Trials:
    """Return the patients of honest sites on whom the success of each campaign is counted."""
    trials: Trials = {}
    for key, campaign in campaigns.items():
        found: dict[PartyId, Trial] = {}
        for site, cohort in honest.items():
            trial = campaign.trial(cohort)
            if trial is not None:
                found[site] = trial
        if found:
            trials[key] = found
    return trials
