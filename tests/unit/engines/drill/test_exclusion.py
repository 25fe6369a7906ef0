"""Who was put down, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from sealround.engines.drill.exclusion import precision_and_recall, treated
from sealround.vocabulary import PartyId

A, B, C, D = map(PartyId, "abcd")
EQUAL = {A: 10, B: 10, C: 10, D: 10}


def test_parts_are_counted_round_by_round() -> None:
    rounds = [
        {A: 0.3, B: 0.3, C: 0.3, D: 0.1},  # D below half of a quarter
        {A: 0.4, B: 0.4, C: 0.0, D: 0.2},  # C left out
        {A: 0.25, B: 0.25, C: 0.25, D: 0.25},
    ]
    found = treated(rounds, EQUAL)
    assert found[D] == {"rounds": 3, "part": pytest.approx(0.55), "left_out": 0, "put_down": 1}
    assert found[C] == {"rounds": 3, "part": pytest.approx(0.55), "left_out": 1, "put_down": 1}
    assert found[A]["put_down"] == 0


def test_a_small_site_is_not_put_down_for_being_small() -> None:
    sizes = {A: 100, B: 90, C: 10}
    assert treated([{A: 0.5, B: 0.45, C: 0.05}], sizes)[C]["put_down"] == 0
    assert treated([{A: 0.5, B: 0.48, C: 0.02}], sizes)[C]["put_down"] == 1


def test_shortened_updates_are_compared_with_what_is_left() -> None:
    # Norm clipping shortens everybody: parts need not sum to 1.
    assert treated([{A: 0.1, B: 0.1, C: 0.1, D: 0.1}], EQUAL)[D]["put_down"] == 0


def test_who_has_no_training_records_is_not_judged() -> None:
    assert D not in treated([{A: 0.5, B: 0.5, C: 0.0, D: 0.0}], EQUAL | {D: 0})


def test_precision_and_recall_by_hand() -> None:
    # Two trainings of 2 rounds. First D lies: put down once of two, and A wrongly once. Then A lies: both times.
    first = treated([{A: 0.3, B: 0.3, C: 0.4, D: 0.0}, {A: 0.0, B: 0.3, C: 0.35, D: 0.35}], EQUAL)
    second = treated([{A: 0.0, B: 0.4, C: 0.3, D: 0.3}] * 2, EQUAL)
    assert precision_and_recall([(first, frozenset([D])), (second, frozenset([A]))]) == (
        pytest.approx(3 / 4),  # four put down, three of them liars
        pytest.approx(3 / 4),  # four rounds with a lie, three found
    )


@pytest.mark.parametrize(("liars", "expected"), [([], (None, None)), ([A], (None, 0.0))])
def test_nobody_put_down_has_no_precision(liars: list[PartyId], expected: tuple[Any, Any]) -> None:
    calm = treated([{A: 0.25, B: 0.25, C: 0.25, D: 0.25}], EQUAL)
    assert precision_and_recall([(calm, frozenset(liars))]) == expected
