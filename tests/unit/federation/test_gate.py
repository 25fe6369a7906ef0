"""What follows from counts: verdicts look by look, influence, and whom harm is traced to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sealround.fairness.cells import COMPARED, COMPARED_POSITIVES, PATIENTS, SITES
from sealround.federation.gate import Gate, Influence, Look, decide, influences, rules_of, traced
from sealround.federation.groups import EVERYBODY, Group
from sealround.study import Study
from sealround.testing import small_study
from sealround.vocabulary import PartyId, RoundId

FEMALE, MALE = (Group((("sex", level),)) for level in ("female", "male"))
GROUPS = (FEMALE, MALE)
A, B, C, D = (PartyId(name) for name in "abcd")


def study_of(**gate: Any) -> Study:
    return small_study(fairness={"gate": {"metrics": ("fnr",), **gate}})


def row(only_candidate: int, only_reference: int, sick: int = 100, sites: int = 4) -> np.ndarray:
    """One group in which the models differ so often, and are right otherwise."""
    counts = np.zeros(COMPARED)
    counts[SITES], counts[PATIENTS] = sites, sick
    counts[COMPARED_POSITIVES] = sick - only_candidate - only_reference, only_candidate, only_reference, 0
    return counts


def look(*rows: np.ndarray, round_: int = 5, **more: Any) -> Look:
    return Look(RoundId(round_), (), np.concatenate(rows), **more)


SAME = row(0, 0)


def test_a_group_that_is_clearly_worse_off_fails() -> None:
    found, failed = decide(study_of(), GROUPS, [look(SAME, row(20, 0), SAME)])
    assert [entry.verdict for entry in found] == ["not worse", "worse", "not worse"]
    assert failed == (("sex = female", "fnr"),)


def test_a_tolerance_lets_a_small_rise_pass() -> None:
    looks = [look(SAME, row(8, 0), SAME)]
    assert decide(study_of(), GROUPS, looks)[1]
    assert not decide(study_of(tolerance=0.05), GROUPS, looks)[1]


def test_the_clearest_harm_comes_first() -> None:
    _, failed = decide(study_of(), GROUPS, [look(row(12, 0, 200), row(10, 0), row(25, 0))])
    assert [group for group, _ in failed] == ["sex = male", EVERYBODY, "sex = female"]


def test_a_group_nobody_can_judge_fails_only_where_the_study_says_so() -> None:
    looks = [look(SAME, row(0, 0, 8), SAME)]
    assert decide(study_of(), GROUPS, looks)[0][1].verdict == "not assessable"
    assert decide(study_of(), GROUPS, looks)[1] == ()
    assert decide(study_of(unassessable="withhold"), GROUPS, looks)[1] == (("sex = female", "fnr"),)


def test_patients_of_two_hospitals_are_not_enough() -> None:
    found, _ = decide(study_of(), GROUPS, [look(SAME, row(30, 0, sites=2), SAME)])
    assert (found[1].verdict, found[1].why) == ("not assessable", "patients of fewer than 3 hospitals")


def test_what_failed_once_is_held_to_more_at_the_next_look() -> None:
    """5 of 5 differing patients: p = 1/32 passes among three hypotheses and fails as the only one."""
    first, second = look(SAME, row(20, 0), SAME), look(SAME, row(5, 0), SAME, round_=10)
    assert decide(study_of(), GROUPS, [second])[1] == ()
    assert decide(study_of(), GROUPS, [first, second])[1] == (("sex = female", "fnr"),)


def test_what_failed_once_has_to_be_shown_to_be_mended() -> None:
    first, second = look(SAME, row(20, 0), SAME), look(SAME, row(0, 0, 8), SAME, round_=10)
    assert decide(study_of(), GROUPS, [second])[1] == ()
    assert decide(study_of(), GROUPS, [first, second])[1] == (("sex = female", "fnr"),)


def test_rules_are_the_studys() -> None:
    rules = rules_of(small_study(fairness={"min_group": 20, "gate": {"tolerance": 0.1, "confidence": 0.9}}))
    assert (rules.min_group, rules.tolerance, rules.confidence, rules.metrics) == (20, 0.1, 0.9, ("fnr", "fpr"))


def influence(counts: dict[PartyId, tuple[int, int]]) -> tuple[Influence, ...]:
    rows = {site: np.concatenate((SAME, row(*found), SAME)) for site, found in counts.items()}
    return influences(study_of(), GROUPS, look(SAME, row(20, 0), SAME, influence=rows), ("sex = female", "fnr"))


def test_influence_is_ranked_and_has_a_bound() -> None:
    found = influence({A: (2, 1), B: (12, 0), C: (0, 9)})
    assert [entry.site for entry in found] == [B, A, C]
    assert found[0].found.rise == pytest.approx(0.12)
    assert [(entry.found.low or 0.0) > 0.0 for entry in found] == [True, False, False]


def test_harm_is_traced_to_everyone_without_whom_the_group_fares_better() -> None:
    assert traced(influence({A: (9, 0), B: (12, 0), C: (5, 1), D: (0, 9)}), most=4) == (B, A, C)


def test_small_parts_are_left_to_a_next_look() -> None:
    assert traced(influence({A: (3, 0), B: (2, 1), C: (20, 0)}), most=3) == (C,)
    assert traced(influence({A: (3, 0), B: (2, 1)}), most=3) == (A, B)


def test_no_more_than_the_study_allows_and_the_most_harmful_first() -> None:
    assert traced(influence({A: (9, 0), B: (12, 0)}), most=1) == (B,)
    assert traced(influence({A: (9, 0)}), most=0) == ()


def test_nobody_is_named_where_nobody_does_harm() -> None:
    assert traced(influence({A: (0, 3), B: (1, 1)}), most=2) == ()


def test_a_gate_knows_who_is_gone_after_every_look() -> None:
    looks = (look(SAME, SAME, SAME, traced=(C,)), look(SAME, SAME, SAME, traced=(A,)))
    assert Gate(looks=looks[:1]).without == (C,)
    assert Gate(looks=(looks[0], Look(RoundId(9), (C,), SAME, traced=(A,)))).without == (A, C)
    assert Gate().without == ()


def test_influence_that_has_come_is_no_longer_ahead() -> None:
    gate = Gate(looks=(look(SAME, SAME, SAME),), ahead=(A, B, C)).with_influence({A: SAME, B: SAME})
    assert gate.ahead == (C,)
    assert set(gate.looks[-1].influence) == {A, B}
