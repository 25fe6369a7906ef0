from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from sealround.errors import DivergenceError
from sealround.federation.randomness import stream
from sealround.learning.examples import Examples, Features
from sealround.learning.losses import BinaryLoss, Targets
from sealround.learning.predictors import Predictor, predictor_for
from sealround.learning.training import Recipe, fit
from sealround.study.sections import Augmentation, Logistic, Sgd
from sealround.vocabulary import PartyId

RECIPE = Recipe(
    site=PartyId("a"),
    occasion="round 3",
    loss=BinaryLoss(),
    optimizer=Sgd(kind="sgd", learning_rate=0.1),
    learning_rate=0.1,
    batch_size=4,
    epochs=1,
    steps=None,
    augmentation=Augmentation(),
)


class Watched:
    """Features that note which rows were asked for, batch by batch."""

    def __init__(self, matrix: torch.Tensor) -> None:
        self.matrix = matrix
        self.shape = (matrix.shape[1],)
        self.seen: list[list[int]] = []

    def batches(self, rows: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
        self.seen.extend(piece.tolist() for piece in rows.split(size))
        return Features(self.matrix).batches(rows, size)


def _examples(rows: int = 10, width: int = 3) -> Examples:
    draw = np.random.default_rng(0)
    matrix = torch.tensor(draw.normal(size=(rows, width)), dtype=torch.float32)
    return Examples(Watched(matrix), Targets((matrix[:, 0] > 0).float()))


def _predictor(width: int = 3) -> Predictor:
    predictor = predictor_for(Logistic(kind="logistic"), (width,), torch.device("cpu"))
    predictor.flat.values.zero_()
    return predictor


def _fit(recipe: Recipe, examples: Examples | None = None) -> tuple[list[list[int]], np.ndarray, object]:
    examples = _examples() if examples is None else examples
    predictor = _predictor(examples.inputs.shape[0])
    fitted = fit(predictor, examples, recipe, stream(1, "test"), torch.Generator())
    return getattr(examples.inputs, "seen", []), predictor.flat.vector(), fitted


def test_an_epoch_uses_each_example_once_and_keeps_the_short_batch() -> None:
    seen, _, fitted = _fit(replace(RECIPE, epochs=3))
    assert [len(batch) for batch in seen] == [4, 4, 2] * 3
    passes = [[row for batch in seen[i : i + 3] for row in batch] for i in (0, 3, 6)]
    assert all(sorted(order) == list(range(10)) for order in passes)
    assert len({tuple(order) for order in passes}) == 3
    assert (fitted.steps, fitted.count) == (9, 30)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7])
def test_steps_are_consecutive_batches_of_shuffled_passes(steps: int) -> None:
    seen, _, fitted = _fit(replace(RECIPE, epochs=None, steps=steps))
    assert [len(batch) for batch in seen] == ([4, 4, 2] * 3)[:steps]
    assert fitted.steps == steps
    assert fitted.count == sum(len(batch) for batch in seen)


def test_a_batch_larger_than_the_data_is_all_of_it() -> None:
    seen, _, fitted = _fit(replace(RECIPE, batch_size=1000, epochs=None, steps=2))
    assert [sorted(batch) for batch in seen] == [list(range(10))] * 2
    assert fitted.steps == 2


def test_full_batch_descent_is_the_textbooks() -> None:
    examples = _examples()
    _, vector, fitted = _fit(replace(RECIPE, batch_size=10, epochs=5), examples)
    x = np.column_stack([examples.inputs.matrix.numpy(), np.ones(10)]).astype(np.float64)
    y, w, loss = examples.targets.event.numpy(), np.zeros(4), 0.0
    for _ in range(5):
        p = 1 / (1 + np.exp(-x @ w))
        loss += -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum()
        w -= 0.1 * x.T @ (p - y) / 10
    assert np.allclose(vector, w, atol=1e-6)
    assert fitted.loss == pytest.approx(loss, rel=1e-5)


def test_the_same_streams_give_the_same_bytes() -> None:
    runs = [_fit(replace(RECIPE, epochs=4))[1] for _ in range(2)]
    assert runs[0].tobytes() == runs[1].tobytes()


def test_an_exploding_loss_is_reported_with_site_and_occasion_and_no_value() -> None:
    examples = _examples(200)
    with pytest.raises(DivergenceError) as caught:
        _fit(replace(RECIPE, learning_rate=1e8, epochs=5), examples)
    assert caught.value.party == "a"
    assert "round 3" in str(caught.value)
    assert "learning_rate" in caught.value.hint
    assert not any(f"{value:.3f}" in str(caught.value) for value in examples.inputs.matrix.flatten().tolist())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_divergence(value: float) -> None:
    matrix = torch.ones(6, 2)
    matrix[3, 1] = value
    with pytest.raises(DivergenceError, match="not a finite number"):
        _fit(RECIPE, Examples(Features(matrix), Targets(torch.ones(6))))


def test_a_parameter_that_overflows_in_the_last_step_is_divergence() -> None:
    matrix = torch.full((4, 2), 3e38)
    with pytest.raises(DivergenceError, match="parameter"):
        _fit(replace(RECIPE, learning_rate=10.0, batch_size=4), Examples(Features(matrix), Targets(torch.ones(4))))


def test_a_hard_patient_is_not_divergence() -> None:
    # A loss of hundreds of nats on one example, from far-off features: unusual, and allowed.
    matrix = torch.tensor([[300.0], [1.0], [-1.0], [0.5]])
    fitted = _fit(
        replace(RECIPE, epochs=2, batch_size=1), Examples(Features(matrix), Targets(torch.tensor([0.0, 1, 0, 1])))
    )[2]
    assert fitted.steps == 8


def test_a_proximal_pull_keeps_the_model_near_its_start() -> None:
    distance = {mu: float(np.linalg.norm(_fit(replace(RECIPE, epochs=20, proximal=mu))[1])) for mu in (0.0, 0.1, 1.0)}
    assert distance[1.0] < distance[0.1] < distance[0.0]


def test_large_tables_are_gathered_in_blocks_with_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _fit(replace(RECIPE, epochs=2))[1]
    monkeypatch.setattr("sealround.learning.examples._BLOCK", 5)
    assert np.array_equal(_fit(replace(RECIPE, epochs=2))[1], whole)
