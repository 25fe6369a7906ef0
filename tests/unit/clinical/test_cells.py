from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from sealround.clinical.cells import (
    canonical_levels,
    finite_numbers,
    levels_of,
    matches,
    name_rows,
)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((0,), [True, True, True, False, False, False]),
        (("0",), [True, True, True, False, False, False]),
        ((0.0, "?"), [True, True, True, False, True, False]),
        (("NA",), [False, False, False, False, False, False]),
        ((), [False] * 6),
    ],
)
def test_codes_match_as_text_or_as_number(codes: tuple[str | int | float, ...], expected: list[bool]) -> None:
    cells = pl.Series(["0", "0.0", "0.00", "00x", "?", None])
    assert matches(cells, codes).to_list() == expected


@pytest.mark.parametrize("text", ["1", "1.0", "+1", "1.", "1e0", "001"])
def test_numbers_are_read_in_any_usual_spelling(text: str) -> None:
    values, bad = finite_numbers(pl.Series([text]))
    assert not bad.size
    assert values[0] == 1.0


@pytest.mark.parametrize("text", ["one", "1,5", "nan", "NaN", "inf", "-Infinity", "1e999", "1 2", "0x1"])
def test_what_is_no_finite_number_is_found(text: str) -> None:
    assert finite_numbers(pl.Series(["2", text, None]))[1].tolist() == [1]


def test_missing_cells_become_nan() -> None:
    values, bad = finite_numbers(pl.Series([None, "2"], dtype=pl.String))
    assert math.isnan(values[0])
    assert not bad.size


def test_a_whole_number_is_one_level_however_it_is_written() -> None:
    cells = pl.Series(["3", "3.0", "3.", "3.5", "03", "a.0", None])
    assert levels_of(cells).to_list() == ["3", "3", "3", "3.5", "03", "a.0", None]
    assert canonical_levels(("1.0", "2", "1")) == ("1", "2")


def test_rows_are_named_from_one_and_only_a_few() -> None:
    assert name_rows([4]) == "row 5"
    assert name_rows(np.arange(3)) == "rows 1, 2, 3"
    assert name_rows(range(50)) == "rows 1, 2, 3, 4, 5 and 45 more"
