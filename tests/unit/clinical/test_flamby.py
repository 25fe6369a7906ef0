from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from sealround.clinical import Places, SplitName, load_cohorts
from sealround.clinical.builtin import read_builtin
from sealround.clinical.cells import finite_numbers
from sealround.clinical.flamby import FLAMBY_COLUMNS, LEFT_OUT, flamby_split

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# FLamby's README of Fed-Heart-Disease: records per centre, train and test.
PUBLISHED = {"Cleveland": (199, 104), "Hungary": (172, 89), "Switzerland": (30, 16), "VA Long Beach": (85, 45)}


def _theirs(event: np.ndarray) -> np.ndarray:
    """FLamby's call, on its own terms: stratified where each class has more than two rows."""
    classes, sizes = np.unique(event, return_counts=True)
    stratify = event if classes.size > 1 and sizes.min() > 2 else None
    return np.asarray(
        train_test_split(
            np.arange(event.size),
            test_size=1.0 - 0.66,
            train_size=0.66,
            random_state=43,
            shuffle=True,
            stratify=stratify,
        )[1]
    )


@pytest.mark.parametrize("size", [5, 17, 46, 100, 261, 303, 1000])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.4, 0.5, 0.98])
def test_the_split_is_scikit_learns(size: int, share: float) -> None:
    event = (np.random.default_rng(size).random(size) < share).astype(np.float32)
    split = flamby_split(np.zeros(size), event, np.ones(size, dtype=bool))
    np.testing.assert_array_equal(np.flatnonzero(split == SplitName.TEST), np.sort(_theirs(event)))


def test_the_heart_data_splits_into_flambys_records(make_study: Callable[..., Any], tmp_path: Path) -> None:
    source = {"kind": "builtin", "name": "heart-disease"}
    study = make_study({"source": source, "sites": {"kind": "column"}, "split": {"kind": "flamby-heart"}})
    cohorts = load_cohorts(study, Places(tmp_path, tmp_path))
    sizes = {
        str(site): (cohort.where(SplitName.TRAIN).size, cohort.where(SplitName.TEST).size)
        for site, cohort in cohorts.items()
    }
    assert sizes == PUBLISHED
    table = read_builtin("heart-disease")
    for hospital, cohort in cohorts.items():
        rows = table.filter(table["hospital"] == str(hospital))
        whole = ~np.any([np.isnan(finite_numbers(rows[column])[0]) for column in FLAMBY_COLUMNS], axis=0)
        event = (finite_numbers(rows["num"])[0][whole] > 0).astype(int)
        np.testing.assert_array_equal(cohort.where(SplitName.TEST), np.sort(_theirs(event)))


def test_the_split_does_not_depend_on_what_else_the_study_declares(
    make_study: Callable[..., Any], tmp_path: Path
) -> None:
    def tests(columns: dict[str, Any]) -> list[list[int]]:
        source = {"kind": "builtin", "name": "heart-disease"}
        cohort = {"source": source, "sites": {"kind": "column"}, "split": {"kind": "flamby-heart"}, "columns": columns}
        cohorts = load_cohorts(make_study(cohort), Places(tmp_path, tmp_path))
        return [cohort.split.tolist() for cohort in cohorts.values()]

    numeric = {"role": "feature", "kind": "numeric"}
    assert tests({}) == tests({"ca": numeric, "chol": numeric, "slope": numeric})


def test_validation_is_carved_from_training(make_study: Callable[..., Any], tmp_path: Path) -> None:
    source = {"kind": "builtin", "name": "heart-disease"}
    split = {"kind": "flamby-heart", "carve_validation": 0.2}
    study = make_study({"source": source, "sites": {"kind": "column"}, "split": split})
    cohorts = load_cohorts(study, Places(tmp_path, tmp_path))
    for site, (train, test) in PUBLISHED.items():
        sizes = np.bincount(cohorts[site].split, minlength=3).tolist()  # type: ignore[index]
        assert sizes == [train - round(0.2 * train), round(0.2 * train), test]


def test_incomplete_rows_are_left_out() -> None:
    complete = np.array([True] * 9 + [False])
    split = flamby_split(np.zeros(10), np.zeros(10), complete)
    assert np.flatnonzero(split == LEFT_OUT).tolist() == [9]
