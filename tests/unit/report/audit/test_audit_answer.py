"""What the top of an audit's page says, and what counts as recovered: never more than the numbers carry, nor less."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealround.report.audit.answer import headline, sentences, tiles, warnings
from sealround.report.audit.evidence import Measured
from sealround.report.audit.measures import MEASURES, power, short
from sealround.report.audit.reading import read_audit
from sealround.report.audit.voice import OUTCOMES, AuditVoice
from sealround.report.evidence import Estimate

if TYPE_CHECKING:
    from types import ModuleType

Tree = dict[str, Any]
NARROW = "\N{NARROW NO-BREAK SPACE}"


def voice_of(tree: Tree) -> AuditVoice:
    return AuditVoice(read_audit(tree))


def said(tree: Tree) -> list[str]:
    plain = [unescape(re.sub(r"<[^>]+>", "", sentence)) for sentence in sentences(voice_of(tree))]
    return [sentence.replace(NARROW, " ") for sentence in plain]


def only(tree: Tree, **found: Any) -> Tree:
    """Leave one attack on the study as written, with these measures."""
    here = next(rung["key"] for rung in tree["rungs"] if rung["here"])
    base = next(finding for finding in tree["findings"] if finding["rung"] == here)
    tree["findings"] = [base | {"certified": 0, "measures": {}, "worst": {}, "beyond": {}} | found]
    tree |= {"showcase": [], "bounds": [], "require": {}, "passed": None}
    return tree


def number(value: float, low: float | None = None, high: float | None = None, baseline: float | None = None) -> Tree:
    return {"value": value, "low": low, "high": high, "baseline": baseline}


# --- the answer -------------------------------------------------------------------------------------------------------


def test_a_record_that_was_rebuilt_is_the_headline(table: Tree) -> None:
    assert headline(voice_of(table)) == "Every value of a patient's record was rebuilt from what this study sends."
    assert said(table) == [
        (
            "Strongest attacker: The coordinator, curious, with SPEAR, on the update of Cleveland in round 1, 8 "
            "patients behind it. 100 % of the worst-off patient's values are right, where a guess without the "
            "update gets 25 %."
        ),
        (
            "Over the 40 patients it was judged on, 98 % (96–100 %) of the values are right. It proves 8 rebuilt "
            "records itself, without having seen the original."
        ),
        "Of 100 patients, 92 are linked to the right person (95 % interval 81–97 %); without the update, 3.",
        "Whatever the attack, 13 of 13 numbers of the worst-off patient are determined by the update.",
    ]


def test_a_planted_model_is_told_beside_what_is_got_without(image: Tree) -> None:
    assert headline(voice_of(image)) == (
        "A patient's picture was rebuilt, to the last grey value, from what this study sends."
    )
    assert said(image)[0].startswith("Strongest attacker: The coordinator, malicious, with Robbing the Fed")
    assert said(image)[1].endswith(
        "With no model planted, the worst-off patient comes to a PSNR of 31.4 dB, where the best guess without the "
        "update has 14.1 dB on average (Inverting Gradients)."
    )


def test_where_nothing_was_recovered_it_is_no_proof_and_bounds_say_what_could_be(own: Tree) -> None:
    assert headline(voice_of(own)) == (
        "None of the three attacks that were played recovered more than a guess, which is not proof that none can."
    )
    assert said(own)[0].startswith("The attack that came to the most: The coordinator, curious, with SPEAR, on a sum")
    assert said(own)[-1] == (
        "Whatever the attack, 5 of 13 numbers of the worst-off patient are determined by the update: an attack that "
        "nobody has made yet could recover them."
    )


def test_one_attack_is_one(own: Tree) -> None:
    own["findings"] = own["findings"][2:3]
    assert headline(voice_of(own)) == (
        "The one attack that was played recovered no more than a guess, which is no proof."
    )


def test_what_can_be_chance_is_neither_claimed_nor_passed_over(synthetic_audit: ModuleType) -> None:
    tree = synthetic_audit.perhaps()
    assert headline(voice_of(tree)) == (
        "None of the three attacks that were played certainly recovered more than a guess, which is not proof that "
        "none can."
    )
    assert [bold for bold, _ in warnings(voice_of(tree))] == ["Perhaps."]
    assert "54 % of the worst-off patient's values are right" in said(tree)[0]


def test_an_audit_without_a_result_has_no_answer(unfinished: Tree, vector: Tree) -> None:
    assert headline(voice_of(unfinished)) == "No attack on this study gave a result, so this page has no answer."
    assert said(unfinished) == []
    assert [bold for bold, _ in warnings(voice_of(unfinished))] == ["Not finished.", "Cut short."]
    assert [(tile.label, tile.value) for tile in tiles(voice_of(unfinished))] == [("Attacks with a result", "0")]
    assert headline(voice_of(vector)) == "Who took part was told from what this study gives away."


def test_an_attack_that_failed_to_run_is_a_warning(image: Tree) -> None:
    assert warnings(voice_of(image)) == (("Failed to run.", "RMIA: an attack that fails to run says nothing."),)


@pytest.mark.parametrize(
    ("found", "title"),
    [
        (
            {"measures": {"exact_cells": number(0.48, 0.43, 0.53, 0.21)}, "worst": {"exact_cells": 0.69, "patient": 2}},
            f"69{NARROW}% of a patient's values were rebuilt from what this study sends.",
        ),
        (
            {"measures": {"psnr_db": number(31.0, 29.0, 33.0, 14.0)}},
            f"A patient's record was rebuilt from what this study sends, to 31.0{NARROW}dB.",
        ),
        (
            {"measures": {"labels_right": number(0.99, 0.95, 1.0, 0.5)}},
            "Patients' outcomes were read from what this study sends.",
        ),
        (
            {"measures": {"reidentified": number(0.5, 0.4, 0.6, 0.02)}},
            "What this study sends was linked to the right person.",
        ),
        (
            {"measures": {"share_error": number(0.02, 0.01, 0.03, 0.2)}},
            "What a site's patients are like was read from what this study sends.",
        ),
        (
            {"measures": {"tpr_at_fpr_1": number(0.2, 0.1, 0.3)}},
            "Who took part was told from what this study gives away.",
        ),
        ({"certified": 1}, "Every value of a patient's record was rebuilt from what this study sends."),
    ],
)
def test_the_headline_says_what_was_recovered(table: Tree, found: Tree, title: str) -> None:
    assert headline(voice_of(only(table, **found))) == title


def test_the_worst_attack_leads_whatever_the_order(table: Tree) -> None:
    before = (headline(voice_of(table)), said(table))
    table["showcase"] = []
    table["findings"].reverse()
    assert (headline(voice_of(table)), said(table)) == before


def test_what_is_found_on_other_rungs_is_not_the_answer(table: Tree) -> None:
    table["findings"] = [table["findings"][0] | {"rung": "none"}]
    table["showcase"] = []
    assert headline(voice_of(table)) == "No attack on this study gave a result, so this page has no answer."


# --- what counts as recovered -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        ({"worst": {"exact_cells": 1.0, "patient": 1}, "beyond": {"exact_cells": 0.8}}, "whole"),
        ({"worst": {"exact_cells": 1.0, "patient": 1}, "beyond": {"exact_cells": 0.0}}, "part"),
        (
            {
                "measures": {"exact_cells": number(0.6, 0.5, 0.7, 0.6)},
                "worst": {"exact_cells": 1.0, "patient": 1, "baseline": {"exact_cells": 1.0}},
                "beyond": {"exact_cells": 0.0},
            },
            "nothing",
        ),
        ({"measures": {"exact_records": number(0.1, 0.05, 0.2, 0.0)}}, "whole"),
        ({"measures": {"exact_cells": number(0.48, 0.43, 0.53, 0.43)}}, "nothing"),
        ({"measures": {"exact_cells": number(0.48, 0.431, 0.53, 0.43)}}, "part"),
        ({"measures": {"exact_cells": number(0.48, 0.43, 0.53, 0.43)}, "beyond": {"exact_cells": 0.2}}, "perhaps"),
        ({"measures": {"exact_cells": number(0.48)}}, "part"),
        ({"measures": {"psnr_db": number(17.1, 16.9, 17.3, 14.0)}}, "nothing"),
        ({"measures": {"psnr_db": number(17.3, 17.0, 17.6, 14.0)}}, "part"),
        ({"measures": {"psnr_db": number(40.0)}}, "perhaps"),
        ({"measures": {"share_error": number(0.01, 0.0, 0.02)}}, "perhaps"),
        ({"measures": {"exact_cells": number(0.0, 0.0, 0.0)}}, "nothing"),
        ({"measures": {"psnr_db": number(15.0, 13.0, 17.0, 14.0)}, "worst": {"psnr_db": 24.0, "patient": 1}}, "part"),
        (
            {
                "measures": {"psnr_db": number(15.0, 13.0, 17.0, 14.0)},
                "worst": {"psnr_db": 19.0, "patient": 1},
                "beyond": {"psnr_db": 19.0},
            },
            "perhaps",
        ),
        ({"measures": {"reidentified": number(0.1, 0.02, 0.2, 0.02)}}, "nothing"),
        ({"measures": {"reidentified": number(0.1, 0.03, 0.2, 0.02)}}, "linked"),
        ({"measures": {"auc": number(0.55, 0.5, 0.6)}}, "nothing"),
        ({"measures": {"auc": number(0.55, 0.51, 0.6)}}, "told"),
        ({"measures": {"auc": number(0.55, 0.5, 0.6)}, "beyond": {"membership_auc": 0.55}}, "perhaps"),
        ({"measures": {"share_error": number(0.1, 0.05, 0.2, 0.2)}}, "nothing"),
        ({"measures": {"share_error": number(0.1, 0.05, 0.19, 0.2)}}, "told"),
        ({"measures": {"labels_right": number(1.0, 0.9, 1.0, 0.6)}, "granted": [["labels", "known"]]}, "nothing"),
        ({"measures": {"labels_right": number(1.0, 0.9, 1.0, 0.6)}, "granted": [["labels", "not known"]]}, "part"),
        ({"measures": {"labels_right": number(1.0, 0.9, 1.0, 0.6)}, "granted": []}, "part"),
        ({"status": "stopped"}, "cut short"),
        ({"status": "stopped", "measures": {"auc": number(0.9, 0.8, 0.95)}}, "told"),
        ({"status": "refused by the site", "why": "equal rows"}, "refused"),
        ({"status": "failed"}, "failed"),
        ({"status": "not applicable"}, "none"),
        ({}, "nothing"),
    ],
)
def test_what_an_attack_came_to(table: Tree, found: Tree, outcome: str) -> None:
    voice = voice_of(only(table, **found))
    assert voice.outcome(voice.own[0]) == outcome


def test_a_picture_is_whole_where_its_error_is_below_a_grey_value(image: Tree) -> None:
    for reached, outcome in ((58.8, "part"), (58.9, "whole")):
        found = {"measures": {"psnr_db": number(20.0, 19.0, 21.0, 14.0)}, "worst": {"psnr_db": reached, "patient": 1}}
        voice = voice_of(only(image, **found))
        assert voice.outcome(voice.own[0]) == outcome


def test_findings_stand_in_the_order_of_concern(any_audit: Tree) -> None:
    voice = voice_of(any_audit)
    for rung in voice.evidence.rungs:
        places = [tuple(OUTCOMES).index(voice.outcome(finding)) for finding in voice.at(rung)]
        assert places == sorted(places)


SHARES = st.floats(0.0, 1.0)


@given(value=SHARES, half=st.floats(0.0, 0.5), guess=SHARES)
def test_more_than_a_guess_is_certain_only_where_the_interval_is_beyond_it(
    value: float, half: float, guess: float
) -> None:
    low, high = max(0.0, value - half), min(1.0, value + half)
    measured = Measured(Estimate(value, low, high), guess)
    assert MEASURES["exact_cells"].tells(measured) == (low > guess)
    assert MEASURES["share_error"].tells(measured) == (high < guess)


# --- key numbers ------------------------------------------------------------------------------------------------------


def test_tiles_have_value_interval_and_what_is_guessed(table: Tree) -> None:
    found = [
        (tile.label, tile.value.replace(NARROW, " "), tile.note.replace(NARROW, " "), tile.accent)
        for tile in tiles(voice_of(table))
    ]
    assert found == [
        ("Exact cells, worst patient", "100 %", "all patients 98 % (96–100 %); without the update 25 %", True),
        ("Whole records", "90 %", "95 % interval 85–95 %; without the update 0 %", False),
        ("Re-identified", "92 %", "95 % interval 81–97 %; without the update 3 %", False),
        ("Membership AUC", "0.58", "95 % interval 0.53–0.63; without the update 0.50", False),
        ("Numbers determined", "13 of 13", "of the worst-off patient, whatever the attack", False),
    ]


def test_a_tile_says_where_there_is_no_interval_or_baseline(table: Tree) -> None:
    (tile,) = tiles(voice_of(only(table, measures={"reidentified": number(0.4)})))
    assert tile.note == "no interval; no baseline"
    (tile,) = tiles(voice_of(only(table, worst={"exact_cells": 0.4, "patient": 1})))
    assert (tile.label, tile.note) == ("Exact cells, worst patient", "no baseline")


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, "–"), (0.0, "0"), (3.1e-14, "3.1 × 10⁻¹⁴"), (0.0044, "0.0044"), (0.41, "0.41"), (1234.5, "1234"),
     (2.5e7, "2.5 × 10⁷"), (-2.5e7, "−2.5 × 10⁷")],
)  # fmt: skip
def test_small_and_large_numbers_can_be_read(value: float | None, written: str) -> None:
    assert power(value).replace(NARROW, " ") == written


@pytest.mark.parametrize(("value", "written"), [(0.4, "0.40"), (0.0321, "0.032"), (12.3, "12"), (1.0, "1.0")])
def test_short_numbers_have_two_digits_that_count(value: float, written: str) -> None:
    assert short(value) == written


def test_measures_are_written_in_their_units() -> None:
    assert MEASURES["exact_cells"].write(0.996) == f">99{NARROW}%"
    assert MEASURES["psnr_db"].write(-1.25) == f"−1.2{NARROW}dB"
    assert MEASURES["auc"].write(None) == "–"
    assert MEASURES["ssim"].estimate(Measured(Estimate(0.1, -0.2, 0.3), None)) == "0.10 (−0.20 to 0.30)"
    assert MEASURES["exact_cells"].estimate(Measured(Estimate(None), 0.2)) == "–"
