"""Numbers as a journal sets them: true minus, en dash, narrow spaces, and no more digits than the interval supports."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealround.report.evidence import Estimate

__all__ = [
    "NONE",
    "capital",
    "confidence",
    "decimal",
    "duration",
    "estimate",
    "interval",
    "listing",
    "number_word",
    "percent",
    "plural",
    "signed",
    "size",
    "some",
    "upward",
    "whole",
]

NONE = "–"
"""What stands for a number that is undefined or not shown."""

_MINUS = "\N{MINUS SIGN}"
_SPACE = "\N{NARROW NO-BREAK SPACE}"
_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_MINUTE, _HOUR = 60, 3600


def decimal(value: float | None, digits: int) -> str:
    """Write a number with fixed digits: ``0.87``, ``-0.03`` with a true minus, a dash for none."""
    if value is None:
        return NONE
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0.0 else text.replace("-", _MINUS)


def upward(value: float, digits: int = 2) -> str:
    """Write a bound with a few digits behind the point, rounded up so that it stays one, and none that says nothing."""
    scaled = math.ceil(value * 10.0**digits - 1e-6)
    return f"{scaled / 10.0**digits:.{digits}f}".rstrip("0").rstrip(".")


def signed(value: float | None, digits: int) -> str:
    """Write a difference with its sign; zero has none."""
    text = decimal(value, digits)
    return f"+{text}" if value is not None and value > 0 and float(text) else text


def interval(found: Estimate, digits: int) -> str:
    """Write an interval: ``0.83-0.90`` with an en dash, or with "to" where an end is negative; empty for none."""
    if found.low is None or found.high is None:
        return ""
    low, high = decimal(found.low, digits), decimal(found.high, digits)
    return f"{low} to {high}" if _MINUS in low + high else f"{low}–{high}"


def estimate(found: Estimate | None, digits: int) -> str:
    """Write a number and its interval: ``0.87 (0.83-0.90)``."""
    if found is None or found.value is None:
        return NONE
    ends = interval(found, digits)
    return f"{decimal(found.value, digits)} ({ends})" if ends else decimal(found.value, digits)


def whole(count: int | None) -> str:
    """Write a count, thousands apart by a narrow space; a dash where it is not shown: it may be small or large."""
    return NONE if count is None else f"{count:,}".replace(",", _SPACE)


def percent(part: float | None, of: float | None = 1.0, digits: int = 0) -> str:
    """Write a share; "under 1 %" and "over 99 %" rather than a 0 or 100 that is none; empty where unknown."""
    if part is None or not of:
        return ""
    share = 100 * part / of
    unit = f"{_SPACE}%"
    if digits == 0 and 0 < share < 1:
        return f"<1{unit}"
    if digits == 0 and 99 < share < 100:  # noqa: PLR2004 (per cent)
        return f">99{unit}"
    return f"{decimal(share, digits)}{unit}"


def size(count: int | None) -> str:
    """Write a number of bytes in decimal units: ``1.2 MB``."""
    if count is None:
        return NONE
    amount, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 999.5:  # noqa: PLR2004 (rounds to 1000)
            break
        amount, unit = amount / 1000, larger
    digits = 1 if unit != "bytes" and amount < 9.95 else 0  # noqa: PLR2004 (two digits)
    return f"{amount:.{digits}f}{_SPACE}{unit}"


def duration(seconds: float | None) -> str:
    """Write a length of time in its two largest units: ``3 min 12 s``."""
    if seconds is None:
        return NONE
    if seconds < _MINUTE:
        return f"{seconds:.{1 if seconds < 9.95 else 0}f}{_SPACE}s"  # noqa: PLR2004 (two digits)
    total = round(seconds)
    if total < _HOUR:
        return f"{total // _MINUTE}{_SPACE}min {total % _MINUTE}{_SPACE}s"
    return f"{total // _HOUR}{_SPACE}h {total % _HOUR // _MINUTE}{_SPACE}min"


def number_word(count: int) -> str:
    """Write a small count as a word."""
    return _WORDS[count] if count < len(_WORDS) else whole(count)


def plural(count: int, one: str, many: str | None = None) -> str:
    """Write a count with its noun: ``1 patient``, ``2 patients``."""
    return f"{whole(count)} {one if count == 1 else many or one + 's'}"


def capital(text: str) -> str:
    """Write the first letter large, and leave the rest as it is."""
    return text[:1].upper() + text[1:]


def confidence(level: float | None) -> str:
    """Write how an interval is called: ``95 % CI``, or ``CI`` where its level is not known."""
    return "CI" if level is None else f"{100 * level:g}{_SPACE}%\N{NO-BREAK SPACE}CI"


def listing(names: Sequence[str]) -> str:
    """Join names: ``A, B and C``."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def some(names: Sequence[str], most: int) -> str:
    """Join names, no more than so many: ``A, B and 4 more``; one more is named rather than counted."""
    if len(names) <= most + 1:
        return listing(names)
    return listing([*names[:most], f"{whole(len(names) - most)} more"])
