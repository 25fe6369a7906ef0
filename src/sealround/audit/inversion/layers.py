"""Where a network's layers are in its flat vector, in the order in which an example passes them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from sealround.learning.layers import Dropout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealround.audit.inversion.observation import Observation

__all__ = ["Stage", "first_linear", "is_random", "output_slopes", "stages"]

_PASSIVE = (nn.Identity, nn.Flatten, nn.Dropout, Dropout, nn.Sequential)  # of the last, the empty one has no parts


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One layer without parts of its own.

    Attributes:
        name: In ``module.named_modules()``.
        module: The layer.
        follows: Whether its input is what the stage before put out (reshaped at most).
        input_shape: Of one example.
        output_shape: Of one example.
        weight: Where its weight lies in the flat vector; ``None`` without.
        bias: Where its bias lies; ``None`` without.
    """

    name: str
    module: nn.Module
    follows: bool
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    weight: slice | None
    bias: slice | None

    @property
    def passive(self) -> bool:
        """Whether it leaves an example as it is, its shape aside, where nothing is dropped."""
        return isinstance(self.module, _PASSIVE)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Switch a module to evaluation, and each of its parts back to what it was."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def stages(seen: Observation) -> tuple[Stage, ...]:
    """Return the network's layers in the order in which they are computed, from one pass of zeros.

    Functions outside layers (a residual sum, ``torch.relu``) are not seen; the stage after one does not `follow`.
    """
    where, start = {}, 0
    for parameter in seen.module.parameters():
        where[id(parameter)] = slice(start, start := start + parameter.numel())
    found: list[Stage] = []
    last: list[torch.Tensor] = [torch.zeros((1, *seen.shape), dtype=seen.model.dtype)]

    def note(name: str, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        entered, left = inputs[0], last[0]
        same = entered.data_ptr() == left.data_ptr() and entered.numel() == left.numel()
        own = {key: where[id(p)] for key, p in module.named_parameters(recurse=False)}
        shapes = tuple(entered.shape[1:]), tuple(output.shape[1:])
        found.append(Stage(name, module, same, *shapes, own.get("weight"), own.get("bias")))
        last[0] = output

    leaves = [(name, part) for name, part in seen.module.named_modules() if not any(part.children())]
    hooks = [
        part.register_forward_hook(lambda module, inputs, output, name=name: note(name, module, inputs, output))
        for name, part in leaves
    ]
    try:
        with torch.no_grad(), _evaluating(seen.module):
            seen.module(last[0])
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(found)


def first_linear(chain: tuple[Stage, ...]) -> tuple[int | None, str | None]:
    """Return which stage is a linear layer that sees the examples themselves, or why none does."""
    for index, stage in enumerate(chain):
        if not stage.follows:
            return None, f"something that is not a layer changes the examples before {stage.name!r}"
        if isinstance(stage.module, nn.Linear):
            return index, None
        if not stage.passive:
            return None, f"the first layer is {type(stage.module).__name__}, not linear"
    return None, "the network has no linear layer"


def is_random(seen: Observation) -> bool:
    """Whether the site drops units at random, which an attacker cannot repeat."""
    dropouts = [part for part in seen.module.modules() if isinstance(part, nn.Dropout | Dropout)]
    return any(part.training and (part.p if isinstance(part, nn.Dropout) else part.share) > 0.0 for part in dropouts)


def output_slopes(
    seen: Observation, stage: Stage, inputs: torch.Tensor, weights: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return outputs, and the derivative of each example's (weighted) sum of outputs by what a stage puts out for it.

    Args:
        seen: The round; its module as it is, dropout included.
        stage: One whose output is ``(n, m)``.
        inputs: Examples ``(n, *shape)``.
        weights: Of outputs, in their shape; ones if ``None``.

    Returns:
        Outputs ``(n, ...)`` and slopes ``(n, m)``.
    """
    kept: list[torch.Tensor] = []

    def cut(_module: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    hook = stage.module.register_forward_hook(cut)
    try:
        with torch.enable_grad():
            outputs = seen.module(inputs)
            (slopes,) = torch.autograd.grad((outputs if weights is None else outputs * weights).sum(), kept[-1])
    finally:
        hook.remove()
    return outputs.detach(), slopes
