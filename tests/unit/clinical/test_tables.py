from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import polars as pl
import pytest

from sealround.clinical.tables import RawTable, read_csv, read_parquet, require_columns
from sealround.errors import CohortError, ServiceError

if TYPE_CHECKING:
    from pathlib import Path


def _written(folder: Path, data: bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "data",
    [
        b"a,b\n1,x\n2,\n",
        b"a,b\r\n1,x\r\n2,\r\n",
        b"\xef\xbb\xbfa,b\n1,x\n2,",
        b" a ,b\n 1 , x\n2\t,  \n\n",
        b'"a","b"\n"1","x"\n"2",""\n',
    ],
    ids=["plain", "carriage returns", "byte order mark, no last line end", "blanks and blank lines", "quoted"],
)
def test_what_surrounds_a_cell_does_not_matter(tmp_path: Path, data: bytes) -> None:
    table = read_csv(_written(tmp_path, data), "table.csv")
    assert table.to_dict(as_series=False) == {"a": ["1", "2"], "b": ["x", None]}


def test_a_compressed_file_without_header_and_with_its_own_delimiter(tmp_path: Path) -> None:
    path = _written(tmp_path, gzip.compress(b"1;x\n2;y\n"), "table.csv.gz")
    table = read_csv(path, "table.csv.gz", ";", ("a", "b"))
    assert table.rows() == [("1", "x"), ("2", "y")]


def test_a_quoted_cell_may_hold_delimiters_and_line_ends(tmp_path: Path) -> None:
    table = read_csv(_written(tmp_path, b'a,b\n"1,5","two\nlines"\n'), "table.csv")
    assert table.rows() == [("1,5", "two\nlines")]


def test_ragged_rows_are_named(tmp_path: Path) -> None:
    path = _written(tmp_path, b"a,b\n1,2\n3\n4,5,6\n7,8\n")
    with pytest.raises(CohortError, match="rows 2, 3: not as many cells as there are columns"):
        read_csv(path, "table.csv")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no rows"),
        (b"a,b\n", "no rows"),
        (b"a,a\n1,2\n", "'a' twice"),
        (b"a,b\n\xff\xfe,2\n", "not UTF-8"),
        (b'a,b\n"1,2\n', "not a CSV file"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(CohortError, match=message):
        read_csv(_written(tmp_path, data), "table.csv")


def test_a_file_that_cannot_be_read_is_nobodys_data(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="no such file"):
        read_csv(tmp_path / "absent.csv", "absent.csv")
    with pytest.raises(ServiceError, match="cannot read"):
        read_csv(_written(tmp_path, b"no gzip", "table.csv.gz"), "table.csv.gz")
    with pytest.raises(ServiceError, match="cannot read"):
        read_csv(_written(tmp_path, gzip.compress(b"a\n" + b"1\n" * 9999)[:40], "table.csv.gz"), "table.csv.gz")


def test_a_table_longer_than_a_batch_stays_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealround.clinical.tables._BATCH_ROWS", 7)
    path = _written(tmp_path, b"a\n" + b"".join(b"%d\n" % number for number in range(50)))
    assert read_csv(path, "table.csv")["a"].to_list() == [str(number) for number in range(50)]


def test_parquet_columns_become_text(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"f": [1.5, None], "n": [float("nan"), 2.0], "i": [3, 4], "s": [" a ", ""], "b": [True, None], "l": [[1], [2]]}
    )
    frame.write_parquet(tmp_path / "table.parquet")
    table = read_parquet(tmp_path / "table.parquet", "table.parquet")
    assert table.to_dict(as_series=False) == {
        "f": ["1.5", None],
        "n": ["NaN", "2.0"],
        "i": ["3", "4"],
        "s": ["a", None],
        "b": ["true", None],
    }


def test_what_is_no_parquet_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="not a Parquet file"):
        read_parquet(_written(tmp_path, b"a,b\n1,2\n", "table.parquet"), "table.parquet")
    with pytest.raises(ServiceError, match="no such file"):
        read_parquet(tmp_path / "absent.parquet", "absent.parquet")


def test_a_missing_column_is_named_with_the_nearest() -> None:
    with pytest.raises(CohortError, match=r"no column 'Cholesterol' \(did you mean 'cholesterol'\?\), 'zzz'") as error:
        require_columns(pl.DataFrame({"age": ["1"], "cholesterol": ["2"]}), ["age", "Cholesterol", "zzz"], "table.csv")
    assert "age, cholesterol" in error.value.hint


def test_a_raw_table_prints_its_size_only() -> None:
    assert repr(RawTable("t.csv", pl.DataFrame({"a": ["secret"]}))) == "RawTable('t.csv', rows=1, columns=1)"
