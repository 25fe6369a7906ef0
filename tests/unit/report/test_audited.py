"""The page of a run whose study asks for a leakage audit."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from sealround.errors import ConsistencyError, UnsupportedError
from sealround.report import render

PASSED = {
    "state": "passed",
    "reason": None,
    "sha256": "ab" * 32,
    "attacks": 7,
    "limits": {"exact_cells": {"limit": 0.25, "found": 0.125, "passed": True}},
}
OVERRIDDEN = {"state": "overridden", "reason": "no <time> for it", "sha256": None, "attacks": 0, "limits": {}}


def page(evidence: dict[str, Any], audit: dict[str, Any]) -> str:
    return render(copy.deepcopy(evidence) | {"audit": audit})


def test_what_was_found_is_beside_what_is_permitted(four: dict[str, Any]) -> None:
    found = page(four, PASSED)
    assert "7 attacks on this very study" in found
    assert "0.125 (permitted: 0.250)" in found
    assert "not a proof" in found


def test_a_run_that_went_without_says_why(four: dict[str, Any]) -> None:
    found = page(four, OVERRIDDEN)
    assert "went without: no &lt;time&gt; for it" in found


def test_a_study_that_asks_for_none_has_no_such_section(four: dict[str, Any]) -> None:
    assert 'id="audit"' not in render(four)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"surprise": 1}, UnsupportedError),
        ({"limits": {"charm": PASSED["limits"]["exact_cells"]}}, UnsupportedError),  # type: ignore[index]
        ({"limits": {"exact_cells": {"limit": 0.1, "found": 0.2, "passed": True}}}, ConsistencyError),
        ({"reason": "both at once"}, ConsistencyError),
        ({"sha256": None}, ConsistencyError),
    ],
)
def test_what_contradicts_itself_is_refused(
    four: dict[str, Any], change: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        page(four, PASSED | change)
