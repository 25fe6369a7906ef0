"""Networks whose gradient jumps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from sealround.audit.inversion import kinked
from sealround.audit.inversion.kinked import Kinked, attack
from sealround.audit.inversion.levenberg_marquardt import LevenbergMarquardt
from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.audit.inversion.observation import Observation, Victims
    from sealround.audit.inversion.trail import Trail

    Observe = Callable[..., tuple[Observation, Victims]]
    Psnr = Callable[[torch.Tensor, torch.Tensor], float]
    Ticking = Callable[[], Callable[[], float]]

# torch 2.13 compiles its forward derivatives with what it calls deprecated, at their first use.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")

PLAIN = Kinked(polish=None)


def _draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_images_come_out_roughly(observe: Observe, psnr: Psnr) -> None:
    seen, victims = observe(channels=1, activation=nn.ReLU)
    found = attack(seen, _draw(), PLAIN, lambda: 0.0, 1.0)
    flat = victims.inputs.mean((2, 3), keepdim=True).expand_as(victims.inputs)
    assert psnr(found.inputs, victims.inputs) > psnr(flat, victims.inputs) + 3.0
    assert torch.equal(found.labels, victims.labels)
    assert found.course[-1][1] < 0.5 * found.course[0][1]


def test_smooth_networks_end_exact(observe: Observe) -> None:
    seen, victims = observe(channels=1)
    polish = LevenbergMarquardt(restarts=1)
    found = attack(seen, _draw(), Kinked(iterations=40, polish=polish), lambda: 0.0, 1.0)
    torch.testing.assert_close(found.inputs, victims.inputs, rtol=0.0, atol=1e-8)
    assert found.certified.tolist() == [True]
    times = [seconds for seconds, _ in found.course]
    assert times == sorted(times)


def test_within_a_piece_the_polish_is_exact_and_proven(observe: Observe, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, victims = observe(channels=1, activation=nn.ReLU, known=True)
    # Descent that ended so near that every unit is on as it is at the original.
    monkeypatch.setattr(kinked, "_descended", lambda trail, *_: _near(trail, victims))
    found = attack(seen, _draw(), Kinked(), lambda: 0.0, 1.0)
    torch.testing.assert_close(found.inputs, victims.inputs, rtol=0.0, atol=1e-8)
    assert found.mismatch < 1e-9
    assert found.certified.tolist() == [True]


def _near(trail: Trail, victims: Victims) -> torch.Tensor:
    close = victims.inputs + 1e-7
    trail.note(close, victims.labels, -1.0)
    return close


def test_a_polish_that_explains_nothing_is_not_kept(observe: Observe) -> None:
    seen, _ = observe(channels=1, activation=nn.ReLU, known=True)
    noisy = replace(seen, update=seen.update * (1.0 + 0.01 * torch.randn(seen.update.shape, generator=_draw(3))))
    plain = attack(noisy, _draw(), replace(PLAIN, iterations=100), lambda: 0.0, 1.0)
    polished = attack(noisy, _draw(), Kinked(iterations=100), lambda: 0.0, 1.0)
    assert torch.equal(plain.inputs, polished.inputs)
    assert len(polished.course) > len(plain.course)
    assert not polished.certified.any()


def test_restarts_give_no_higher_cost(observe: Observe) -> None:
    seen, _ = observe(activation=nn.ReLU, known=True)
    settings = replace(PLAIN, iterations=60, total_variation=0.0, every=1)
    last = [
        attack(seen, _draw(), replace(settings, restarts=count), lambda: 0.0, 1.0).course[-1][1] for count in (1, 3)
    ]
    assert last[1] <= last[0]


def test_same_seed_same_result(observe: Observe) -> None:
    seen, _ = observe(examples=2, known=True, activation=nn.ReLU)
    short = replace(PLAIN, iterations=5)
    one, same, other = (attack(seen, _draw(seed), short, lambda: 0.0, 1.0) for seed in (1, 1, 2))
    assert torch.equal(one.inputs, same.inputs)
    assert not torch.equal(one.inputs, other.inputs)


def test_the_deadline_ends_it_with_what_there_is(observe: Observe, ticking: Ticking) -> None:
    seen, _ = observe(activation=nn.ReLU)
    found = attack(seen, _draw(), Kinked(every=1), ticking(), 12.0)
    assert found.inputs.shape == (1, 3, 8, 8)
    assert 0 < len(found.course) < 12


def test_several_steps_are_refused(observe: Observe) -> None:
    seen, _ = observe()
    with pytest.raises(UsageError, match="one gradient"):
        attack(replace(seen, plan=replace(seen.plan, steps=3)), _draw(), PLAIN, lambda: 0.0, 1.0)
