"""Cost of one site's local training: sealround's `fit` against the plain torch loop that does the same steps.

The plain loop is what a tutorial has: ``torch.nn`` module, ``torch.optim``, ``zero_grad``, ``backward``, ``step``, its
batches taken from shuffled tensors without a DataLoader, which would cost more still. Both train on one thread, take
turns, and the fastest of several turns counts, so that another process on the machine does not decide.

    python benchmarks/local_training.py
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from sealround.federation.randomness import stream
from sealround.learning.device import prepare
from sealround.learning.examples import Examples, Features
from sealround.learning.losses import BinaryLoss, Targets
from sealround.learning.models import build_model
from sealround.learning.predictors import NetworkPredictor, predictor_for
from sealround.learning.training import Recipe, fit
from sealround.learning.vector import bind
from sealround.study.sections import Adam, Augmentation, Cnn, Logistic, Mlp, Sgd
from sealround.vocabulary import PartyId

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.learning.predictors import Predictor
    from sealround.study.sections import LocalOptimizer, Model

TURNS = 7
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """One kind of local training."""

    name: str
    model: Model
    shape: tuple[int, ...]
    optimizer: LocalOptimizer
    batch: int
    steps: int


CASES = (
    Case("logistic, 13 features", Logistic(kind="logistic"), (13,), Sgd(kind="sgd", learning_rate=1e-3), 4, 100),
    Case("logistic, 1280 features", Logistic(kind="logistic"), (1280,), Sgd(kind="sgd", learning_rate=1e-3), 32, 50),
    Case("perceptron 32", Mlp(kind="mlp"), (13,), Sgd(kind="sgd", learning_rate=1e-2, momentum=0.9), 32, 100),
    Case(
        "perceptron 256-256, Adam",
        Mlp(kind="mlp", hidden=(256, 256)),
        (64,),
        Adam(kind="adam", learning_rate=1e-3),
        32,
        100,
    ),
    Case(
        "convolutional, 28 px", Cnn(kind="cnn"), (1, 28, 28), Sgd(kind="sgd", learning_rate=1e-2, momentum=0.9), 32, 4
    ),
)


def plain(case: Case, inputs: torch.Tensor, event: torch.Tensor) -> Callable[[], None]:
    """Return the loop without a framework."""
    network = build_model(case.model, case.shape).to_empty(device="cpu")
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    loss = torch.nn.BCEWithLogitsLoss()

    def run() -> None:
        rate = case.optimizer.learning_rate
        if isinstance(case.optimizer, Sgd):
            optimizer: torch.optim.Optimizer = torch.optim.SGD(network.parameters(), rate, case.optimizer.momentum)
        else:
            optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.0)
        total, done = 0.0, 0
        while done < case.steps:
            for rows in torch.randperm(len(event)).split(case.batch)[: case.steps - done]:
                optimizer.zero_grad()
                value = loss(network(inputs[rows]), event[rows])
                value.backward()
                optimizer.step()
                total += value.item() * len(rows)
                done += 1

    return run


def ours(case: Case, predictor: Predictor, inputs: torch.Tensor, event: torch.Tensor) -> Callable[[], None]:
    """Return sealround's training, with everything a round does in it."""
    predictor.flat.values.normal_(std=0.1)
    examples = Examples(Features(inputs), Targets(event))
    recipe = Recipe(
        site=PartyId("benchmark"),
        occasion="round 1",
        loss=BinaryLoss(),
        optimizer=case.optimizer,
        learning_rate=case.optimizer.learning_rate,
        batch_size=case.batch,
        epochs=None,
        steps=case.steps,
        augmentation=Augmentation(),
    )
    noise = torch.Generator().manual_seed(0)
    return lambda: (fit(predictor, examples, recipe, stream(0, "benchmark"), noise), None)[1]


def fastest(runs: list[Callable[[], None]], steps: int) -> list[float]:
    """Return microseconds a step of each, taking turns."""
    best = [float("inf")] * len(runs)
    for _ in range(TURNS):
        for place, run in enumerate(runs):
            start = time.perf_counter()
            run()
            best[place] = min(best[place], (time.perf_counter() - start) / steps * 1e6)
    return best


def main() -> None:
    """Print a line for each case."""
    prepare()
    draw = np.random.default_rng(0)
    print(f"{'microseconds a step':28}{'plain':>10}{'autograd':>10}{'ours':>10}{'ratio':>8}")
    for case in CASES:
        number = 600 if len(case.shape) == 1 else 128
        inputs = torch.tensor(draw.normal(size=(number, *case.shape)), dtype=torch.float32)
        event = torch.tensor(draw.random(number) < 0.4, dtype=torch.float32)
        through_autograd = NetworkPredictor(bind(build_model(case.model, case.shape).to_empty(device=CPU), CPU))
        runs = [
            plain(case, inputs, event),
            ours(case, through_autograd, inputs, event),
            ours(case, predictor_for(case.model, case.shape, CPU), inputs, event),
        ]
        before, autograd, after = fastest(runs, case.steps)
        print(f"{case.name:28}{before:10.0f}{autograd:10.0f}{after:10.0f}{after / before:8.2f}")


if __name__ == "__main__":
    main()
