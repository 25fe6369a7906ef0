"""Batch normalisation: statistics that are sent, and statistics inside the gradient."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from sealround.audit.inversion.batch_norm import BatchNorm, Statistics, attack, batch_statistics, sent_statistics
from sealround.audit.inversion.descent import Pace
from sealround.audit.inversion.least_squares import Damping
from sealround.audit.inversion.objectives import Categorical
from sealround.audit.inversion.observation import Domain, LocalPlan, Observation
from sealround.errors import UnsupportedError

# torch scripts its own forward-mode formulas on first use.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")

BATCH, CHANNELS, PIXELS, RATE = 3, 1, 6, 0.1


def played(*, training: bool, dense: bool = False) -> tuple[Observation, torch.Tensor, tuple[Statistics, ...]]:
    """One step of torch's own SGD of a convolutional network; the statistics it leaves."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(CHANNELS, 6, 3, padding=1), nn.BatchNorm2d(6), nn.GELU(), nn.Flatten()]
    if dense:
        layers += [nn.Linear(6 * PIXELS**2, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Linear(8, 3)]
    else:
        layers += [nn.Linear(6 * PIXELS**2, 3)]
    module = nn.Sequential(*layers).double()
    module.train(training)
    inputs = torch.rand(BATCH, CHANNELS, PIXELS, PIXELS, dtype=torch.float64) * 2.0 - 1.0
    labels = torch.eye(3, dtype=torch.float64)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    before = {name: value.clone() for name, value in module.named_buffers()}
    loss = Categorical()(module(inputs), labels)
    slopes = torch.autograd.grad(loss, list(module.parameters()))
    after = {name: value.clone() for name, value in module.named_buffers()}
    module.load_state_dict(state)
    flat = torch.cat([parameter.detach().reshape(-1) for parameter in module.parameters()])
    update = -RATE * torch.cat([slope.reshape(-1) for slope in slopes])
    wide = torch.tensor(1.0, dtype=torch.float64)
    shape, domain = tuple(inputs.shape[1:]), Domain(-wide, wide)
    seen = Observation(module, Categorical(), flat, update, LocalPlan(RATE, BATCH), BATCH, shape, domain, labels)
    return seen, inputs, sent_statistics(module, before, after) if training else ()


def test_running_statistics_give_the_batch_s_own_away() -> None:
    seen, inputs, sent = played(training=True, dense=True)
    means, variances = batch_statistics(seen)(inputs)
    torch.testing.assert_close(torch.cat([layer.mean for layer in sent]), means)
    torch.testing.assert_close(torch.cat([layer.variance for layer in sent]), variances)
    other = batch_statistics(seen)(inputs.flip(3))[0]
    assert float((other - means).abs().max()) > 1e-2


@pytest.mark.parametrize(("training", "told"), [(False, False), (True, False), (True, True)])
def test_batches_are_rebuilt(training: bool, told: bool) -> None:
    seen, inputs, sent = played(training=training)
    settings = BatchNorm(sent=sent if told else (), restarts=2, pace=Pace(40, 0.1), damping=Damping(25))
    before = {name: value.clone() for name, value in seen.module.named_buffers()}
    found = attack(seen, torch.Generator().manual_seed(0), settings, lambda: 0.0, 1.0)
    torch.testing.assert_close(found.inputs, inputs, rtol=0.0, atol=1e-4)
    assert found.mismatch < 1e-6
    assert ("known" in found.note) == told
    for name, value in seen.module.named_buffers():
        assert torch.equal(value, before[name])


def test_statistics_help_where_the_gradient_alone_does_not_suffice() -> None:
    seen, inputs, sent = played(training=True, dense=True)
    pace, off = Pace(80, 0.1), Damping(iterations=0)
    errors = []
    for known in ((), sent):
        settings = BatchNorm(sent=known, weight=1.0, restarts=1, pace=pace, damping=off)
        found = attack(seen, torch.Generator().manual_seed(0), settings, lambda: 0.0, 1.0)
        means = batch_statistics(seen)(found.inputs)[0]
        errors.append(float((means - batch_statistics(seen)(inputs)[0]).norm()))
    assert errors[1] < 0.5 * errors[0]


def test_partial_result_at_the_deadline() -> None:
    seen, inputs, _ = played(training=True)
    clock = itertools.count()
    settings = BatchNorm(restarts=1, variation=0.1)
    found = attack(seen, torch.Generator().manual_seed(0), settings, lambda: next(clock), 5.0)
    assert found.inputs.shape == inputs.shape
    assert found.seconds < 10.0  # Of a clock that goes one ahead each time it is asked.
    assert not math.isnan(found.mismatch)


def test_what_cannot_be_attacked() -> None:
    seen, _, _ = played(training=True)
    layer = nn.Sequential(nn.BatchNorm1d(3, momentum=None))
    with pytest.raises(UnsupportedError, match="momentum"):
        sent_statistics(layer, dict(layer.named_buffers()), dict(layer.named_buffers()))
    several = replace(seen, plan=LocalPlan(RATE, 3, 2))
    with pytest.raises(UnsupportedError, match="one gradient"):
        attack(several, torch.Generator(), BatchNorm(), lambda: 0.0, 1.0)
