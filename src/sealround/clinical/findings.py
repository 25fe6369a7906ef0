"""What a look at the data found, as plain records that print and encode."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ColumnQuality", "Finding", "QualityReport", "Severity", "SiteQuality", "Unit"]

Severity: TypeAlias = Literal["error", "warning", "note"]
"""`error`: results would be wrong. `warning`: look at it. `note`: good to know."""

Unit: TypeAlias = Literal["rows", "patients", "records", "groups"]
"""Of what a finding counts; a group is two or more equal records."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about the data that somebody should know. Its text holds no count and no value.

    Attributes:
        severity: How bad.
        code: Stable name of the kind of finding.
        site: Where, or ``None`` between sites.
        column: Which column, or ``None`` for whole records.
        count: How many.
        unit: How many of what.
        message: What.
        advice: What to do.
        rows: Some of the rows, counted from 1 after the source's header.
    """

    severity: Severity
    code: str
    site: str | None
    column: str | None
    count: int
    unit: Unit
    message: str
    advice: str
    rows: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ColumnQuality:
    """One column at one site.

    Attributes:
        name: The column.
        kind: `numeric` or `categorical`.
        missing: Rows without a value, codes included.
        coded: Rows with a code for missing.
        out_of_range: Values outside the study's plausible range.
        distinct: How many different values.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    missing: int
    coded: int
    out_of_range: int
    distinct: int


@dataclass(frozen=True, slots=True)
class SiteQuality:
    """One site's records in numbers.

    Attributes:
        site: Whose.
        rows: Examples.
        patients: Patients.
        positives: Examples with the outcome.
        splits: Examples in each split.
        left_out: Rows of the source that the study leaves out.
        copies: Records beyond the first of each group of equal ones.
        smallest_cell: Fewest patients in a split and class, or at a level of a column; 0 only if there are no rows.
        smallest_cell_at: Where that is.
        columns: Features and sensitive columns, in the order of the source.
    """

    site: str
    rows: int
    patients: int
    positives: int
    splits: Mapping[str, int]
    left_out: int
    copies: int
    smallest_cell: int
    smallest_cell_at: str
    columns: tuple[ColumnQuality, ...]


@dataclass(frozen=True, slots=True)
class QualityReport:
    """A look at the data of one study. Counts are exact: it is for who holds the data, until `shareable` is called.

    Attributes:
        study: The study's name.
        min_cell_count: Fewest patients that a count may describe outside the site.
        sites: Each site in numbers.
        findings: Worst first.
    """

    study: str
    min_cell_count: int
    sites: tuple[SiteQuality, ...]
    findings: tuple[Finding, ...] = field(default=())

    @property
    def has_errors(self) -> bool:
        """Whether results would be wrong."""
        return any(finding.severity == "error" for finding in self.findings)

    def to_json(self, *, shareable: bool = False) -> dict[str, Any]:
        """Return a tree of JSON types.

        Args:
            shareable: Replace counts of 1 to ``min_cell_count`` - 1 by ``None`` and leave row numbers out, so that the
                report may leave the site. Differences between counts are not protected.
        """
        report = asdict(self)
        return _without_small(report, self.min_cell_count) if shareable else report


_COUNTS = frozenset(
    {
        "count",
        "rows",
        "patients",
        "positives",
        "left_out",
        "copies",
        "smallest_cell",
        "missing",
        "coded",
        "out_of_range",
    }
)
_SPLITS = "splits"


def _without_small(tree: Any, minimum: int) -> Any:  # noqa: ANN401 - a JSON tree
    if isinstance(tree, dict):
        kept = {key: value for key, value in tree.items() if not (key == "rows" and isinstance(value, tuple | list))}
        return {
            key: {name: _shown(count, minimum) for name, count in value.items()}
            if key == _SPLITS
            else _shown(value, minimum)
            if key in _COUNTS
            else _without_small(value, minimum)
            for key, value in kept.items()
        }
    if isinstance(tree, list | tuple):
        return [_without_small(item, minimum) for item in tree]
    return tree


def _shown(count: int, minimum: int) -> int | None:
    return count if count == 0 or count >= minimum else None
