"""Test results by group at a site: what is counted, what an open study keeps back, what a sealed one does not."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from sealround import wire
from sealround.fairness.cells import CELLS, CONFUSION, PATIENTS, RISK
from sealround.fairness.results import describe
from sealround.federation.scores import Scores
from sealround.learning.evaluation import risk_of
from sealround.testing import small_study
from sealround.vocabulary import PartyId

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.clinical.cohort import SiteCohort

    Make = Callable[..., Any]

SEALED = {"secure_aggregation": {"mode": "pairwise"}}
COLUMNS = {
    "sex": {"role": "sensitive", "levels": ["0", "1"], "names": {"0": "female", "1": "male"}},
    "age": {"role": "sensitive", "bands": [50]},
}


def _study(**sections: Any) -> Any:
    cohort = {"source": {"kind": "csv", "path": "x.csv"}, "columns": COLUMNS, "sites": {"kind": "iid", "number": 4}}
    return small_study(cohort=cohort, evaluation={"bootstrap": 100}, **sections)


def _with(cohort: SiteCohort, sex: np.ndarray, age: np.ndarray) -> SiteCohort:
    table = pl.DataFrame({"sex": pl.Series(sex.astype(str)), "age": pl.Series(age.astype(str))})
    return dataclasses.replace(cohort, table=table)


def _mixed(vectors: Make, seed: int = 0, rows: int = 400) -> SiteCohort:
    draw = np.random.default_rng(seed)
    return _with(vectors(rows, seed=seed, site=str(seed)), draw.integers(0, 2, rows), draw.integers(30, 80, rows))


def _cells(result: Any) -> np.ndarray:
    found = result["groups"]
    assert isinstance(found, np.ndarray)
    return found.reshape(-1, CELLS)


def test_a_site_counts_its_groups(vectors: Make, ready: Make) -> None:
    cohort = _mixed(vectors)
    site = ready(_study(), cohort)
    assert [group.name for group in site.work.groups][:4] == ["age < 50", "age ≥ 50", "sex = female", "sex = male"]
    order = site.evaluate_order(threshold=0.4, calibration=(0.5, 0.3))
    result = site.work.evaluate(order)
    wire.encode(dict(result))
    cells = _cells(result)
    test = cohort.where(2)
    risk = risk_of(site.work.outputs(order), order.calibration)
    women, sick = (cohort.table["sex"] == "0").to_numpy()[test], cohort.outcome.event[test] > 0
    called = risk >= 0.4
    assert cells.shape == (1 + 4 + 4, CELLS)
    assert cells[0, PATIENTS] == test.size
    expected = [(women & (sick == is_sick) & (called == is_called)).sum() for is_sick in (0, 1) for is_called in (0, 1)]
    assert cells[3, CONFUSION].tolist() == expected
    assert cells[3, RISK] == pytest.approx(risk[women].sum())


def test_groups_that_part_everybody_add_up(vectors: Make, ready: Make) -> None:
    site = ready(_study(), _mixed(vectors))
    cells = _cells(site.work.evaluate(site.evaluate_order()))
    for parts in ((1, 2), (3, 4), (5, 6, 7, 8)):
        np.testing.assert_allclose(cells[list(parts), PATIENTS:].sum(axis=0), cells[0, PATIENTS:])


def _few_women(vectors: Make, rows: int = 200) -> SiteCohort:
    """Three women in the test split; everybody is young."""
    cohort = vectors(rows)
    sex = np.ones(rows, dtype=int)
    sex[cohort.where(2)[:3]] = 0
    return _with(cohort, sex, np.full(rows, 40))


def test_an_open_study_keeps_the_few_to_itself_and_a_sealed_one_adds_them(vectors: Make, ready: Make) -> None:
    found = {}
    for name, study in (("open", _study()), ("sealed", _study(protection=SEALED))):
        site = ready(study, _few_women(vectors))
        found[name] = _cells(site.work.evaluate(site.evaluate_order()))
    everybody, young, old, women, men = found["open"][:5, PATIENTS]
    assert (everybody, young, old) == (40, 40, 0)
    assert (women, men) == (0, 0)
    assert not found["open"][3:].any()
    assert found["sealed"][3:5, PATIENTS].tolist() == [3, 37]


def test_a_sites_own_minimum_counts(vectors: Make) -> None:
    from sealround.clinical.cohort import SplitName
    from sealround.learning.groups import examples_by_group

    cohort, study = _few_women(vectors), _study()
    found = [examples_by_group(study, cohort, SplitName.TEST, least).patients[3] for least in (1, 3, 4)]
    assert found == [3, 3, 0]


def test_results_of_sealed_sites_add_up_to_those_of_open_ones(vectors: Make, ready: Make) -> None:
    """Where no group is small nothing is kept back, and both tell the same of every group."""
    sums = {}
    for name, study in (("open", _study()), ("sealed", _study(protection=SEALED))):
        results = {}
        for seed in range(3):
            site = ready(study, _mixed(vectors, seed))
            results[PartyId(str(seed))] = site.work.evaluate(site.evaluate_order())
        sums[name] = Scores.of(results, "binary", 100, 8, exact=name == "open").by_group
    np.testing.assert_allclose(sums["sealed"], sums["open"], atol=3 * 2.0**-8)
    terms = [group.terms for group in ready(_study(), _mixed(vectors)).work.groups]
    sealed, plain = (describe(sums[name], terms, 0.95, 11) for name in ("sealed", "open"))
    for one, other in zip(sealed, plain, strict=True):
        assert one.patients == other.patients
        assert one.metrics["fnr"] == other.metrics["fnr"]
        assert one.gaps["auroc"] == other.gaps["auroc"]


def test_a_planted_harm_is_seen(vectors: Make, ready: Make) -> None:
    """Labels of women are turned to healthy in training at every site: accuracy hides what the groups tell."""
    everybody = []
    for seed in range(3):
        cohort = _mixed(vectors, seed, 600)
        women = (cohort.table["sex"] == "0").to_numpy()
        array = np.concatenate((cohort.array, 6.0 * women[:, None].astype(np.float32)), axis=1)
        event = np.where(women & (cohort.split == 0), 0.0, cohort.outcome.event).astype(np.float32)
        outcome = dataclasses.replace(cohort.outcome, event=event)
        inputs = dataclasses.replace(cohort.inputs, shape=(6,))
        site = ready(_study(), dataclasses.replace(cohort, array=array, outcome=outcome, inputs=inputs))
        model = site.model + site.work.train(site.train_order()).update
        everybody.append(_cells(site.work.evaluate(site.evaluate_order(model=model))))
    terms = [group.terms for group in site.work.groups]
    results = describe(np.sum(everybody, axis=0), terms, 0.95, 11)
    women, men = results[3], results[4]
    gap = women.gaps["fnr"]
    assert gap is not None
    assert gap.low > 0.2
    assert women.metrics["fnr"] is not None
    assert men.metrics["fnr"] is not None
    assert women.metrics["fnr"].low > men.metrics["fnr"].high


def test_without_groups_a_result_is_what_it_was(vectors: Make, ready: Make) -> None:
    site = ready(small_study(evaluation={"bootstrap": 100}), vectors(200))
    assert site.work.groups == ()
    assert "groups" not in site.work.evaluate(site.evaluate_order())


def test_survival_has_no_groups(vectors: Make, ready: Make) -> None:
    study = _study(model={"kind": "cox"})
    cohort = _mixed(vectors)
    survival = dataclasses.replace(cohort, outcome=vectors(400, survival=True).outcome)
    site = ready(study, survival)
    assert site.work.groups == ()
    assert "groups" not in site.work.evaluate(site.evaluate_order())
