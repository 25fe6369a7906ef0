"""What an audit measures: how each number is called, written, read, and what it means in two lines."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sealround.report.typography import NONE, decimal, percent

if TYPE_CHECKING:
    from sealround.report.audit.evidence import Measured
    from sealround.report.evidence import Estimate

__all__ = ["CLEAR_DB", "EXACT_DB", "GAIN_DB", "LIMITS", "MEASURES", "Measure", "power", "short"]

Unit = Literal["share", "decibel", "unit"]

_SPACE = "\N{NARROW NO-BREAK SPACE}"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

EXACT_DB = 58.9
"""From here on the error is below what rounding to 256 grey values makes: 20 log10(255 √12)."""

GAIN_DB = 3.0
"""So many decibels above the best guess halve its squared error; below that, a picture counts as not recovered."""

CLEAR_DB = 10.0
"""So many decibels above the best guess leave a tenth of its squared error: no picture comes so near by chance."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure in words.

    Attributes:
        label: As in a table's head.
        unit: ``share`` of 1, ``decibel``, or ``unit`` for a number between 0 and 1 that is no share.
        meaning: Two lines for the glossary.
        lower_tells_more: Whether a lower value is worse for the patient.
        of_one: Whether it grades one patient, so that the worst-off one has a value that is worth telling.
        chance: What guessing gives where the evidence has no baseline.
    """

    label: str
    unit: Unit
    meaning: str
    lower_tells_more: bool = False
    of_one: bool = False
    chance: float | None = None

    @property
    def low(self) -> float:
        """The smallest value there can be."""
        return -math.inf if self.unit == "decibel" else -1.0 if self.label == "SSIM" else 0.0

    @property
    def high(self) -> float:
        """The largest value there can be."""
        return math.inf if self.unit == "decibel" else 1.0

    def write(self, value: float | None) -> str:
        """Write a value with its unit; a dash for none."""
        if value is None:
            return NONE
        match self.unit:
            case "share":
                return percent(value)
            case "decibel":
                return f"{decimal(value, 1)}{_SPACE}dB"
            case "unit":
                return decimal(value, 2)

    def interval(self, found: Estimate) -> str:
        """Write an interval without its value; empty for none."""
        if found.low is None or found.high is None:
            return ""
        if self.unit == "share":
            low, high = percent(found.low), percent(found.high)
            return f"{low.removesuffix(f'{_SPACE}%')}–{high}"
        digits = 1 if self.unit == "decibel" else 2
        joint = " to " if found.low < 0 else "–"
        return f"{decimal(found.low, digits)}{joint}{decimal(found.high, digits)}"

    def estimate(self, measured: Measured | None) -> str:
        """Write a value and its interval: ``87 % (80-92 %)``; a dash for none."""
        if measured is None or measured.found.value is None:
            return NONE
        ends = self.interval(measured.found)
        value = self.write(measured.found.value)
        return f"{value} ({ends})" if ends else value

    def tells(self, measured: Measured) -> bool:
        """Whether a number certainly tells more than its baseline: the near end of its interval, else the value.

        A picture has to be `GAIN_DB` above the guess's. Without a baseline only what is more than nothing, or than
        chance, tells.
        """
        found, base = measured.found, self.chance if measured.baseline is None else measured.baseline
        if found.value is None or (base is None and self.unit == "decibel"):
            return False
        if self.lower_tells_more:
            return base is not None and (found.value if found.high is None else found.high) < base
        near = found.value if found.low is None else found.low
        return near >= (base or 0.0) + GAIN_DB if self.unit == "decibel" else near > (base or 0.0)


MEASURES = {
    "exact_cells": Measure(
        "Exact cells",
        "share",
        "Of the values of one patient's record, the share that was rebuilt: categories and whole numbers right, other "
        "numbers to the digits a hospital writes down, else to a twentieth of their standard deviation.",
        of_one=True,
    ),
    "exact_records": Measure(
        "Whole records",
        "share",
        "Of the patients judged, the share of whom every single value was rebuilt, as exact cells are counted.",
    ),
    "psnr_db": Measure(
        "PSNR",
        "decibel",
        "Peak signal-to-noise ratio: how near a rebuilt picture is to the original. Every 6 dB halve the error; below "
        "about 15 dB there are only blots, at 30 dB a picture is plain, and from 59 dB it is exact to the last grey "
        "value. Of a table, each value counts as a share of its column's range.",
        of_one=True,
    ),
    "ssim": Measure(
        "SSIM",
        "unit",
        "Structural similarity of a rebuilt picture and the original: 1 is the same, 0 has nothing in common with it.",
        of_one=True,
    ),
    "pixels_within_8": Measure(
        "Pixels within 8",
        "share",
        "Share of the pixels, inside the picture's field of view, that are within 8 of 255 grey values of the "
        "original.",
        of_one=True,
    ),
    "labels_right": Measure(
        "Diagnoses",
        "share",
        "Share of the patients whose outcome, the label that the model is trained on, was recovered.",
    ),
    "reidentified": Measure(
        "Re-identified",
        "share",
        "Share of the rebuilt patients who were linked to the right person, among others who look alike or in a table "
        "with names.",
    ),
    "auc": Measure(
        "Membership AUC",
        "unit",
        "The chance that a patient who took part gets a higher score than one who did not. 0.5 is a coin, 1 is "
        "certainty.",
        chance=0.5,
    ),
    "tpr_at_fpr_1": Measure(
        "Found at 1 % false alarms",
        "share",
        "Of the patients who took part, the share who are pointed out while only 1 % of the others are. 1 % is a coin.",
        chance=0.01,
    ),
    "share_error": Measure(
        "Error of a site's share",
        "share",
        "How far the attacker's estimate of a share among a site's patients is from the true share.",
        lower_tells_more=True,
    ),
}
"""Every measure that the page knows, in the order it shows them."""

LIMITS = {
    "exact_cells": ("Exact cells of one patient, beyond a guess", "exact_cells"),
    "exact_records": ("Whole records", "exact_records"),
    "reidentified": ("Re-identification of one patient, beyond a guess", "reidentified"),
    "psnr_db": ("PSNR of one patient's picture", "psnr_db"),
    "membership_auc": ("Membership AUC", "auc"),
}
"""Every limit that a study can set: what it is called, and the measure it is written as."""


def power(value: float | None) -> str:
    """Write a small or large number: ``1.2 × 10⁻¹³``; a dash for none."""
    if value is None:
        return NONE
    if value == 0.0 or 1e-3 <= abs(value) < 1e5:  # noqa: PLR2004 (plainly readable)
        return short(value)
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.replace('-', chr(0x2212))}{_SPACE}×{_SPACE}10{str(int(exponent)).translate(_SUPERSCRIPT)}"


def short(value: float | None) -> str:
    """Write a number with two significant digits behind the point where it is small, none where it is large."""
    if value is None:
        return NONE
    if value == 0.0:
        return "0"
    digits = max(0, 1 - math.floor(math.log10(abs(value))))
    return decimal(value, min(digits, 6))
