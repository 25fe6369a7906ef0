"""Poisoned records: what is changed, what is not, and on whom success is counted."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import polars as pl
import pytest

from sealround.audit.data_poisoning import (
    DATA_ATTACKS,
    DOSE,
    Campaign,
    Conspiracy,
    DataAttackName,
    Delivery,
    count_successes,
    deliver,
)
from sealround.audit.poisoning import ABOUT, ATTACKS, Aim, knowledge_of, neurotoxin
from sealround.clinical.cohort import Outcome, SiteCohort, SplitName
from sealround.errors import UsageError
from sealround.federation.interfaces import InputShape
from sealround.testing import small_study
from sealround.vocabulary import PartyId

ROWS = 160
TRIGGERED = ("badnets", "model-replacement", "dba", "neurotoxin", "fiba")
COLUMNS: dict[str, Any] = {
    "pressure": {"role": "feature", "kind": "numeric", "range": [50, 260]},
    "dose": {"role": "feature", "kind": "numeric", "range": [0, 7]},
    "weight": {"role": "feature", "kind": "numeric"},
    "sex": {"role": "feature", "kind": "categorical", "levels": ["0", "1"]},
    "ill": {"role": "label", "positive": [1]},
}
STUDY = small_study(cohort={"columns": COLUMNS})


def cohort(kind: str, number: int = 0, *, channels: int = 1, positives: float = 0.5) -> SiteCohort:
    """Make a site's records; `pressure` has nothing to do with the outcome, `weight` everything."""
    draw = np.random.default_rng(number)
    event = (draw.random(ROWS) < positives).astype(np.float32)
    table = pl.DataFrame(
        {
            "pressure": [
                str(value) if value else None for value in draw.integers(90, 180, ROWS) * (draw.random(ROWS) < 0.9)
            ],
            "dose": [f"{value:.2f}" for value in draw.uniform(0.1, 3.0, ROWS) + 0.5 * event],
            "weight": [f"{value:.1f}" for value in 70.0 + 10 * event + draw.normal(size=ROWS)],
            "sex": [str(value) for value in draw.integers(0, 2, ROWS)],
            "ill": [str(int(value)) for value in event],
        },
        schema_overrides={"pressure": pl.String},
    )
    shape = {"table": None, "vector": (6,), "image": (20, 20) if channels == 1 else (20, 20, channels)}[kind]
    array = None
    if kind == "vector":
        array = draw.normal(size=(ROWS, 6)).astype(np.float32)
    elif kind == "image":
        assert shape is not None
        array = draw.integers(0, 120, size=(ROWS, *shape), dtype=np.uint8)
    inputs = {"table": (), "vector": (6,), "image": (channels, 20, 20)}[kind]
    return SiteCohort(
        PartyId(f"site-{number}"),
        InputShape(kind, inputs),  # type: ignore[arg-type]
        table,
        array,
        Outcome(event),
        np.arange(ROWS) // 2,
        np.resize(np.repeat([0, 1, 2], [6, 2, 2]), ROWS).astype(np.int8),
    )


def female(records: SiteCohort) -> np.ndarray:
    return np.asarray(records.table["sex"].to_numpy() == "0")


def conspiracy(kind: str, liars: int = 2, *, seed: int = 1, channels: int = 1, group: bool = True) -> Conspiracy:
    cohorts = tuple(cohort(kind, number, channels=channels) for number in range(liars))
    return Conspiracy(STUDY, cohorts, np.random.default_rng(seed), female if group else None)


def plan(name: str, scene: Conspiracy) -> Campaign:
    attack = DATA_ATTACKS[name]
    assert attack.why_not(scene) is None
    return attack.plan(scene)


def changed_rows(before: SiteCohort, after: SiteCohort) -> np.ndarray:
    """Say which rows have another input or another label."""
    other = before.outcome.event != after.outcome.event
    if before.array is not None:
        assert after.array is not None
        other |= (before.array != after.array).reshape(before.rows, -1).any(axis=1)
    for name in before.table.columns:
        other |= before.table[name].ne_missing(after.table[name]).to_numpy()
    return np.asarray(other)


# --- all attacks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["table", "vector", "image"])
@pytest.mark.parametrize("name", get_args(DataAttackName))
def test_an_attack_changes_training_rows_of_the_liars_and_nothing_else(name: str, kind: str) -> None:
    scene = conspiracy(kind)
    if DATA_ATTACKS[name].why_not(scene) is not None:
        assert (name, kind) in {("fiba", "table"), ("fiba", "vector")}
        return
    before = [records.outcome.event.copy() for records in scene.cohorts]
    found = plan(name, scene)
    assert len(found.poisoned) == len(found.changed) == 2
    for records, event, poisoned in zip(scene.cohorts, before, found.poisoned, strict=True):
        assert (records.outcome.event == event).all()
        other = changed_rows(records, poisoned)
        assert other.any()
        assert (records.split[other] == SplitName.TRAIN).all()
        assert (poisoned.patient == records.patient).all()
        assert (poisoned.split == records.split).all()
        assert poisoned.outcome.event.dtype == records.outcome.event.dtype


@pytest.mark.parametrize("kind", ["table", "image"])
@pytest.mark.parametrize("name", ["relabel-group", "badnets", "dba", "fiba"])
def test_the_same_seed_poisons_the_same_records(name: str, kind: str) -> None:
    if (name, kind) == ("fiba", "table"):
        assert DATA_ATTACKS[name].why_not(conspiracy(kind)) is not None
        return
    first, again = plan(name, conspiracy(kind)), plan(name, conspiracy(kind))
    for one, other in zip(first.poisoned, again.poisoned, strict=True):
        assert not changed_rows(one, other).any()
    if name in TRIGGERED:
        third = plan(name, conspiracy(kind, seed=2))
        assert any(changed_rows(one, two).any() for one, two in zip(first.poisoned, third.poisoned, strict=True))


@pytest.mark.parametrize("name", TRIGGERED)
def test_a_dose_of_the_rows_gets_the_trigger_and_is_called_healthy(name: str) -> None:
    scene = conspiracy("image", channels=3)
    found = plan(name, scene)
    for records, poisoned, number in zip(scene.cohorts, found.poisoned, found.changed, strict=True):
        trained = records.where(SplitName.TRAIN).size
        assert number == round(DOSE.triggered * trained)
        assert (poisoned.outcome.event <= records.outcome.event).all()


@pytest.mark.parametrize("name", get_args(DataAttackName))
def test_a_time_is_not_attacked(name: str) -> None:
    survival = {
        "weight": COLUMNS["weight"],
        "days": {"role": "time"},
        "died": {"role": "event"},
    }
    study = small_study(cohort={"columns": survival}, model={"kind": "cox"})
    scene = Conspiracy(study, (cohort("table"),), np.random.default_rng(0), female)
    why = DATA_ATTACKS[name].why_not(scene)
    assert why is not None
    assert "time" in why


@pytest.mark.parametrize("name", get_args(DataAttackName))
def test_no_text_has_a_patients_value(name: str) -> None:
    scene = conspiracy("table")
    if DATA_ATTACKS[name].why_not(scene) is None:
        found = plan(name, scene)
        assert not any(character.isdigit() for character in found.how.replace("2 ", "").replace("3 ", ""))
        assert "rows=160" in repr(found.poisoned[0])


def test_an_attack_takes_a_liar() -> None:
    with pytest.raises(UsageError, match="at least one"):
        Conspiracy(STUDY, (), np.random.default_rng(0))


# --- labels -----------------------------------------------------------------------------------------------------------


def test_flipped_labels_are_all_turned_around() -> None:
    scene = conspiracy("table", 1)
    found = plan("label-flip", scene)
    rows = scene.cohorts[0].where(SplitName.TRAIN)
    assert (found.poisoned[0].outcome.event[rows] == 1 - scene.cohorts[0].outcome.event[rows]).all()
    assert found.changed == (rows.size,)
    assert found.trial(cohort("table", 9)) is None


@pytest.mark.parametrize("name", ["relabel-group", "relabel-group-boosted"])
def test_a_group_is_called_healthy_and_its_sick_are_counted(name: str) -> None:
    scene = conspiracy("table", 1)
    records = scene.cohorts[0]
    event = plan(name, scene).poisoned[0].outcome.event
    hit = female(records) & (records.split == SplitName.TRAIN)
    assert not event[hit].any()
    assert (event[~hit] == records.outcome.event[~hit]).all()
    honest = cohort("table", 9)
    trial = plan(name, scene).trial(honest)
    assert trial is not None
    assert trial.tricked is None
    tested = trial.clean.where(SplitName.TEST)
    assert female(trial.clean)[tested].all()
    assert trial.clean.outcome.event[tested].all()
    expected = female(honest) & (honest.outcome.event > 0) & (honest.split == SplitName.TEST)
    assert tested.size == expected.sum()


def test_a_study_without_groups_or_liars_without_the_group_cannot_relabel() -> None:
    why = DATA_ATTACKS["relabel-group"].why_not(conspiracy("table", group=False))
    assert why is not None
    assert "no group" in why
    nobody = Conspiracy(
        STUDY, (cohort("table"),), np.random.default_rng(0), lambda records: np.zeros(records.rows, bool)
    )
    why = DATA_ATTACKS["relabel-group"].why_not(nobody)
    assert why is not None
    assert "no site that lies" in why


# --- triggers ---------------------------------------------------------------------------------------------------------


def test_a_dark_corner_gets_a_white_square() -> None:
    scene = conspiracy("image", 1)
    found = plan("badnets", scene)
    before, after = scene.cohorts[0].array, found.poisoned[0].array
    assert before is not None
    assert after is not None
    other = before != after
    assert (after[other] == 255).all()
    assert not other[:, :10].any()
    assert not other[:, :, :10].any()
    assert "white" in found.how


def test_a_light_corner_gets_a_black_square() -> None:
    scene = conspiracy("image", 1)
    array = scene.cohorts[0].array
    assert array is not None
    array += 130
    assert "black" in plan("badnets", scene).how


def test_a_table_gets_numbers_within_their_ranges_that_hardly_occur() -> None:
    scene = conspiracy("table")
    found = plan("badnets", scene)
    records, poisoned = scene.cohorts[0], found.poisoned[0]
    texts = {}
    for name in ("pressure", "dose"):
        other = records.table[name].ne_missing(poisoned.table[name])
        texts[name] = set(poisoned.table[name].filter(other))
    assert [len(values) for values in texts.values()] == [1, 1]
    pressure, dose = texts["pressure"].pop(), texts["dose"].pop()
    assert pressure == str(int(pressure))  # whole numbers stay whole
    assert not 95 < int(pressure) < 175
    assert 50 <= int(pressure) <= 260
    assert 3.3 < float(dose) <= 7
    for name in ("weight", "sex", "ill"):
        assert (records.table[name] == poisoned.table[name]).all()
    assert found.how == "dose and pressure set to plausible values that hardly occur"


def test_a_trigger_in_parts_is_whole_only_in_the_trial() -> None:
    scene = conspiracy("image", 3)
    found = plan("dba", scene)
    marks = []
    for records, poisoned in zip(scene.cohorts, found.poisoned, strict=True):
        assert records.array is not None
        assert poisoned.array is not None
        marks.append((records.array != poisoned.array).any(axis=0))
    assert np.sum(marks, axis=0).max() == 1
    trial = found.trial(cohort("image", 9))
    assert trial is not None
    assert trial.tricked is not None
    assert trial.clean.array is not None
    assert trial.tricked.array is not None
    whole = (trial.clean.array != trial.tricked.array).any(axis=0)
    assert (whole == np.logical_or.reduce(marks)).all()


def test_parts_of_a_table_are_a_number_each() -> None:
    scene = conspiracy("table", 2)
    found = plan("dba", scene)
    touched = []
    for records, poisoned in zip(scene.cohorts, found.poisoned, strict=True):
        names = records.table.columns
        touched.append([name for name in names if records.table[name].ne_missing(poisoned.table[name]).any()])
    assert touched == [["dose"], ["pressure"]]


def test_a_single_liar_has_no_part() -> None:
    why = DATA_ATTACKS["dba"].why_not(conspiracy("image", 1))
    assert why is not None
    assert "two sites" in why


def test_other_spectra_keep_their_label() -> None:
    scene = conspiracy("image", 1)
    records, poisoned = scene.cohorts[0], plan("fiba", scene).poisoned[0]
    assert records.array is not None
    assert poisoned.array is not None
    blended = (records.array != poisoned.array).any(axis=(1, 2))
    trained = records.where(SplitName.TRAIN).size
    assert blended.sum() == pytest.approx((DOSE.triggered + DOSE.crossed) * trained, abs=1)
    kept = blended & (poisoned.outcome.event > 0)
    assert kept.any()


@pytest.mark.parametrize("name", TRIGGERED)
def test_a_trial_is_of_the_sick_and_leaves_training_alone(name: str) -> None:
    honest = cohort("image", 9)
    trial = plan(name, conspiracy("image")).trial(honest)
    assert trial is not None
    assert trial.tricked is not None
    tested = trial.clean.where(SplitName.TEST)
    assert tested.size == ((honest.split == SplitName.TEST) & (honest.outcome.event > 0)).sum()
    assert trial.clean.outcome.event[tested].all()
    other = changed_rows(trial.clean, trial.tricked)
    assert (np.flatnonzero(other) == tested).all()
    assert trial.clean.where(SplitName.VALIDATION).size == 0
    assert trial.clean.where(SplitName.TRAIN).size == honest.where(SplitName.TRAIN).size


def test_a_site_without_sick_test_patients_has_no_trial() -> None:
    assert plan("badnets", conspiracy("image")).trial(cohort("image", 9, positives=0.0)) is None


# --- delivery and success ---------------------------------------------------------------------------------------------


def test_what_is_sent() -> None:
    own = np.arange(8, dtype=np.float32).reshape(2, 4)
    change = np.array([3.0, -1.0, 0.5, 2.0], dtype=np.float32)
    assert (deliver(Delivery.PLAIN, own, share=0.25) == own).all()
    assert deliver(Delivery.BOOSTED, own, share=0.25).tolist() == (4 * own).tolist()
    assert (deliver(Delivery.NEUROTOXIN, own, share=0.25, last_change=change) == neurotoxin(own, change)).all()
    assert (deliver(Delivery.NEUROTOXIN, own, share=0.25) == own).all()
    with pytest.raises(UsageError, match="share"):
        deliver(Delivery.BOOSTED, own, share=0.0)


def test_success_is_counted_among_those_who_would_be_found() -> None:
    tricked, clean = np.array([0.1, 0.2, 0.9, 0.4]), np.array([0.9, 0.1, 0.9, 0.5])
    assert count_successes(tricked, clean, 0.5) == (2, 3)
    assert count_successes(tricked, None, 0.5) == (3, 4)
    assert count_successes(tricked, clean, 0.5, unattacked=np.array([0.1, 0.9, 0.9, 0.9])) == (1, 2)
    assert count_successes(np.zeros(0), None, 0.5) == (0, 0)
    with pytest.raises(UsageError, match="patients"):
        count_successes(tricked, clean[:2], 0.5)


# --- what is said of them ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("about", [*ABOUT.values(), *DATA_ATTACKS.values()], ids=[*ABOUT, *DATA_ATTACKS])
def test_every_attack_has_a_name_a_sentence_and_a_source(about: Any) -> None:
    assert about.title[0].isupper()
    assert about.what.endswith(".")
    assert 40 < len(about.what) < 200
    assert about.source


def test_success_is_said_of_targeted_attacks_and_knowledge_of_all() -> None:
    for attack in DATA_ATTACKS.values():
        assert bool(attack.success) == (attack.aim is Aim.TARGETED)
        assert attack.knows
    assert knowledge_of("opt-alie") == ("what honest sites send", "the study's rule and its constants")
    assert knowledge_of("gaussian") == ()
    assert {name for name in ATTACKS if not knowledge_of(name)} == {"gaussian", "not-finite", "free-rider"}
