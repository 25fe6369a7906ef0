"""Groups on the wire, in a join, and in the sum of test results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sealround import wire
from sealround.errors import CohortError, MalformedMessageError, UsageError
from sealround.fairness.cells import CELLS, RISK, VARIANCE
from sealround.federation import Coordinator, Plan, Site
from sealround.federation.groups import Group
from sealround.federation.interfaces import InputShape
from sealround.federation.messages import Envelope, Joined, pack, unpack
from sealround.federation.scores import Scores, addend, scores_size
from sealround.federation.sealing import SealedPlan
from sealround.federation.statistics import Layout
from sealround.study import study_digest
from sealround.testing import Network, NumpyWork, small_study, zero_model
from sealround.vocabulary import PartyId

B = 3
WOMEN, YOUNG = Group((("sex", "female"),)), Group((("age", "< 50"),))
YOUNG_WOMEN = Group((("age", "< 50"), ("sex", "female")))
SITE = PartyId("a")


def test_names() -> None:
    assert WOMEN.name == "sex = female"
    assert YOUNG_WOMEN.name == "age < 50, sex = female"
    assert Group((("age", "≥ 50 and < 65"),)).name == "age ≥ 50 and < 65"
    assert YOUNG_WOMEN.columns == ("age", "sex")


@pytest.mark.parametrize("terms", [(), (("a", "x"), ("a", "y")), (("a", "x"), ("b", "x"), ("c", "x"))])
def test_what_is_no_group(terms: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(UsageError, match="a level of one column"):
        Group(terms)


def _joined(groups: tuple[Group, ...]) -> bytes:
    return pack(Envelope(bytes(32), 1, Joined(InputShape("table"), Layout(("x",), ()), groups)))


def test_a_join_with_groups_comes_back() -> None:
    message = unpack(_joined((WOMEN, YOUNG_WOMEN)), sender=SITE).message
    assert isinstance(message, Joined)
    assert message.groups == (WOMEN, YOUNG_WOMEN)


def test_a_join_without_groups_says_nothing_of_them() -> None:
    assert b"groups" not in _joined(())
    message = unpack(_joined(()), sender=SITE).message
    assert isinstance(message, Joined)
    assert message.groups == ()


@pytest.mark.parametrize(
    ("groups", "phrase"),
    [
        ([], "says what is left out"),
        ([[["sex", "female"]], [["sex", "female"]]], "repeats a group"),
        ([[["sex"]]], r"not \[column, level\]"),
        ([[]], "no group"),
        ([[["sex", 1]]], "is not text"),
        ("sex", "is not a list"),
    ],
)
def test_groups_that_are_none_are_refused(groups: Any, phrase: str) -> None:
    tree: Any = wire.decode(_joined((WOMEN,)), sender=SITE)
    tree["body"]["groups"] = groups
    with pytest.raises(MalformedMessageError, match=phrase):
        unpack(wire.encode(tree), sender=SITE)


def test_sites_that_tell_other_groups_apart_do_not_train_together() -> None:
    study = small_study()
    roster = (PartyId("a"), PartyId("b"))
    works = {party: NumpyWork(seed) for seed, party in enumerate(roster)}
    works[roster[1]].groups = (WOMEN,)
    plan = Plan(study, "federated", roster, roster)
    sites = {party: Site(party, study_digest(study), work, 5) for party, work in works.items()}
    with pytest.raises(CohortError, match="b and a tell different groups of patients apart"):
        Network(Coordinator(plan, zero_model), sites).run()


# --- test results -----------------------------------------------------------------------------------------------------


def _result(seed: int, groups: int) -> dict[str, Any]:
    cells = np.random.default_rng(seed).integers(0, 9, (1 + groups, CELLS)).astype(float)
    cells[:, [RISK, VARIANCE]] += 0.123
    return {"groups": cells.ravel()}


def test_counts_by_group_add_up() -> None:
    sites = {PartyId(str(seed)): _result(seed, 2) for seed in range(3)}
    exact = Scores.of(sites, "binary", B, 2, exact=True)
    np.testing.assert_allclose(exact.by_group, sum(site["groups"].reshape(3, CELLS) for site in sites.values()))
    rounded = Scores.of(sites, "binary", B, 2)
    risks = [RISK, VARIANCE]
    assert np.abs(rounded.by_group - exact.by_group)[:, risks].max() <= 3 * 2.0**-8
    np.testing.assert_array_equal(np.delete(rounded.by_group - exact.by_group, risks, axis=1), 0.0)
    np.testing.assert_array_equal(rounded.by_group[:, risks] * 128 % 1, 0.0)


def test_the_rest_of_a_result_is_where_it_was() -> None:
    """Groups lie between the metrics and the bins; both are found with and without them."""
    result = {**_result(1, 2), "metrics": {"auroc": {"value": 0.75}}, "histogram": np.arange(516.0)}
    with_groups, without = (Scores.of({SITE: result}, "binary", B, groups) for groups in (2, 0))
    assert with_groups.total.size == without.total.size + 3 * CELLS == scores_size("binary", B, 2)
    assert with_groups.mean("auroc")[0] == without.mean("auroc")[0] == 0.75
    np.testing.assert_array_equal(with_groups.histogram, without.histogram)
    assert without.by_group.shape == (0, CELLS)
    assert with_groups.examples == without.examples


def test_a_site_without_counts_adds_nothing() -> None:
    assert not Scores.of({SITE: {}}, "binary", B, 4).by_group.any()


@pytest.mark.parametrize("cells", [np.zeros(CELLS), np.full(3 * CELLS, np.nan), [0.0] * 3 * CELLS])
def test_counts_of_other_groups_are_refused(cells: Any) -> None:
    with pytest.raises(UsageError, match="not a test result"):
        addend({"groups": cells}, "binary", B, 2)


def test_a_sum_of_other_groups_is_refused() -> None:
    with pytest.raises(UsageError, match="3 resamples and 2 groups"):
        Scores("binary", B, np.zeros(scores_size("binary", B)), 2)


def test_a_sealed_plan_says_that_results_are_by_group() -> None:
    study = small_study(protection={"secure_aggregation": {"mode": "pairwise"}})
    assert SealedPlan(study, 2).scores == SealedPlan(study).scores + 3 * CELLS
    told = [SealedPlan(study, groups).describe(4)["in_clear"] for groups in (0, 2)]
    assert [str(one).count("by group of patients") for one in told] == [0, 1]
