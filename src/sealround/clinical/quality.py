"""What a data steward wants to know before anything is trained: what is missing, coded, doubled, leaked or too few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sealround.clinical.cells import levels_of
from sealround.clinical.cohort import SplitName
from sealround.clinical.column_quality import column_findings, describe_columns
from sealround.clinical.counting import patients_by_level
from sealround.clinical.duplicates import count_copies, digests
from sealround.clinical.findings import Finding, QualityReport, SiteQuality
from sealround.clinical.roles import roles_of
from sealround.clinical.splits import crossing_patients

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sealround.clinical.cohort import SiteCohort
    from sealround.clinical.cohorts import Assembly
    from sealround.clinical.duplicates import Copies
    from sealround.clinical.findings import ColumnQuality, Severity, Unit
    from sealround.study.sections import Study
    from sealround.vocabulary import PartyId, Rows

__all__ = ["inspect"]

_NAMED_ROWS = 10
_FEW_PATIENTS = 30
_RECORD_COLUMNS = 5  # Rows of fewer columns are often equal by chance.
_SEVERITIES = ("error", "warning", "note")


def inspect(study: Study, assembly: Assembly) -> QualityReport:
    """Look at the data of a study.

    Args:
        study: The study.
        assembly: Its data, from `sealround.clinical.cohorts.assemble`.

    Returns:
        Counts and findings, the worst first; no patient's value in any.
    """
    roles = roles_of(study.cohort)
    minimum = study.standardisation.min_cell_count
    cohorts = list(assembly.cohorts.values())
    record = [*roles.features, *(pair[0] for pair in (roles.label, roles.time, roles.event) if pair)]
    digest = {
        cohort.site: digests(cohort, record)
        for cohort in cohorts
        if cohort.array is not None or len(record) >= _RECORD_COLUMNS
    }
    sites: list[SiteQuality] = []
    findings: list[Finding] = []
    for cohort in cohorts:
        site = cohort.site
        copies = count_copies(digest[site], [cohort]) if site in digest else None
        columns = describe_columns(cohort, roles, assembly.coded[site])
        sites.append(_describe(cohort, columns, assembly.left_out[site], copies))
        findings += _size_findings(cohort)
        findings += _split_findings(cohort, assembly.source_rows[site])
        for column in columns:
            elsewhere = [other for other in cohorts if other is not cohort]
            findings += column_findings(cohort, roles, column, elsewhere, minimum)
        findings += _copy_findings(cohort, copies, assembly.source_rows[site], named=roles.patient is not None)
    findings += _copies_between(digest, cohorts)
    if assembly.left_out_between:
        message = "rows are left out because something is missing"
        advice = "set `cohort.drop_incomplete = false` to impute instead"
        count = assembly.left_out_between
        findings.append(Finding("note", "rows-left-out", None, None, count, "rows", message, advice))
    findings.sort(key=lambda finding: _SEVERITIES.index(finding.severity))
    return QualityReport(study.study.name, minimum, tuple(sites), tuple(findings))


def _describe(
    cohort: SiteCohort, columns: tuple[ColumnQuality, ...], left_out: int, copies: Copies | None
) -> SiteQuality:
    smallest, place = min(_cells(cohort, columns), default=(0, "nowhere"))
    return SiteQuality(
        site=str(cohort.site),
        rows=cohort.rows,
        patients=int(np.unique(cohort.patient).size),
        positives=int((cohort.outcome.event > 0).sum()),
        splits={split.name.lower(): int((cohort.split == split).sum()) for split in SplitName},
        left_out=left_out,
        copies=copies.extra if copies else 0,
        smallest_cell=smallest,
        smallest_cell_at=place,
        columns=columns,
    )


def _cells(cohort: SiteCohort, columns: Sequence[ColumnQuality]) -> Iterator[tuple[int, str]]:
    """Count patients in each split and class, and at each level of each categorical column; empty cells left out."""
    event = cohort.outcome.event > 0
    for split in SplitName:
        for outcome, word in ((event, "with"), (~event, "without")):
            patients = np.unique(cohort.patient[(cohort.split == split) & outcome]).size
            if patients:
                yield patients, f"{split.name.lower()} {word} outcome"
    for column in columns:
        if column.kind == "categorical" and column.distinct:
            levels = tuple(levels_of(cohort.table[column.name]).drop_nulls().unique().to_list())
            counts = patients_by_level(cohort, column.name, levels, np.arange(cohort.rows))
            yield int(counts.min()), f"a level of {column.name}"


def _size_findings(cohort: SiteCohort) -> Iterator[Finding]:
    site = str(cohort.site)
    patients = int(np.unique(cohort.patient).size)
    if patients < _FEW_PATIENTS:
        advice = "its figures will vary widely by chance; read them with their confidence intervals"
        message = "few patients for a site of its own"
        yield Finding("note", "tiny-site", site, None, patients, "patients", message, advice)
    for split in SplitName:
        rows = cohort.where(split)
        part = split.name.lower()
        if not rows.size and split is SplitName.TRAIN:
            advice = "the site cannot take part; change the split"
            yield Finding("error", "no-training-rows", site, None, 0, "rows", "no row is for training", advice)
        elif not rows.size and split is SplitName.TEST:
            advice = "the site gets no figures of its own; change the split"
            yield Finding("warning", "no-test-rows", site, None, 0, "rows", "no row is for the test", advice)
        elif rows.size and np.unique(cohort.outcome.event[rows] > 0).size == 1:
            message = f"all {part} rows have the same outcome"
            advice = "discrimination cannot be measured there; a site this one-sided may also pull the model"
            yield Finding("warning", "one-outcome", site, None, rows.size, "rows", message, advice)


def _split_findings(cohort: SiteCohort, source_rows: Rows) -> Iterator[Finding]:
    crossing = crossing_patients(cohort.patient, cohort.split)
    if crossing.size:
        advice = "split by patient; where ids start anew in each split, set `per_split = true` on their column"
        message = "rows of one patient are in more than one split"
        rows = _name(source_rows[np.isin(cohort.patient, crossing)])
        site = str(cohort.site)
        yield Finding("error", "patients-across-splits", site, None, crossing.size, "patients", message, advice, rows)


@dataclass(frozen=True, slots=True)
class _CopyRule:
    """One way in which copies do harm: which of `Copies` counts it, and what to say."""

    code: str
    counts: Literal["extra", "leaked", "contradictory", "two_patients"]
    rows: Literal["rows", "leaked_rows", "contradictory_rows", "two_patient_rows"]
    severity: Severity
    unit: Unit
    message: str
    advice: str


_TABLE_RULES = (
    _CopyRule(
        *("duplicates", "extra", "rows", "warning", "rows"),
        "equal to another row in every cell",
        "if a patient was entered twice, remove one",
    ),
    _CopyRule(
        *("duplicates-across-splits", "leaked", "leaked_rows", "warning", "groups"),
        "equal rows are inside and outside the test",
        "if a patient was entered twice, the test is not independent: remove one",
    ),
)
_ARRAY_RULES = (
    _CopyRule(
        *("duplicates", "extra", "rows", "warning", "records"), "exact copies of another record", "remove the copies"
    ),
    _CopyRule(
        *("duplicates-across-splits", "leaked", "leaked_rows", "error", "groups"),
        "exact copies are inside and outside the test",
        "the test is not independent: keep copies in one split, or remove them",
    ),
    _CopyRule(
        *("conflicting-labels", "contradictory", "contradictory_rows", "error", "groups"),
        "exact copies have opposite outcomes",
        "at least one label is wrong: have them graded again, or remove them",
    ),
)
_PATIENT_RULE = _CopyRule(
    *("one-record-two-patients", "two_patients", "two_patient_rows", "warning", "groups"),
    "exact copies are filed under different patients",
    "find out whose they are; a split by patient does not keep them together",
)


def _copy_findings(cohort: SiteCohort, copies: Copies | None, source_rows: Rows, *, named: bool) -> Iterator[Finding]:
    """Say what harm copies do at one site; ``named`` is whether the study has a patient column."""
    if copies is None:
        return
    rules = _TABLE_RULES if cohort.array is None else (*_ARRAY_RULES, *([_PATIENT_RULE] if named else []))
    for rule in rules:
        count: int = getattr(copies, rule.counts)
        if count:
            rows = _name(source_rows[getattr(copies, rule.rows)])
            site = str(cohort.site)
            yield Finding(rule.severity, rule.code, site, None, count, rule.unit, rule.message, rule.advice, rows)


def _copies_between(digest: Mapping[PartyId, Rows], cohorts: Sequence[SiteCohort]) -> Iterator[Finding]:
    """Find records that two sites have; equal rows of a table are chance."""
    if len(cohorts) == 1 or any(cohort.array is None for cohort in cohorts):
        return
    alone = [count_copies(digest[cohort.site], [cohort]) for cohort in cohorts]
    together = count_copies(np.concatenate([digest[cohort.site] for cohort in cohorts]), cohorts)
    extra = together.extra - sum(copies.extra for copies in alone)
    leaked = together.leaked - sum(copies.leaked for copies in alone)
    if extra > 0:
        message = "copies of a record at another site"
        advice = "the same patient may be at both; simulated sites divide what one hospital had twice"
        yield Finding("note", "duplicates-between-sites", None, None, extra, "records", message, advice)
    if leaked > 0:
        message = "exact copies are for the test at one site and not at another"
        advice = "the test is not quite independent of what other sites train on; remove the copies"
        yield Finding("warning", "duplicates-across-splits", None, None, leaked, "groups", message, advice)


def _name(rows: Rows) -> tuple[int, ...]:
    return tuple(int(row) + 1 for row in rows[:_NAMED_ROWS])
