"""The defects that the README files of the real data describe, and small ones made here."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from sealround.clinical import Places
from sealround.clinical.cohorts import assemble
from sealround.clinical.quality import inspect
from sealround.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sealround.clinical.findings import Finding, QualityReport
    from sealround.study import Study

    Make = Callable[..., Study]

ONE = {"kind": "iid", "number": 1}
NUMERIC = {"role": "feature", "kind": "numeric"}
LEVELS = {"role": "feature", "kind": "categorical"}
LABEL = {"role": "label", "positive": [1]}
PATIENT = {"role": "patient"}
BY_SPLIT = {"kind": "column", "column": "split"}


def _report(study: Study, folder: Path) -> QualityReport:
    return inspect(study, assemble(study, Places(folder, folder)))


def _found(report: QualityReport, code: str, site: str | None = None) -> list[Finding]:
    return [finding for finding in report.findings if finding.code == code and (site is None or finding.site == site)]


def _counts(report: QualityReport, code: str) -> dict[tuple[str | None, str | None], int]:
    return {(finding.site, finding.column): finding.count for finding in _found(report, code)}


# --- the heart data ---------------------------------------------------------------------------------------------------

HEART = {"source": {"kind": "builtin", "name": "heart-disease"}, "sites": {"kind": "column"}}


def test_cholesterol_of_zero_in_every_swiss_row_is_said_plainly(make_study: Make, tmp_path: Path) -> None:
    report = _report(make_study({**HEART, "columns": {"chol": NUMERIC, "trestbps": NUMERIC}}), tmp_path)
    (finding,) = _found(report, "constant-code")
    assert (finding.site, finding.column, finding.count) == ("Switzerland", "chol", 123)
    assert finding.message == "0 in every row, a usual code for missing"
    assert "cohort.columns.chol.missing" in finding.advice
    assert _counts(report, "suspicious-code") == {("VA Long Beach", "chol"): 49, ("VA Long Beach", "trestbps"): 1}


def test_declared_codes_are_counted_and_an_empty_column_named(make_study: Make, tmp_path: Path) -> None:
    report = _report(make_study(HEART), tmp_path)
    assert _counts(report, "empty-column") == {("Switzerland", "chol"): 123}
    assert not _found(report, "suspicious-code")
    coded = {(site.site, column.name): column.coded for site in report.sites for column in site.columns if column.coded}
    assert coded == {("Switzerland", "chol"): 123, ("VA Long Beach", "chol"): 49, ("VA Long Beach", "trestbps"): 1}


def test_missing_cells_are_counted(make_study: Make, tmp_path: Path) -> None:
    columns = {"slope": LEVELS, "ca": NUMERIC, "thal": LEVELS, "chol": NUMERIC, "trestbps": NUMERIC}
    report = _report(make_study({**HEART, "columns": columns}), tmp_path)
    missing = {site.site: {column.name: column.missing for column in site.columns} for site in report.sites}
    assert sum(missing["VA Long Beach"].values()) == 698
    assert missing["Hungary"]["ca"] == 291
    mostly = set(_counts(report, "mostly-missing"))
    assert {("Hungary", "ca"), ("Hungary", "thal"), ("Hungary", "slope"), ("VA Long Beach", "ca")} <= mostly


def test_the_two_rows_entered_twice_are_found(make_study: Make, tmp_path: Path) -> None:
    report = _report(make_study(HEART), tmp_path)
    assert {site.site: site.copies for site in report.sites if site.copies} == {"Hungary": 1, "VA Long Beach": 1}
    assert {finding.site for finding in _found(report, "duplicates")} == {"Hungary", "VA Long Beach"}
    assert _found(report, "duplicates", "Hungary")[0].rows == (405, 406)


def test_rows_that_a_split_leaves_out_are_counted(make_study: Make, tmp_path: Path) -> None:
    report = _report(make_study({**HEART, "split": {"kind": "flamby-heart"}}), tmp_path)
    assert {site.site: site.left_out for site in report.sites} == {
        "Cleveland": 0,
        "Hungary": 33,
        "Switzerland": 77,
        "VA Long Beach": 70,
    }
    assert _found(report, "one-outcome", "Switzerland")


# --- other real data --------------------------------------------------------------------------------------------------


@pytest.mark.data
def test_zeros_that_code_missing_in_the_pima_data(make_study: Make, clinical_data: Path) -> None:
    path = clinical_data / "tabular_small" / "pima_diabetes.csv"
    names = pl.read_csv(path, n_rows=0).columns
    columns = {name: NUMERIC for name in names if name != "Outcome"} | {"Outcome": LABEL}
    source = {"kind": "csv", "path": "data:tabular_small/pima_diabetes.csv"}
    report = _report(make_study({"source": source, "columns": columns, "sites": ONE}), clinical_data)
    zeros = Counter(finding.column for finding in _found(report, "suspicious-code") if finding.message.startswith("0,"))
    assert set(zeros) == {"Glucose", "BloodPressure", "SkinThickness", "Insulin", "BMI"}
    assert _counts(report, "suspicious-code")["site-1", "Insulin"] == 374


def _kermany(make_study: Make, patient: dict[str, Any], sites: dict[str, Any] = ONE) -> Study:
    folder = "data:cxr_pneumonia_kermany"
    source = {"kind": "npz", "path": f"{folder}/cxr_64.npz", "array": "images", "table": f"{folder}/labels.csv"}
    columns = {"label": {"role": "label", "positive": ["PNEUMONIA"], "negative": ["NORMAL"]}, "patient": patient}
    return make_study({"source": source, "columns": columns, "sites": sites, "split": BY_SPLIT})


@pytest.mark.data
def test_duplicate_chest_x_rays(make_study: Make, clinical_data: Path) -> None:
    report = _report(_kermany(make_study, {**PATIENT, "per_split": True}), clinical_data)
    assert _counts(report, "duplicates") == {("site-1", None): 32}
    assert not _found(report, "duplicates-across-splits")
    assert not _found(report, "patients-across-splits")
    assert not report.has_errors
    (site,) = report.sites
    assert (site.rows, site.splits) == (5840, {"train": 5216, "validation": 0, "test": 624})


@pytest.mark.data
def test_patient_numbers_that_start_anew_cross_the_split(make_study: Make, clinical_data: Path) -> None:
    report = _report(_kermany(make_study, PATIENT), clinical_data)
    assert _counts(report, "patients-across-splits") == {("site-1", None): 170}
    assert report.has_errors
    assert report.findings[0].severity == "error"


@pytest.mark.data
def test_copies_are_found_within_and_between_simulated_sites(make_study: Make, clinical_data: Path) -> None:
    study = _kermany(make_study, {**PATIENT, "per_split": True}, {"kind": "dirichlet", "number": 9, "alpha": 0.5})
    report = _report(study, clinical_data)
    within, between = (sum(_counts(report, code).values()) for code in ("duplicates", "duplicates-between-sites"))
    assert within == sum(site.copies for site in report.sites)
    assert between > 0
    assert within + between == 32


def _fundus(make_study: Make, positive: list[int], source: dict[str, Any] | None = None) -> Study:
    folder = "data:fundus_dr_rahim"
    npz = {"kind": "npz", "path": f"{folder}/fundus_64.npz", "array": "images", "table": f"{folder}/labels.csv"}
    columns = {"icdr_grade": {"role": "label", "positive": positive}, "patient": PATIENT, "eye": {"role": "sensitive"}}
    return make_study({"source": source or npz, "columns": columns, "sites": ONE})


@pytest.mark.data
@pytest.mark.parametrize("images", ["npz", "jpeg"])
def test_two_patients_of_the_same_photographs_and_different_grades(
    make_study: Make, clinical_data: Path, images: str
) -> None:
    folder = "data:fundus_dr_rahim"
    source = {
        "kind": "image-folder",
        "path": f"{folder}/fundus_224_jpeg.zip",
        "table": f"{folder}/labels.csv",
        "size": 32,
    }
    study = _fundus(make_study, [3, 4, 5], source if images == "jpeg" else None)
    report = _report(study, clinical_data)
    rows = (542, 543, 565, 566)  # patients 299 and 300, left and right
    for code in ("one-record-two-patients", "conflicting-labels"):
        (finding,) = _found(report, code)
        assert (finding.count, finding.unit, finding.rows) == (2, "groups", rows)
    assert report.has_errors
    same = _report(_fundus(make_study, [2, 3, 4, 5]), clinical_data)
    assert _found(same, "one-record-two-patients")
    assert not _found(same, "conflicting-labels")


@pytest.mark.data
def test_the_copies_of_pneumoniamnist(make_study: Make, clinical_data: Path) -> None:
    source = {"kind": "medmnist", "path": "data:pneumoniamnist_28/pneumoniamnist_28.npz"}
    study = make_study({"source": source, "columns": {"label": LABEL}, "sites": ONE, "split": BY_SPLIT})
    report = _report(study, clinical_data)
    (site,) = report.sites
    assert (site.rows, site.positives, site.copies) == (5856, 3494 + 389 + 390, 29)
    assert site.splits == {"train": 4708, "validation": 524, "test": 624}
    assert not _found(report, "duplicates-across-splits")
    assert not _found(report, "one-record-two-patients")  # there is no patient column to tell


@pytest.mark.data
def test_the_missing_cells_of_support2(make_study: Make, clinical_data: Path) -> None:
    path = clinical_data / "icu_support2" / "support2.csv.gz"
    names = pl.read_csv(path, n_rows=0).columns
    columns = {name: NUMERIC if name.startswith("num_") else LEVELS for name in names if name[:4] in {"num_", "fac_"}}
    columns |= {"event": {"role": "event", "positive": [1]}, "time": {"role": "time"}, "pid": PATIENT}
    source = {"kind": "csv", "path": "data:icu_support2/support2.csv.gz"}
    study = make_study({"source": source, "columns": columns, "sites": ONE}, model="cox")
    started = time.process_time()
    report = _report(study, clinical_data)
    assert time.process_time() - started < 10  # about a second
    (site,) = report.sites
    assert (site.rows, site.positives) == (9105, 6201)
    assert sum(column.missing for column in site.columns) == 34726
    assert not _found(report, "suspicious-code")


@pytest.mark.data
def test_a_row_without_a_centre_is_named(make_study: Make, clinical_data: Path) -> None:
    source = {"kind": "csv", "path": "data:survival_multicenter/ncctg_lung_18_institutions.csv"}
    columns = {
        "inst": {"role": "site"},
        "age": NUMERIC,
        "time": {"role": "time"},
        "status": {"role": "event", "positive": [2]},
    }
    study = make_study({"source": source, "columns": columns, "sites": {"kind": "column"}}, model="cox")
    with pytest.raises(CohortError, match=r"column 'inst', row \d+: no site named"):
        assemble(study, Places(clinical_data, clinical_data))


# --- small data -------------------------------------------------------------------------------------------------------


def test_out_of_range_and_rare_levels_and_constant_columns(csv_study: Make, tmp_path: Path) -> None:
    rows = [f"{50 + number},a,1,{number % 2}" for number in range(20)]
    rows[3] = "400,rare,1,1"
    columns = {"x": {**NUMERIC, "range": [0, 300]}, "c": LEVELS, "k": NUMERIC, "label": LABEL}
    report = _report(csv_study("x,c,k,label\n" + "\n".join(rows) + "\n", columns), tmp_path)
    assert _counts(report, "out-of-range") == {("site-1", "x"): 1}
    assert _counts(report, "rare-levels") == {("site-1", "c"): 1}
    assert _counts(report, "constant-column") == {("site-1", "k"): 20}
    assert _counts(report, "tiny-site") == {("site-1", None): 20}
    (site,) = report.sites
    assert (site.smallest_cell, site.smallest_cell_at) == (1, "a level of c")


def test_a_code_within_the_declared_range_is_a_value(csv_study: Make, tmp_path: Path) -> None:
    rows = [f"{1 + number / 10},{number % 2}" for number in range(40)] + ["-1,0"]
    text = "x,label\n" + "\n".join(rows) + "\n"
    assert _counts(_report(csv_study(text), tmp_path), "suspicious-code") == {("site-1", "x"): 1}
    columns = {"x": {**NUMERIC, "range": [-3, 7]}, "label": LABEL}
    assert not _found(_report(csv_study(text, columns), tmp_path), "suspicious-code")


def test_a_constant_zero_is_a_code_only_where_the_column_is_a_quantity(csv_study: Make, tmp_path: Path) -> None:
    rows = [f"0,{number % 2},A" for number in range(20)] + [f"{number % 2},{number % 2},B" for number in range(20)]
    columns = {"x": NUMERIC, "label": LABEL, "h": {"role": "site"}}
    text = "x,label,h\n" + "\n".join(rows) + "\n"
    flag = _report(csv_study(text, columns, sites={"kind": "column"}), tmp_path)
    assert not _found(flag, "constant-code")
    assert _found(flag, "constant-column", "A")
    measured = {**columns, "x": {**NUMERIC, "unit": "mg"}}
    quantity = _report(csv_study(text, measured, sites={"kind": "column"}), tmp_path)
    assert _found(quantity, "constant-code", "A")


def test_rows_that_no_simulated_site_gets_are_counted(csv_study: Make, tmp_path: Path) -> None:
    rows = [f"{number},{number % 2}" for number in range(20)] + [",0", "?,1"]
    study = csv_study("x,label\n" + "\n".join(rows) + "\n", drop_incomplete=True)
    assert _counts(_report(study, tmp_path), "rows-left-out") == {(None, None): 2}


def test_splits_without_rows_or_with_one_outcome(csv_study: Make, tmp_path: Path) -> None:
    rows = ["1,0,test,A"] * 3 + ["1,0,train,B", "2,1,train,B", "3,1,test,B"] + ["4,1,train,C"] * 2
    columns = {"x": NUMERIC, "label": LABEL, "h": {"role": "site"}}
    text = "x,label,part,h\n" + "\n".join(rows) + "\n"
    split = {"kind": "column", "column": "part"}
    report = _report(csv_study(text, columns, sites={"kind": "column"}, split=split), tmp_path)
    assert {finding.site for finding in _found(report, "no-training-rows")} == {"A"}
    assert {finding.site for finding in _found(report, "no-test-rows")} == {"C"}
    messages = {(finding.site, finding.message) for finding in _found(report, "one-outcome")}
    assert ("B", "all test rows have the same outcome") in messages
    assert ("C", "all train rows have the same outcome") in messages
    assert report.has_errors


def test_copies_across_the_test_of_images_are_an_error(make_study: Make, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    images[11] = images[0]
    images[10] = images[1]
    split = np.array(["train"] * 9 + ["val", "train", "test"])
    np.savez(tmp_path / "set.npz", images=images, label=np.arange(12) % 2, split=split)
    source = {"kind": "npz", "path": "set.npz", "array": "images"}
    study = make_study({"source": source, "columns": {"label": LABEL}, "sites": ONE, "split": BY_SPLIT})
    report = _report(study, tmp_path)
    (leak,) = _found(report, "duplicates-across-splits")
    assert (leak.severity, leak.count, leak.rows) == ("error", 1, (1, 12))
    assert _counts(report, "duplicates") == {("site-1", None): 2}
    assert _counts(report, "conflicting-labels") == {("site-1", None): 2}


def test_a_report_that_may_leave_the_site_has_no_small_counts_and_no_rows(csv_study: Make, tmp_path: Path) -> None:
    rows = [f"{50 + number},a,{int(number < 3)}" for number in range(20)] + ["999,b,0"]
    columns = {"x": NUMERIC, "c": LEVELS, "label": LABEL}
    report = _report(csv_study("x,c,label\n" + "\n".join(rows) + "\n", columns), tmp_path)
    exact, shared = (json.loads(json.dumps(report.to_json(shareable=shareable))) for shareable in (False, True))
    assert exact["sites"][0]["positives"] == 3
    assert shared["sites"][0]["positives"] is None
    assert shared["sites"][0]["rows"] == exact["sites"][0]["rows"] == 21
    assert shared["sites"][0]["splits"] == {"train": 21, "validation": 0, "test": 0}
    code = next(finding for finding in shared["findings"] if finding["code"] == "suspicious-code")
    assert code["count"] is None
    assert all("rows" not in finding for finding in shared["findings"])
    small = [value for value in _integers(shared["sites"]) if 0 < value < 5]
    assert small == [2]  # how many distinct levels there are describes no patient


def _integers(tree: Any) -> list[int]:
    if isinstance(tree, dict):
        return [value for branch in tree.values() for value in _integers(branch)]
    if isinstance(tree, list):
        return [value for branch in tree for value in _integers(branch)]
    return [tree] if isinstance(tree, int) else []
