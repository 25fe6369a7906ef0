"""Linkage: an exact record leads to its person, a record of guesses to nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from sealround.engines.audit.capture import Truth
from sealround.engines.audit.exposures import Exposure
from sealround.engines.audit.linkage import Lookup, link, others_listed, quasi_identifiers, retrieve, traits_of
from sealround.errors import UsageError
from sealround.federation.statistics import Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sealround.clinical import SiteCohort
    from sealround.study import Study
    from sealround.vocabulary import PartyId

LAYOUT = Layout(("age", "chol"), (("cp", ("1", "2", "3")), ("sex", ("0", "1"))))
NAMES = ("age", "chol", "cp=1", "cp=2", "cp=3", "sex=1")
AGE, SEX = 0, 5
VICTIMS, PEOPLE = 10, 200


@pytest.fixture
def people() -> np.ndarray:
    """Encoded in raw units; nobody shares an age with anybody."""
    draw = np.random.default_rng(2)
    cp = np.eye(3)[draw.integers(3, size=PEOPLE)]
    age = draw.permutation(np.linspace(20, 90, PEOPLE))
    return np.column_stack([age, draw.normal(240, 50, PEOPLE), cp, draw.integers(2, size=PEOPLE)])


@pytest.fixture
def study(make: Callable[..., Study]) -> Study:
    return make()


def test_exact_rows_lead_to_their_people(study: Study, people: np.ndarray) -> None:
    order = np.random.default_rng(4).permutation(VICTIMS)
    outcome = link(study, LAYOUT, NAMES, Lookup(people[:VICTIMS][order], np.argsort(order), people), 1)
    assert outcome.status == "done"
    number = outcome.measures["reidentified"]
    assert number.value == 1.0
    assert number.baseline is not None
    assert number.baseline < 0.05
    assert outcome.beyond["reidentified"] > 0.9
    assert outcome.worst["reidentified"] > 0.9 > outcome.worst_baseline["reidentified"]
    assert "age, sex" in dict(outcome.granted)["list"]


def test_rows_of_other_people_lead_to_nobody(study: Study, people: np.ndarray) -> None:
    wrong = people[VICTIMS : 2 * VICTIMS]
    outcome = link(study, LAYOUT, NAMES, Lookup(wrong, np.arange(VICTIMS), people), 1)
    number = outcome.measures["reidentified"]
    assert number.value <= 0.1
    assert outcome.beyond["reidentified"] < 0.1


def test_means_are_worth_the_baseline(study: Study, people: np.ndarray) -> None:
    guess = people.mean(axis=0, keepdims=True)
    outcome = link(study, LAYOUT, NAMES, Lookup(guess, np.zeros(VICTIMS, dtype=np.int64), people), 1)
    assert outcome.measures["reidentified"].value <= 0.1
    assert outcome.beyond["reidentified"] < 0.05


def test_of_what_was_not_rebuilt_nothing_is_said(study: Study, people: np.ndarray) -> None:
    lookup = Lookup(people[:VICTIMS], np.full(VICTIMS, -1), people)
    assert np.isnan(lookup.held).all()
    outcome = link(study, LAYOUT, NAMES, lookup, 1)
    assert outcome.status == "not applicable"
    assert not outcome.beyond
    one = np.where(np.arange(VICTIMS) == 3, 3, -1)
    outcome = link(study, LAYOUT, NAMES, Lookup(people[:VICTIMS], one, people), 1)
    assert outcome.worst_patient == 4
    assert outcome.measures["reidentified"].value == pytest.approx((1 + 9 / PEOPLE) / VICTIMS)


def test_traits_of_encoded_rows(people: np.ndarray) -> None:
    rows = people[:4].copy()
    rows[0, 2:5] = [0.1, 0.2, 0.7]
    rows[1, 2:5] = 0.0
    rows[2] = np.nan
    rows[3, SEX] = 0.4
    found = traits_of(LAYOUT, NAMES, rows)
    assert found["cp"][0] == 2
    assert np.isnan(found["cp"][1])
    assert all(np.isnan(found[name][2]) for name in found)
    assert found["sex"][3] == 0
    assert np.array_equal(found["age"][[0, 1, 3]], people[[0, 1, 3], AGE])


def test_where_no_name_says_so_the_most_telling_columns_are_taken(study: Study) -> None:
    layout = Layout(("a", "b", "c", "d"), ())
    draw = np.random.default_rng(1)
    values = {"a": draw.normal(size=50), "b": np.zeros(50), "c": draw.integers(2, size=50), "d": np.arange(50) // 5}
    assert quasi_identifiers(study, layout, values) == (("a", "d", "c"), False)
    named = {"age_at_visit": values["b"], **values}
    assert quasi_identifiers(study, Layout(tuple(named), ()), named) == (("age_at_visit",), True)
    # A page is no age.
    assert quasi_identifiers(study, Layout(("page", "a"), ()), {"page": values["b"], "a": values["a"]})[1] is False


def test_the_list_holds_everybody_else_once(hospitals: Mapping[PartyId, SiteCohort]) -> None:
    site, cohort = next(iter(hospitals.items()))
    rows = cohort.where(0)[:7]  # type: ignore[arg-type]
    nothing = np.zeros(1)
    exposure = Exposure(
        attacker="coordinator",
        round=1,
        site=site,
        members=(site,),
        accomplice=None,
        model=nothing.astype(np.float32),
        update=nothing,
        examples=7,
        steps=1,
        batch_size=7,
        blur=0.0,
        granted=(),
        truth=(Truth(site, rows, (np.arange(7),)),),
        mix=None,
        note=None,
    )
    total = sum(np.unique(each.patient).size for each in hospitals.values())
    listed = others_listed(exposure, hospitals, 1)
    assert sum(every.size for _, every in listed) == total - 7
    mine = next(part for part, _ in listed if part.site == site)
    assert not np.isin(mine.patient, cohort.patient[rows]).any()
    assert sum(every.size for _, every in others_listed(exposure, hospitals, 1, most=50)) == 50


def test_shapes_have_to_fit(people: np.ndarray) -> None:
    with pytest.raises(UsageError, match="do not fit"):
        Lookup(people[:3, :2], np.arange(3), people)


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def gallery() -> np.ndarray:
    return np.random.default_rng(6).random((60, 1, 8, 8))


def test_exact_images_are_found(gallery: np.ndarray) -> None:
    outcome = retrieve(Lookup(gallery[:6], np.arange(6), gallery))
    assert outcome.measures["reidentified"].value == 1.0
    assert outcome.measures["reidentified"].baseline == pytest.approx(1 / 60)
    assert outcome.beyond["reidentified"] == pytest.approx(1 - 1 / 60)


def test_noise_finds_nobody(gallery: np.ndarray) -> None:
    noise = np.random.default_rng(8).random((6, 1, 8, 8))
    outcome = retrieve(Lookup(noise, np.arange(6), gallery))
    assert outcome.beyond["reidentified"] <= 1 / 6  # hits by luck count on the mean, not on the patient
    nothing = retrieve(Lookup(noise, np.full(6, -1), gallery))
    assert nothing.measures["reidentified"].value == pytest.approx(1 / 60)
    assert nothing.beyond["reidentified"] == pytest.approx(0.0)
