from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sealround.errors import UsageError
from sealround.learning.vector import FlatModule, bind, named_parameters

CPU = torch.device("cpu")


@pytest.fixture
def flat() -> FlatModule:
    torch.manual_seed(0)
    return bind(nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2), nn.Flatten(), nn.Linear(8, 1)), CPU)


def test_the_vector_is_every_parameter_in_order(flat: FlatModule) -> None:
    expected = torch.cat([parameter.detach().reshape(-1) for parameter in flat.module.parameters()])
    assert torch.equal(flat.values, expected)


def test_parameters_are_views_of_the_vector(flat: FlatModule) -> None:
    flat.values.fill_(7.0)
    assert all(bool((parameter == 7.0).all()) for parameter in flat.module.parameters())


def test_backward_adds_up_in_the_gradient_vector(flat: FlatModule) -> None:
    flat.module(torch.ones(3, 1, 4, 4)).sum().backward()
    expected = torch.cat([parameter.grad.reshape(-1) for parameter in flat.module.parameters()])
    assert torch.equal(flat.gradient, expected)
    assert flat.gradient[-1] == 3.0  # d(sum of three outputs) / d(bias)
    flat.gradient.zero_()
    assert all(bool((parameter.grad == 0).all()) for parameter in flat.module.parameters())


def test_load_and_vector_are_inverse(flat: FlatModule) -> None:
    vector = np.arange(flat.values.numel(), dtype=np.float32)
    vector.flags.writeable = False  # as a message's arrays are
    flat.load(vector)
    assert np.array_equal(flat.vector(), vector)
    assert not np.shares_memory(flat.vector(), flat.values.numpy())


@pytest.mark.parametrize("shape", [(0,), (5,), (31, 1)])
def test_a_vector_of_another_shape_is_refused_and_changes_nothing(flat: FlatModule, shape: tuple[int, ...]) -> None:
    before = flat.vector()
    with pytest.raises(UsageError, match="does not fit"):
        flat.load(np.zeros(shape, dtype=np.float32))
    assert np.array_equal(flat.vector(), before)


def test_matrices_marks_weights_but_no_biases_and_norms(flat: FlatModule) -> None:
    # Kernel 18, its bias 2, norm 2 + 2, weight 8, bias 1.
    assert flat.matrices().tolist() == [1.0] * 18 + [0.0] * 6 + [1.0] * 8 + [0.0]


def test_named_parameters_have_the_modules_names_and_shapes(flat: FlatModule) -> None:
    pieces = named_parameters(flat.module, flat.vector())
    for name, parameter in flat.module.named_parameters():
        assert np.array_equal(pieces.pop(name), parameter.detach().numpy())
    assert pieces == {}


def test_named_parameters_refuse_a_vector_of_another_length(flat: FlatModule) -> None:
    with pytest.raises(UsageError, match="does not fit"):
        named_parameters(flat.module, flat.vector()[1:])
