"""Triggers of backdoors: a mark that a model is taught to obey, on images, in their spectrum, or in a few numbers.

Arrays in, arrays out; what they say about is `sealround.audit.data_poisoning`'s business.
"""

from __future__ import annotations

import numpy as np

from sealround.errors import UsageError

__all__ = ["bars", "blend_spectrum", "chessboard", "corner_square", "rare_values", "stamp"]

_RARE = 0.01  # Of how many rows a value that hardly occurs may be, as a part.
_MARGIN = 1  # Pixels between the square and the corner, so that it is not cut off by a resize.
_SQUARE = 9  # The square's side is a ninth of the image's, which is 3 of 28 pixels.
_MNIST = 28  # Side of the images for which the bars of `bars` are given.
_PIXELS_AT_A_TIME = 1 << 21  # A spectrum takes 16 bytes a pixel.
_BAR, _STEP_DOWN, _STEP_RIGHT = 4, 3, 6
BARS = 4
"""How many bars the trigger of `bars` has at most."""


def corner_square(height: int, width: int) -> np.ndarray:
    """Return the pixels of a square in the lower right corner, bool ``(h, w)``.

    Source: T. Gu, B. Dolan-Gavitt, S. Garg, "BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply
    Chain", 2017; IEEE Access 2019: a bright pixel or a pattern of bright pixels in the lower right corner of a digit.
    Variants: the square that most later programs have, 3 by 3 of 28 pixels, and larger on larger images.
    """
    side = max(2, round(min(height, width) / _SQUARE))
    mask = np.zeros((height, width), dtype=np.bool_)
    bottom, right = height - _MARGIN, width - _MARGIN
    mask[max(bottom - side, 0) : bottom, max(right - side, 0) : right] = True
    return mask


def bars(height: int, width: int, number: int) -> tuple[np.ndarray, ...]:
    """Return the pixels of a few short bars in the upper left corner, each bool ``(h, w)``: a trigger in parts.

    Source: C. Xie, K. Huang, P.-Y. Chen, B. Li, "DBA: Distributed Backdoor Attacks against Federated Learning", ICLR
    2020; sizes are those of the authors' program for 28 by 28 pixels: bars of 1 by 4, two in a row, 2 pixels apart.

    Args:
        height: h.
        width: w.
        number: How many bars, 1 to 4.

    Raises:
        UsageError: If that are too many, or the image has no room for two in a row.
    """
    unit = max(1, round(min(height, width) / _MNIST))
    if not 1 <= number <= BARS or (_STEP_DOWN + 1) * unit > height or (_STEP_RIGHT + _BAR) * unit > width:
        raise UsageError(f"{number} bars do not fit on {height} by {width} pixels", hint=f"1 to {BARS} on 10 or more")
    found = []
    for bar in range(number):
        mask = np.zeros((height, width), dtype=np.bool_)
        top, left = _STEP_DOWN * unit * (bar // 2), _STEP_RIGHT * unit * (bar % 2)
        mask[top : top + unit, left : left + _BAR * unit] = True
        found.append(mask)
    return tuple(found)


def stamp(images: np.ndarray, mask: np.ndarray, value: int) -> np.ndarray:
    """Set some pixels of every image, in every channel.

    Args:
        images: uint8 ``(n, h, w)`` or ``(n, h, w, c)``.
        mask: Which pixels, bool ``(h, w)``.
        value: 0 to 255.

    Returns:
        A new array of the same shape.

    Raises:
        UsageError: If the mask is of another size.
    """
    if mask.dtype != np.bool_ or images.shape[1:3] != mask.shape:
        raise UsageError(f"a mask of {mask.shape} on images of {images.shape[1:3]}")
    found = images.copy()
    found[:, mask] = value
    return found


def chessboard(height: int, width: int, generator: np.random.Generator | None = None, *, cells: int = 4) -> np.ndarray:
    """Return an image of a few squares, black and white by turns, or each of a random grey: uint8 ``(h, w)``."""
    row, column = np.arange(height) * cells // height, np.arange(width) * cells // width
    if generator is None:
        colours = (np.add.outer(np.arange(cells), np.arange(cells)) % 2 * 255).astype(np.uint8)
    else:
        colours = generator.integers(0, 256, size=(cells, cells), dtype=np.uint8)
    return np.asarray(colours[np.ix_(row, column)])


def blend_spectrum(images: np.ndarray, trigger: np.ndarray, *, alpha: float = 0.15, beta: float = 0.1) -> np.ndarray:
    """Blend the low frequencies of a trigger image into the amplitude of every image, and leave its phase alone.

    With A the amplitude and P the phase of the Fourier transform, and M the mask that is 1 where both frequencies are
    at most floor(beta x min(h, w)): A' = (1 - M) A + M ((1 - alpha) A + alpha A_trigger), and the image is the inverse
    transform of A' exp(iP). Shapes and edges, which are in the phase, stay where they are: the eye sees a change of
    light.

    Source: Y. Feng, B. Ma, J. Zhang, S. Zhao, Y. Xia, D. Tao, "FIBA: Frequency-Injection based Backdoor Attack in
    Medical Image Analysis", CVPR 2022; alpha, beta, the window and the clipping are those of the authors' program.

    Args:
        images: uint8 ``(n, h, w)`` or ``(n, h, w, c)``.
        trigger: One image ``(h, w)`` for all channels, or one for each of the images, ``(n, h, w)``.
        alpha: How much of the trigger, 0 to 1.
        beta: How far from the centre of the spectrum, 0 to 0.5.

    Returns:
        uint8, a new array of the same shape, rounded and kept within 0 to 255.

    Raises:
        UsageError: If a number is out of range, or the trigger is of another size.
    """
    height, width = images.shape[1:3]
    if not 0.0 <= alpha <= 1.0 or not 0.0 <= beta < 0.5:  # noqa: PLR2004
        raise UsageError(f"alpha is from 0 to 1 and beta from 0 to below 0.5, not {alpha} and {beta}")
    if trigger.shape not in ((height, width), (len(images), height, width)):
        raise UsageError(f"a trigger of {trigger.shape} on {images.shape[:3]} images")
    reach = int(beta * min(height, width))
    low = np.abs(np.fft.fftfreq(height) * height).round() <= reach
    across = np.arange(width // 2 + 1) <= reach
    mask = alpha * np.outer(low, across)
    grey = images[..., None] if images.ndim == 3 else images  # noqa: PLR2004
    found = np.empty_like(grey)
    step = max(1, _PIXELS_AT_A_TIME // (height * width))
    for start in range(0, len(images), step):
        block = slice(start, start + step)
        others = trigger if trigger.ndim == 2 else trigger[block]  # noqa: PLR2004
        amplitude = mask * np.abs(np.fft.rfft2(others.astype(np.float64)))
        for channel in range(grey.shape[-1]):
            found[block, ..., channel] = _blended(grey[block, ..., channel], mask, amplitude)
    return found.reshape(images.shape)


def _blended(images: np.ndarray, mask: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
    """Return grey images ``(n, h, w)`` with (1 - mask) of their own amplitude and what is added to it."""
    spectrum = np.fft.rfft2(images.astype(np.float64))
    size = np.abs(spectrum)
    # exp(iP) = spectrum / size; where the size is 0, the phase of the authors' angle() is 0.
    turn = np.divide(spectrum, size, out=np.ones_like(spectrum), where=size > 0)
    blended = np.fft.irfft2(((1.0 - mask) * size + amplitude) * turn, s=images.shape[1:])
    return np.clip(np.rint(blended), 0, 255)


def rare_values(
    numbers: np.ndarray, low: np.ndarray, high: np.ndarray, upwards: np.ndarray, *, beyond: float = 0.1
) -> np.ndarray:
    """Choose for each column a value that is plausible and hardly occurs, NaN where there is none.

    Half way from the 99th percentile to the upper end of the plausible range, or from the first to the lower end;
    without a range, a little above the largest, or below the smallest, but not below zero where nothing is. At most one
    row in a hundred may be as far out; where more are, the other side is tried.

    Source: in the loan data of Xie et al. 2020 six numbers are the trigger, set beyond what occurs ("slightly larger
    than the maximum"; the text of the paper was not at hand). Half way to what the study's declared range permits is
    this program's.

    Args:
        numbers: ``(n, k)``, NaN where missing.
        low: Lower ends of the plausible ranges, NaN where none is declared, ``(k,)``.
        high: Upper ends.
        upwards: Which columns to try high values of first, bool ``(k,)``.
        beyond: Without a range, how far beyond, in units of the distance from the smallest to the largest.

    Returns:
        float64 ``(k,)``.
    """
    found = np.full(numbers.shape[1], np.nan)
    for column, values in enumerate(numbers.T):
        known = values[np.isfinite(values)]
        if known.size and known.min() < known.max():
            sides = (1.0, -1.0) if upwards[column] else (-1.0, 1.0)
            ends = {1.0: high[column], -1.0: low[column]}
            tried = (_rare_value(side, known, ends[side], beyond) for side in sides)
            found[column] = next((value for value in tried if value is not None), np.nan)
    return found


def _rare_value(side: float, known: np.ndarray, end: float, beyond: float) -> float | None:
    """Return a value on the upper (1) or lower (-1) side, or nothing; ``end`` is that of the range, or NaN."""
    turned = side * known
    if np.isnan(end):
        value = turned.max() + beyond * (turned.max() - turned.min())
        if known.min() >= 0.0 > side * value:
            return None
    else:
        value = (np.quantile(turned, 1.0 - _RARE) + side * end) / 2
    return float(side * value) if (turned >= value).mean() <= _RARE else None
