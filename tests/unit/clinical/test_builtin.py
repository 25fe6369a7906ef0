from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sealround.clinical.builtin import BUILTIN, builtin_columns, read_builtin
from sealround.clinical.cells import finite_numbers
from sealround.clinical.roles import roles_of
from sealround.clinical.tables import read_csv
from sealround.errors import UnsupportedError
from sealround.study.sections import Cohort

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"Cleveland": "cleveland", "Hungary": "hungarian", "Switzerland": "switzerland", "VA Long Beach": "va"}
COLUMNS = tuple(column for column in builtin_columns("heart-disease") if column != "hospital")


@pytest.mark.data
@pytest.mark.parametrize("hospital", FILES)
def test_the_heart_data_is_ucis_cell_by_cell_in_its_order(clinical_data: Path, hospital: str) -> None:
    path = clinical_data / "heart_disease_uci" / f"processed.{FILES[hospital]}.data"
    theirs = read_csv(path, path.name, ",", COLUMNS)
    table = read_builtin("heart-disease")
    ours = table.filter(table["hospital"] == hospital)
    for column in COLUMNS:
        expected, odd = finite_numbers(theirs[column].replace("?", None))
        assert not odd.size
        np.testing.assert_array_equal(finite_numbers(ours[column])[0], expected, err_msg=column)


def test_the_heart_data_has_the_documented_patients() -> None:
    table = read_builtin("heart-disease")
    sizes = dict(table.group_by("hospital", maintain_order=True).len().iter_rows())
    assert sizes == {"Cleveland": 303, "Hungary": 294, "Switzerland": 123, "VA Long Beach": 200}
    assert table["hospital"].is_sorted()  # as the files, one after the other
    labels = {
        hospital: [table.filter(table["hospital"] == hospital)["num"].to_list().count(str(level)) for level in range(5)]
        for hospital in sizes
    }
    assert labels == {
        "Cleveland": [164, 55, 36, 35, 13],
        "Hungary": [188, 106, 0, 0, 0],
        "Switzerland": [8, 48, 32, 30, 5],
        "VA Long Beach": [51, 56, 41, 42, 10],
    }


def test_the_heart_data_has_its_known_defects() -> None:
    table = read_builtin("heart-disease")
    swiss = table.filter(table["hospital"] == "Switzerland")
    assert swiss["chol"].unique().to_list() == ["0"]
    longbeach = table.filter(table["hospital"] == "VA Long Beach")
    assert sum(longbeach[column].null_count() for column in COLUMNS) == 698
    hungary = table.filter(table["hospital"] == "Hungary")
    assert hungary["ca"].null_count() > 0.98 * hungary.height
    assert hungary["thal"].null_count() > 0.9 * hungary.height


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_a_builtin_declares_every_column_and_says_whose_it_is(name: str) -> None:
    table = read_builtin(BUILTIN[name].name)
    assert set(table.columns) == set(BUILTIN[name].columns)
    assert BUILTIN[name].name == name
    assert "doi:" in BUILTIN[name].attribution
    assert BUILTIN[name].licence == "CC BY 4.0"


def test_the_breast_cancer_data_is_complete() -> None:
    table = read_builtin("breast-cancer")
    assert table.shape == (569, 31)
    assert sum(table.null_count().row(0)) == 0
    assert table["diagnosis"].to_list().count("malignant") == 212


def test_without_scikit_learn_the_breast_cancer_data_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UnsupportedError, match="scikit-learn") as error:
        read_builtin("breast-cancer")
    assert "sealround[learning]" in error.value.hint


def test_a_study_may_declare_a_builtin_column_otherwise() -> None:
    cohort = Cohort.model_validate_json(
        """{"source": {"kind": "builtin", "name": "heart-disease"}, "sites": {"kind": "column"},
        "columns": {"ca": {"role": "feature", "kind": "numeric"}, "age": {"role": "sensitive"}}}"""
    )
    roles = roles_of(cohort)
    assert "ca" in roles.numeric
    assert "age" not in roles.features
    assert roles.sensitive == ("age", "sex")
    assert roles.site is not None
    assert roles.site[0] == "hospital"
