"""Numbers as a journal sets them."""

from __future__ import annotations

import pytest

from sealround.report import typography
from sealround.report.evidence import Estimate


@pytest.mark.parametrize(
    ("value", "digits", "written"),
    [
        (0.866, 2, "0.87"),
        (-0.034, 2, "−0.03"),
        (-0.001, 2, "0.00"),
        (0.0, 3, "0.000"),
        (1.0, 2, "1.00"),
        (None, 2, "–"),
    ],
)
def test_decimal(value: float | None, digits: int, written: str) -> None:
    assert typography.decimal(value, digits) == written


@pytest.mark.parametrize(("value", "written"), [(0.02, "+0.02"), (-0.02, "−0.02"), (0.001, "0.00"), (None, "–")])
def test_signed(value: float | None, written: str) -> None:
    assert typography.signed(value, 2) == written


@pytest.mark.parametrize(
    ("found", "written"),
    [
        (Estimate(0.87, 0.83, 0.9), "0.87 (0.83–0.90)"),
        (Estimate(0.01, -0.02, 0.04), "0.01 (−0.02 to 0.04)"),
        (Estimate(0.87, None, 0.9), "0.87"),
        (Estimate(None, 0.1, 0.2), "–"),
        (None, "–"),
    ],
)
def test_estimate(found: Estimate | None, written: str) -> None:
    assert typography.estimate(found, 2) == written


@pytest.mark.parametrize(
    ("count", "written"),
    [(0, "0 bytes"), (999, "999 bytes"), (1_000, "1.0 kB"), (412_000_000, "412 MB"), (9_960_000, "10 MB"), (None, "–")],
)
def test_size(count: int | None, written: str) -> None:
    assert typography.size(count).replace("\u202f", " ") == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.25, "0.2 s"), (9.96, "10 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3599.6, "1 h 0 min"), (7380, "2 h 3 min")],
)
def test_duration(seconds: float, written: str) -> None:
    assert typography.duration(seconds).replace("\u202f", " ") == written


@pytest.mark.parametrize(
    ("part", "of", "written"),
    [
        (1, 3, "33 %"),
        (1, 1000, "<1 %"),
        (999, 1000, ">99 %"),
        (0, 10, "0 %"),
        (10, 10, "100 %"),
        (None, 10, ""),
        (1, 0, ""),
    ],
)
def test_percent_never_rounds_to_a_false_nothing_or_all(part: int | None, of: int, written: str) -> None:
    assert typography.percent(part, of).replace("\u202f", " ") == written


def test_counts_and_words() -> None:
    assert typography.whole(1_234_567) == "1\u202f234\u202f567"
    assert typography.whole(None) == "–"
    assert [typography.number_word(count) for count in (1, 12, 13)] == ["one", "twelve", "13"]
    assert [typography.plural(count, "patient") for count in (1, 2)] == ["1 patient", "2 patients"]
    assert [typography.listing(names) for names in ([], ["A"], ["A", "B"], ["A", "B", "C"])] == [
        "",
        "A",
        "A and B",
        "A, B and C",
    ]
