"""Whole rounds between real machines: the sum is exact whoever drops out where, or nothing comes out."""

from __future__ import annotations

import numpy as np
import pytest

from sealround.crypto import Secret
from sealround.errors import SealroundError, ThresholdError, UsageError
from sealround.secagg.pairwise import ServerStage, SiteState, choose_degree
from sealround.secagg.pairwise.rehearsal import Rehearsal, rehearsed_manifest
from sealround.vocabulary import PartyId

LENGTH = 23
STAGES = [
    ServerStage.KEYS,
    ServerStage.SHARES,
    ServerStage.INPUTS,
    ServerStage.CONSENTS,
    ServerStage.UNMASKING,
]


def names(number: int) -> list[PartyId]:
    return [PartyId(f"site-{index:03d}") for index in range(number)]


@pytest.mark.parametrize("number", [2, 3, 4, 7])
def test_nobody_drops_and_the_sum_is_exact(number: int) -> None:
    rehearsal = Rehearsal(rehearsed_manifest(number))
    round_ = rehearsal.round
    assert np.array_equal(round_.run(), rehearsal.total())
    assert round_.server.survivors == tuple(names(number))
    assert {site.state for site in round_.sites.values()} == {SiteState.DONE}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("dropped", [(0,), (6,), (2, 5)])
def test_sites_drop_at_every_phase(stage: ServerStage, dropped: tuple[int, ...]) -> None:
    rehearsal = Rehearsal(rehearsed_manifest(7))
    round_ = rehearsal.round
    gone = {names(7)[index] for index in dropped}
    found = round_.run(dict.fromkeys(gone, stage))
    alive = tuple(site for site in names(7) if site not in gone)
    assert round_.server.survivors == (alive if STAGES.index(stage) <= 2 else tuple(names(7)))
    assert np.array_equal(found, rehearsal.total())


def test_one_drops_at_each_of_two_phases() -> None:
    for first in STAGES:
        for second in STAGES:
            rehearsal = Rehearsal(rehearsed_manifest(7))
            round_ = rehearsal.round
            found = round_.run({names(7)[1]: first, names(7)[4]: second})
            assert np.array_equal(found, rehearsal.total())


@pytest.mark.parametrize("stage", STAGES)
def test_one_too_many_drops_and_nothing_comes_out(stage: ServerStage) -> None:
    rehearsal = Rehearsal(rehearsed_manifest(7))
    round_ = rehearsal.round
    with pytest.raises(ThresholdError, match="4 of 7 sites"):
        round_.run(dict.fromkeys(names(7)[:3], stage))
    assert round_.server.stage is ServerStage.FAILED
    with pytest.raises(UsageError, match="there is no sum"):
        _ = round_.server.total


@pytest.mark.parametrize("stage", STAGES)
def test_the_regular_graph_survives_a_dropout_at_every_phase(stage: ServerStage) -> None:
    plan = rehearsed_manifest(12, degree=6, share_threshold=4)
    rehearsal = Rehearsal(plan)
    round_ = rehearsal.round
    found = round_.run({names(12)[3]: stage, names(12)[8]: stage})
    assert np.array_equal(found, rehearsal.total())


def test_updates_go_in_and_their_weighted_mean_comes_out() -> None:
    plan = rehearsed_manifest(4)
    rehearsal = Rehearsal(plan)
    round_ = rehearsal.round
    updates = np.random.default_rng(1).normal(scale=0.1, size=(4, LENGTH - 1)).astype(np.float32)
    weights = [0.1, 0.4, 1.0, 0.7]
    for site, update, weight in zip(names(4), updates, weights, strict=True):
        seed = Secret(site.encode().ljust(32))
        round_._vectors[site][:] = plan.fixed_point.quantize(update, weight=weight, seed=seed)
    decoded, weight = plan.fixed_point.decode(round_.run({names(4)[2]: ServerStage.INPUTS}))
    expected = sum(w * u.astype(np.float64) for w, u in zip(weights, updates, strict=True) if w != 1.0)
    assert np.abs(decoded - expected).max() < plan.fixed_point.error_bound
    assert abs(weight - 1.2) < plan.fixed_point.error_bound


def test_a_masked_vector_is_nothing_like_the_vector() -> None:
    """All of it differs; that it is uniform is shown where the masks are tested."""
    rehearsal = Rehearsal(rehearsed_manifest(3))
    round_ = rehearsal.round
    for _ in range(3):
        round_.step()
    for site, masked in round_._vectors.items():
        assert np.count_nonzero(masked == rehearsal.vectors[site]) == 0


def test_a_site_erases_its_secrets_when_it_is_done() -> None:
    rehearsal = Rehearsal(rehearsed_manifest(3))
    round_ = rehearsal.round
    round_.run()
    for machine in round_.sites.values():
        assert machine._round is None
        assert machine._entropy is None
        with pytest.raises(UsageError, match="no round is running"):
            machine.rounding_seed()


def test_messages_twice_or_out_of_turn_change_nothing() -> None:
    """Every message of a round, given again after each phase, is refused; and the round still ends in the sum."""
    rehearsal = Rehearsal(rehearsed_manifest(3))
    round_ = rehearsal.round
    site = names(3)[1]
    past: list[bytes] = []
    answers: list[bytes] = []
    while round_.server.stage is not ServerStage.DONE:
        past.append(round_.inbox[site])
        round_.step()
        answers.append(round_.sent[site])
        state, stage = round_.sites[site].state, round_.server.stage
        for payload in past:
            with pytest.raises(SealroundError, match="not allowed"):
                round_.sites[site].handle(payload)
        for payload in answers:
            with pytest.raises(SealroundError, match="was not asked for"):
                round_.server.receive(site, payload)
        assert (round_.sites[site].state, round_.server.stage) == (state, stage)
    assert np.array_equal(round_.server.total, rehearsal.total())


def test_the_chosen_degree_is_complete_for_few_and_regular_for_many() -> None:
    few, many = choose_degree(4, corrupt=1, dropped=1), choose_degree(500, corrupt=50, dropped=25)
    assert (few.degree, few.share_threshold) == (3, 3)
    assert many.degree < 150
    assert many.degree % 2 == 0
    assert many.degree / 2 < many.share_threshold <= many.degree
    with pytest.raises(UsageError, match="a third"):
        choose_degree(9, corrupt=3, dropped=0)
    with pytest.raises(UsageError, match="may not drop out"):
        choose_degree(9, corrupt=1, dropped=4)
