"""Sentences on a terminal: what is news, what is worst, what to switch on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sealround.engines.audit.sentences import advice, said_of, sentence_of, strength_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.study import Study


def found(**more: Any) -> dict[str, Any]:
    return {
        "rung": "here",
        "attacker": "coordinator",
        "name": "SPEAR",
        "status": "done",
        "patients": 8,
        "certified": 0,
        "measures": {},
        "worst": {},
        "beyond": {},
    } | more


FULL = found(
    certified=7,
    measures={"exact_records": {"value": 0.25}},
    worst={"exact_cells": 1.0, "baseline": {"exact_cells": 0.1}},
    beyond={"exact_cells": 0.9},
)


def evidence(*findings: dict[str, Any]) -> dict[str, Any]:
    rungs = [
        {"key": "none", "here": False, "beyond": False, "switch": None},
        {"key": "here", "here": True, "beyond": False, "switch": None},
        {"key": "noise", "here": False, "beyond": True, "switch": "epsilon = 8"},
        {"key": "seal", "here": False, "beyond": True, "switch": "mode = 'pairwise'"},
    ]
    return {"rungs": rungs, "findings": list(findings)}


def test_a_finding_is_said_with_its_guess(make: Callable[..., Study]) -> None:
    assert sentence_of(make(), FULL) == (
        "SPEAR (here): 100% of one patient's values exactly (a guess gets 10%), 2 of 8 records whole, "
        "7 of 8 proven by the attack itself"
    )


def test_what_is_no_news_is_not_said(make: Callable[..., Study]) -> None:
    assert sentence_of(make(), found(beyond={"exact_cells": 0.05}, worst={"exact_cells": 0.3})) == ""
    assert sentence_of(make(), found(status="failed")) == ""
    assert "refused by the" in sentence_of(make(), found(status="refused by the site"))


def test_strength_counts_only_what_was_played_and_is_beyond_a_guess() -> None:
    assert strength_of(found(status="failed", certified=3, beyond={"exact_cells": 1.0})) == 0.0
    assert strength_of(found(beyond={"membership_auc": 0.3})) == 0.0
    assert strength_of(found(beyond={"membership_auc": 1.0})) == 1.0
    assert strength_of(found(beyond={"psnr_db": 400.0})) == 1.0
    assert strength_of(FULL) == 1.9


def test_the_worst_attacker_is_first_and_nobody_is_called_safe() -> None:
    said = said_of(
        evidence(
            found(attacker="site"),
            found(attacker="reader", status="not applicable"),
            found(attacker="malicious-coordinator", status="refused by the site"),
            FULL,
            FULL | {"rung": "none", "attacker": "aggregator"},
        )
    )
    assert said[0][0] == "coordinator"
    assert dict(said[1:]) == {
        "site": "1 attack recovered next to nothing beyond a guess",
        "reader": "no attack applied",
        "malicious-coordinator": "refused by the site's own check, before any training",
    }


def test_advice_is_the_first_protection_that_helps() -> None:
    worse = FULL | {"rung": "noise"}
    better = found(rung="seal", beyond={"exact_cells": 0.2})
    assert advice(evidence(FULL, worse, better)) == ["Switch on:\nmode = 'pairwise'"]
    assert advice(evidence(FULL, worse, FULL | {"rung": "seal"})) == []
    assert advice(evidence(found())) == []
