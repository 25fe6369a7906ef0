"""What is kept of one layer's gradients by patient, between measuring their lengths and adding them up.

The gradient of a weight matrix for one patient is ``sum_t g_t x_t^T`` over positions t: his rows, and for a convolution
the places of the kernel in each. Two ways to its length:

* `Written`: write the gradient down, for each patient. The clipped sum is then one matrix-vector product.
* `Outer` and `Patches`: keep x and g. The squared length is ``sum_st <x_s, x_t> <g_s, g_t>`` (Goodfellow 2015 for one
  position; Lee and Kifer 2021 and Bu et al. 2022, section 3, for more), and the clipped sum is the layer's own gradient
  with each g scaled, without a second backward pass (Bu et al. 2023, section 2.3).

Products of positions are taken in float64: where the terms cancel, float32 would return a length that is too small, and
a patient would count more than C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch.nn.grad import conv2d_weight

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Batch", "Outer", "Part", "Patches", "Written", "blocks", "padding_of", "patch_products", "squares_of"]

_BLOCK = 1 << 21  # Numbers a temporary array may have, about: what is used again soon stays in the cache.
_LINE = 256


@dataclass(frozen=True, slots=True)
class Batch:
    """Patients with equally many rows each, their rows one after the other.

    Attributes:
        patients: q.
        rows: r of each; the batch has ``q * r`` examples.
    """

    patients: int
    rows: int


class Part(Protocol):
    """Some parameters' gradients, by patient."""

    def squares(self) -> torch.Tensor:
        """Return the squared length of each patient's gradient, float64 ``(q,)``."""
        ...

    def add(self, total: torch.Tensor, scale: torch.Tensor) -> None:
        """Add the sum of ``scale`` times each patient's gradient to ``total``.

        Args:
            total: Of all parameters, float32 ``(d,)``.
            scale: float32 ``(q,)``.
        """
        ...

    def forget(self, unusable: torch.Tensor) -> None:
        """Set the gradients of some patients, bool ``(q,)``, to 0: NaN times 0 would still be NaN."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """Gradients written down, in one piece or several.

    Attributes:
        where: Of the parameters in the flat vector.
        gradients: float32 ``(pieces, q, ...)``.
        order: Where each axis of the parameter is among those of ``gradients``, patients not counted; all the same if
            empty.
    """

    where: slice
    gradients: torch.Tensor
    order: tuple[int, ...] = ()

    def squares(self) -> torch.Tensor:
        """Return squared lengths, float64 ``(q,)``."""
        return squares_of(self.gradients.flatten(2)).sum(0)

    def add(self, total: torch.Tensor, scale: torch.Tensor) -> None:
        """Add one matrix-vector product for each piece."""
        flat = self.gradients.flatten(2)
        if len(flat) == 1:
            total[self.where].addmv_(flat[0].T, scale)
            return
        summed = torch.bmm(scale.expand(len(flat), 1, -1), flat).view(len(flat), *self.gradients.shape[2:])
        summed = summed.permute(self.order)
        total[self.where].view(summed.shape).add_(summed)

    def forget(self, unusable: torch.Tensor) -> None:
        """Set some patients' gradients to 0."""
        self.gradients[:, unusable] = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Outer:
    """A weight matrix's gradients, as inputs and derivatives.

    Attributes:
        where: Of the matrix in the flat vector.
        inputs: x, float32 ``(q, positions, p)``.
        derivatives: g, float32 ``(q, positions, k)``.
    """

    where: slice
    inputs: torch.Tensor
    derivatives: torch.Tensor

    def squares(self) -> torch.Tensor:
        """Return squared lengths, float64 ``(q,)``."""
        if self.inputs.shape[1] == 1:
            return squares_of(self.inputs[:, 0]).mul_(squares_of(self.derivatives[:, 0]))
        x, g = self.inputs.double(), self.derivatives.double()
        squares: torch.Tensor = (x @ x.mT).mul_(g @ g.mT).sum((1, 2))
        return squares.clamp_(min=0.0)

    def add(self, total: torch.Tensor, scale: torch.Tensor) -> None:
        """Add one matrix product."""
        x, g, factor = self.inputs, self.derivatives, scale.view(-1, 1, 1)
        x, g = (x * factor, g) if x.shape[2] < g.shape[2] else (x, g * factor)  # The narrower is copied.
        total[self.where].view(g.shape[2], x.shape[2]).addmm_(g.flatten(0, 1).T, x.flatten(0, 1))

    def forget(self, unusable: torch.Tensor) -> None:
        """Set some patients' inputs and derivatives to 0."""
        self.inputs[unusable] = 0.0
        self.derivatives[unusable] = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """A kernel's gradients, as images and derivatives.

    Attributes:
        where: Of the kernel in the flat vector.
        layer: The convolution.
        batch: How the examples belong to patients.
        images: float32 ``(n, c, h, w)``.
        derivatives: float32 ``(n, k, h', w')``.
    """

    where: slice
    layer: nn.Conv2d
    batch: Batch
    images: torch.Tensor
    derivatives: torch.Tensor

    def squares(self) -> torch.Tensor:
        """Return squared lengths, float64 ``(q,)``."""
        q, r = self.batch.patients, self.batch.rows
        images = self.images.view(q, r, *self.images.shape[1:])
        derivatives = self.derivatives.view(q, r, *self.derivatives.shape[1:])
        found = []
        for piece in blocks(q, 3 * (r * images[0, 0, 0].numel()) ** 2):
            g = derivatives[piece].double().transpose(1, 2).flatten(2)
            products = patch_products(images[piece].double(), self.layer, derivatives.shape[-2:])
            found.append(products.mul_(g.mT @ g).sum((1, 2)))
        return torch.cat(found).clamp_(min=0.0)

    def add(self, total: torch.Tensor, scale: torch.Tensor) -> None:
        """Add the convolution's own gradient, each example's derivative scaled."""
        layer = self.layer
        scaled = self.derivatives * scale.repeat_interleave(self.batch.rows).view(-1, 1, 1, 1)
        gradient: torch.Tensor = conv2d_weight(  # type: ignore[no-untyped-call]
            self.images, layer.weight.shape, scaled, layer.stride, layer.padding, layer.dilation
        )
        total[self.where].add_(gradient.view(-1))

    def forget(self, unusable: torch.Tensor) -> None:
        """Set some patients' images and derivatives to 0."""
        rows = unusable.repeat_interleave(self.batch.rows)
        self.images[rows] = 0.0
        self.derivatives[rows] = 0.0


def squares_of(numbers: torch.Tensor) -> torch.Tensor:
    """Return the sum of squares along the last axis, float64 ``(...)`` of float32 ``(..., k)``.

    Lines of 256 in float32 and what they come to in float64, without a copy: one float32 sum of a whole kernel would be
    good to 10^-5 only.
    """
    whole = numbers.shape[-1] - numbers.shape[-1] % _LINE
    squares: torch.Tensor = torch.linalg.vector_norm(numbers[..., whole:], dim=-1).double().square_()
    if whole:
        lines = numbers[..., :whole].view(*numbers.shape[:-1], -1, _LINE)
        squares.add_(torch.linalg.vector_norm(lines, dim=-1).double().square_().sum(-1))
    return squares


def blocks(number: int, each: int) -> list[slice]:
    """Cut ``number`` patients, with so many numbers in temporary arrays each, into pieces that stay in the cache."""
    size = max(1, _BLOCK // max(each, 1))
    return [slice(start, min(start + size, number)) for start in range(0, number, size)]


def patch_products(images: torch.Tensor, layer: nn.Conv2d, out: torch.Size) -> torch.Tensor:
    """Return the inner products of every two patches that a kernel sees, ``(q, positions, positions)``.

    A product of patches is a sum, over the kernel's cells, of products of pixels: those are taken once for each two
    pixels and then added up, which needs a cell's count fewer multiplications than taking patches apart.

    Args:
        images: ``(q, r, c, h, w)``.
        layer: The convolution.
        out: Height and width of its output.
    """
    (tall, wide), (down, across), (row_step, column_step) = layer.kernel_size, layer.stride, layer.dilation
    top, left = padding_of(layer)
    images = torch.nn.functional.pad(images, (left, left, top, top))
    if (tall, wide) == (1, 1):
        images, down, across = images[..., ::down, ::across], 1, 1
    q, r, _, height, width = images.shape
    pixels = images.transpose(1, 2).flatten(2)
    products = (pixels.mT @ pixels).view(q, r, height, width, r, height, width)
    total: torch.Tensor | None = None
    for i in range(0, tall * row_step, row_step):
        rows = slice(i, i + (out[0] - 1) * down + 1, down)
        for j in range(0, wide * column_step, column_step):
            columns = slice(j, j + (out[1] - 1) * across + 1, across)
            seen = products[:, :, rows, columns, :, rows, columns]
            total = seen.clone(memory_format=torch.contiguous_format) if total is None else total.add_(seen)
    assert total is not None  # noqa: S101  (for the type checker: a kernel has a cell)
    return total.view(q, r * out.numel(), -1)


def padding_of(layer: nn.Conv2d) -> tuple[int, int]:
    """Return a convolution's padding above and below, and on the left and the right."""
    assert isinstance(layer.padding, tuple)  # noqa: S101  (for the type checker: padding by name has no rule)
    top, left = layer.padding
    return top, left
