"""Convolutional networks from images to a vector of features, with no layer that mixes patients.

Batch normalisation computes with the other patients of a batch, which makes an update depend on who else was in it,
leaks their mean, and breaks under label skew; GroupNorm (Wu and He 2018) sees one image at a time. Every function
returns the stack and the width of its output ``(n, width)``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from sealround.errors import UnsupportedError
from sealround.learning.layers import Dropout

if TYPE_CHECKING:
    from sealround.study.sections import Cnn, Resnet, Vgg16

__all__ = ["cnn", "resnet", "vgg16"]

_GROUPS = 8
_SMALL = 128  # Pixels below which ResNet's stem keeps the resolution.
_VGG_STAGES = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))  # Width in units of the first stage, convolutions.
_VGG_GRID = 7


def cnn(model: Cnn, shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """Blocks of convolution 3x3, GroupNorm and ReLU with a pool by 2 between them; then the mean over the image.

    With a strided stem the first block is a convolution 5x5 that halves the image itself.
    """
    channels, height, width = shape
    strided = model.stem == "strided"
    _at_least(2 ** max(len(model.channels) - 1, int(strided)), height, width, "cnn")
    layers: list[nn.Module] = []
    for block, out in enumerate(model.channels):
        if block > int(strided):
            layers.append(nn.MaxPool2d(2))
        first = strided and block == 0
        layers += _convolution(channels, out, size=5, stride=2) if first else _convolution(channels, out)
        layers.append(nn.ReLU(inplace=True))
        channels = out
    return nn.Sequential(*layers, _MeanPool(), Dropout(model.dropout)), channels


def resnet(model: Resnet, shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """ResNet (He et al. 2016, table 1) with GroupNorm; below 128 pixels with their stem for CIFAR (section 4.2)."""
    channels, height, width = shape
    _at_least(8, height, width, "resnet")
    out = model.width
    if min(height, width) < _SMALL:
        layers: list[nn.Module] = [*_convolution(channels, out), nn.ReLU(inplace=True)]
    else:
        layers = [*_convolution(channels, out, size=7, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1)]
    blocks = 1 if model.depth == 10 else 2  # noqa: PLR2004  (1 stem + 4 stages of 1 or 2 blocks of 2 + 1 head)
    channels = out
    for stage in range(4):
        out = model.width * 2**stage
        for block in range(blocks):
            layers.append(_Residual(channels, out, stride=2 if stage and not block else 1))
            channels = out
    return nn.Sequential(*layers, _MeanPool()), channels


def vgg16(model: Vgg16, shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """VGG-16 (Simonyan and Zisserman 2015, configuration D) up to the last layer.

    From 32 pixels: the last map is taken as it is up to 7x7, the published size, and averaged down to it above.
    """
    channels, height, width = shape
    _at_least(32, height, width, "vgg16")
    layers: list[nn.Module] = []
    for factor, convolutions in _VGG_STAGES:
        out = model.width * factor
        for _ in range(convolutions):
            layers += _convolution(channels, out) if model.group_norm else [nn.Conv2d(channels, out, 3, padding=1)]
            layers.append(nn.ReLU(inplace=True))
            channels = out
        layers.append(nn.MaxPool2d(2))
    pool, cells = _grid(height // 32, width // 32)
    hidden = model.hidden
    layers += [pool, nn.Flatten(), nn.Linear(channels * cells, hidden), nn.ReLU(inplace=True)]
    layers += [Dropout(model.dropout), nn.Linear(hidden, hidden), nn.ReLU(inplace=True), Dropout(model.dropout)]
    return nn.Sequential(*layers), hidden


def _grid(height: int, width: int) -> tuple[nn.Module, int]:
    """Average a larger map down to 7 rows and columns with equal windows; return that, and how many cells there are.

    Windows overlap where 7 does not divide the size. Not torch's adaptive pool, whose GPU gradient is not repeatable.
    """
    grid = [min(size, _VGG_GRID) for size in (height, width)]
    strides = [size // cells for size, cells in zip((height, width), grid, strict=True)]
    windows = [size - (cells - 1) * stride for size, cells, stride in zip((height, width), grid, strides, strict=True)]
    if windows == [1, 1]:
        return nn.Identity(), math.prod(grid)
    return nn.AvgPool2d((windows[0], windows[1]), stride=(strides[0], strides[1])), math.prod(grid)


def _at_least(pixels: int, height: int, width: int, kind: str) -> None:
    if min(height, width) < pixels:
        msg = f'model kind "{kind}" as described needs images of at least {pixels} pixels, these are {height}x{width}'
        raise UnsupportedError(msg, hint="take a smaller network, or larger images")


def _norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with up to 8 equal groups of two channels or more: one channel alone on a 1x1 map would become 0."""
    return nn.GroupNorm(math.gcd(_GROUPS, max(channels // 2, 1)) if channels % 2 == 0 else 1, channels)


def _convolution(channels: int, out: int, *, size: int = 3, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(channels, out, size, stride=stride, padding=size // 2, bias=False), _norm(out)]


class _MeanPool(nn.Module):
    """Mean over height and width."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


class _Residual(nn.Module):
    """Basic block (He et al. 2016, figure 2), with a 1x1 projection where the shape changes (option B)."""

    def __init__(self, channels: int, out: int, *, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(channels, out, stride=stride), nn.ReLU(inplace=True), *_convolution(out, out)
        )
        same = stride == 1 and channels == out
        self.shortcut = nn.Identity() if same else nn.Sequential(*_convolution(channels, out, size=1, stride=stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu_(self.body(x) + self.shortcut(x))
