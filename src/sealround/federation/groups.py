"""The groups of patients that a study looks at, in the one order that every array of groups has."""

from __future__ import annotations

from dataclasses import dataclass

from sealround.errors import UsageError

__all__ = ["EVERYBODY", "Group"]

EVERYBODY = "everybody"
"""What row 0 of every array of groups is about."""

_MAX_TERMS = 2
_BANDS = ("< ", "≥ ")


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """Patients who have one level of a sensitive column, or one level of each of two.

    A study's groups follow from its declared columns alone, so every party knows them before any data is read.

    Attributes:
        terms: Column and level, as reports call the level; of a number, its band: ``"< 50"``, ``"≥ 50 and < 65"``.

    Raises:
        UsageError: If there are no terms, more than two, or two of one column.
    """

    terms: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        """Check the number of terms."""
        columns = {column for column, _ in self.terms}
        if not 1 <= len(self.terms) <= _MAX_TERMS or len(columns) != len(self.terms):
            raise UsageError("a group is a level of one column, or one level of each of two")

    @property
    def name(self) -> str:
        """What reports call it: ``"sex = female, age < 50"``."""
        return ", ".join(
            f"{column} {level}" if level.startswith(_BANDS) else f"{column} = {level}" for column, level in self.terms
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of its terms."""
        return tuple(column for column, _ in self.terms)
