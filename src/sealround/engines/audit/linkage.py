"""Whose record is it? A reconstruction looked up in a list of people, or in a gallery of their images."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sealround.audit.identity import blind_posterior, fitted_cell_errors, judge_linkage
from sealround.audit.identity import link as linked
from sealround.audit.identity.playing import retrieve_images
from sealround.clinical.roles import roles_of
from sealround.engines.audit.findings import Figure, Outcome
from sealround.engines.audit.shadows import as_training
from sealround.errors import UsageError
from sealround.fairness.distributions import binomial_tail
from sealround.federation.randomness import stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sealround.audit.identity import LinkageResult, Ranking
    from sealround.audit.inversion.intervals import Number
    from sealround.clinical import SiteCohort
    from sealround.engines.audit.exposures import Exposure
    from sealround.federation.statistics import Layout
    from sealround.study import Study
    from sealround.vocabulary import PartyId

__all__ = ["Lookup", "link", "others_listed", "quasi_identifiers", "retrieve", "traits_of"]

_DEMOGRAPHIC = frozenset(
    {
        *("age", "sex", "gender", "race", "ethnicity", "ethnic", "birth", "born", "year", "height", "weight", "bmi"),
        *("zip", "postcode", "postal", "region", "country", "marital", "education", "occupation", "insurance"),
    }
)
"""Words in the names of columns that registers, insurers and neighbours have too."""

_IDENTIFYING = 3
"""So many columns are taken where no name says that it is such a trait."""

_FEW = 0.05  # A level is not rebuilt where no column of it is above this.
_SIGNIFICANT = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """A reconstruction and the list it is looked up in.

    Attributes:
        rebuilt: What an attack rebuilt, raw units, float64 ``(m, *shape)``.
        given: Which of these is held against each of the n patients, int64 ``(n,)``; -1 for none
            (`sealround.audit.inversion.scoring.Judgement.rebuilt`).
        people: Encoded records of the people in the list, raw units, ``(N, *shape)``; the n patients come first, in
            their order, and `others_listed` says who follows.
    """

    rebuilt: np.ndarray
    given: np.ndarray
    people: np.ndarray

    def __post_init__(self) -> None:
        """Refuse what does not fit."""
        if self.rebuilt.shape[1:] != self.people.shape[1:] or not 0 < len(self.given) <= len(self.people):
            raise UsageError(
                f"{self.rebuilt.shape} rebuilt records of {len(self.given)} patients do not fit a list of "
                f"{self.people.shape}"
            )

    def __len__(self) -> int:
        """How many patients are looked for."""
        return len(self.given)

    @property
    def held(self) -> np.ndarray:
        """What was rebuilt of each patient, ``(n, *shape)``; NaN where nothing was."""
        found = np.full((len(self), *self.people.shape[1:]), np.nan)
        spoken = self.given >= 0
        found[spoken] = self.rebuilt[self.given[spoken]]
        return found


def others_listed(
    exposure: Exposure, cohorts: Mapping[PartyId, SiteCohort], seed: int, most: int | None = None
) -> tuple[tuple[SiteCohort, np.ndarray], ...]:
    """Return the people in the list beside those behind the update: one row of every other patient of all sites.

    They are given as training records, to be encoded like those (`sealround.audit.inversion.observing.victims`).

    Args:
        exposure: The update.
        cohorts: Each site's records.
        seed: Who of many.
        most: How many there are at most; 1000 for images, ``None`` for everybody.
    """
    behind = {each.site: each.rows for each in exposure.truth}
    people: list[tuple[PartyId, int]] = []
    for site in sorted(cohorts):
        patients, first = np.unique(cohorts[site].patient, return_index=True)
        there = cohorts[site].patient[behind[site]] if site in behind else np.zeros(0, dtype=np.int64)
        people += [(site, int(row)) for row in first[~np.isin(patients, there)]]
    if most is not None and len(people) > most:
        chosen = stream(seed, "audit", "list").permutation(len(people))[:most]
        people = [people[place] for place in np.sort(chosen)]
    return tuple(
        as_training(cohorts[site], np.array([row for where, row in people if where == site], dtype=np.int64))
        for site in sorted({site for site, _ in people})
    )


# --- tables -----------------------------------------------------------------------------------------------------------


def quasi_identifiers(study: Study, layout: Layout, traits: Mapping[str, np.ndarray]) -> tuple[tuple[str, ...], bool]:
    """Return the columns that the list has, and whether their names or roles say so.

    Columns that the study calls sensitive, and those whose names hold a word for a trait that others know; where there
    are none, the three columns in which people differ most.

    Args:
        study: The study.
        layout: Of its inputs.
        traits: Each column's values or codes of the people in the list.
    """
    columns = (*layout.numeric, *(name for name, _ in layout.categories))
    sensitive = roles_of(study.cohort).sensitive
    known = [name for name in columns if name in sensitive or _DEMOGRAPHIC & set(re.split(r"[^a-z]+", name.lower()))]
    if known:
        return tuple(known), True
    return tuple(sorted(columns, key=lambda name: (-_entropy(traits[name]), name))[:_IDENTIFYING]), False


def _entropy(values: np.ndarray) -> float:
    share = np.unique(values[~np.isnan(values)], return_counts=True)[1] / max(len(values), 1)
    return float(-(share * np.log(share)).sum())


def traits_of(layout: Layout, names: Sequence[str], raw: np.ndarray) -> dict[str, np.ndarray]:
    """Return each column of the study, float64 ``(n,)``: numbers, or the place of the likeliest level; NaN for none.

    Args:
        layout: Names and levels of the inputs.
        names: Of the encoded columns, in order.
        raw: Encoded records in raw units, ``(n, p)``.
    """
    place = {name: number for number, name in enumerate(names)}
    found = {name: raw[:, place[name]].astype(np.float64) for name in layout.numeric}
    for name, levels in layout.categories:
        columns = [place.get(f"{name}={level}") for level in levels]
        there = [column for column in columns if column is not None]
        # A level without a column of its own has what the others leave.
        rest = 1.0 - raw[:, there].sum(axis=1) if there else np.ones(len(raw))
        shares = np.stack([rest if column is None else raw[:, column] for column in columns], axis=1)
        unclear = np.isnan(shares).any(axis=1) | (shares.max(axis=1) <= _FEW)
        found[name] = np.where(unclear, np.nan, np.nan_to_num(shares).argmax(axis=1))
    return found


def link(study: Study, layout: Layout, names: Sequence[str], lookup: Lookup, seed: int) -> Outcome:
    """Look rebuilt rows of a table up in a list of people with a few of their traits.

    Args:
        study: The study.
        layout: Names and levels of its inputs.
        names: Of the encoded columns (`sealround.learning.models.feature_names`).
        lookup: What to look up where.
        seed: Of intervals.
    """
    people, rebuilt = traits_of(layout, names, lookup.people), traits_of(layout, names, lookup.held)
    # A column that the list or the attack says nothing in tells nobody apart.
    telling = [name for name in people if not np.isnan(people[name]).all() and not np.isnan(rebuilt[name]).all()]
    chosen, named = quasi_identifiers(study, layout, people)
    wanted = [name for name in chosen if name in telling]
    if not wanted:
        return Outcome(status="not applicable", why="no trait that others know of a person was rebuilt")
    levels = {name for name, _ in layout.categories}
    draw = stream(seed, "audit", "linkage")
    result = _linked(people, rebuilt, wanted, levels, draw)
    everything = _linked(people, rebuilt, telling, levels, draw)
    number, total = result.reidentified, len(lookup.people)
    why = "columns that others have too" if named else "the columns in which people differ most"
    return Outcome(
        status="done",
        granted=(
            ("list", f"{total} people with {', '.join(wanted)} ({why}); everybody who is looked for is in it"),
            ("errors of rebuilt cells", "known, as from attacks on records of its own"),
        ),
        patients=len(lookup),
        measures={"reidentified": _figure(number)},
        worst={"reidentified": result.worst},
        worst_baseline={"reidentified": result.worst_blind},
        worst_patient=result.worst_patient,
        beyond={"reidentified": max(0.0, result.worst - result.worst_blind)},
        note=f"first choice right for {result.expected:.1f} of {len(lookup)} (the attacker believes "
        f"{result.claimed:.1f}); for {everything.expected:.1f} with a list that has every column",
    )


def _linked(
    people: Mapping[str, np.ndarray],
    rebuilt: Mapping[str, np.ndarray],
    columns: Sequence[str],
    levels: set[str],
    draw: np.random.Generator,
) -> LinkageResult:
    listed = np.stack([people[name] for name in columns], axis=1)
    said = np.stack([rebuilt[name] for name in columns], axis=1)
    categorical = np.array([name in levels for name in columns])
    errors = fitted_cell_errors(said, listed[: len(said)], categorical)
    posterior = linked(said, listed, errors)
    blind = blind_posterior(len(said), listed, categorical)
    return judge_linkage(posterior, blind, np.arange(len(said)), draw)


# --- images -----------------------------------------------------------------------------------------------------------


def retrieve(lookup: Lookup) -> Outcome:
    """Look rebuilt images up in a gallery, by pixels and by edges; the feature that finds more counts.

    A limit is held against a hit on one patient only if there are more hits than chance gives, at one in a hundred for
    both features together: of many patients some are found by luck.

    Args:
        lookup: What to look up where; grey values in [0, 1], ``(n, channels, rows, columns)``.
    """
    true, number = np.arange(len(lookup)), len(lookup.people)
    draw = stream(number, "audit", "retrieval")
    rankings = retrieve_images(lookup.held, true, lookup.people, np.arange(number))
    name, best = max(rankings.items(), key=lambda pair: float(pair[1].hits().sum()))
    hits, chance = best.hits(), best.chance()
    by_luck = binomial_tail(int(hits.sum()), len(hits), chance) if chance < 1.0 else 1.0
    lucky = by_luck * len(rankings) > _SIGNIFICANT
    worst = best.worst()
    excess = float(hits.mean() if lucky else hits.max()) - chance
    return Outcome(
        status="done",
        granted=(("gallery", f"images of {number} patients, among them the very ones that were trained on"),),
        patients=len(lookup),
        measures={"reidentified": _figure(best.top(1, draw))},
        worst={"reidentified": float(hits[worst - 1])},
        worst_baseline={"reidentified": chance},
        worst_patient=worst,
        beyond={"reidentified": max(0.0, excess)},
        note=f"compared by {name}{_luck(best, by_luck, lucky=lucky)}",
    )


def _luck(ranking: Ranking, by_luck: float, *, lucky: bool) -> str:
    if lucky:
        return f"; {ranking.hits().sum():.0f} right of {len(ranking)} is what chance gives too (p = {by_luck:.2g})"
    return ""


def _figure(number: Number) -> Figure:
    return Figure(number.value, number.low, number.high, number.baseline)
