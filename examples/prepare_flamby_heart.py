"""Make FLamby's Fed-Heart-Disease table from the data that come with sealround: its 13 features in its order.

    python examples/prepare_flamby_heart.py

Writes ``examples/data/flamby_heart.csv``. Source of the facts: Ogier du Terrail et al., "FLamby", NeurIPS 2022, and its
``fed_heart_disease``: slope, ca and thal are dropped, then rows with a missing value; chest pain and resting ECG are
one-hot without their first level; cholesterol 0 stays 0.
"""

from __future__ import annotations

import csv
from importlib import resources
from pathlib import Path

import numpy as np

from sealround.clinical import SplitName
from sealround.clinical.flamby import flamby_split

NUMERIC = ("age", "sex", "trestbps", "chol", "fbs", "thalach", "exang", "oldpeak")
LEVELS = (("cp", "2"), ("cp", "3"), ("cp", "4"), ("restecg", "1"), ("restecg", "2"))


def main() -> None:
    """Write the table and say where."""
    source = resources.files("sealround.clinical") / "data" / "heart_disease" / "heart_disease.csv"
    target = Path(__file__).parent / "data" / "flamby_heart.csv"
    target.parent.mkdir(exist_ok=True)
    # Numbered, because sealround orders features by name and the published start is by position.
    names = [f"{i:02d} {name}" for i, name in enumerate((*NUMERIC, *(f"{column}={level}" for column, level in LEVELS)))]
    with source.open(newline="") as file:
        patients = [row for row in csv.DictReader(file) if all(row[name] for name in (*NUMERIC, "cp", "restecg"))]
    split = flamby_split(
        np.array([row["hospital"] for row in patients]),
        np.array([float(row["num"]) > 0 for row in patients]),
        np.ones(len(patients), dtype=bool),
    )
    with target.open("w", newline="") as output:
        writer = csv.writer(output)
        writer.writerow(["hospital", "split", "num", *names])
        for row, part in zip(patients, split, strict=True):
            levels = [int(float(row[column]) == float(level)) for column, level in LEVELS]
            numbers = [row[column] for column in NUMERIC]
            writer.writerow([row["hospital"], SplitName(part).name.lower(), row["num"], *numbers, *levels])
    print(f"{len(patients)} patients: {target}")


if __name__ == "__main__":
    main()
