"""Float64-exact images from one gradient."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from sealround.audit.inversion.levenberg_marquardt import LevenbergMarquardt, attack, certify
from sealround.audit.inversion.observation import Domain
from sealround.audit.inversion.simulation import flat_gradient
from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.audit.inversion.observation import Observation, Victims

    Observe = Callable[..., tuple[Observation, Victims]]
    Psnr = Callable[[torch.Tensor, torch.Tensor], float]
    Ticking = Callable[[], Callable[[], float]]

# torch 2.13 compiles its forward derivatives with what it calls deprecated, at their first use.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")


def _draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("channels", "activation", "classes"), [(1, nn.Sigmoid, 4), (1, nn.GELU, 1), (3, nn.Sigmoid, 1), (3, nn.GELU, 4)]
)
def test_one_image_is_exact_and_proven(
    observe: Observe, channels: int, activation: type[nn.Module], classes: int
) -> None:
    seen, victims = observe(channels=channels, activation=activation, classes=classes, seed=4)
    found = attack(seen, _draw(), LevenbergMarquardt(), lambda: 0.0, 1.0)
    torch.testing.assert_close(found.inputs, victims.inputs, rtol=0.0, atol=1e-8)
    assert torch.equal(found.labels, victims.labels)
    assert found.mismatch < 1e-9
    assert found.certified.tolist() == [True]


def test_a_batch_of_different_classes_is_exact(observe: Observe) -> None:
    seen, victims = observe(channels=1, activation=nn.GELU, examples=2, known=True, seed=1)
    found = attack(seen, _draw(), LevenbergMarquardt(), lambda: 0.0, 1.0)
    torch.testing.assert_close(found.inputs, victims.inputs, rtol=0.0, atol=1e-6)
    assert found.certified.tolist() == [True] * 2


@pytest.mark.parametrize("classes", [1, 4])
def test_labels_of_a_batch_are_found_with_it(observe: Observe, classes: int) -> None:
    seen, victims = observe(channels=1, activation=nn.GELU, examples=2, classes=classes, seed=0)
    found = attack(seen, _draw(), LevenbergMarquardt(), lambda: 0.0, 1.0)
    assert found.labels is not None
    order = found.labels.argsort() if classes == 1 else found.labels.argmax(1).argsort()
    assert torch.equal(found.labels[order], victims.labels)
    torch.testing.assert_close(found.inputs[order], victims.inputs, rtol=0.0, atol=1e-6)


def test_unbounded_inputs_are_found_too(observe: Observe) -> None:
    seen, victims = observe(seed=2)
    free = replace(seen, domain=Domain(lower=torch.tensor(-math.inf), upper=torch.tensor(math.inf)))
    found = attack(free, _draw(), LevenbergMarquardt(), lambda: 0.0, 1.0)
    torch.testing.assert_close(found.inputs, victims.inputs, rtol=0.0, atol=1e-8)


def test_what_the_gradient_does_not_show_is_not_certified(observe: Observe) -> None:
    seen, victims = observe(channels=1, known=True)
    assert certify(seen, victims.inputs, victims.labels, _draw()) is True
    # Without its first layer's active units a network's gradient is the same whatever the image.
    dead, _ = observe(channels=1, activation=nn.ReLU, known=True)
    model = dead.model.clone()
    model[6 * 9 : 6 * 10] = -100.0  # The first convolution's biases.
    dead = replace(dead, model=model)
    dead = replace(dead, update=-0.5 * flat_gradient(dead)(victims.inputs, victims.labels))
    assert certify(dead, victims.inputs, victims.labels, _draw()) is False
    found = attack(dead, _draw(), LevenbergMarquardt(restarts=1), lambda: 0.0, 1.0)
    assert found.mismatch < 1e-9
    assert found.certified.tolist() == [False]
    assert "could not be shown" in found.note


def test_too_many_unknowns_are_not_checked(observe: Observe) -> None:
    seen, victims = observe(channels=1, known=True)
    assert certify(seen, victims.inputs, victims.labels, _draw(), most=63) is None
    found = attack(seen, _draw(), LevenbergMarquardt(most=63), lambda: 0.0, 1.0)
    assert found.mismatch < 1e-9
    assert not found.certified.any()
    assert "not checked" in found.note


def test_a_gradient_of_nothing_is_not_explained(observe: Observe) -> None:
    seen, _ = observe(channels=1, known=True)
    noise = torch.randn(seen.update.shape, dtype=torch.float64, generator=_draw(7))
    settings = LevenbergMarquardt(restarts=2, iterations=5)
    found = attack(replace(seen, update=noise), _draw(), settings, lambda: 0.0, 1.0)
    assert found.mismatch > 0.1
    assert not found.certified.any()
    assert "not explained" in found.note


def test_same_seed_same_result(observe: Observe) -> None:
    seen, _ = observe(channels=1, examples=2, known=True)
    short = LevenbergMarquardt(restarts=1, iterations=2)
    one, same, other = (attack(seen, _draw(seed), short, lambda: 0.0, 1.0) for seed in (1, 1, 2))
    assert torch.equal(one.inputs, same.inputs)
    assert not torch.equal(one.inputs, other.inputs)


def test_the_deadline_ends_it_with_what_there_is(observe: Observe, ticking: Ticking) -> None:
    seen, _ = observe()
    found = attack(seen, _draw(), LevenbergMarquardt(), ticking(), 40.0)
    assert found.inputs.shape == (1, 3, 8, 8)
    assert found.seconds < 60.0
    assert 1e-6 < found.mismatch < 1.0
    course = [mismatch for _, mismatch in found.course]
    assert course
    assert course == sorted(course, reverse=True)
    at_once = attack(seen, _draw(), LevenbergMarquardt(), ticking(), 0.0)
    assert at_once.inputs.shape == (1, 3, 8, 8)
    assert math.isfinite(at_once.mismatch)


def test_a_good_start_is_used(observe: Observe, psnr: Psnr) -> None:
    seen, victims = observe(known=True)
    near = victims.inputs + 1e-3
    found = attack(seen, _draw(), LevenbergMarquardt(restarts=1, iterations=3, start=near), lambda: 0.0, 1.0)
    assert psnr(found.inputs, victims.inputs) > 100.0


def test_several_steps_are_refused(observe: Observe) -> None:
    seen, _ = observe()
    with pytest.raises(UsageError, match="one gradient"):
        attack(replace(seen, plan=replace(seen.plan, steps=3)), _draw(), LevenbergMarquardt(), lambda: 0.0, 1.0)
