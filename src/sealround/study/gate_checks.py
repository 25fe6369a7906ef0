"""Whether a study's gate can work at all: a gate that can judge nothing is worse than none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealround.study.sections import (
    LEAST_SITES,
    BuiltinSource,
    CategoricalFeature,
    ColumnSites,
    NumericFeature,
    SensitiveColumn,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealround.study.sections import Study

__all__ = ["builtin_sensitive", "gate_problems", "has_groups"]

_BUILTIN_SENSITIVE = {"heart-disease": ("sex",), "breast-cancer": ()}
"""What the data sets that come with sealround declare sensitive (`sealround.clinical.builtin`)."""


def gate_problems(study: Study) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the place of each reason why a gate cannot work, below ``fairness.gate``, and what to change."""
    gate, sites = study.fairness.gate, study.cohort.sites
    if gate is None:
        return
    if not has_groups(study):
        how = "say sensitive = true of a feature with levels or bands, or give a column the role sensitive"
        yield (), f"compares groups of patients, and no column makes any; {how}"
    if not isinstance(sites, ColumnSites) and sites.number < LEAST_SITES:
        yield (), f"compares models at {LEAST_SITES} sites or more, and there are {sites.number}"
    if study.protection.sealed and gate.on_failure == "exclude":
        mode = study.protection.secure_aggregation.mode
        why = f'whose updates did it cannot be told where mode "{mode}" hides them'
        yield ("on_failure",), f'{why}; take on_failure = "withhold", or mode = "none" with a reason'


def builtin_sensitive(study: Study) -> tuple[str, ...]:
    """Return the columns that are sensitive without the study saying so."""
    source = study.cohort.source
    known = _BUILTIN_SENSITIVE[source.name] if isinstance(source, BuiltinSource) else ()
    return tuple(name for name in known if name not in study.cohort.columns)


def has_groups(study: Study) -> bool:
    """Whether any column of a study makes groups of patients."""
    if builtin_sensitive(study):
        return True
    return any(
        isinstance(column, SensitiveColumn)
        or (isinstance(column, NumericFeature | CategoricalFeature) and column.sensitive)
        for column in study.cohort.columns.values()
    )
