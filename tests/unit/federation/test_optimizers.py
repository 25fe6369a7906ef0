from __future__ import annotations

import numpy as np
import pytest

from sealround.federation.optimizers import Average, server_step
from sealround.federation.summation import RosterSum
from sealround.study.sections import FedAdam, FedAvg, FedYogi
from sealround.vocabulary import PartyId

UPDATES = [np.array(u, dtype=np.float32) for u in ([0.5, -1.0], [0.25, 3.0], [-2.0, 0.0])]


def _run(optimizer: FedAvg | FedAdam | FedYogi) -> np.ndarray:
    model, state = np.zeros(2, dtype=np.float32), {}
    for update in UPDATES:
        model, state = server_step(optimizer, model, update, state)
    assert model.dtype == np.float32
    return model


def test_fedavg_adds_the_mean_update() -> None:
    np.testing.assert_array_equal(_run(FedAvg(kind="fedavg", learning_rate=1.0)), np.sum(UPDATES, axis=0))


def test_fedavg_with_momentum_is_heavy_ball() -> None:
    velocity = model = np.zeros(2)
    for update in UPDATES:
        velocity = 0.9 * velocity + update
        model = model + 0.5 * velocity
    np.testing.assert_allclose(_run(FedAvg(kind="fedavg", learning_rate=0.5, momentum=0.9)), model, rtol=1e-6)


@pytest.mark.parametrize("kind", ["fedadam", "fedyogi"])
def test_adaptive_rules_follow_algorithm_2(kind: str) -> None:
    cls = {"fedadam": FedAdam, "fedyogi": FedYogi}[kind]
    model, m, v = np.zeros(2), np.zeros(2), np.full(2, 0.01**2)
    for update in UPDATES:
        m = 0.9 * m + 0.1 * update
        v = 0.99 * v + 0.01 * update**2 if kind == "fedadam" else v - 0.01 * update**2 * np.sign(v - update**2)
        model = model + 0.1 * m / (np.sqrt(v) + 0.01)
    np.testing.assert_allclose(_run(cls(kind=kind, learning_rate=0.1, tau=0.01)), model, rtol=1e-4)


@pytest.mark.parametrize("decay", [0.9, 0.999, 0.9999])
def test_the_running_mean_has_no_memory_of_the_start(decay: float) -> None:
    mean = Average(decay, np.zeros(2, dtype=np.float32))
    for _ in range(3):
        mean = mean.add(np.array([4.0, -1.0], dtype=np.float32))
        np.testing.assert_allclose(mean.value, [4.0, -1.0], rtol=1e-6)


def test_a_sum_does_not_depend_on_the_order_of_arrival() -> None:
    draw = np.random.default_rng(0)
    roster = tuple(PartyId(f"site-{i:03d}") for i in range(50))
    vectors = {party: (draw.normal(size=70_000) * 10.0 ** draw.integers(-8, 8)).astype(np.float32) for party in roster}

    def total(order: np.ndarray) -> bytes:
        gathered = RosterSum(roster)
        for i in order:
            gathered.add(roster[i], 1.0 + i / 7, (vectors[roster[i]],))
        return gathered.sums[0].tobytes()

    in_order = total(np.arange(50))
    assert all(total(draw.permutation(50)) == in_order for _ in range(5))


def test_a_skipped_party_does_not_hold_up_the_rest() -> None:
    roster = tuple(PartyId(name) for name in "abc")
    gathered = RosterSum(roster)
    gathered.add(PartyId("c"), 2.0, (np.ones(3, dtype=np.float32),))
    gathered.add(PartyId("b"), 1.0, (np.ones(3, dtype=np.float32),))
    assert gathered.weight == 0.0
    gathered.skip(PartyId("a"))
    assert gathered.weight == 3.0
    np.testing.assert_array_equal(gathered.sums[0], [3.0, 3.0, 3.0])
