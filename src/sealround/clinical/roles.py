"""Which column plays which role, from the study's declarations and a built-in data set's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from sealround.clinical.builtin import builtin_columns
from sealround.errors import Problem, StudyError
from sealround.study.sections import (
    BuiltinSource,
    CategoricalFeature,
    ColumnSites,
    ColumnSplit,
    EventColumn,
    LabelColumn,
    NumericFeature,
    PatientColumn,
    RandomSplit,
    Section,
    SensitiveColumn,
    SiteColumn,
    TimeColumn,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.federation.interfaces import InputShape
    from sealround.study.sections import Cohort, Column, Study

__all__ = ["Roles", "check_roles", "declared_columns", "declared_ranges", "roles_of"]

_Declaration = TypeVar("_Declaration", bound=Section)


def declared_columns(cohort: Cohort) -> dict[str, Column]:
    """Return the role of each column, sorted by name.

    A built-in source declares its own columns; the study's declaration of a column takes the place of the built-in one.
    Sorted, because two study files that differ in nothing but the order of their keys are the same study.
    """
    source = cohort.source
    given = builtin_columns(source.name) if isinstance(source, BuiltinSource) else {}
    return dict(sorted({**given, **cohort.columns}.items()))


def declared_ranges(study: Study) -> dict[str, tuple[float, float]]:
    """Return lower and upper end of each numeric feature for which the study, or a built-in source, declares them."""
    columns = declared_columns(study.cohort).items()
    return {
        name: (float(column.range[0]), float(column.range[1]))
        for name, column in columns
        if isinstance(column, NumericFeature) and column.range is not None
    }


@dataclass(frozen=True, slots=True)
class Roles:
    """Columns by role; every mapping and tuple is sorted by name.

    Attributes:
        numeric: Numeric features.
        categorical: Categorical features.
        sensitive: Columns to report by subgroup, features among them.
        sensitive_only: Those of them that are no features.
        label: The binary outcome's column.
        time: The survival time's column.
        event: The event's column.
        patient: The patient id's column.
        site: The site's column.
    """

    numeric: Mapping[str, NumericFeature]
    categorical: Mapping[str, CategoricalFeature]
    sensitive: tuple[str, ...]
    sensitive_only: Mapping[str, SensitiveColumn]
    label: tuple[str, LabelColumn] | None
    time: tuple[str, TimeColumn] | None
    event: tuple[str, EventColumn] | None
    patient: tuple[str, PatientColumn] | None
    site: tuple[str, SiteColumn] | None

    @property
    def features(self) -> tuple[str, ...]:
        """Every feature column, sorted by name."""
        return tuple(sorted([*self.numeric, *self.categorical]))

    @property
    def used(self) -> tuple[str, ...]:
        """Every column that plays a role, sorted by name."""
        singles = [pair[0] for pair in (self.label, self.time, self.event, self.patient, self.site) if pair]
        return tuple(sorted({*self.features, *self.sensitive, *singles}))


def roles_of(cohort: Cohort) -> Roles:
    """Sort the declared columns by role.

    Raises:
        StudyError: If two columns play a role that only one can.
    """
    columns = declared_columns(cohort)
    return Roles(
        numeric={name: column for name, column in columns.items() if isinstance(column, NumericFeature)},
        categorical={name: column for name, column in columns.items() if isinstance(column, CategoricalFeature)},
        sensitive=tuple(
            name
            for name, column in columns.items()
            if isinstance(column, SensitiveColumn)
            or (isinstance(column, NumericFeature | CategoricalFeature) and column.sensitive)
        ),
        sensitive_only={name: column for name, column in columns.items() if isinstance(column, SensitiveColumn)},
        label=_only(columns, LabelColumn),
        time=_only(columns, TimeColumn),
        event=_only(columns, EventColumn),
        patient=_only(columns, PatientColumn),
        site=_only(columns, SiteColumn),
    )


def _only(columns: Mapping[str, Column], kind: type[_Declaration]) -> tuple[str, _Declaration] | None:
    found = [(name, column) for name, column in columns.items() if isinstance(column, kind)]
    if len(found) > 1:
        names = " and ".join(repr(name) for name, _ in found)
        problem = Problem("cohort.columns", f"{names} have the same role, which only one column can play")
        raise StudyError("the cohort's columns do not fit together", (problem,))
    return found[0] if found else None


def check_roles(study: Study, roles: Roles, inputs: InputShape) -> None:
    """Refuse a study whose declared columns do not add up to its task.

    Raises:
        StudyError: With every problem.
    """
    problems = [*_outcome_problems(study, roles), *_input_problems(roles, inputs), *_group_problems(study, roles)]
    if problems:
        raise StudyError("the cohort's columns do not fit the study", tuple(problems))


def _outcome_problems(study: Study, roles: Roles) -> list[Problem]:
    columns = {
        "label": roles.label and roles.label[0],
        "time": roles.time and roles.time[0],
        "event": roles.event and roles.event[0],
    }
    wanted = {"label"} if study.task == "binary" else {"time", "event"}
    model = study.model.kind
    problems = []
    for role, name in columns.items():
        if role in wanted and name is None:
            problems.append(Problem("cohort.columns", f"model {model!r} needs one column with the role {role!r}"))
        if role not in wanted and name is not None:
            message = f"model {model!r} has no use for the role {role!r}; give the column the role 'ignore'"
            problems.append(Problem(f"cohort.columns.{name}", message))
    return problems


def _input_problems(roles: Roles, inputs: InputShape) -> list[Problem]:
    if inputs.kind == "table":
        return [] if roles.features else [Problem("cohort.columns", "no column has the role 'feature'")]
    return [
        Problem(
            f"cohort.columns.{name}",
            f"a source of {inputs.kind}s takes no features beside them; the role 'sensitive' reports by subgroup",
        )
        for name in roles.features
    ]


def _group_problems(study: Study, roles: Roles) -> list[Problem]:
    cohort = study.cohort
    problems = []
    if isinstance(cohort.sites, ColumnSites) and roles.site is None:
        problems.append(Problem("cohort.sites", "sites by column need a column with the role 'site'"))
    if isinstance(cohort.split, RandomSplit) and cohort.split.validation + cohort.split.test >= 1:
        problems.append(Problem("cohort.split", "validation and test leave nothing to train on"))
    if roles.patient and roles.patient[1].per_split and not isinstance(cohort.split, ColumnSplit):
        problems.append(Problem(f"cohort.columns.{roles.patient[0]}.per_split", "needs a split of kind 'column'"))
    return problems
