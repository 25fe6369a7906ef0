"""What every model promises: no patient's output or gradient depends on another patient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sealround.learning.device import prepare
from sealround.learning.models import build_model, initialised
from sealround.learning.vector import bind
from sealround.study.sections import Cnn, Cox, FrozenBackbone, Logistic, Mlp, Model, Resnet, Vgg16

MODELS: list[tuple[Model, tuple[int, ...]]] = [
    (Logistic(kind="logistic"), (6,)),
    (Mlp(kind="mlp", hidden=(5,)), (6,)),
    (Cox(kind="cox", hidden=(4,)), (6,)),
    (FrozenBackbone(kind="frozen-backbone", backbone="efficientnet-lite0", hidden=(4,)), (6,)),
    (Cnn(kind="cnn", channels=(4, 6)), (1, 9, 9)),
    (Cnn(kind="cnn", channels=(4, 6), stem="strided"), (3, 9, 9)),
    (Resnet(kind="resnet", depth=10, width=4), (1, 16, 16)),
    (Vgg16(kind="vgg16", width=4, hidden=8, group_norm=True, dropout=0.0), (1, 32, 32)),
]


def _name(value: object) -> str:
    return getattr(value, "kind", "")


@pytest.mark.parametrize(("model", "shape"), MODELS, ids=_name)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), row=st.integers(0, 3))
def test_an_output_depends_on_its_own_row_only(model: Model, shape: tuple[int, ...], seed: int, row: int) -> None:
    prepare()
    network = initialised(build_model(model, shape), 0, linear=False).train()
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(4, *shape, generator=draw)
    others = 1000.0 * torch.randn(4, *shape, generator=draw)
    others[row] = inputs[row]
    with torch.no_grad():
        assert torch.allclose(network(inputs)[row], network(others)[row], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("model", "shape"), MODELS, ids=_name)
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_gradient_of_a_batch_is_the_sum_over_its_patients(model: Model, shape: tuple[int, ...], seed: int) -> None:
    prepare()
    flat = bind(initialised(build_model(model, shape), 0, linear=False).train(), torch.device("cpu"))
    inputs = torch.randn(3, *shape, generator=torch.Generator().manual_seed(seed))

    def gradient(batch: torch.Tensor) -> np.ndarray:
        flat.gradient.zero_()
        flat.module(batch).tanh().sum().backward()
        return flat.gradient.numpy().astype(np.float64)

    together = gradient(inputs)
    alone = sum(gradient(inputs[[row]]) for row in range(3))
    assert np.allclose(together, alone, rtol=1e-3, atol=1e-4 * np.abs(together).max())


@pytest.mark.parametrize(("model", "shape"), MODELS, ids=_name)
def test_no_layer_keeps_a_mean_over_patients(model: Model, shape: tuple[int, ...]) -> None:
    network = build_model(model, shape)
    assert not any(isinstance(layer, nn.modules.batchnorm._NormBase) for layer in network.modules())
    assert list(network.buffers()) == []
