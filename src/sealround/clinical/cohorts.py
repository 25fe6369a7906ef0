"""From a study to its sites' cohorts: read, check, divide among sites, split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sealround.clinical.cells import levels_of, matches, name_rows
from sealround.clinical.cohort import Outcome, SiteCohort, SplitName
from sealround.clinical.flamby import FLAMBY_COLUMNS, LEFT_OUT, flamby_split
from sealround.clinical.reading import read_source
from sealround.clinical.records import check_records
from sealround.clinical.roles import check_roles, roles_of
from sealround.clinical.sites import divide_patients, site_names
from sealround.clinical.splits import carve, crossing_patients, draw_split, read_split
from sealround.clinical.tables import require_columns
from sealround.errors import CohortError, Problem, StudyError
from sealround.federation.randomness import stream
from sealround.study.sections import ColumnSites, ColumnSplit, FlambySplit, RandomSplit
from sealround.vocabulary import COORDINATOR, PartyId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.clinical.places import Places
    from sealround.clinical.records import Checked
    from sealround.clinical.roles import Roles
    from sealround.clinical.tables import RawTable
    from sealround.study.sections import Code, Study
    from sealround.vocabulary import Labels, Rows

__all__ = ["Assembly", "assemble", "load_cohorts"]

_LONGEST_SITE_NAME = 80


@dataclass(frozen=True, slots=True)
class Assembly:
    """Cohorts, and what a data steward wants to know of how they came about.

    Attributes:
        cohorts: Each site's records, sites sorted.
        source_rows: For each site, where its rows stood in the source, counted from 0, int64.
        coded: For each site and column, how many of its cells held a code for missing.
        left_out: For each site, how many of its rows are not used because something is missing.
        left_out_between: How many unused rows belong to no site, where sites are simulated.
    """

    cohorts: Mapping[PartyId, SiteCohort]
    source_rows: Mapping[PartyId, Rows]
    coded: Mapping[PartyId, Mapping[str, int]]
    left_out: Mapping[PartyId, int]
    left_out_between: int


def load_cohorts(study: Study, places: Places) -> dict[PartyId, SiteCohort]:
    """Read a study's data and divide it among its sites.

    Args:
        study: The study.
        places: Where its files are.

    Returns:
        Each site's records, sites sorted by name.

    Raises:
        StudyError: If the declared columns do not add up.
        CohortError: If the data does not fit the study, or a patient's rows are in more than one split.
        ServiceError: If a file cannot be read.
        UnsupportedError: If an optional package is needed that is not installed.
    """
    assembly = assemble(study, places)
    for site, cohort in assembly.cohorts.items():
        crossing = np.isin(cohort.patient, crossing_patients(cohort.patient, cohort.split))
        if crossing.any():
            raise CohortError(
                f"{site}: {np.unique(cohort.patient[crossing]).size} patients have rows in more than one split "
                f"({name_rows(assembly.source_rows[site][crossing])})",
                hint="split by patient; where ids start anew in each split, set `per_split = true` on their column",
            )
    return dict(assembly.cohorts)


def assemble(study: Study, places: Places) -> Assembly:
    """Do as `load_cohorts`, but let patients cross splits, so that a quality report can count them."""
    roles = roles_of(study.cohort)
    raw = read_source(study.cohort.source, places)
    check_roles(study, roles, raw.inputs)
    rule = study.cohort.split
    split_column = [rule.column] if isinstance(rule, ColumnSplit) else []
    require_columns(raw.table, [*roles.used, *split_column], raw.name)
    records = check_records(study.cohort, roles, raw.table)
    given = _given_split(study, roles, raw.table, records)
    patient = records.patient
    if roles.patient is not None and roles.patient[1].per_split:
        patient = patient * len(SplitName) + given
    wanted = given != LEFT_OUT
    kept = wanted & records.complete if study.cohort.drop_incomplete else wanted
    if not kept.any():
        raise CohortError(f"{raw.name}: no row has every feature", hint="impute: set `cohort.drop_incomplete = false`")
    rows = _Sorted(records, patient, given, kept)
    return _build(study, raw, rows, _sites(study, roles, raw.table, rows))


@dataclass(frozen=True, slots=True)
class _Sorted:
    """A source's rows: who they are about, and which split they are in as far as the source says.

    Attributes:
        records: The checked rows.
        patient: Patient of each row, int64 ``(n,)``.
        given: `SplitName` or `LEFT_OUT` of each row, int8 ``(n,)``.
        kept: Whether the row is used, bool ``(n,)``.
    """

    records: Checked
    patient: Rows
    given: Labels
    kept: Labels


def _given_split(study: Study, roles: Roles, table: pl.DataFrame, records: Checked) -> Labels:
    """Return the split as far as the source fixes it, int8 ``(n,)``; all is training where it does not."""
    match study.cohort.split:
        case RandomSplit():
            return np.zeros(table.height, dtype=np.int8)
        case ColumnSplit() as rule:
            return read_split(rule, table[rule.column])
        case FlambySplit():
            if roles.site is None or roles.label is None or not isinstance(study.cohort.sites, ColumnSites):
                problem = Problem("cohort.split", "FLamby's split needs sites by column and a label")
                raise StudyError("the split does not fit the cohort", (problem,))
            require_columns(table, FLAMBY_COLUMNS, "the source")
            cells = [table[name] for name in FLAMBY_COLUMNS]
            absent = [cell.is_null() | matches(cell, study.cohort.missing_codes) for cell in cells]
            complete = ~np.logical_or.reduce([column.to_numpy() for column in absent])
            hospital = np.unique(table[roles.site[0]].fill_null("").to_numpy(), return_inverse=True)[1]
            return flamby_split(hospital, records.outcome.event, complete)


def _sites(study: Study, roles: Roles, table: pl.DataFrame, rows: _Sorted) -> Labels:
    """Return the name of each row's site, object ``(n,)``; nothing where the row is not used."""
    rule = study.cohort.sites
    if isinstance(rule, ColumnSites):
        return _natural_sites(table[roles.site[0]] if roles.site else pl.Series(), study.cohort.missing_codes)
    kept = np.flatnonzero(rows.kept)
    _, first, member = np.unique(rows.patient[kept], return_index=True, return_inverse=True)
    positive = np.zeros(first.size, dtype=bool)
    np.logical_or.at(positive, member, rows.records.outcome.event[kept] > 0)
    is_test = rows.given[kept][first] == SplitName.TEST
    number = divide_patients(rule, study.study.seed, positive, is_test)
    names = np.full(rows.given.size, "", dtype=object)
    names[kept] = np.array(site_names(rule.number), dtype=object)[number[member]]
    return names


def _natural_sites(cells: pl.Series, missing: tuple[Code, ...]) -> Labels:
    names = levels_of(cells)
    folded = names.str.to_lowercase()
    bad = (
        names.is_null()
        | matches(cells, missing)
        | folded.is_in([str(COORDINATOR)])
        | (names.str.len_chars() > _LONGEST_SITE_NAME)
    )
    rows = np.flatnonzero(bad.to_numpy())
    if rows.size:
        raise CohortError(
            f"column {cells.name!r}, {name_rows(rows)}: no site named",
            hint=f"fill in or remove these rows; a site's name has up to {_LONGEST_SITE_NAME} characters "
            f"and is not {COORDINATOR!r}",
        )
    return names.to_numpy().astype(object)


def _build(study: Study, raw: RawTable, rows: _Sorted, site: Labels) -> Assembly:
    cohorts: dict[PartyId, SiteCohort] = {}
    source_rows: dict[PartyId, Rows] = {}
    coded: dict[PartyId, Mapping[str, int]] = {}
    left_out: dict[PartyId, int] = {}
    outcome = rows.records.outcome
    names, member = np.unique(site, return_inverse=True)
    for number in np.unique(member[rows.kept]):
        party = PartyId(names[number])
        own = np.flatnonzero((member == number) & rows.kept)
        event = outcome.event[own]
        patient = np.unique(rows.patient[own], return_inverse=True)[1].astype(np.int64)
        cohorts[party] = SiteCohort(
            site=party,
            inputs=raw.inputs,
            table=rows.records.table[own],
            array=None if raw.array is None else raw.array[own],
            outcome=Outcome(event, None if outcome.time is None else outcome.time[own]),
            patient=patient,
            split=_split_of(study, party, rows.given[own], patient, event),
        )
        source_rows[party] = own
        coded[party] = {column: int(hit[own].sum()) for column, hit in rows.records.coded.items()}
        left_out[party] = int(((member == number) & ~rows.kept).sum())
    between = int((~rows.kept).sum()) - sum(left_out.values())
    return Assembly(cohorts, source_rows, coded, left_out, between)


def _split_of(study: Study, site: str, given: Labels, patient: Rows, event: Labels) -> Labels:
    match study.cohort.split:
        case RandomSplit() as rule:
            seed = study.study.seed if rule.seed is None else rule.seed
            return draw_split(patient, event, rule.validation, rule.test, stream(seed, "split", site))
        case ColumnSplit() | FlambySplit() as rule:
            return carve(given, patient, event, rule.carve_validation, stream(study.study.seed, "carve", site))
