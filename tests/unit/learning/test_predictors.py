from __future__ import annotations

import numpy as np
import pytest
import torch

from sealround.learning.losses import BinaryLoss, CoxLoss, Loss, Targets
from sealround.learning.models import build_model
from sealround.learning.predictors import LinearPredictor, NetworkPredictor, predictor_for
from sealround.learning.vector import bind
from sealround.study.sections import Cox, FrozenBackbone, Logistic, Mlp, Model

CPU = torch.device("cpu")
LINEAR: list[tuple[Model, Loss]] = [
    (Logistic(kind="logistic"), BinaryLoss((0.6, 1.8), 0.1)),
    (Cox(kind="cox"), CoxLoss()),
    (FrozenBackbone(kind="frozen-backbone", backbone="efficientnet-lite0"), BinaryLoss()),
]


@pytest.mark.parametrize(("model", "loss"), LINEAR, ids=lambda value: getattr(value, "kind", ""))
def test_the_linear_shortcut_equals_autograd(model: Model, loss: Loss) -> None:
    draw = torch.Generator().manual_seed(0)
    short, long = (
        kind(bind(build_model(model, (7,)).to_empty(device=CPU), CPU)) for kind in (LinearPredictor, NetworkPredictor)
    )
    vector = np.random.default_rng(0).normal(size=short.flat.values.numel()).astype(np.float32)
    inputs = torch.randn(11, 7, generator=draw)
    targets = Targets((torch.rand(11, generator=draw) < 0.5).float(), torch.randint(6, (11,), generator=draw))
    for predictor in (short, long):
        predictor.flat.load(vector)
        predictor.flat.gradient.fill_(99.0)  # what was there before does not matter
        outputs = predictor.outputs(inputs)
        predictor.backward(inputs, outputs, loss.derivative(outputs.detach(), targets))
    assert torch.allclose(short.outputs(inputs), long.outputs(inputs), atol=1e-5)
    assert torch.allclose(short.predict(inputs), long.predict(inputs), atol=1e-5)
    assert torch.allclose(short.flat.gradient, long.flat.gradient, atol=1e-5)


def test_linear_models_take_the_shortcut_and_others_do_not() -> None:
    assert all(isinstance(predictor_for(model, (5,), CPU), LinearPredictor) for model, _ in LINEAR)
    dropping = FrozenBackbone(kind="frozen-backbone", backbone="efficientnet-lite0", dropout=0.5)
    for model in (Mlp(kind="mlp"), Cox(kind="cox", hidden=(3,)), dropping):
        assert isinstance(predictor_for(model, (5,), CPU), NetworkPredictor)


def test_sites_of_one_process_share_a_predictor() -> None:
    assert predictor_for(Mlp(kind="mlp"), (5,), CPU) is predictor_for(Mlp(kind="mlp"), (5,), CPU)
    assert predictor_for(Mlp(kind="mlp"), (5,), CPU) is not predictor_for(Mlp(kind="mlp"), (6,), CPU)


def test_dropout_is_on_in_training_and_off_in_prediction() -> None:
    predictor = predictor_for(Mlp(kind="mlp", hidden=(64,), dropout=0.5), (3,), CPU)
    predictor.flat.values.fill_(0.1)
    predictor.seed(torch.Generator().manual_seed(0))
    inputs = torch.ones(1, 3)
    assert len({float(predictor.outputs(inputs).detach()) for _ in range(5)}) > 1
    assert len({float(predictor.predict(inputs)) for _ in range(5)}) == 1
