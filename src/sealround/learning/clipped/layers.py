"""From what a layer saw and what the loss wants of its output to its gradients by patient."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from sealround.learning.clipped.parts import Batch, Outer, Part, Patches, Written, blocks, padding_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["has_rule", "parts_of_layer"]

_PRODUCT_COST = 0.1
"""Time of a multiplication of two positions' products against that of a number of a gradient that is written down."""


def has_rule(layer: nn.Module) -> bool:
    """Whether `parts_of_layer` knows a layer: these types themselves, with no parameters but their own."""
    if isinstance(layer, nn.Conv2d) and (
        layer.groups != 1 or layer.padding_mode != "zeros" or isinstance(layer.padding, str)
    ):
        return False
    names = {name for name, _ in layer.named_parameters(recurse=False)}
    return type(layer) in {nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm} and names <= {"weight", "bias"}


def parts_of_layer(
    layer: nn.Module, where: Mapping[str, slice], batch: Batch, x: torch.Tensor, g: torch.Tensor
) -> list[Part]:
    """Return one layer's gradients.

    Args:
        layer: One that `has_rule`.
        where: Of each of its own parameters in the flat vector, by name.
        batch: How the examples belong to patients.
        x: What the layer saw, float32 ``(n, ...)``.
        g: Derivative of the sum over patients of their losses by what it returned, float32 ``(n, ...)``.
    """
    parts: list[Part] = []
    q = batch.patients
    match layer:
        case nn.Linear():
            x, g = x.reshape(q, -1, layer.in_features), g.reshape(q, -1, layer.out_features)
            parts.append(_matrix(where["weight"], x, g))
            sums = g.sum(1)
        case nn.Conv2d():
            parts.append(_kernel(layer, where["weight"], batch, x, g))
            sums = _by_patient(g.sum((2, 3)), batch) if "bias" in where else g
        case nn.GroupNorm():
            if "weight" in where:
                parts.append(_vector(where["weight"], _by_patient(_group_slopes(layer, x, g), batch)))
            sums = _by_patient(g.reshape(*g.shape[:2], -1).sum(2), batch)
        case nn.LayerNorm():
            normal = functional.layer_norm(x, layer.normalized_shape, eps=layer.eps)
            size = math.prod(layer.normalized_shape)
            if "weight" in where:
                parts.append(_vector(where["weight"], (normal * g).reshape(q, -1, size).sum(1)))
            sums = g.reshape(q, -1, size).sum(1)
        case _:
            msg = f"no rule for {type(layer).__name__}"
            raise NotImplementedError(msg)
    if "bias" in where:
        parts.append(_vector(where["bias"], sums))
    return parts


def _vector(where: slice, gradients: torch.Tensor) -> Part:
    return Written(where, gradients.unsqueeze(0))


def _matrix(where: slice, x: torch.Tensor, g: torch.Tensor) -> Part:
    """Take a matrix's gradients apart or write them down: ``(q, t, p)`` inputs, ``(q, t, k)`` derivatives."""
    _, positions, p = x.shape
    k = g.shape[2]
    if positions == 1 or _PRODUCT_COST * positions**2 * (p + k) < p * k:
        return Outer(where, x, g)
    return Written(where, torch.bmm(g.mT, x).unsqueeze(0))


def _kernel(layer: nn.Conv2d, where: slice, batch: Batch, x: torch.Tensor, g: torch.Tensor) -> Part:
    """The same for a kernel: ``(n, c, h, w)`` images, ``(n, k, h', w')`` derivatives."""
    pixels, positions = (batch.rows * math.prod(side.shape[2:]) for side in (x, g))
    cells = math.prod(layer.kernel_size)
    products = pixels**2 * layer.in_channels + positions**2 * (layer.out_channels + cells)
    if _PRODUCT_COST * products < layer.weight.numel():
        return Patches(where, layer, batch, x, g)
    return Written(where, _kernel_gradients(layer, batch, x, g), order=(1, 2, 0, 3))


def _kernel_gradients(layer: nn.Conv2d, batch: Batch, x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Return a kernel's gradient for each patient, float32 ``(kernel row, q, k, c, kernel column)``.

    Not with patches taken apart, which would copy an image for each cell of the kernel: it is copied for each column
    of the kernel, and what a row of it sees is then a slice of whole lines.
    """
    q, r = batch.patients, batch.rows
    (tall, wide), (down, _), (step, _) = layer.kernel_size, layer.stride, layer.dilation
    k, c, lines, across = layer.out_channels, layer.in_channels, g.shape[2], g.shape[3]
    written = x.new_empty(tall, q, k, c * wide)
    wanted = g.reshape(len(g), k, lines * across)
    for piece in blocks(q, r * (c * wide * down * (lines + tall) * across + k * c * wide * (r > 1))):
        rows = slice(piece.start * r, piece.stop * r)
        copies = _lines(layer, x[rows], across)
        for i in range(tall):
            start, phase = divmod(i * step, down)
            seen = copies[phase][:, :, start * across : (start + lines) * across]
            if r == 1:
                torch.bmm(wanted[rows], seen.mT, out=written[i, piece])
            else:
                each = torch.bmm(wanted[rows], seen.mT).view(-1, r, k, c * wide)
                torch.sum(each, 1, out=written[i, piece])
    return written.view(tall, q, k, c, wide)


def _lines(layer: nn.Conv2d, x: torch.Tensor, across: int) -> list[torch.Tensor]:
    """Return what each column of the kernel sees, for each remainder of lines by the stride: ``(n, c * wide, ...)``."""
    (tall, wide), (down, stride), (step, column_step) = layer.kernel_size, layer.stride, layer.dilation
    top, left = padding_of(layer)
    height = -(-(x.shape[2] + 2 * top) // down) * down
    x = functional.pad(x, (left, left, top, height - x.shape[2] - top))
    found = []
    for phase in range(min(down, (tall - 1) * step + 1)):
        columns = [
            x[:, :, phase::down, j : j + (across - 1) * stride + 1 : stride]
            for j in range(0, wide * column_step, column_step)
        ]
        found.append(torch.stack(columns, 2).flatten(3).flatten(1, 2))
    return found


def _group_slopes(layer: nn.GroupNorm, x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Return the derivative by each channel's weight for each example, ``(n, c)``."""
    normal = functional.group_norm(x, layer.num_groups, eps=layer.eps)
    return normal.mul_(g).view(*x.shape[:2], -1).sum(2)


def _by_patient(numbers: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Add up the rows of each patient: ``(n, k)`` to ``(q, k)``."""
    return numbers if batch.rows == 1 else numbers.view(batch.patients, batch.rows, -1).sum(1)
