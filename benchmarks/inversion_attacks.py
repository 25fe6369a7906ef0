"""Attacks of `fundus_inversion.py` and `chest_xray_inversion.py`: what an audit plays, and what was published before.

The audit's attacks are as hard as their budget allows. The published ones have their published hyperparameters; where
their published number of iterations does not go into the budget they make fewer, as many as a timed one lets expect,
with the learning rate's falls moved along.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from sealround.audit.inversion import dlg, inverting_gradients
from sealround.audit.inversion.playing import INVERSIONS, Played, Trial, play
from sealround.audit.inversion.playing import why_not as audit_why_not
from sealround.audit.inversion.simulation import flat_gradient
from sealround.audit.inversion.trail import guess_labels
from sealround.errors import SealroundError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealround.audit.inversion.observation import Observation, Reconstruction

PUBLISHED_ITERATIONS = 4800
_LEAST = 50
_R_GAP = 1.0  # Seconds that the systems of a thousand unknowns take.


def _dlg(seen: Observation, trial: Trial) -> Reconstruction:
    """Deep Leakage from Gradients: L-BFGS, stopped between two of its iterations by the clock."""
    generator = torch.Generator().manual_seed(trial.seed)
    return dlg.attack(seen, generator, dlg.Dlg(), trial.clock, trial.clock() + trial.seconds)


def _inverting_gradients(seen: Observation, trial: Trial) -> Reconstruction:
    """Inverting Gradients with the settings of its comparison on small images."""
    generator = torch.Generator().manual_seed(trial.seed)
    fits = int(trial.seconds / _seconds(seen, generator))
    iterations = max(_LEAST, min(PUBLISHED_ITERATIONS, fits))
    settings = inverting_gradients.InvertingGradients(iterations=iterations)
    return inverting_gradients.attack(seen, generator, settings, trial.clock, float("inf"))


PUBLISHED: dict[str, Callable[[Observation, Trial], Reconstruction]] = {
    "dlg-published": _dlg,
    "inverting-gradients-published": _inverting_gradients,
}
"""What a stronger attack has to beat."""

ATTACKS: Sequence[str] = (*PUBLISHED, *INVERSIONS)


def why_not(attack: str, seen: Observation, seconds: float) -> str | None:
    """Return why an attack does not apply, or ``None``; no clock stops R-GAP, which is left out where it takes long."""
    expected = _R_GAP * (seen.unknowns / 1000) ** 3
    if attack == "r-gap" and expected > 3 * seconds:
        return f"it takes some {expected:.0f} seconds"
    if attack in INVERSIONS:
        return audit_why_not(attack, seen, "image")
    return None if seen.plan.single_gradient else "it rebuilds images from one gradient"


def attacked(attack: str, seen: Observation, trial: Trial) -> Played:
    """Play an attack."""
    if attack in INVERSIONS:
        return play(attack, seen, trial)
    try:
        return Played("done", PUBLISHED[attack](seen, trial))
    except SealroundError as error:
        return Played("failed", None, why=error.message)


def _seconds(seen: Observation, generator: torch.Generator) -> float:
    """Time one iteration of a first-order attack: a gradient, and the slope of a number of it."""
    inputs = torch.randn((seen.examples, *seen.shape), generator=generator).to(seen.model).requires_grad_()
    gradient, labels = flat_gradient(seen), guess_labels(seen, generator).labels
    took = []
    for _ in range(3):
        start = time.perf_counter()
        torch.autograd.grad(gradient(inputs, labels).square().sum(), [inputs])
        took.append(time.perf_counter() - start)
    return 1.2 * min(took)
