"""What an attacker sees of one round of one site (or of a sum over sites), and what it is granted.

An attack is a function from an `Observation` to a `Reconstruction`. It never sees the records: who plays the attack
keeps them and judges afterwards (`sealround.audit.inversion.scoring`).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from sealround.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from sealround.audit.inversion.objectives import Objective

__all__ = ["Domain", "LocalPlan", "Observation", "Reconstruction", "Victims"]


@dataclass(frozen=True, slots=True)
class LocalPlan:
    """How the site trains in a round: public, it is in the study file.

    Attributes:
        learning_rate: Of this round.
        batch_size: Examples a step.
        steps: Steps of this round.
        momentum: Of SGD.
        adaptive: Whether steps are Adam's, of which the first is nearly the gradient's sign.
        weight_decay: Share of the weights taken off a step.
        proximal: FedProx's mu.
    """

    learning_rate: float
    batch_size: int
    steps: int = 1
    momentum: float = 0.0
    adaptive: bool = False
    weight_decay: float = 0.0
    proximal: float = 0.0

    @property
    def single_gradient(self) -> bool:
        """Whether the update shows the gradient of one batch: weight decay, which is known, comes off."""
        return self.steps == 1 and not self.adaptive


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """What values an encoded example can have, as the study file and its public statistics say.

    Attributes:
        lower: Smallest value, broadcastable to one example's shape.
        upper: Largest value.
        groups: Tables: columns of which exactly one is 1 (or none, if the first level has no column), one tuple a
            categorical feature.
        implicit: Tables: for each group, whether its first level has no column.
        integer: Tables: columns that hold whole numbers before they are standardised.
        mean: Subtracted from the raw value, broadcastable to one example's shape.
        scale: The raw difference from ``mean`` is divided by it.
    """

    lower: torch.Tensor
    upper: torch.Tensor
    groups: tuple[tuple[int, ...], ...] = ()
    implicit: tuple[bool, ...] = ()
    integer: tuple[int, ...] = ()
    mean: torch.Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    scale: torch.Tensor = field(default_factory=lambda: torch.ones((), dtype=torch.float64))

    def raw(self, inputs: torch.Tensor) -> torch.Tensor:
        """Undo the standardisation of examples ``(n, *shape)``: units of the column, or grey values in [0, 1]."""
        return inputs * self.scale + self.mean


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """One update as an attacker has it.

    Attributes:
        module: The network, float64; its own parameters are those of `model`, its mode (`train` or `eval`) the site's.
        objective: What the site minimises.
        model: Parameters the site started from, float64 ``(d,)``, in the order of ``module.parameters()``.
        update: Local minus global parameters, float64 ``(d,)``; of several sites their mean weighted by examples.
        plan: How the site trained.
        examples: How many examples are behind it, all steps and sites together.
        shape: Of one encoded example.
        domain: What values an example can have.
        labels: The labels, where the attacker is granted them, in the objective's shape; else ``None``.
        blur: Standard deviation of what blurs each coordinate of `update` (noise, rounding), 0 if nothing does.
        sites: How many sites the update is the mean of.
    """

    module: nn.Module
    objective: Objective
    model: torch.Tensor
    update: torch.Tensor
    plan: LocalPlan
    examples: int
    shape: tuple[int, ...]
    domain: Domain
    labels: torch.Tensor | None = None
    blur: float = 0.0
    sites: int = 1

    @property
    def gradient(self) -> torch.Tensor:
        """The gradient of the mean loss that the update shows, float64 ``(d,)``.

        Exact for one step of SGD, from which weight decay is taken off; for several steps it is their mean gradient
        along the way, which is near the gradient at `model` as long as the steps are short.

        Raises:
            UsageError: If the steps were Adam's, which do not show it.
        """
        if self.plan.adaptive:
            raise UsageError("steps of Adam do not show the gradient", hint="attack the update itself")
        mean = self.update * (-1.0 / (self.plan.learning_rate * self.plan.steps))
        return mean - self.decay if self.plan.single_gradient and self.plan.weight_decay else mean

    @property
    def decay(self) -> torch.Tensor:
        """What weight decay adds to the gradient at `model`, ``(d,)``: of weights, not of biases and norms."""
        weights = [
            torch.full((each.numel(),), float(each.ndim > 1)).to(self.model) for each in self.module.parameters()
        ]
        return self.plan.weight_decay * torch.cat(weights) * self.model

    @property
    def unknowns(self) -> int:
        """How many numbers the inputs of all examples are."""
        return self.examples * functools.reduce(lambda product, size: product * size, self.shape, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Victims:
    """The records behind an observation; an attack never gets them, a judge does.

    Attributes:
        inputs: Encoded examples, float64 ``(n, *shape)``.
        labels: In the objective's shape.
    """

    inputs: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Reconstruction:
    """What an attack rebuilt.

    Attributes:
        attack: Its name.
        inputs: Encoded examples, float64 ``(m, *shape)``; ``m`` is how many the attack speaks for, in any order.
        labels: Their labels, in the objective's shape; ``None`` if the attack does not say.
        mismatch: Relative distance between the update that these examples give and the one seen; NaN if the attack
            does not speak for all examples.
        certified: For each example, whether the attack itself proves it right (from the update, up to the stated
            tolerance of the attack); bool ``(m,)``.
        seconds: What it took.
        course: ``(seconds, mismatch)`` along the way, for optimisation.
        note: What a reader has to know, in one sentence; never a patient's value.
    """

    attack: str
    inputs: torch.Tensor
    labels: torch.Tensor | None = None
    mismatch: float = float("nan")
    certified: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    seconds: float = 0.0
    course: tuple[tuple[float, float], ...] = ()
    note: str = ""
