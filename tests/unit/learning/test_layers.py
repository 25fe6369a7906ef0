from __future__ import annotations

import pytest
import torch
from torch import nn

from sealround.errors import UsageError
from sealround.learning.layers import Dropout, seed_dropout


def _seeded(share: float, seed: int = 0) -> Dropout:
    layer = Dropout(share)
    layer.generator = torch.Generator().manual_seed(seed)
    return layer.train()


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    x = torch.ones(100_000)
    y = _seeded(0.3)(x)
    # 100 000 draws: four standard errors are 0.6 % of the share dropped, and of the mean.
    assert float((y == 0).float().mean()) == pytest.approx(0.3, abs=0.006)
    assert float(y.mean()) == pytest.approx(1.0, abs=0.01)
    assert torch.allclose(y[y != 0], torch.tensor(1 / 0.7))


def test_dropout_is_the_identity_outside_of_training_and_at_zero() -> None:
    x = torch.randn(10)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0).train()(x) is x


def test_dropping_everything_leaves_zeros() -> None:
    assert not _seeded(1.0)(torch.ones(5)).any()


def test_the_same_stream_drops_the_same_and_global_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    x = torch.ones(1000)
    assert torch.equal(_seeded(0.5, 3)(x), _seeded(0.5, 3)(x))
    assert not torch.equal(_seeded(0.5, 3)(x), _seeded(0.5, 4)(x))
    assert torch.equal(torch.get_rng_state(), before)


def test_training_without_a_stream_is_refused() -> None:
    with pytest.raises(UsageError, match="random stream"):
        Dropout(0.5).train()(torch.ones(3))


def test_seed_dropout_reaches_every_layer() -> None:
    network = nn.Sequential(Dropout(0.5), nn.Sequential(nn.ReLU(), Dropout(0.5)))
    generator = torch.Generator()
    seed_dropout(network, generator)
    assert network[0].generator is generator
    assert network[1][1].generator is generator
