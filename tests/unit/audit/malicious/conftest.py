"""A site's real training on made-up, standardised records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from sealround.federation.randomness import stream
from sealround.learning.device import prepare
from sealround.learning.examples import Examples, Features
from sealround.learning.losses import BinaryLoss, Targets
from sealround.learning.models import Network, build_model, initialised
from sealround.learning.predictors import NetworkPredictor
from sealround.learning.training import Recipe, fit
from sealround.learning.vector import bind
from sealround.study.sections import Augmentation, Model, Sgd
from sealround.vocabulary import PartyId, Update


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    prepare()


@dataclass
class Site:
    """A network with values, and records to train it on."""

    network: Network
    inputs: torch.Tensor
    event: torch.Tensor

    @property
    def reference(self) -> Update:
        """The initial model."""
        return np.concatenate([p.detach().numpy().reshape(-1) for p in self.network.parameters()])

    @property
    def records(self) -> np.ndarray:
        """float64 ``(n, p)``."""
        return self.inputs.numpy().astype(float)

    def update(self, model: Update, *, batch_size: int = 1000, epochs: int = 1, rate: float = 0.5) -> Update:
        """Train as sites do, and return the update."""
        flat = bind(self.network, torch.device("cpu"))
        kept = flat.vector()
        flat.load(model)
        recipe = Recipe(
            site=PartyId("a"),
            occasion="round 1",
            loss=BinaryLoss(),
            optimizer=Sgd(kind="sgd", learning_rate=rate),
            learning_rate=rate,
            batch_size=batch_size,
            epochs=epochs,
            steps=None,
            augmentation=Augmentation(),
        )
        examples = Examples(Features(self.inputs), Targets(self.event))
        fit(NetworkPredictor(flat), examples, recipe, stream(7, "batches"), torch.Generator())
        update = flat.vector() - model
        flat.load(kept)
        return update


@pytest.fixture
def make_site() -> object:
    """Make a site for a model of features or, with ``shape``, of images."""

    def make(model: Model, rows: int = 16, width: int = 13, *, seed: int = 0, shape: tuple[int, ...] = ()) -> Site:
        draw = np.random.default_rng(seed)
        inputs = draw.normal(size=(rows, *(shape or (width,)))).astype(np.float32)
        event = (draw.random(rows) < 0.5).astype(np.float32)
        network = initialised(build_model(model, shape or (width,)), 3, linear=model.kind == "logistic")
        return Site(network, torch.from_numpy(inputs), torch.from_numpy(event))

    return make


def apart(candidates: np.ndarray, records: np.ndarray) -> np.ndarray:
    """Return each record's distance to the nearest candidate, as a part of its length, ``(n,)``."""
    if not len(candidates):
        return np.full(len(records), np.inf)
    distances = np.linalg.norm(candidates[:, None] - records[None], axis=2).min(axis=0)
    return distances / np.linalg.norm(records, axis=1)


@pytest.fixture(name="apart")
def _apart() -> object:
    return apart
