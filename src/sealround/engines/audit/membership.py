"""Who was in the training? Asked of the released model, and of one update."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from sealround.audit.membership import Signals, fitted_offline_a, judge, membership_scores
from sealround.audit.membership.playing import score_update
from sealround.engines.audit.findings import Figure, Outcome
from sealround.engines.audit.shadows import as_training, shadows
from sealround.errors import SealroundError, UnsupportedError, UsageError
from sealround.federation.randomness import stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sealround.audit.inversion.observation import Observation, Victims
    from sealround.audit.membership import MembershipResult
    from sealround.clinical import SiteCohort
    from sealround.engines.audit.exposures import Exposure
    from sealround.engines.audit.findings import Status
    from sealround.engines.audit.shadows import Shadows
    from sealround.study import Study
    from sealround.vocabulary import PartyId

    Parts: TypeAlias = tuple[tuple[SiteCohort, np.ndarray], ...]
    """Rows of cohorts, site after site."""

__all__ = ["RELEASED", "released_membership", "strangers_of", "update_membership"]

RELEASED = ("lira", "rmia")
"""The attacks on a released model."""

_FPR = 0.01
_LEAST = 4
_STRANGERS = 512
_REFERENCES = 512

_DRAWN = "as many of a site's training and test patients as the study trains on, drawn at random, at most two thirds"

_GRANTED_RELEASED = (
    ("records", "known, with their outcomes: the attacker asks who of these patients was in the training"),
    ("attacked model", f"of the study's own training, on {_DRAWN}: who was left out differs by that alone"),
    ("model", "the released one, its outputs as numbers"),
)

_GRANTED_UPDATE = (
    ("records", "known, with their outcomes: the attacker asks whose are behind the update"),
    ("other records", "some of other patients, to know what gradients look like"),
)


def released_membership(
    study: Study,
    cohorts: Mapping[PartyId, SiteCohort],
    seed: int,
    budget_s: float,
    clock: Callable[[], float],
) -> Mapping[str, Outcome]:
    """Ask of the released model who was trained on, with reference trainings: by LiRA and by RMIA.

    Members are the patients of the attacked training, the others were left out of it; both by one random draw
    (`sealround.engines.audit.shadows`), and every patient counts once, with all rows together. LiRA is the online test;
    RMIA is the offline one, whose parameter is fitted on the reference models.

    Args:
        study: The study.
        cohorts: Each site's records.
        seed: Of every random choice.
        budget_s: For both attacks together, which share the reference trainings.
        clock: Tells the time, in seconds.

    Returns:
        Outcomes of `RELEASED`.
    """
    began = clock()
    try:
        found = shadows(study, cohorts, seed, budget_s, clock)
        return {name: _released(found, name, seed, clock() - began) for name in RELEASED}
    except (UnsupportedError, UsageError) as error:
        return dict.fromkeys(RELEASED, Outcome(status="not applicable", why=error.message))
    except SealroundError as error:
        why = f"a reference training stopped: {error.message}"
        return dict.fromkeys(RELEASED, Outcome(status="failed", why=why, seconds=clock() - began))


def _released(found: Shadows, name: str, seed: int, seconds: float) -> Outcome:
    # A site's only patient is in every training: nobody can be told what it would be without.
    asked = ~found.inside[1:].all(axis=0)
    signals = Signals(
        found.signals[0, asked],
        found.signals[1:, asked],
        found.inside[1:, asked],
        found.population[0],
        found.population[1:],
    )
    if name == "lira":
        scores = membership_scores(signals, "lira")
    else:
        scores = membership_scores(signals, "rmia-offline", fitted_offline_a(signals))
    draw = stream(seed, "audit", "membership", name)
    result = judge(scores, found.inside[0, asked], draw)
    trained = f"{found.models} of the same study, trained by the attacker on other draws of the same patients"
    fewer = found.models < found.wanted
    extra = f"; {found.wanted} reference trainings were planned, there was time for {found.models}" if fewer else ""
    return _outcome(
        result,
        status="stopped" if fewer else "done",
        granted=(*_GRANTED_RELEASED, ("reference models", trained)),
        seconds=seconds,
        note=_worst_note(result) + extra,
    )


def strangers_of(exposure: Exposure, cohorts: Mapping[PartyId, SiteCohort], seed: int) -> tuple[Parts, Parts]:
    """Return whose records stand beside those behind an update, and which others the attacker learns from.

    Strangers are, if there are four or more, other patients of the sites behind the update, so that not the site is
    recognised in place of the patient; else patients of other sites. No patient behind the update is among either, with
    any row, and no patient is in both. They are given as training records, to be encoded like those.

    Args:
        exposure: The update.
        cohorts: Each site's records.
        seed: Who of many.
    """
    behind = {each.site: each.rows for each in exposure.truth}
    here: list[tuple[PartyId, int]] = []
    elsewhere: list[tuple[PartyId, int]] = []
    for site in sorted(cohorts):
        patients = cohorts[site].patient
        others = np.setdiff1d(patients, patients[behind[site]]) if site in behind else np.unique(patients)
        (here if site in behind else elsewhere).extend((site, int(patient)) for patient in others)
    draw = stream(seed, "audit", "strangers", exposure.round)
    here, elsewhere = _shuffled(here, draw), _shuffled(elsewhere, draw)
    if len(here) < _LEAST:
        here, elsewhere = elsewhere, here
    if len(elsewhere) < 2 * _LEAST:
        here, elsewhere = here[::2], [*elsewhere, *here[1::2]]
    return _rows(here[:_STRANGERS], cohorts), _rows(elsewhere[:_REFERENCES], cohorts)


def _shuffled(people: list[tuple[PartyId, int]], draw: np.random.Generator) -> list[tuple[PartyId, int]]:
    return [people[place] for place in draw.permutation(len(people))]


def _rows(people: Sequence[tuple[PartyId, int]], cohorts: Mapping[PartyId, SiteCohort]) -> Parts:
    found = []
    for site in sorted({site for site, _ in people}):
        wanted = [patient for where, patient in people if where == site]
        found.append(as_training(cohorts[site], np.flatnonzero(np.isin(cohorts[site].patient, wanted))))
    return tuple(found)


def update_membership(
    seen: Observation,
    members: Victims,
    strangers: Victims,
    references: Victims,
    seed: int,
) -> Outcome:
    """Ask of an update whose records are behind it.

    Args:
        seen: The update.
        members: The records behind it (`sealround.engines.audit.exposures.judged`).
        strangers: Records that are not; `strangers_of` says which, encoded alike.
        references: Further records that are not, which the attacker has.
        seed: Of every random choice.
    """
    if min(len(members.inputs), len(strangers.inputs)) < _LEAST:
        why = f"{len(members.inputs)} records behind the update and {len(strangers.inputs)} others are too few to judge"
        return Outcome(status="not applicable", why=why)
    draw = stream(seed, "audit", "update membership")
    try:
        found = score_update(seen, members, strangers, references, draw)
    except (UnsupportedError, UsageError) as error:
        return Outcome(status="not applicable", why=error.message)
    result = judge(found.scores, found.member, draw)
    steps = seen.plan.steps
    notes = [f"scored by {found.score}", _worst_note(result)]
    if steps > 1:
        notes.append(f"the update of {steps} steps is taken for one gradient")
    if found.sketched is not None:
        notes.append(f"gradients are sketched to {found.sketched} numbers")
    return _outcome(result, status="done", granted=_GRANTED_UPDATE, seconds=0.0, note="; ".join(notes))


def _outcome(
    result: MembershipResult, *, status: Status, granted: tuple[tuple[str, str], ...], seconds: float, note: str
) -> Outcome:
    auc, rate = result.auc, result.tpr[_FPR]
    return Outcome(
        status=status,
        granted=granted,
        patients=result.members + result.others,
        measures={
            "auc": Figure(auc.value, auc.low, auc.high, auc.chance),
            "tpr_at_fpr_1": Figure(rate.value, rate.low, rate.high, rate.chance),
        },
        beyond={"membership_auc": auc.value},
        seconds=seconds,
        note=note,
    )


def _worst_note(result: MembershipResult) -> str:
    return (
        f"of {result.members} members the worst off is one with probability {result.worst:.2f} (1/2 before; chance "
        f"alone gives up to {result.worst_by_chance:.2f})"
    )
