"""Imprints behind convolutions: kernels that copy the image, as far as pools and norms let anything through.

VGG-16 has two hidden linear layers, in which an imprint can be planted. What they see is what the convolutions make of
the image, and the coordinator sets these to copies: one channel for what is above the mean, one for what is below. Five
pools by 2 take the largest of each 2x2, so what arrives, and can be rebuilt exactly, is the brightest and the darkest
value of each block of 32x32 pixels: a thumbnail, 7x7 at 224 pixels, 1x1 at 32.

Source: LOKI (J. C. Zhao et al., S&P 2024, section 4.2), and Robbing the Fed (Fowl et al., ICLR 2022, section 4.3).
Differences, and what is not possible here: both put their layer before the network or behind convolutions that keep the
resolution. Nothing can be put in, and a maximum over four pixels does not tell which. With GroupNorm what arrives is
also divided by a number that depends on the image. The convolutional network and the ResNet of this package end in a
mean over the image and one linear output: they have no hidden linear layer, and no imprint; a threshold sweep
(`sealround.audit.malicious.fishing`) gets the mean features of one image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from sealround.audit.malicious.layers import hidden_layers
from sealround.errors import UnsupportedError

if TYPE_CHECKING:
    from sealround.learning.models import Network
    from sealround.vocabulary import Update

__all__ = ["plant_copies", "thumbnails"]


def plant_copies(network: Network, reference: Update) -> Update:
    """Let the convolutions before a hidden linear layer copy the image.

    Args:
        network: The study's model.
        reference: The model to plant into, float32 ``(d,)``; it is not changed.

    Returns:
        float32 ``(d,)``; plant an imprint into it.

    Raises:
        UnsupportedError: If the model has no hidden linear layer, or norms between the convolutions, or too few
            channels for the image above and below its mean.
    """
    hidden_layers(network)
    vector = np.array(reference, dtype=np.float32)
    start, colours = 0, 0
    for module in network.features.modules():
        own = [parameter.numel() for parameter in module.parameters(recurse=False)]
        if isinstance(module, nn.GroupNorm):
            raise UnsupportedError("GroupNorm between the convolutions does not copy an image")
        if isinstance(module, nn.Conv2d):
            kernel = np.zeros(tuple(module.weight.shape), dtype=np.float32)
            colours = colours or module.in_channels
            if module.out_channels < 2 * colours:
                raise UnsupportedError(f"{module.out_channels} channels do not hold {colours} colours twice")
            centre = tuple(size // 2 for size in module.kernel_size)
            for colour in range(colours):
                first = module.in_channels == colours
                kernel[(colour, colour, *centre)] = 1.0
                kernel[(colours + colour, colour if first else colours + colour, *centre)] = -1.0 if first else 1.0
            vector[start : start + kernel.size] = kernel.reshape(-1)
            vector[start + kernel.size : start + sum(own)] = 0.0
        start += sum(own)
    return vector


def thumbnails(
    inputs: np.ndarray, channels: int, colours: int, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Cut rebuilt inputs of the linear layer into thumbnails.

    Args:
        inputs: float64 ``(m, channels * height * width)``.
        channels: Of the last convolution.
        colours: Of the image.
        shape: Height and width of the last map.

    Returns:
        Brightest and darkest standardised value of each block, each cut off at 0, ``(m, colours, height, width)``.
    """
    maps = inputs.reshape(len(inputs), channels, *shape)
    return maps[:, :colours], -maps[:, colours : 2 * colours]
