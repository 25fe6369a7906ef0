"""The small file each hospital keeps for itself: where its data is, and what it insists on.

A ``site.toml`` can make a study stricter and never laxer. The digest all sites agree on is the study's: what a site
adds for itself changes what that site does, not what the study is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import Field

from sealround.errors import PolicyDeniedError
from sealround.study.loading import parse_record, read_text
from sealround.study.sections import ColumnSites, DataPath, ModelKind, Section
from sealround.study.sections.base import Name
from sealround.study.sections.protection import DifferentialPrivacy, NoSecureAggregation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sealround.study.recovery import Recovery
    from sealround.study.sections import Cohort, Study

__all__ = [
    "Compute",
    "Floors",
    "PrivacyFloors",
    "ProtectionName",
    "SealedFloors",
    "SiteBudget",
    "SiteData",
    "SiteFile",
    "SiteHeader",
    "apply_site",
    "check_roster",
    "load_site_file",
    "parse_site_file",
]

ProtectionName: TypeAlias = Literal["secure-aggregation", "robustness", "privacy"]


class SiteHeader(Section):
    """Who this is."""

    name: Annotated[str, Field(pattern=r"^[^\x00-\x1f]+$", min_length=1, max_length=120)] = Field(
        description="This site, as the study's roster calls it.", examples=["cleveland"]
    )


class SiteData(Section):
    """Where this site's records are."""

    folder: DataPath | None = Field(
        default=None,
        description="Folder that paths starting with `data:` are in, relative to this file; else the default.",
        examples=["/srv/sealround/data"],
    )
    path: DataPath | None = Field(
        default=None, description="Takes the place of `cohort.source.path`; relative to the study file."
    )
    table: DataPath | None = Field(
        default=None, description="Takes the place of `cohort.source.table`; relative to the study file."
    )


class Compute(Section):
    """What this site computes with."""

    workers: Annotated[int, Field(ge=0, le=256)] | None = Field(
        default=None, description="Worker processes, 0 for none; else measured. `--workers` goes first."
    )


class SealedFloors(Section):
    """What each sum of a study with secure aggregation must keep to. A study without it is for `floors.require`."""

    modes: tuple[Literal["pairwise", "replicated"], ...] = Field(
        default=("pairwise", "replicated"), description="The modes this site takes part in; an empty list for none."
    )
    n_min: Annotated[int, Field(ge=3, le=500)] = Field(
        default=3, description="Fewest sites that a sum with this site in it may be opened for."
    )
    threshold: Annotated[int, Field(ge=3, le=500)] = Field(
        default=3, description="Fewest sites that must be there in each phase of a pairwise round."
    )
    min_neighbours: Annotated[int, Field(ge=4, le=498)] | None = Field(
        default=None,
        description="Fewest sites this one shares masks with in a pairwise round, unless it shares them with all; "
        "besides, a site refuses a graph that is not safe while fewer than a third of the sites collude.",
    )
    roster_step: Annotated[int, Field(ge=1, le=500)] = Field(
        default=3,
        description="Fewest sites by which two rosters of one training may differ, unless they are equal: the "
        "difference of their sums is a sum over as many sites.",
    )
    rosters: Annotated[tuple[Annotated[tuple[Name, ...], Field(min_length=3)], ...], Field(min_length=1)] | None = (
        Field(default=None, description="Groups of sites this one is summed with, itself in each; else any group.")
    )


class PrivacyFloors(Section):
    """What a study with differential privacy must keep to. A study without it is for `floors.require`."""

    max_epsilon: Annotated[float, Field(gt=0.0, le=1000.0)] | None = Field(
        default=None,
        description="Largest epsilon of a study; one that names its noise has to name its epsilon too.",
    )
    max_delta: Annotated[float, Field(gt=0.0, lt=0.1)] | None = Field(
        default=None, description="Largest delta of a study."
    )
    units: tuple[Literal["record", "patient"], ...] = Field(
        default=("record", "patient"),
        description="The units of privacy that are accepted; an empty list for none. `record` hides no patient who has "
        "several.",
    )
    trusts: tuple[Literal["sealed", "local"], ...] = Field(
        default=("sealed", "local"),
        description="Where noise may be: `sealed` counts on other sites' noise and on secure aggregation, `local` on "
        "nobody.",
    )


class Floors(Section):
    """What a study must keep to at the least, or this site takes no part."""

    min_cell_count: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="No smaller count of patients is reported, whatever the study says."
    )
    min_sites: Annotated[int, Field(ge=1, le=500)] | None = Field(
        default=None, description="Fewest sites that a round is drawn to train with."
    )
    max_rounds: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="Most training rounds; each one reveals a little more."
    )
    models: tuple[ModelKind, ...] | None = Field(default=None, description="The kinds of model that are allowed.")
    require: tuple[ProtectionName, ...] = Field(default=(), description="Protections that must not be switched off.")
    secure_aggregation: SealedFloors = SealedFloors()
    privacy: PrivacyFloors = PrivacyFloors()


class SiteBudget(Section):
    """What may be spent of the privacy of this site's patients, over all studies with differential privacy."""

    ledger: DataPath = Field(
        description="File in which it is written down what was spent, relative to this one; made when missing. Never "
        "restore an older copy: it forgets.",
        examples=["privacy.ledger"],
    )
    epsilon: Annotated[float, Field(gt=0.0, le=1000.0)] = Field(description="At the most, over all studies together.")
    delta: Annotated[float, Field(gt=0.0, lt=0.1)] = Field(
        description="At which epsilon is measured, over all studies."
    )
    records: Name = Field(
        default="all",
        description="Name of the records that share this budget. Data sets that may hold the same patients need the "
        "same name.",
    )


class SiteFile(Section):
    """One site's own file."""

    site: SiteHeader
    data: SiteData = SiteData()
    compute: Compute = Compute()
    floors: Floors = Floors()
    privacy: SiteBudget | None = Field(
        default=None, description="This site's budget of privacy; without it, each study is for itself."
    )


def load_site_file(path: Path) -> SiteFile:
    """Read and validate a ``site.toml``.

    Raises:
        StudyError: If the file cannot be read, or with every mistake in it.
    """
    return parse_site_file(read_text(path), str(path))


def parse_site_file(text: str, name: str) -> SiteFile:
    """Validate the text of a ``site.toml``.

    Args:
        text: TOML.
        name: What to call the file in errors.

    Returns:
        The site's own file.

    Raises:
        StudyError: With every mistake in it.
    """
    return parse_record(text, name, SiteFile, after=_check_rosters)


def apply_site(study: Study, site: SiteFile) -> Study:
    """Return the study as this site runs it: local paths put in, counts as strict as the stricter of the two says.

    Args:
        study: The study as every site agreed to it. Its digest stays the one that is agreed on.
        site: What this site keeps for itself.

    Returns:
        A study that is at least as strict.

    Raises:
        PolicyDeniedError: If the site refuses the study; ``decision`` lists every reason.
    """
    denied = (*_denials(study, site.floors), *_misplaced(study.cohort, site.data))
    if denied:
        msg = f"{site.site.name} does not take part in {study.study.name}"
        hint = "ask the study's authors for a study that keeps to these, or have the site's data steward relax them"
        raise PolicyDeniedError(msg, denied, hint=hint)
    standardisation = study.standardisation
    if site.floors.min_cell_count is not None:
        floor = max(site.floors.min_cell_count, standardisation.min_cell_count)
        standardisation = standardisation.model_copy(update={"min_cell_count": floor})
    local = {key: value for key in ("path", "table") if (value := getattr(site.data, key)) is not None}
    source = study.cohort.source.model_copy(update=local)
    cohort = study.cohort.model_copy(update={"source": source})
    return study.model_copy(update={"standardisation": standardisation, "cohort": cohort})


def check_roster(site: SiteFile, sites: int) -> None:
    """Refuse a round with too few sites.

    Args:
        site: What this site keeps for itself.
        sites: How many sites take part.

    Raises:
        PolicyDeniedError: If there are fewer than ``floors.min_sites``.
    """
    if denied := _too_few(site.floors, sites):
        msg = f"{site.site.name} does not take part in a round of {sites}"
        raise PolicyDeniedError(msg, (denied,), hint="wait for more sites to join")


def _check_rosters(site: SiteFile, recovery: Recovery) -> None:
    """Report groups that this site could never be summed with, or never one after the other."""
    floors, seen = site.floors.secure_aggregation, list[frozenset[str]]()
    if not recovery.sound(["site.name", "floors.secure_aggregation"]):
        return
    for number, roster in enumerate(floors.rosters or ()):
        path, found = ("floors", "secure_aggregation", "rosters", number), frozenset(roster)
        if len(found) < len(roster):
            recovery.report(path, "a site is named twice")
        if site.site.name not in found:
            recovery.report(path, f'"{site.site.name}", this site, is not in it')
        if len(found) < floors.n_min:
            recovery.report(path, f"{len(found)} sites are fewer than n_min, which is {floors.n_min}")
        step = min((len(found ^ other) for other in seen if other != found), default=None)
        if step is not None and step < floors.roster_step:
            why = f"differs from one above by {step}, less than roster_step, which is {floors.roster_step}"
            recovery.report(path, f"{why}: this site would refuse one after the other")
        seen.append(found)


def _denials(study: Study, floors: Floors) -> tuple[str, ...]:
    off: dict[ProtectionName, bool] = {
        "secure-aggregation": not study.protection.sealed,
        "robustness": study.protection.robustness.rule == "mean",
        "privacy": study.protection.privacy.unit == "none",
    }
    reasons = [f"floors.require: {name} is switched off" for name in floors.require if off[name]]
    if floors.models is not None and study.model.kind not in floors.models:
        reasons.append(f'floors.models: model "{study.model.kind}" is not among {", ".join(floors.models)}')
    if floors.max_rounds is not None and study.study.rounds > floors.max_rounds:
        reasons.append(f"floors.max_rounds: {study.study.rounds} rounds are more than {floors.max_rounds}")
    reasons += _unsealed(study, floors.secure_aggregation)
    reasons += _exposed(study, floors.privacy)
    sites = study.cohort.sites
    if not isinstance(sites, ColumnSites) and (too_few := _too_few(floors, sites.number)):
        reasons.append(too_few)
    return tuple(reasons)


def _unsealed(study: Study, floors: SealedFloors) -> Iterator[str]:
    """Yield why a study's sums are not sealed well enough; what a round alone shows, its roster above all, is left."""
    path, options = "floors.secure_aggregation", study.protection.secure_aggregation
    if isinstance(options, NoSecureAggregation):
        return
    if options.mode not in floors.modes:
        yield f'{path}.modes: "{options.mode}" is not among {", ".join(floors.modes) or "them: the list is empty"}'
    if options.n_min is not None and options.n_min < floors.n_min:
        yield f"{path}.n_min: a sum of {options.n_min} sites may be opened, fewer than {floors.n_min}"


def _exposed(study: Study, floors: PrivacyFloors) -> Iterator[str]:
    """Yield why a study's differential privacy is too weak."""
    path, options = "floors.privacy", study.protection.privacy
    if not isinstance(options, DifferentialPrivacy):
        return
    if floors.max_epsilon is not None and options.epsilon is None:
        yield f"{path}.max_epsilon: the study names its noise and no epsilon"
    elif floors.max_epsilon is not None and options.epsilon is not None and options.epsilon > floors.max_epsilon:
        yield f"{path}.max_epsilon: {options.epsilon:g} is more than {floors.max_epsilon:g}"
    if floors.max_delta is not None and options.delta > floors.max_delta:
        yield f"{path}.max_delta: {options.delta:g} is more than {floors.max_delta:g}"
    if options.unit not in floors.units:
        yield f'{path}.units: "{options.unit}" is not among {", ".join(floors.units) or "them: the list is empty"}'
    if options.trust not in floors.trusts:
        yield f'{path}.trusts: "{options.trust}" is not among {", ".join(floors.trusts) or "them: the list is empty"}'


def _too_few(floors: Floors, sites: int) -> str | None:
    if floors.min_sites is None or sites >= floors.min_sites:
        return None
    return f"floors.min_sites: {sites} sites are fewer than {floors.min_sites}"


def _misplaced(cohort: Cohort, data: SiteData) -> Iterator[str]:
    """Yield the local paths that this kind of source has no place for: ignoring them would read other data."""
    kind = cohort.source.kind
    for key in ("path", "table"):
        if getattr(data, key) is not None and key not in type(cohort.source).model_fields:
            yield f'data.{key}: a source of kind "{kind}" has no {key}'
