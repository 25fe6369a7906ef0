"""From a study's source to a raw table: every cell as text, and the array beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealround.clinical.arrays import read_array_source
from sealround.clinical.builtin import read_builtin
from sealround.clinical.tables import RawTable, read_csv, read_parquet
from sealround.study.sections import (
    BuiltinSource,
    CsvSource,
    ImageFolderSource,
    MedmnistSource,
    NpzSource,
    ParquetSource,
)

if TYPE_CHECKING:
    from sealround.clinical.places import Places
    from sealround.study.sections import Source

__all__ = ["read_source"]


def read_source(source: Source, places: Places) -> RawTable:
    """Read a study's source.

    Args:
        source: The study's `cohort.source`.
        places: Where its paths start.

    Returns:
        Its rows in file order.

    Raises:
        CohortError: If the files do not hold what the source says.
        ServiceError: If a file cannot be read.
        UnsupportedError: If an optional package is needed that is not installed.
    """
    match source:
        case BuiltinSource():
            return RawTable(source.name, read_builtin(source.name))
        case CsvSource():
            table = read_csv(places.resolve(source.path), source.path, source.delimiter, source.header)
            return RawTable(source.path, table)
        case ParquetSource():
            return RawTable(source.path, read_parquet(places.resolve(source.path), source.path))
        case NpzSource() | MedmnistSource() | ImageFolderSource():
            return read_array_source(source, places)
