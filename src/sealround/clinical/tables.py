"""Tables as text: CSV and Parquet files, every cell stripped of blanks around it, null where empty."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

import polars as pl

from sealround.clinical.cells import name_rows
from sealround.errors import CohortError, ServiceError
from sealround.federation.interfaces import InputShape
from sealround.study.words import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy as np


__all__ = ["RawTable", "as_text", "read_csv", "read_parquet", "require_columns", "unreadable"]

_BATCH_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class RawTable:
    """What a source holds, before anything is made of it.

    Attributes:
        name: The source as the study calls it, for errors.
        table: Every column as text, stripped of blanks around it; null where a cell is empty.
        array: Images or vectors in the same row order, as in `SiteCohort`, or ``None``.
    """

    name: str
    table: pl.DataFrame
    array: np.ndarray | None = None

    def __repr__(self) -> str:
        """Sizes only: a table in a log or traceback shows no patient."""
        return f"RawTable({self.name!r}, rows={self.table.height}, columns={self.table.width})"

    @property
    def inputs(self) -> InputShape:
        """What one example looks like."""
        if self.array is None:
            return InputShape("table")
        if self.array.ndim == 2:  # noqa: PLR2004 - (n, p)
            return InputShape("vector", (self.array.shape[1],))
        channels = self.array.shape[3] if self.array.ndim == 4 else 1  # noqa: PLR2004 - (n, h, w, c)
        return InputShape("image", (channels, self.array.shape[1], self.array.shape[2]))


def require_columns(table: pl.DataFrame, names: Iterable[str], source: str) -> None:
    """Refuse a table that lacks a column.

    Raises:
        CohortError: Naming each missing column and the one most like it, unless the table's names look like data.
    """
    missing = [name for name in names if name not in table.columns]
    if not missing:
        return
    if _look_like_data(table.columns):
        raise CohortError(
            f"{source} has no column {', '.join(map(repr, missing))}",
            hint="its first line looks like data, not like names: give the names in `cohort.source.header`",
        )
    found = []
    for name in missing:
        similar = nearest(name, table.columns)
        found.append(f"{name!r}" + (f" (did you mean {similar!r}?)" if similar else ""))
    raise CohortError(
        f"{source} has no column {', '.join(found)}",
        hint=f"its columns are {', '.join(table.columns[:40])}{', ...' if table.width > 40 else ''}",  # noqa: PLR2004
    )


def _look_like_data(names: list[str]) -> bool:
    """Whether column names may be the cells of a patient: in a file without a header line some are numbers."""
    return bool(pl.Series(names, dtype=pl.String).cast(pl.Float64, strict=False).is_not_null().any())


def read_csv(path: Path, name: str, delimiter: str = ",", header: tuple[str, ...] | None = None) -> pl.DataFrame:
    """Read a CSV file (RFC 4180, optionally gzip-compressed) as text.

    Args:
        path: The file.
        name: What to call it in errors.
        delimiter: Cell separator.
        header: Column names of a file without a header line.

    Returns:
        Every cell as text, stripped; null where empty.

    Raises:
        CohortError: If rows have too few or too many cells, or the file is no UTF-8 CSV.
        ServiceError: If the file cannot be read.
    """
    try:
        with _open_text(path) as file:
            return _parse(csv.reader(file, delimiter=delimiter, strict=True), name, header)
    except UnicodeDecodeError:
        raise CohortError(f"{name} is not UTF-8 text", hint="save it as UTF-8") from None
    except csv.Error as error:
        raise CohortError(f"{name} is not a CSV file: {error}", hint="check its quotes and delimiter") from None
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(name, path, error) from error


def unreadable(name: str, path: Path, error: BaseException) -> ServiceError:
    """Return the error of a file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return ServiceError(
            f"{name}: no such file", hint=f"looked for {path}; `data:` paths need `sealround data fetch`"
        )
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return ServiceError(f"cannot read {name}: {reason}", hint=f"the file is {path}")


def _open_text(path: Path) -> TextIO:
    # Whoever closes the text closes the file below it.
    binary = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115 - as said above
    return io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")


def _parse(reader: Iterator[list[str]], name: str, header: tuple[str, ...] | None) -> pl.DataFrame:
    columns = _column_names(list(header) if header is not None else next(reader, []), name)
    batches: list[pl.DataFrame] = []
    batch: list[list[str]] = []
    ragged: list[int] = []
    row = -1
    for row, cells in enumerate(cells for cells in reader if cells):  # A blank line is no row.
        if len(cells) == len(columns):
            batch.append(cells)
        else:
            ragged.append(row)
        if len(batch) == _BATCH_ROWS:
            batches.append(_text_frame(batch, columns))
            batch = []
    if ragged:
        raise CohortError(
            f"{name}, {name_rows(ragged)}: not as many cells as there are columns ({len(columns)})",
            hint="mend these rows; check the delimiter and quotes",
        )
    if row < 0:
        raise CohortError(f"{name} has no rows", hint="check that the file is complete")
    return pl.concat([*batches, _text_frame(batch, columns)])


def _column_names(names: list[str], source: str) -> list[str]:
    stripped = [name.strip() or f"column {number}" for number, name in enumerate(names, start=1)]
    twice = sorted({name for name in stripped if stripped.count(name) > 1})
    if twice:
        which = "two columns of the same name" if _look_like_data(stripped) else f"the column {twice[0]!r} twice"
        raise CohortError(
            f"{source} has {which}",
            hint="give each column a name of its own; without a header line, say `cohort.source.header`",
        )
    return stripped


def _text_frame(rows: list[list[str]], columns: list[str]) -> pl.DataFrame:
    schema = dict.fromkeys(columns, pl.String)
    return _tidy(pl.DataFrame(dict(zip(columns, zip(*rows, strict=True), strict=True)) if rows else {}, schema=schema))


def _tidy(table: pl.DataFrame) -> pl.DataFrame:
    stripped = pl.all().str.strip_chars()
    return table.select(pl.when(stripped != "").then(stripped))


def read_parquet(path: Path, name: str) -> pl.DataFrame:
    """Read a Parquet file as text; columns of lists, structs and bytes are left out.

    Args:
        path: The file.
        name: What to call it in errors.

    Returns:
        Every cell as text, stripped; null where empty.

    Raises:
        CohortError: If the file is no Parquet file or has no rows.
        ServiceError: If the file cannot be read.
    """
    try:
        table = pl.read_parquet(path)
    except OSError as error:
        raise unreadable(name, path, error) from error
    except pl.exceptions.PolarsError:
        raise CohortError(f"{name} is not a Parquet file", hint="write it again, with pyarrow or polars") from None
    nested = [column for column, dtype in table.schema.items() if dtype.is_nested() or dtype == pl.Binary]
    if table.height == 0:
        raise CohortError(f"{name} has no rows", hint="check that the file is complete")
    return as_text(table.drop(nested))


def as_text(table: pl.DataFrame) -> pl.DataFrame:
    """Return a typed table with every cell as text, stripped; null where empty."""
    return _tidy(table.select(pl.all().cast(pl.String)))
