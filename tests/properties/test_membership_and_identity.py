"""Invariances of membership inference and re-identification."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sealround.audit.identity import CellErrors, anonymity, gower_distances, link, rank_people
from sealround.audit.membership import (
    ShownGradient,
    Signals,
    gradient_cosine,
    judge,
    lira,
    lira_offline,
    relative_log_likelihood,
    update_likelihood_ratio,
)

_SEEDS = st.integers(0, 2**32 - 1)
_SCORES = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=4, max_size=30)


@settings(max_examples=15)  # A judgement is a hundred small ones.
@given(_SCORES, _SEEDS)
def test_judges_see_the_order_of_scores_only(pairs: list[tuple[int, int]], seed: int) -> None:
    scores = np.array(pairs, dtype=np.float64).T.reshape(-1)
    member = np.arange(scores.size) < len(pairs)
    one = judge(scores, member, np.random.default_rng(seed))
    other = judge(np.expm1(scores / 3), member, np.random.default_rng(seed))
    assert (one.auc, one.tpr, one.balanced_accuracy, one.worst) == (
        other.auc, other.tpr, other.balanced_accuracy, other.worst,
    )  # fmt: skip
    assert np.array_equal(one.roc, other.roc)


@settings(max_examples=15)  # A judgement is a hundred small ones.
@given(_SCORES, _SEEDS)
def test_intervals_hold_their_values_within_bounds(pairs: list[tuple[int, int]], seed: int) -> None:
    scores = np.array(pairs, dtype=np.float64).T.reshape(-1)
    member = np.random.default_rng(seed).permutation(scores.size) < len(pairs)
    found = judge(scores, member, np.random.default_rng(seed))
    for rate in (found.auc, found.balanced_accuracy, *found.tpr.values()):
        assert 0.0 <= rate.low <= rate.value <= rate.high <= 1.0
    assert ((found.posterior > 0.0) & (found.posterior < 1.0)).all()
    mirrored = judge(-scores, member, np.random.default_rng(seed))
    assert abs(mirrored.auc.value + found.auc.value - 1.0) < 1e-9


def _signals(seed: int, number: int = 12, models: int = 6) -> Signals:
    draw = np.random.default_rng(seed)
    inside = draw.random((models, number)) < 0.5
    inside[0], inside[1] = True, False
    return Signals(draw.normal(size=number), draw.normal(size=(models, number)), inside)


@given(_SEEDS)
def test_the_order_of_reference_models_and_examples_is_nobody_s_business(seed: int) -> None:
    signals = _signals(seed)
    draw = np.random.default_rng(seed)
    models, examples = draw.permutation(6), draw.permutation(12)
    other = Signals(
        signals.target[examples],
        signals.references[models][:, examples],
        signals.inside[models][:, examples],
    )
    for attack in (lira, lira_offline, relative_log_likelihood):
        assert np.allclose(attack(signals)[examples], attack(other))


@given(_SEEDS, st.floats(0.1, 10.0), st.floats(-5.0, 5.0))
def test_lira_has_no_unit(seed: int, scale: float, shift: float) -> None:
    signals = _signals(seed)
    other = Signals(signals.target * scale + shift, signals.references * scale + shift, signals.inside)
    assert np.allclose(lira(signals), lira(other), rtol=1e-5, atol=1e-6)
    assert np.allclose(lira_offline(signals), lira_offline(other), rtol=1e-5, atol=1e-6)


@given(_SEEDS)
def test_update_attacks_do_not_see_how_parameters_are_turned(seed: int) -> None:
    draw = np.random.default_rng(seed)
    turn = np.linalg.qr(draw.normal(size=(8, 8)))[0]
    gradients, references = draw.normal(size=(5, 8)), draw.normal(size=(12, 8))
    shown, turned = (ShownGradient(vector, 4, 0.1) for vector in (gradients.mean(0), gradients.mean(0) @ turn))
    assert np.allclose(gradient_cosine(gradients, shown), gradient_cosine(gradients @ turn, turned))
    one = update_likelihood_ratio(gradients, shown, references)
    assert np.allclose(one, update_likelihood_ratio(gradients @ turn, turned, references @ turn), atol=1e-6)


@given(_SEEDS)
def test_linkage_sees_neither_the_order_of_columns_nor_units(seed: int) -> None:
    draw = np.random.default_rng(seed)
    people = np.stack([draw.normal(50, 10, 9), draw.integers(3, size=9).astype(float), draw.normal(size=9)], 1)
    people[draw.random((9, 3)) < 0.1] = np.nan
    records = people[:4] + np.array([0.5, 0.0, 0.1])
    errors = CellErrors(np.array([False, True, False]), np.array([1.0, 1.0, 0.2]), np.array([0.1, 0.2, 0.3]))
    order, units = np.array([2, 0, 1]), np.array([10.0, 1.0, 0.01])
    moved = CellErrors(errors.categorical[order], (errors.scale * units)[order], errors.gross[order])
    found = link(records, people, errors, 0.1)
    assert np.allclose(found, link((records * units)[:, order], (people * units)[:, order], moved, 0.1))
    assert ((found >= 0.0) & (found <= 1.0)).all()
    assert (found.sum(axis=1) < 1.0).all()
    gower = gower_distances(records, people, errors.categorical)
    assert np.allclose(
        gower, gower_distances((records * units)[:, order], (people * units)[:, order], moved.categorical)
    )


@given(_SEEDS, st.integers(1, 12))
def test_chances_of_a_rank_add_up(seed: int, people: int) -> None:
    draw = np.random.default_rng(seed)
    distances = draw.integers(4, size=(1, people)).astype(float)
    rankings = [rank_people(distances, np.array([person])) for person in range(people)]
    for k in range(1, people + 1):
        assert abs(sum(float(ranking.hits(k)[0]) for ranking in rankings) - k) < 1e-9
    whole = sum(float(ranking.reciprocals[0]) for ranking in rankings)
    assert abs(whole / people - rankings[0].reciprocal_by_chance) < 1e-9


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_classes_cover_everybody(rows: list[tuple[int, int]]) -> None:
    people = np.array(rows, dtype=np.float64)
    found = anonymity(people)
    assert sum(found.people.values()) == len(rows)
    assert found.sizes.tolist() == [rows.count(row) for row in rows]
    assert found.expected == len(set(rows))
    # Coarser steps never make anybody stand out more.
    assert (anonymity(people, np.array([2.0, 0.0])).sizes >= found.sizes).all()
