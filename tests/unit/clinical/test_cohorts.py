from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sealround.clinical import Places, SplitName, load_cohorts
from sealround.clinical.cohorts import assemble
from sealround.errors import CohortError, StudyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sealround.clinical import SiteCohort
    from sealround.study import Study

    Make = Callable[..., Study]

FEATURE = {"role": "feature", "kind": "numeric"}
LABEL = {"role": "label", "positive": [1], "negative": [0]}


def _only(cohorts: dict[Any, SiteCohort]) -> SiteCohort:
    (cohort,) = cohorts.values()
    return cohort


def test_a_cohort_holds_declared_columns_as_they_were_read(csv_study: Make, places: Places) -> None:
    columns = {"label": LABEL, "x": {**FEATURE, "missing": [-9]}, "c": {"role": "feature", "kind": "categorical"}}
    study = csv_study("c,unused,x,label\nb,1, 1.50 ,0\n ?,2,-9.0,1\na,3,NA,1\n", columns)
    cohort = _only(load_cohorts(study, places))
    assert cohort.table.columns == ["c", "x", "label"]
    assert cohort.table["x"].to_list() == ["1.50", None, None]
    assert cohort.table["c"].to_list() == ["b", None, "a"]
    assert cohort.outcome.event.tolist() == [0, 1, 1]
    assert cohort.outcome.event.dtype == np.float32
    assert cohort.outcome.time is None
    assert cohort.patient.tolist() == [0, 1, 2]
    assert cohort.split.tolist() == [SplitName.TRAIN] * 3
    assert cohort.inputs.kind == "table"
    assert repr(cohort) == "SiteCohort(site='site-1', rows=3)"


def test_missing_codes_of_the_study_replace_the_usual_ones_but_an_empty_cell_is_missing(
    csv_study: Make, places: Places
) -> None:
    study = csv_study("x,label\n,0\n999,1\n", missing_codes=["999"])
    assert _only(load_cohorts(study, places)).table["x"].to_list() == [None, None]
    study = csv_study("x,label\n?,0\n1,1\n", missing_codes=["999"])
    with pytest.raises(CohortError, match="column 'x', row 1: no number"):
        load_cohorts(study, places)


@pytest.mark.parametrize(
    ("column", "cells", "expected"),
    [
        (LABEL, ["1", "0", "1.0", "0.0"], [1, 0, 1, 0]),
        ({"role": "label", "positive": ["yes", 2]}, ["yes", "2.0", "no", "3"], [1, 1, 0, 0]),
        # A code that is missing elsewhere can still be an outcome.
        ({"role": "label", "positive": ["NA"], "negative": ["B"]}, ["NA", "B"], [1, 0]),
    ],
)
def test_outcomes_are_mapped(
    csv_study: Make, places: Places, column: dict[str, Any], cells: list[str], expected: list[int]
) -> None:
    text = "x,label\n" + "".join(f"1,{cell}\n" for cell in cells)
    cohort = _only(load_cohorts(csv_study(text, {"x": FEATURE, "label": column}), places))
    assert cohort.outcome.event.tolist() == expected


@pytest.mark.parametrize(
    ("column", "cells", "rows"),
    [
        (LABEL, ["1", "2", "", "0"], "rows 2, 3"),
        ({"role": "label", "positive": [1]}, ["1", "2", "?", "0"], "row 3"),
    ],
)
def test_unknown_outcomes_are_named(
    csv_study: Make, places: Places, column: dict[str, Any], cells: list[str], rows: str
) -> None:
    text = "x,label\n" + "".join(f"1,{cell}\n" for cell in cells)
    with pytest.raises(CohortError, match=f"column 'label', {rows}: no known outcome"):
        load_cohorts(csv_study(text, {"x": FEATURE, "label": column}), places)


SURVIVAL = {"x": FEATURE, "t": {"role": "time"}, "e": {"role": "event", "positive": ["dead"]}}


def test_survival_has_a_time_and_an_event(csv_study: Make, places: Places) -> None:
    study = csv_study("x,t,e\n1,5,dead\n2,7.5,alive\n", SURVIVAL, model="cox")
    outcome = _only(load_cohorts(study, places)).outcome
    assert outcome.event.tolist() == [1, 0]
    assert outcome.time is not None
    assert outcome.time.tolist() == [5, 7.5]
    assert outcome.time.dtype == np.float32


def test_a_time_that_is_missing_or_negative_is_named(csv_study: Make, places: Places) -> None:
    study = csv_study("x,t,e\n1,5,dead\n2,0,alive\n3,,alive\n4,-1,dead\n5,soon,dead\n", SURVIVAL, model="cox")
    with pytest.raises(CohortError, match="column 't', rows 3, 4, 5: no time of 0 or more"):
        load_cohorts(study, places)
    study = csv_study("x,t,e\n1,5,\n", SURVIVAL, model="cox")
    with pytest.raises(CohortError, match="column 'e', row 1: no known outcome"):
        load_cohorts(study, places)


def test_a_level_that_is_not_declared_is_named(csv_study: Make, places: Places) -> None:
    columns = {"c": {"role": "feature", "kind": "categorical", "levels": ["1", "2"]}, "label": LABEL}
    study = csv_study("c,label\n1.0,0\n2,1\n,1\n3,0\n", columns)
    with pytest.raises(CohortError, match="column 'c', row 4: none of the 2 declared levels"):
        load_cohorts(study, places)


def test_incomplete_rows_are_dropped_on_request_for_features_only(csv_study: Make, places: Places) -> None:
    columns = {"x": FEATURE, "s": {"role": "sensitive"}, "label": LABEL}
    text = "x,s,label\n1,,0\n,a,1\n3,b,1\n"
    kept = assemble(csv_study(text, columns, drop_incomplete=True), places)
    (site,) = kept.cohorts
    assert kept.cohorts[site].table["x"].to_list() == ["1", "3"]
    assert kept.source_rows[site].tolist() == [0, 2]
    with pytest.raises(CohortError, match="no row has every feature"):
        load_cohorts(csv_study("x,label\n,0\n", drop_incomplete=True), places)


def test_codes_for_missing_are_counted_apart_from_empty_cells(csv_study: Make, places: Places) -> None:
    study = csv_study("x,label\n,0\n?,1\n0,1\n5,0\n", {"x": {**FEATURE, "missing": [0]}, "label": LABEL})
    assembly = assemble(study, places)
    assert assembly.coded == {"site-1": {"x": 2}}
    assert _only(dict(assembly.cohorts)).table["x"].null_count() == 3


SITES = {"x": FEATURE, "label": LABEL, "h": {"role": "site"}}


def test_natural_sites_are_sorted_and_a_whole_number_is_one_name(csv_study: Make, places: Places) -> None:
    study = csv_study("x,label,h\n1,0,B\n2,1,7.0\n3,1,A b\n4,0,7\n", SITES, sites={"kind": "column"})
    cohorts = load_cohorts(study, places)
    assert list(cohorts) == ["7", "A b", "B"]
    assert cohorts["7"].table["x"].to_list() == ["2", "4"]  # type: ignore[index]


@pytest.mark.parametrize("name", ["", "?", "Coordinator", "x" * 81])
def test_a_row_without_a_usable_site_is_named(csv_study: Make, places: Places, name: str) -> None:
    study = csv_study(f"x,label,h\n1,0,B\n2,1,{name}\n", SITES, sites={"kind": "column"})
    with pytest.raises(CohortError, match="column 'h', row 2: no site named"):
        load_cohorts(study, places)


PATIENTS = {"x": FEATURE, "label": LABEL, "pid": {"role": "patient"}}
BY_COLUMN = {"kind": "column", "column": "part"}


@pytest.mark.parametrize("name", ["", "NA"])
def test_a_patient_without_a_name_is_refused(csv_study: Make, places: Places, name: str) -> None:
    with pytest.raises(CohortError, match="column 'pid', row 2: no patient named"):
        load_cohorts(csv_study(f"x,label,pid\n1,0,a\n2,1,{name}\n", PATIENTS), places)


def test_patients_must_not_cross_a_given_split_unless_ids_start_anew(csv_study: Make, places: Places) -> None:
    text = "x,label,pid,part\n1,0,a,train\n2,1,a,test\n3,1,b,train\n4,0,c,train\n"
    study = csv_study(text, PATIENTS, split=BY_COLUMN)
    with pytest.raises(CohortError, match=r"1 patients have rows in more than one split \(rows 1, 2\)"):
        load_cohorts(study, places)
    anew = csv_study(text, {**PATIENTS, "pid": {"role": "patient", "per_split": True}}, split=BY_COLUMN)
    cohort = _only(load_cohorts(anew, places))
    assert np.unique(cohort.patient).size == 4
    assert cohort.split.tolist() == [SplitName.TRAIN, SplitName.TEST, SplitName.TRAIN, SplitName.TRAIN]


def test_a_split_column_is_read_and_unknown_parts_are_named(csv_study: Make, places: Places) -> None:
    split = {**BY_COLUMN, "train": ["fit", 0], "validation": ["tune"], "test": [1]}
    columns = {"x": FEATURE, "label": LABEL}
    study = csv_study("x,label,part\n1,0,fit\n2,1,0.0\n3,1,tune\n4,0,1\n", columns, split=split)
    assert _only(load_cohorts(study, places)).split.tolist() == [0, 0, 1, 2]
    study = csv_study("x,label,part\n1,0,fit\n2,1,other\n3,0,\n", columns, split=split)
    with pytest.raises(CohortError, match="column 'part', rows 2, 3: no known split"):
        load_cohorts(study, places)


def test_absent_columns_are_named_at_once(csv_study: Make, places: Places) -> None:
    columns = {"Xx": FEATURE, "label": LABEL, "zzz": FEATURE}
    with pytest.raises(CohortError, match=r"no column 'Xx' .*, 'zzz'"):
        load_cohorts(csv_study("xx,label\n1,0\n", columns), places)


@pytest.mark.parametrize(
    ("cohort", "model", "path"),
    [
        ({"columns": {"x": FEATURE}}, "logistic", "cohort.columns"),
        ({"columns": {"label": LABEL}}, "logistic", "cohort.columns"),
        ({"columns": {"x": FEATURE, "label": LABEL, "m": LABEL}}, "logistic", "cohort.columns"),
        ({"columns": {"x": FEATURE, "label": LABEL}}, "cox", "cohort.columns.label"),
        ({"columns": {"x": FEATURE, "label": LABEL}, "sites": {"kind": "column"}}, "logistic", "cohort.sites"),
        ({"split": {"kind": "random", "validation": 0.5, "test": 0.5}}, "logistic", "cohort.split"),
        ({"split": {"kind": "flamby-heart"}}, "logistic", "cohort.split"),
        (
            {"columns": {"x": FEATURE, "label": LABEL, "p": {"role": "patient", "per_split": True}}},
            "logistic",
            "cohort.columns.p.per_split",
        ),
    ],
)
def test_columns_that_do_not_add_up_are_the_studys_fault(
    csv_study: Make, places: Places, cohort: dict[str, Any], model: str, path: str
) -> None:
    columns = cohort.pop("columns", None)
    study = csv_study("x,label,m,p\n1,0,0,a\n2,1,1,b\n", columns, model=model, **cohort)
    with pytest.raises(StudyError) as error:
        load_cohorts(study, places)
    assert path in [problem.path for problem in error.value.problems]


def test_features_beside_an_array_are_the_studys_fault(make_study: Make, places: Places, tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=np.zeros((4, 2)), label=[0, 1, 0, 1], age=[1, 2, 3, 4])
    source = {"kind": "npz", "path": "set.npz", "array": "images"}
    study = make_study(
        {"source": source, "columns": {"age": FEATURE, "label": LABEL}, "sites": {"kind": "iid", "number": 1}}
    )
    with pytest.raises(StudyError) as error:
        load_cohorts(study, places)
    assert [problem.path for problem in error.value.problems] == ["cohort.columns.age"]


def test_arrays_follow_their_rows(make_study: Make, places: Places, tmp_path: Path) -> None:
    vectors = np.arange(80, dtype=np.float32).reshape(40, 2)
    np.savez(tmp_path / "set.npz", images=vectors, label=np.arange(40) % 2, number=np.arange(40))
    columns = {"label": LABEL, "number": {"role": "sensitive"}}
    source = {"kind": "npz", "path": "set.npz", "array": "images"}
    cohort = {"source": source, "columns": columns, "sites": {"kind": "dirichlet", "number": 3, "alpha": 0.5}}
    for site in load_cohorts(make_study(cohort), places).values():
        assert site.array is not None
        np.testing.assert_array_equal(site.array, vectors[site.table["number"].cast(int).to_numpy()])


def test_the_heart_data_needs_no_declaration(make_study: Make, places: Places) -> None:
    source = {"kind": "builtin", "name": "heart-disease"}
    cohorts = load_cohorts(make_study({"source": source, "sites": {"kind": "column"}}), places)
    assert {site: cohort.rows for site, cohort in cohorts.items()} == {
        "Cleveland": 303,
        "Hungary": 294,
        "Switzerland": 123,
        "VA Long Beach": 200,
    }
    assert {site: int(cohort.outcome.event.sum()) for site, cohort in cohorts.items()} == {
        "Cleveland": 139,
        "Hungary": 106,
        "Switzerland": 115,
        "VA Long Beach": 149,
    }


def test_the_same_seed_gives_the_same_cohorts(make_study: Make, places: Places) -> None:
    source = {"kind": "builtin", "name": "breast-cancer"}
    cohort = {"source": source, "sites": {"kind": "dirichlet", "number": 5, "alpha": 0.5}}
    once, again = (load_cohorts(make_study(cohort, seed=3), places) for _ in range(2))
    other = load_cohorts(make_study(cohort, seed=4), places)
    for site in once:
        assert once[site].table.equals(again[site].table)
        np.testing.assert_array_equal(once[site].split, again[site].split)
    assert any(not once[site].table.equals(other[site].table) for site in once)


def test_a_split_seed_keeps_the_split_when_the_study_seed_changes(make_study: Make, places: Places) -> None:
    def splits(seed: int, split_seed: int | None) -> list[int]:
        split = {"kind": "random", "seed": split_seed} if split_seed is not None else {"kind": "random"}
        source = {"kind": "builtin", "name": "heart-disease"}
        study = make_study({"source": source, "sites": {"kind": "column"}, "split": split}, seed=seed)
        return [int(part) for cohort in load_cohorts(study, places).values() for part in cohort.split]

    assert splits(1, 5) == splits(2, 5)
    assert splits(1, None) != splits(2, None)
