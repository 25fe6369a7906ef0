"""Make one table of the TCGA-BRCA files: a row for each patient, with its region, its split and its stage in order.

    python examples/prepare_tcga_brca.py [DATA_FOLDER]

Reads ``tcga_brca/brca.csv`` and ``tcga_brca/train_test_split.csv`` of the data folder (``SEALROUND_DATA``), writes
``examples/data/tcga_brca.csv``.

Added to the 39 published columns: the tumour stage as one ordinal number (I and IA 1, IIA 2, IIB 2.5, IIIA 3, IIIC 3.7,
none of these 2.5), whether it is none of these, and the years of age above 60.
"""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

STAGES = {
    "tumor_stage_stage i": 1.0,
    "ajcc_pathologic_stage_Stage IA": 1.0,
    "ajcc_pathologic_stage_Stage IIA": 2.0,
    "ajcc_pathologic_stage_Stage IIB": 2.5,
    "ajcc_pathologic_stage_Stage IIIA": 3.0,
    "ajcc_pathologic_stage_Stage IIIC": 3.7,
}
STAGE_UNKNOWN = 2.5
OLD_AGE = 60


def main() -> None:
    """Write the table and say where."""
    given = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SEALROUND_DATA")
    if not given:
        sys.exit("name the data folder: as the first argument, or in SEALROUND_DATA")
    source = Path(given) / "tcga_brca"
    with (source / "train_test_split.csv").open(newline="") as file:
        place = {row["pid"]: row["fold2"].rsplit("_", 1) for row in csv.DictReader(file)}
    with (source / "brca.csv").open(newline="") as file:
        patients = [row for row in csv.DictReader(file) if row["pid"] in place]
    for row in patients:
        split, region = place[row["pid"]]
        stages = [value for column, value in STAGES.items() if float(row[column])]
        age = float(row["age_at_index"])
        row |= {
            "region": f"region-{region}",
            "split": split,
            "stage": str(stages[0] if stages else STAGE_UNKNOWN),
            "stage_unknown": str(int(not stages)),
            "years_above_60": str(max(age - OLD_AGE, 0.0)),
        }
    target = Path(__file__).parent / "data" / "tcga_brca.csv"
    target.parent.mkdir(exist_ok=True)
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(patients[0]))
        writer.writeheader()
        writer.writerows(patients)
    print(f"{len(patients)} patients: {target}")


if __name__ == "__main__":
    main()
