"""Groups from declared columns, and who is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sealround.clinical import cohort_card, load_cohorts
from sealround.clinical.groups import groups_of, memberships
from sealround.errors import CohortError, StudyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.clinical import Places
    from sealround.study import Study

    Make = Callable[..., Study]

LABEL = {"role": "label", "positive": [1], "negative": [0]}
COLUMNS: dict[str, Any] = {
    "age": {"role": "feature", "kind": "numeric", "sensitive": True, "bands": [50, 65]},
    "sex": {"role": "sensitive", "levels": ["0", "1"], "names": {"0": "female", "1": "male"}},
    "label": LABEL,
}
TEXT = "age,sex,label\n49.9,0,0\n50,1.0,1\n64,,0\n65,1,1\n,0,1\n"


def test_groups_are_levels_by_column_then_pairs(csv_study: Make) -> None:
    names = [group.name for group in groups_of(csv_study(TEXT, COLUMNS))]
    assert names[:5] == ["age < 50", "age ≥ 50 and < 65", "age ≥ 65", "sex = female", "sex = male"]
    assert names[5:7] == ["age < 50, sex = female", "age < 50, sex = male"]
    assert len(names) == 5 + 6


def test_a_cut_point_belongs_above_and_who_has_no_value_nowhere(csv_study: Make, places: Places) -> None:
    study = csv_study(TEXT, COLUMNS)
    (cohort,) = load_cohorts(study, places).values()
    found = memberships(study, cohort, np.arange(5))
    assert found[:, :3].astype(int).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert found[:, 3:5].astype(int).tolist() == [[1, 0], [0, 1], [0, 0], [0, 1], [1, 0]]
    names = [group.name for group in groups_of(study)]
    for position, name in enumerate(names[5:], start=5):
        both = np.logical_and.reduce([found[:, names.index(part)] for part in name.split(", ")])
        np.testing.assert_array_equal(found[:, position], both)
    assert memberships(study, cohort, np.array([3, 0]))[:, 2].tolist() == [True, False]


def test_no_sensitive_column_no_groups(csv_study: Make, places: Places) -> None:
    study = csv_study("x,label\n1,0\n2,1\n")
    (cohort,) = load_cohorts(study, places).values()
    assert groups_of(study) == ()
    assert memberships(study, cohort, np.arange(2)).shape == (2, 0)


def test_survival_has_no_groups(csv_study: Make) -> None:
    columns = {**COLUMNS, "sex": {"role": "sensitive"}, "t": {"role": "time"}, "e": {"role": "event"}}
    del columns["label"]
    assert groups_of(csv_study("", columns, model="cox")) == ()


def test_pairs_can_be_left_out(make_study: Make) -> None:
    study = make_study({"source": {"kind": "csv", "path": "x.csv"}, "columns": COLUMNS, "sites": {"kind": "column"}})
    fairness = study.fairness.model_copy(update={"intersections": False})
    assert len(groups_of(study.model_copy(update={"fairness": fairness}))) == 5


def test_the_heart_data_declare_sex(make_study: Make) -> None:
    study = make_study({"source": {"kind": "builtin", "name": "heart-disease"}, "sites": {"kind": "column"}})
    assert [group.name for group in groups_of(study)] == ["sex = female", "sex = male"]


@pytest.mark.parametrize(
    ("column", "phrase"),
    [
        ({"role": "sensitive"}, "name the levels"),
        ({"role": "feature", "kind": "categorical", "sensitive": True}, "name the levels"),
        ({"role": "feature", "kind": "numeric", "sensitive": True}, "bands = "),
    ],
)
def test_a_column_that_makes_no_groups_is_refused(csv_study: Make, column: dict[str, Any], phrase: str) -> None:
    with pytest.raises(StudyError) as error:
        groups_of(csv_study("", {"s": column, "label": LABEL}))
    (problem,) = error.value.problems
    assert problem.path == "cohort.columns.s"
    assert phrase in problem.message


def test_too_many_groups_are_refused(csv_study: Make) -> None:
    many = {"role": "sensitive", "levels": [str(level) for level in range(15)]}
    with pytest.raises(StudyError, match="too many groups"):
        groups_of(csv_study("", {"a": many, "b": many, "label": LABEL}))


def test_what_no_level_says_is_named(csv_study: Make, places: Places) -> None:
    study = csv_study("age,sex,label\n40,0,0\n41,2,1\n", COLUMNS)
    with pytest.raises(CohortError, match="column 'sex', row 2: none of the 2 declared levels"):
        load_cohorts(study, places)
    banded = {"s": {"role": "sensitive", "bands": [2]}, "x": {"role": "feature", "kind": "numeric"}, "label": LABEL}
    with pytest.raises(CohortError, match="column 's', row 1: no number"):
        load_cohorts(csv_study("s,x,label\nold,1,0\n3,1,1\n", banded), places)


def test_table_1_calls_levels_as_groups_do(csv_study: Make, places: Places) -> None:
    columns = {**COLUMNS, "birth": {"role": "sensitive", "bands": [2000]}}
    rows = [f"{40 + row},{row % 2},{row % 2},{1990 + row}" for row in range(20)]
    study = csv_study("age,sex,label,birth\n" + "\n".join(rows) + "\n", columns)
    (cohort,) = load_cohorts(study, places).values()
    features = {feature["name"]: feature for feature in cohort_card(cohort, study, 5)["features"]}
    assert features["sex"]["levels"] == {"female": 10, "male": 10}
    assert features["birth"]["levels"] == {"< 2000": 10, "≥ 2000": 10}
