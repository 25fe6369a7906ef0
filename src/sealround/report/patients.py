"""The patients: table 1 by site, or for many sites its spread over them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.report.typography import NONE, capital, decimal, number_word, percent, plural, whole
from sealround.report.voice import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealround.report.evidence import Feature, SiteCohortFacts, Together
    from sealround.report.privacy_entries import PrivacyFacts
    from sealround.report.voice import Voice

__all__ = ["Patients", "patients"]

_MOSTLY = 0.5


@dataclass(frozen=True, slots=True)
class Patients:
    """The cohorts."""

    said: str
    table: Table
    details: tuple[Table, ...]
    warnings: tuple[tuple[str, str], ...]


def patients(voice: Voice) -> Patients:
    """Make table 1: a column for each site, for many sites the spread of each row over them, or sums of all."""
    if voice.evidence.privacy is not None:
        return _private(voice, voice.evidence.privacy)
    if voice.evidence.cohort.together is not None:
        return _of_sums(voice, voice.evidence.cohort.together)
    sites = voice.evidence.cohort.sites
    known = [site.patients for site in sites.values() if site.patients is not None]
    total = whole(sum(known)) + ("" if len(known) == len(sites) else " or more")
    said = f"{total} patients from {len(sites)} {voice.sites(len(sites))}"
    if voice.many:
        return Patients(said, _summary(voice), (_counts(voice),), _warnings(voice))
    return Patients(said, _table_one(voice), (), _warnings(voice))


def _private(voice: Voice, privacy: PrivacyFacts) -> Patients:
    """Make what takes the place of table 1 where nothing is counted but with noise."""
    tested, unit = voice.evidence.federated.together, voice.unit
    among = f"{number_word(privacy.sites)} {voice.sites(privacy.sites)}"
    about = whole(privacy.patients) if privacy.unit == "site" else f"about {whole(privacy.patients)}"
    rows = [(f"{capital(unit)}s trained on", about, "declared by the study")]
    if privacy.noised and tested is not None:
        how = "counted with noise"
        rows.append((f"{capital(unit)}s tested", f"about {whole(tested.n)}", how))
        rows.append((f"↳ {voice.positives}", f"about {whole(tested.positives)}", how))
    note = (
        f"No {voice.sites(1)} counts its patients for this page: a count tells who is there. So there is no table of "
        "their features, either; inputs are scaled by what the study declares."
    )
    said = f"Nobody has counted the patients of the {among}"
    if privacy.unit != "site":
        said = f"{capital(about)} {unit}s of {among} to train on, as the study declares"
    return Patients(
        said,
        Table("Who was trained on, and tested", ("", f"All {among}", "How it is known"), tuple(rows), note),
        (),
        (),
    )


def _of_sums(voice: Voice, together: Together) -> Patients:
    """Make table 1 of the training patients of all sites, as sums tell them."""
    tested = voice.evidence.federated.together
    number, positives = (None, None) if tested is None else (tested.n, tested.positives)
    examples = together.examples
    label = f"↳ {voice.positives}, n (%)"
    rows: list[tuple[str, ...]] = [
        ("Training records", whole(examples), ""),
        (label, voice.part(together.positives, examples, share=True), ""),
        ("Test records", whole(number), ""),
    ]
    if voice.evidence.study.task == "binary":
        rows.append((label, voice.part(positives, number, share=True), ""))
    for one in together.features:
        if one.kind == "numeric":
            ((name, cell),) = _numeric([one])
            rows.append((name, cell, whole(one.n)))
            continue
        counts = [count for count in one.levels.values() if count is not None]
        known = sum(counts)
        rows.append((f"{one.name}, n (%)", "", whole(known or None)))
        rows += [
            (f"↳ {level}", NONE if count is None else f"{whole(count)} ({percent(count, known)})", "")
            for level, count in one.levels.items()
        ]
    site, sites = voice.sites(1), voice.sites()
    among = number_word(len(together.roster))
    said = f"{plural(examples or 0, 'training record')} and {plural(number or 0, 'test record')} of {among} {sites}"
    caption, head = f"Patients of all {sites} together", ("", f"All {among} {sites}", "Known")
    if not together.features:
        return Patients(said, Table(caption, head[:2], tuple(row[:2] for row in rows), voice.hidden), (), ())
    note = (
        f"Features are of the training records, from sums over all {sites}. Each {site} left out what describes fewer "
        f"than {voice.few} of its patients: counts are lower bounds, and shares are of the patients counted. {NONE}: "
        f"none, or too few at each {site}. Numeric rows: mean ± standard deviation."
    )
    return Patients(said, Table(caption, head, tuple(rows), note), (), ())


_COUNTS = (
    ("patients", "Patients"),
    ("rows", "Records"),
    ("train", "Training records"),
    ("validation", "Validation records"),
    ("test", "Test records"),
)


def _table_one(voice: Voice) -> Table:
    sites = voice.evidence.cohort.sites
    rows: list[tuple[str, ...]] = [
        (label, *(whole(getattr(site, key)) for site in sites.values())) for key, label in _COUNTS
    ]
    rows.append(
        (f"{voice.positives}, n (%)", *(voice.part(site.positives, site.rows, share=True) for site in sites.values()))
    )
    features = list(dict.fromkeys((feature.name, feature.kind) for site in sites.values() for feature in site.features))
    for name, kind in features:
        found = [
            next((one for one in site.features if (one.name, one.kind) == (name, kind)), None)
            for site in sites.values()
        ]
        rows += _numeric(found) if kind == "numeric" else _categorical(voice, found, list(sites.values()))
        missing = [_missing(voice, one, site) for one, site in zip(found, sites.values(), strict=True)]
        if any(one is not None and one.missing != 0 for one in found):
            rows.append(("↳ missing, n (%)", *(text or "0" for text in missing)))
    note = (
        f"{voice.hidden} Numeric rows: mean ± standard deviation. Shares of levels are of those in whom the value is "
        "known; shares with the outcome and shares missing are of all records."
    )
    return Table(f"Patients by {voice.sites(1)}", ("", *sites), tuple(rows), note)


def _numeric(found: Sequence[Feature | None]) -> list[tuple[str, ...]]:
    there = [one for one in found if one is not None]
    spreads = [one.sd for one in there if one.sd]
    digits = 1 if not spreads or max(spreads) >= 1 else 2
    unit = next((one.unit for one in there if one.unit), "")
    cells = (
        NONE if one is None or one.mean is None else f"{decimal(one.mean, digits)} ± {decimal(one.sd, digits)}"
        for one in found
    )
    return [(f"{there[0].name}{f', {unit}' if unit else ''}", *cells)]


def _categorical(
    voice: Voice, found: Sequence[Feature | None], sites: Sequence[SiteCohortFacts]
) -> list[tuple[str, ...]]:
    levels = list(dict.fromkeys(level for one in found if one is not None for level in one.levels))
    name = next(one.name for one in found if one is not None)
    rows: list[tuple[str, ...]] = [(f"{name}, n (%)", *("" for _ in found))]
    for level in levels:
        cells = []
        for one, site in zip(found, sites, strict=True):
            if one is None:
                cells.append(NONE)
                continue
            cells.append(voice.part(one.levels.get(level, 0), _known(one, site), share=True))
        rows.append((f"↳ {level}", *cells))
    return rows


def _known(one: Feature, site: SiteCohortFacts) -> int | None:
    """Count whom the shares of a categorical feature are of; ``None`` where cells that are not shown hide it."""
    counts = [count for count in one.levels.values() if count is not None]
    if len(counts) == len(one.levels):
        return sum(counts)
    if site.rows is None or one.missing is None or site.rows != site.patients:
        return None  # Levels count patients, missing cells count rows.
    return site.rows - one.missing


def _missing(voice: Voice, one: Feature | None, site: SiteCohortFacts) -> str:
    if one is None:
        return NONE
    return "" if one.missing == 0 else voice.part(one.missing, site.rows, share=True)


def _summary(voice: Voice) -> Table:
    sites = list(voice.evidence.cohort.sites.values())
    rows = [_spread(label, [getattr(site, key) for site in sites]) for key, label in _COUNTS]
    shares = [100 * site.positives / site.rows for site in sites if site.positives is not None and site.rows]
    if shares:
        low, middle, high = min(shares), statistics.median(shares), max(shares)
        rows.append((f"{voice.positives}, % of records", *(f"{value:.0f}" for value in (low, middle, high)), ""))
    names = dict.fromkeys((one.name, one.unit) for site in sites for one in site.features if one.kind == "numeric")
    for name, unit in names:
        means = [one.mean for site in sites for one in site.features if one.name == name and one.mean is not None]
        if means:
            values = (min(means), statistics.median(means), max(means))
            rows.append(
                (f"{name}{f', {unit}' if unit else ''}: site mean", *(decimal(value, 1) for value in values), "")
            )
    head = ("", "Smallest", "Median", "Largest", f"All {voice.sites()}")
    note = f"{voice.hidden} The spread is over the {voice.sites()} that show a number; totals are without the others."
    return Table(f"Patients: the spread over {len(sites)} {voice.sites()}", head, tuple(rows), note)


def _spread(label: str, counts: Sequence[int | None]) -> tuple[str, ...]:
    known = sorted(count for count in counts if count is not None)
    if not known:
        return (label, *(NONE for _ in range(4)))
    total = whole(sum(known)) + ("" if len(known) == len(counts) else " or more")
    return (label, whole(known[0]), whole(round(statistics.median(known))), whole(known[-1]), total)


def _counts(voice: Voice) -> Table:
    rows = tuple(
        (
            name,
            *(whole(getattr(site, key)) for key, _ in _COUNTS),
            voice.part(site.positives, site.rows, share=True),
        )
        for name, site in voice.evidence.cohort.sites.items()
    )
    head = (voice.sites(1).capitalize(), *(label for _, label in _COUNTS), f"{voice.positives}, n (%)")
    return Table(f"Counts by {voice.sites(1)}", head, rows, voice.hidden)


def _warnings(voice: Voice) -> tuple[tuple[str, str], ...]:
    """Name features of which a site lacks half or more: (site, what)."""
    found = []
    for name, site in voice.evidence.cohort.sites.items():
        gone = [
            one.name
            for one in site.features
            if one.missing is not None and site.rows and one.missing >= _MOSTLY * site.rows
        ]
        if gone:
            found.append((name, ", ".join(gone)))
    return tuple(found)
