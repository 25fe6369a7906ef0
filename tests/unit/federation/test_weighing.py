"""Weights of groups and outcomes against their formulas, written a second time over single patients."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from sealround import wire
from sealround.errors import UsageError
from sealround.fairness.weighting import LIMITS, CellSums, advanced, independent_weights, weights_of
from sealround.federation.groups import Group
from sealround.federation.messages import Envelope, Train, pack, unpack
from sealround.federation.sealing import SealedPlan
from sealround.federation.weighing import Partition, Weighing, next_weighing, tail_size, weights_fit
from sealround.testing import small_study
from sealround.vocabulary import COORDINATOR, RoundId

GROUPS = (
    Group((("age", "< 50"),)),
    Group((("age", "≥ 50"),)),
    Group((("sex", "f"),)),
    Group((("sex", "m"),)),
    Group((("age", "< 50"), ("sex", "f"))),
)


def weighing_study(training: str, rounds: int = 8):  # noqa: ANN201  (a study)
    return small_study(study={"name": "small", "rounds": rounds, "seed": 7}, fairness={"training": training})


def people(seed: int = 1, number: int = 400, groups: int = 4) -> tuple[np.ndarray, np.ndarray, CellSums]:
    """Patients whose group and outcome have much to do with each other, and their sums."""
    draw = np.random.default_rng(seed)
    group = draw.integers(0, groups, number)
    sick = (draw.random(number) < 0.2 + 0.15 * group).astype(int)
    counts = np.zeros((groups, 2))
    np.add.at(counts, (group, sick), 1)
    return group, sick, CellSums(counts * draw.uniform(0.1, 0.9, counts.shape), counts)


# --- reweighing -------------------------------------------------------------------------------------------------------


def test_weights_are_what_is_expected_over_what_is_there() -> None:
    group, sick, sums = people()
    pairs = list(zip(group.tolist(), sick.tolist(), strict=True))
    by_pair, by_group, by_outcome = Counter(pairs), Counter(group.tolist()), Counter(sick.tolist())
    found = independent_weights(sums)
    for (g, y), number in by_pair.items():
        assert found[g, y] == pytest.approx(by_group[g] * by_outcome[y] / (len(pairs) * number))


def test_under_the_weights_every_group_has_the_same_part_of_sick() -> None:
    group, sick, sums = people()
    weight = independent_weights(sums)[group, sick]
    parts = [np.average(sick[group == g], weights=weight[group == g]) for g in range(4)]
    assert parts == pytest.approx([sick.mean()] * 4)
    assert weight.mean() == pytest.approx(1.0)


def test_a_cell_that_is_empty_or_kept_back_counts_one() -> None:
    counts = np.array([[30.0, 10.0], [20.0, 0.0], [0.0, 0.0]])
    found = independent_weights(CellSums(counts, counts))
    assert found[1, 1] == 1.0
    assert (found[2] == 1.0).all()
    assert (independent_weights(CellSums(np.zeros((3, 2)), np.zeros((3, 2)))) == 1.0).all()


def test_no_example_counts_more_than_ten_or_less_than_a_tenth() -> None:
    counts = np.array([[10_000.0, 1.0], [1.0, 10_000.0]])
    found = independent_weights(CellSums(counts, counts))
    assert found.tolist() == [[pytest.approx(0.5, rel=1e-3), 10.0], [10.0, pytest.approx(0.5, rel=1e-3)]]
    assert weights_of(np.array([[0.0, 1.0]]), CellSums(counts[:1], counts[:1])).tolist() == [[0.1, 10.0]]


# --- minimax ----------------------------------------------------------------------------------------------------------


def test_attention_is_multiplied_by_the_exponential_of_the_loss() -> None:
    _, _, sums = people()
    total = sums.counts.sum()
    rate = math.sqrt(8 * math.log(8) / 20)
    attention, expected = None, {key: number / total for key, number in np.ndenumerate(sums.counts)}
    for _ in range(3):
        attention = advanced(attention, sums, 20)
        for key in expected:
            loss = sums.losses[key] / sums.counts[key] / math.log(2)
            expected[key] *= math.exp(rate * min(loss, 1.0))
        whole = sum(expected.values())
        expected = {key: value / whole for key, value in expected.items()}
        assert attention.sum() == pytest.approx(1.0)
        assert {key: attention[key] for key in expected} == pytest.approx(expected)
    assert attention is not None
    weights = weights_of(attention, sums)
    for key, value in expected.items():
        assert weights[key] == pytest.approx(min(max(value / (sums.counts[key] / total), LIMITS[0]), LIMITS[1]))


def test_who_is_served_worst_counts_more_and_equals_stay_equal() -> None:
    counts = np.full((2, 2), 50.0)
    losses = np.array([[10.0, 10.0], [10.0, 30.0]])
    first = weights_of(advanced(None, CellSums(losses, counts), 30), CellSums(losses, counts))
    assert first[1, 1] > 1.0 > first[0, 0] == first[0, 1] == first[1, 0]
    even = CellSums(np.full((2, 2), 20.0), counts)
    assert weights_of(advanced(None, even, 30), even) == pytest.approx(np.ones((2, 2)))


def test_mean_weight_is_one_and_cells_kept_back_keep_out() -> None:
    counts = np.array([[40.0, 20.0], [0.0, 0.0], [30.0, 10.0]])
    sums = CellSums(np.array([[8.0, 16.0], [0.0, 0.0], [4.0, 6.0]]), counts)
    attention = advanced(None, sums, 10)
    assert (attention[1] == 0.0).all()
    weights = weights_of(attention, sums)
    assert (weights[1] == 1.0).all()
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1.0)


def test_a_cell_that_appears_later_begins_with_its_part() -> None:
    before = CellSums(np.array([[20.0, 20.0], [0.0, 0.0]]), np.array([[50.0, 50.0], [0.0, 0.0]]))
    later = CellSums(np.full((2, 2), 10.0), np.full((2, 2), 25.0))
    attention = advanced(advanced(None, before, 10), later, 10)
    assert (attention > 0).all()
    assert attention.sum() == pytest.approx(1.0)


def test_one_cell_alone_has_all_the_attention() -> None:
    sums = CellSums(np.array([[5.0, 0.0]]), np.array([[10.0, 0.0]]))
    assert advanced(None, sums, 10).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("losses", "counts"),
    [
        (np.zeros((2, 2)), np.zeros((3, 2))),
        (np.zeros((2, 3)), np.zeros((2, 3))),
        (np.full((1, 2), -1.0), np.zeros((1, 2))),
        (np.zeros((1, 2)), np.full((1, 2), np.nan)),
    ],
)
def test_sums_that_no_sites_have_are_refused(losses: np.ndarray, counts: np.ndarray) -> None:
    with pytest.raises(UsageError):
        CellSums(losses, counts)


def test_attention_to_other_cells_is_refused() -> None:
    _, _, sums = people()
    with pytest.raises(UsageError, match="attention"):
        advanced(np.ones((2, 2)), sums, 5)


# --- the federation ---------------------------------------------------------------------------------------------------


def test_a_partition_has_every_combination_once_and_no_place_for_who_has_no_level() -> None:
    partition = Partition.of(GROUPS)
    assert partition.columns == (("age", 2), ("sex", 2))
    assert partition.size == 4
    codes = [np.array([0, 0, 1, 1, -1, 0, -1]), np.array([0, 1, 0, 1, 0, -1, -1])]
    assert partition.combined(codes).tolist() == [0, 1, 2, 3, -1, -1, -1]
    with pytest.raises(UsageError, match="columns"):
        partition.combined(codes[:1])


def test_weights_must_be_one_a_cell_and_within_bounds() -> None:
    fitting = np.ones(8)
    assert weights_fit(fitting, GROUPS)
    assert weights_fit(np.r_[fitting[:6], LIMITS], GROUPS)
    assert not weights_fit(fitting[:7], GROUPS)
    for wrong in (0.0, 10.1, np.nan, np.inf, -1.0):
        assert not weights_fit(np.r_[fitting[:7], wrong], GROUPS)


@pytest.mark.parametrize(("training", "size"), [("plain", 0), ("reweighted", 16), ("minimax", 16)])
def test_the_tail_has_a_loss_and_a_count_of_each_cell(training: str, size: int) -> None:
    assert tail_size(weighing_study(training), Partition.of(GROUPS).size) == size


def test_the_next_weights_follow_from_the_study() -> None:
    _, _, sums = people()
    tail = np.concatenate((sums.losses.ravel(), sums.counts.ravel()))
    found = next_weighing(weighing_study("reweighted"), None, tail)
    assert found.weights == pytest.approx(independent_weights(sums).ravel())
    first = next_weighing(weighing_study("minimax"), None, tail)
    second = next_weighing(weighing_study("minimax"), first, tail)
    assert first.attention == pytest.approx(advanced(None, sums, 8).ravel())
    assert second.attention == pytest.approx(advanced(advanced(None, sums, 8), sums, 8).ravel())
    assert isinstance(second, Weighing)


def test_sums_below_zero_count_as_nothing() -> None:
    tail = np.array([5.0, 6.0, -7.0, 8.0, 20.0, 30.0, -2.0, 10.0])
    assert np.isfinite(next_weighing(weighing_study("minimax"), None, tail).weights).all()


def test_an_order_of_plain_training_has_no_weights_in_it_and_one_with_weights_has() -> None:
    model = np.zeros(3, dtype=np.float32)
    for weights in (None, np.ones(4), np.ones(1)):
        envelope = Envelope(bytes(32), 1, Train(RoundId(1), model, None, None, weights))
        tree = wire.decode(pack(envelope), sender=COORDINATOR)
        assert isinstance(tree, dict)
        body = tree["body"]
        assert isinstance(body, dict)
        assert set(body) == {"round", "model", "candidate", "control"} | (set() if weights is None else {"weights"})
        found = unpack(pack(envelope), sender=COORDINATOR).message
        assert isinstance(found, Train)
        assert (found.weights is None) == (weights is None)
        assert weights is None or (found.weights == weights).all()


@pytest.mark.parametrize("training", ["plain", "minimax"])
def test_a_sealed_study_says_that_sums_by_group_are_seen_each_round(training: str) -> None:
    sealed = small_study().protection.model_dump() | {"secure_aggregation": {"mode": "pairwise"}}
    study = weighing_study(training).model_copy(update={"protection": small_study(protection=sealed).protection})
    told = SealedPlan(study, 4, 4).describe(4)["in_clear"]
    assert isinstance(told, list)
    assert ("by group and outcome" in str(told[-1])) == (training == "minimax")
