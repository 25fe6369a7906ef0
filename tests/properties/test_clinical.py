"""What must hold of any table: every row lands once, patients stay whole, sums over sites are those of the pool."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from sealround.clinical import Encoder, Outcome, SiteCohort, SplitName
from sealround.clinical.counting import Patients, sendable
from sealround.clinical.flamby import LEFT_OUT, flamby_split
from sealround.clinical.pooling import pool_cohorts
from sealround.clinical.sites import divide_patients
from sealround.clinical.splits import carve, crossing_patients, draw_split, stratified_order
from sealround.federation.interfaces import InputShape
from sealround.federation.randomness import stream
from sealround.federation.statistics import Statistics
from sealround.study.sections import Cohort, Sites
from sealround.vocabulary import PartyId

# The same examples everywhere, and no clock: a busy machine is not a failure.
SEEDED = settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

SEEDS = st.integers(0, 2**63 - 1)
SITES: TypeAdapter[Sites] = TypeAdapter(Sites)


@st.composite
def rules(draw: st.DrawFn) -> Any:
    kind = draw(st.sampled_from(["iid", "dirichlet", "quantity"]))
    shape = {} if kind == "iid" else {"alpha": draw(st.floats(0.01, 100))}
    return SITES.validate_python({"kind": kind, "number": draw(st.integers(1, 12)), **shape})


@SEEDED
@given(rules(), SEEDS, st.lists(st.tuples(st.booleans(), st.booleans()), min_size=12, max_size=300))
def test_every_patient_gets_one_site_and_every_site_patients(rule: Any, seed: int, kinds: list[Any]) -> None:
    positive, is_test = np.array(kinds, dtype=bool).T
    is_test[:12] = False  # enough to train on
    site = divide_patients(rule, seed, positive, is_test)
    assert site.shape == positive.shape
    assert set(site[~is_test].tolist()) == set(range(rule.number))
    if is_test.sum() >= rule.number:
        assert set(site[is_test].tolist()) == set(range(rule.number))
    np.testing.assert_array_equal(site, divide_patients(rule, seed, positive, is_test))


@SEEDED
@given(SEEDS, st.lists(st.booleans(), max_size=200))
def test_a_stratified_order_is_a_permutation_whose_beginnings_have_the_mix(seed: int, flags: list[bool]) -> None:
    positive = np.array(flags, dtype=bool)
    order = stratified_order(positive, stream(seed, "order"))
    assert sorted(order.tolist()) == list(range(positive.size))
    if positive.size:
        expected = positive.mean() * np.arange(1, positive.size + 1)
        assert np.abs(np.cumsum(positive[order]) - expected).max() <= 1.0


PATIENT_ROWS = st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=200)
SHARES = st.floats(0.0, 0.49)


@SEEDED
@given(SEEDS, PATIENT_ROWS, SHARES, SHARES)
def test_patients_never_cross_a_drawn_split_and_shares_are_met(
    seed: int, rows: list[tuple[int, bool]], validation: float, test: float
) -> None:
    patient = np.array([row[0] for row in rows])
    event = np.array([row[1] for row in rows], dtype=np.float32)
    split = draw_split(patient, event, validation, test, stream(seed, "split"))
    assert crossing_patients(patient, split).size == 0
    number = np.unique(patient).size
    held = [np.unique(patient[split == part]).size for part in SplitName]
    assert held[SplitName.VALIDATION] == min(round(validation * number), number - round(test * number))
    assert held[SplitName.TEST] == round(test * number)
    np.testing.assert_array_equal(split, draw_split(patient, event, validation, test, stream(seed, "split")))


@SEEDED
@given(SEEDS, PATIENT_ROWS, st.floats(0.0, 1.0))
def test_carving_leaves_the_test_alone(seed: int, rows: list[tuple[int, bool]], share: float) -> None:
    patient = np.array([row[0] for row in rows])
    event = np.array([row[1] for row in rows], dtype=np.float32)
    split = np.where(patient % 3 == 0, SplitName.TEST, SplitName.TRAIN).astype(np.int8)
    carved = carve(split, patient, event, share, stream(seed, "carve"))
    np.testing.assert_array_equal(carved == SplitName.TEST, split == SplitName.TEST)
    assert crossing_patients(patient, carved).size == 0


@SEEDED
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_flambys_split_takes_every_complete_row_once(rows: list[tuple[int, bool, bool]]) -> None:
    hospital, event, complete = (np.array(column) for column in zip(*rows, strict=True))
    split = flamby_split(hospital, event, complete)
    np.testing.assert_array_equal(split == LEFT_OUT, ~complete)
    for name in np.unique(hospital):
        size = int((complete & (hospital == name)).sum())
        tests = int(((split == SplitName.TEST) & (hospital == name)).sum())
        assert tests == int(np.ceil((1 - 0.66) * size))


# --- statistics -------------------------------------------------------------------------------------------------------

SECTION = Cohort.model_validate_json(
    """{"source": {"kind": "csv", "path": "t.csv"}, "sites": {"kind": "column"}, "columns": {
    "x": {"role": "feature", "kind": "numeric"}, "y": {"role": "feature", "kind": "numeric", "indicator": true},
    "c": {"role": "feature", "kind": "categorical"}, "d": {"role": "feature", "kind": "categorical", "drop_first": true}
    }}"""
)
NUMBERS = st.none() | st.floats(-1e6, 1e6).map(str)
LEVELS = st.none() | st.sampled_from(["1", "1.0", "2", "b"])
ROW = st.fixed_dictionaries(
    {
        "cells": st.tuples(NUMBERS, NUMBERS, LEVELS, LEVELS),
        "event": st.booleans(),
        "patient": st.integers(0, 5),
        "split": st.sampled_from(list(SplitName)),
    }
)


@st.composite
def cohorts(draw: st.DrawFn) -> list[SiteCohort]:
    found = []
    for number in range(draw(st.integers(1, 4))):
        rows = draw(st.lists(ROW, min_size=1, max_size=12))
        table = pl.DataFrame([row["cells"] for row in rows], schema=dict.fromkeys("xycd", pl.String), orient="row")
        patient = np.unique([row["patient"] for row in rows], return_inverse=True)[1]
        found.append(
            SiteCohort(
                PartyId(f"site-{number}"),
                InputShape("table"),
                table,
                None,
                Outcome(np.array([row["event"] for row in rows], dtype=np.float32)),
                patient.astype(np.int64),
                np.array([row["split"] for row in rows], dtype=np.int8),
            )
        )
    return found


def _statistics(encoder: Encoder, sites: list[SiteCohort]) -> Statistics:
    found: dict[str, tuple[str, ...]] = {}
    for site in sites:
        for name, levels in encoder.levels(site, 1).items():
            found[name] = (*found.get(name, ()), *levels)
    layout = encoder.layout.with_levels(found)
    statistics = Statistics.from_counts(layout, np.sum([encoder.counts(site, layout, 1) for site in sites], axis=0))
    squares = [encoder.squares(site, layout, 1, statistics.mean) for site in sites]
    return statistics.with_squares(np.sum(squares, axis=0))


@SEEDED
@given(cohorts())
def test_sums_over_sites_are_the_statistics_of_the_pool(sites: list[SiteCohort]) -> None:
    encoder = Encoder(SECTION, InputShape("table"))
    federated = _statistics(encoder, sites)
    pooled = _statistics(encoder, [pool_cohorts(PartyId("pooled"), sites)])
    assert federated.layout == pooled.layout
    assert (federated.examples, federated.positives) == (pooled.examples, pooled.positives)
    np.testing.assert_array_equal(federated.present, pooled.present)
    np.testing.assert_array_equal(federated.level_counts, pooled.level_counts)
    np.testing.assert_allclose(federated.mean, pooled.mean, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(federated.scale, pooled.scale, rtol=1e-6, atol=1e-3)


@SEEDED
@given(cohorts(), st.sampled_from(["federated", "local", "none"]))
def test_every_row_is_encoded_into_as_many_finite_numbers_as_there_are_names(
    sites: list[SiteCohort], kind: Any
) -> None:
    encoder = Encoder(SECTION, InputShape("table"))
    statistics = _statistics(encoder, sites)
    for site in sites:
        encoded = encoder.encode(site, statistics, kind)
        assert encoded.inputs.shape == (site.rows, len(encoder.feature_names(statistics.layout)))
        assert encoded.feature_names == encoder.feature_names(statistics.layout)
        assert np.isfinite(encoded.inputs).all()


@SEEDED
@given(cohorts(), st.integers(1, 8))
def test_no_count_that_is_sent_describes_fewer_patients_than_the_minimum(sites: list[SiteCohort], minimum: int) -> None:
    encoder = Encoder(SECTION, InputShape("table"))
    for site in sites:
        exact_layout = encoder.layout.with_levels(encoder.levels(site, 1))
        sent = encoder.counts(site, exact_layout, minimum)
        train = site.where(SplitName.TRAIN)
        patients = np.unique(site.patient[train]).size
        assert sent.any() == (patients >= minimum and sent[0] > 0)
        if patients < minimum:
            continue
        _, _, present, _, levels = exact_layout.split(sent)
        assert all(count == 0 or count >= minimum for count in [sent[0], sent[1], *present, *levels])
        # What a whole and a part tell of the rest: nothing, or enough patients.
        for count in [sent[1], *present]:
            assert count in (0, sent[0]) or sent[0] - count >= minimum


@SEEDED
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_patients_are_counted_once_however_many_rows_they_have(rows: list[tuple[int, bool, bool]]) -> None:
    patient = np.array([row[0] for row in rows])
    flags = np.array([row[1:] for row in rows])
    counted = Patients(patient)
    assert counted.number == len(set(patient.tolist()))
    expected = [len(set(patient[flags[:, column]].tolist())) for column in range(2)]
    assert counted.holding(flags).tolist() == expected


@SEEDED
@given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 20))
def test_what_is_sent_is_off_by_less_than_the_minimum(held: int, rest: int, minimum: int) -> None:
    sent = sendable(np.array([held]), held + rest, np.array([held]), np.array([rest]), minimum)[0]
    assert abs(sent - held) < minimum
