"""SCAFFOLD, FedProx and the schedule, site by site against a few lines of float64 numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from sealround.clinical.cohort import SiteCohort, SplitName
from sealround.learning.rounds import Control, randomness
from sealround.testing import small_study
from sealround.vocabulary import PartyId

FULL_BATCH = {
    "optimizer": {"kind": "sgd", "learning_rate": 0.3, "weight_decay": 0.05},
    "batch_size": 1000,
    "local_epochs": None,
    "local_steps": 3,
    "schedule": "cosine",
}


def _descend(
    cohort: SiteCohort, statistics: object, start: np.ndarray, rate: float, extra: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Three full-batch steps of logistic regression, float64."""
    rows = cohort.where(SplitName.TRAIN)
    x = (cohort.array[rows] - statistics.mean) / statistics.scale
    x = np.column_stack([x, np.ones(len(rows))])
    y = cohort.outcome.event[rows]
    mask = np.append(np.ones(x.shape[1] - 1), 0.0)
    w = start.astype(np.float64)
    for _ in range(3):
        p = 1 / (1 + np.exp(-x @ w))
        w = w - rate * (x.T @ (p - y) / len(y) + 0.05 * mask * w + extra(w))
    return w


def test_scaffold_is_option_two_of_the_paper(vectors: Callable[..., SiteCohort], ready: Callable[..., object]) -> None:
    study = small_study(training={**FULL_BATCH, "algorithm": {"kind": "scaffold"}}, study={"rounds": 4})
    sites = [ready(study, vectors(site=name, seed=seed)) for name, seed in (("a", 0), ("b", 1))]
    statistics = sites[0].statistics
    memories: list[dict[str, object]] = [{}, {}]
    model = sites[0].model
    server = np.zeros_like(model)
    x, c, own = model.astype(np.float64), np.zeros(model.size), [np.zeros(model.size) for _ in sites]
    for round_ in range(1, 5):
        rate = 0.3 * 0.5 * (1 + np.cos(np.pi * (round_ - 1) / 4))
        outcomes = [
            site.work.train(site.train_order(round_, model=model, control=server, memory=memory, statistics=statistics))
            for site, memory in zip(sites, memories, strict=True)
        ]
        expected_updates, expected_changes = [], []
        for number, site in enumerate(sites):
            drift = c - own[number]
            y = _descend(site.work._records, statistics, x, rate, lambda _w, drift=drift: drift)
            change = -c + (x - y) / (3 * rate)
            own[number] = own[number] + change
            expected_updates.append(y - x)
            expected_changes.append(change)
        for outcome, update, change, mine in zip(outcomes, expected_updates, expected_changes, own, strict=True):
            assert np.allclose(outcome.update, update, atol=2e-6)
            assert np.allclose(outcome.control, change, atol=2e-5)
            assert np.allclose(outcome.memory["control"], mine, atol=2e-5)
        x, c = x + np.mean(expected_updates, axis=0), c + np.mean(expected_changes, axis=0)
        model = model + np.mean([outcome.update for outcome in outcomes], axis=0)
        server = server + np.mean([outcome.control for outcome in outcomes], axis=0)
        memories = [outcome.memory for outcome in outcomes]
    assert np.abs(c).max() > 0.01  # the controls are about something


def test_fedprox_pulls_towards_the_global_model(
    vectors: Callable[..., SiteCohort], ready: Callable[..., object]
) -> None:
    study = small_study(training={**FULL_BATCH, "schedule": "constant", "algorithm": {"kind": "fedprox", "mu": 0.8}})
    site = ready(study, vectors())
    start = np.linspace(-1, 1, site.model.size).astype(np.float32)
    expected = _descend(site.work._records, site.statistics, start, 0.3, lambda w: 0.8 * (w - start))
    update = site.work.train(site.train_order(2, model=start)).update
    assert np.allclose(update, expected - start, atol=2e-6)


def test_plain_training_sends_no_control_and_remembers_nothing(
    vectors: Callable[..., SiteCohort], ready: Callable[..., object]
) -> None:
    site = ready(small_study(), vectors())
    outcome = site.work.train(site.train_order())
    assert outcome.control is None
    assert outcome.memory == {}


def test_the_change_of_a_control_is_its_formula() -> None:
    control = Control(torch.tensor([1.0, 2.0]), torch.tensor([0.5, -1.0]))
    assert control.correction.tolist() == [0.5, 3.0]
    assert control.change(torch.tensor([-0.4, 0.2]), 0.2).tolist() == pytest.approx([1.0, -3.0])


def test_streams_differ_by_job_site_and_round_only() -> None:
    def draw(job: str, site: str, occasion: str | int) -> tuple[list[int], int]:
        shuffle, noise = randomness(7, job, PartyId(site), occasion, torch.device("cpu"))
        return shuffle.permutation(20).tolist(), noise.initial_seed()

    assert draw("federated", "a", 1) == draw("federated", "a", 1)
    places = [("federated", "a", 1), ("pooled", "a", 1), ("federated", "b", 1), ("federated", "a", 2)]
    assert len({str(draw(*place)) for place in places}) == 4
