"""The evidence of groups: of every model, in the study's order, and only what may be said."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from sealround.engines.group_evidence import METRICS, group_evidence, summed_groups
from sealround.errors import UsageError
from sealround.fairness.cells import CELLS
from sealround.fairness.counting import Examples, count
from sealround.testing import small_study

COLUMNS = {"sex": {"role": "sensitive", "levels": ["f", "m"]}}


def _study(**sections: Any) -> Any:
    cohort = {"source": {"kind": "csv", "path": "x.csv"}, "columns": COLUMNS, "sites": {"kind": "iid", "number": 4}}
    return small_study(cohort=cohort, **sections)


def _counts(women: int, men: int, seed: int = 0) -> np.ndarray:
    sex = np.repeat([0, 1], [women, men])
    risk = np.random.default_rng(seed).random(sex.size)
    member = np.stack((np.ones(sex.size, dtype=bool), sex == 0, sex == 1), axis=1)
    return count(risk, 0.5, Examples(risk > np.where(sex == 0, 0.3, 0.6), np.arange(sex.size), member))


def test_every_model_has_every_group() -> None:
    study = _study()
    found = group_evidence(study, study, {"federated": _counts(60, 90), "alone": _counts(60, 90, 1)})
    assert found is not None
    json.dumps(found, allow_nan=False)
    assert (found["min_group"], found["min_cell_count"], found["confidence"]) == (11, 5, 0.95)
    for model in ("federated", "alone"):
        everybody, women, men = found["models"][model]["groups"]
        assert [entry["group"] for entry in (everybody, women, men)] == ["everybody", "sex = f", "sex = m"]
        assert (everybody["terms"], women["terms"]) == ([], [["sex", "f"]])
        assert [entry["patients"] for entry in (everybody, women, men)] == [150, 60, 90]
        assert women["assessable"]
        assert list(women["metrics"]) == list(METRICS)
        assert women["metrics"]["fnr"]["value"] > 0.1 > men["metrics"]["fnr"]["value"]
        assert women["gaps"]["fnr"]["value"] == pytest.approx(-men["gaps"]["fnr"]["value"])
        assert found["models"][model]["largest"]["fnr"] == {"group": "sex = f", "gap": women["gaps"]["fnr"]}


def test_too_few_are_not_described() -> None:
    found = group_evidence(_study(), _study(), {"federated": _counts(4, 90)})
    assert found is not None
    everybody, women, men = found["models"]["federated"]["groups"]
    assert everybody["patients"] == 94
    assert [entry["withheld"] for entry in (women, men)] == ["few", "complement"]
    for entry in (women, men):
        assert not entry["assessable"]
        assert {entry[key] for key in ("patients", "sites", "positives")} == {None}
        assert set(entry["metrics"].values()) == set(entry["gaps"].values()) == {None}
    assert set(found["models"]["federated"]["largest"].values()) == {None}


def test_the_smallest_group_is_the_studys() -> None:
    study = _study(fairness={"min_group": 4})
    found = group_evidence(study, study, {"federated": _counts(4, 90)})
    assert found is not None
    assert found["models"]["federated"]["groups"][1]["patients"] == 4


def test_behind_sealed_sums_no_site_leaves_anybody_out() -> None:
    study = _study(protection={"secure_aggregation": {"mode": "pairwise"}})
    found = group_evidence(study, study, {"federated": _counts(60, 90)})
    assert found is not None
    assert found["min_cell_count"] is None


def test_a_study_without_groups_has_no_such_evidence() -> None:
    assert group_evidence(small_study(), small_study(), {"federated": np.zeros((1, 0))}) is None


@pytest.mark.parametrize("cells", [np.zeros(7), np.full(3 * CELLS, np.nan), np.full(3 * CELLS, -1.0), "many"])
def test_a_site_that_sends_no_counts_of_these_groups_is_refused(cells: Any) -> None:
    with pytest.raises(UsageError, match="not a test result"):
        summed_groups([{"groups": cells}], 2)


def test_sites_add_up() -> None:
    results = [{"groups": _counts(60, 90, seed).ravel()} for seed in range(3)]
    total = summed_groups([*results, {}], 2)
    np.testing.assert_allclose(total, sum(_counts(60, 90, seed) for seed in range(3)))
    assert summed_groups(results, 0).size == 0
