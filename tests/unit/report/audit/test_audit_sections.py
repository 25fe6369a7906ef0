"""The sections of an audit's page: cards, pictures and rows, ladder, likelihood, bounds, grants, gate, the rest."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest

from sealround.report import render_audit
from sealround.report.audit.bounds import bounded
from sealround.report.audit.cards import cards
from sealround.report.audit.figures import Compared, forest
from sealround.report.audit.ladder import ladder, switches
from sealround.report.audit.likelihood import questions
from sealround.report.audit.reading import read_audit
from sealround.report.audit.statements import command, cost, facts, gate, gate_says, glossary, limits, pixels, worlds
from sealround.report.audit.tables import assumptions, findings
from sealround.report.audit.voice import AuditVoice
from sealround.report.evidence import Estimate

if TYPE_CHECKING:
    from types import ModuleType

Tree = dict[str, Any]
NARROW = "\N{NARROW NO-BREAK SPACE}"


def voice_of(tree: Tree) -> AuditVoice:
    return AuditVoice(read_audit(tree))


def words(tree: Tree) -> str:
    body = re.sub(r"<style>.*?</style>", "", render_audit(tree), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def plain(rows: tuple[tuple[str, ...], ...]) -> list[tuple[str, ...]]:
    return [tuple(cell.replace(NARROW, " ") for cell in row) for row in rows]


# --- attackers --------------------------------------------------------------------------------------------------------


def test_every_attacker_has_a_card_the_worst_first(table: Tree) -> None:
    found = cards(voice_of(table))
    assert [(card.name, card.key) for card in found] == [
        ("The coordinator, curious", "whole"),
        ("Whoever has the released model", "told"),
        ("The coordinator and one hospital", "perhaps"),
        ("The coordinator, malicious", "refused"),
        ("A curious hospital", "none"),
    ]
    assert found[0].said == (
        f"100{NARROW}% of the worst-off patient's values are right, where a guess without the update gets 25{NARROW}%."
    )
    assert found[0].certificate.startswith("It proves 8 records by itself")
    assert ("Mismatch", f"3.1{NARROW}×{NARROW}10⁻¹⁴") in found[0].facts
    assert [name for _, _, name, _ in found[0].others] == ["TabLeak", "Linkage", "Property inference"]
    assert found[2].said.endswith("It was cut short by the budget.")
    assert found[3].said == "The site's own check refused it before any training: a layer with 64 equal rows."
    assert found[4].label == "Not played"
    assert "says nothing about what it could do" in found[4].said


def test_a_row_is_shown_with_what_was_recovered_marked(table: Tree) -> None:
    table["showcase"][0]["cells"][2] |= {"rebuilt": "180", "recovered": False}
    (record,) = cards(voice_of(table))[0].records
    assert record.said == "7 of 8 values recovered; 1 guessed without the update."
    assert record.cells[2] == ("cholesterol (mg/dl)", "233", "180", "247", False)
    page = render_audit(table)
    assert page.count('<tr class="hit">') == 7
    assert page.count("<td>yes</td>") == 7
    assert page.count("<td>no</td>") == 1


def test_pictures_stand_side_by_side_with_the_guess(image: Tree) -> None:
    (gallery,) = cards(voice_of(image))[1].galleries
    assert [caption.replace(NARROW, " ") for *_, caption in gallery.pictures] == [
        "Original",
        "Rebuilt, 31.4 dB",
        "Guess without the update, 14.4 dB",
    ]
    assert [(width, height) for _, width, height, _, _ in gallery.pictures] == [(16, 16)] * 3
    assert gallery.pictures[1][3].startswith("The same picture as Inverting Gradients rebuilt it")
    shown = image["showcase"][0]
    sources = re.findall(r'<img src="data:image/png;base64,([^"]+)"', render_audit(image))
    assert sources[3:] == [shown["original"], shown["reconstruction"], shown["baseline"]]


def test_what_was_rebuilt_on_another_rung_is_not_shown_as_the_studys(image: Tree) -> None:
    image["showcase"][0]["finding"] = 1
    assert render_audit(image).count("<img") == 3


def test_the_sites_own_records_stay_where_they_are(own: Tree) -> None:
    found = cards(voice_of(own))
    assert found[0].hidden.startswith("Rows stay at the site")
    assert "as sensitive as the records" in words(own)
    page = render_audit(own)
    assert "<img" not in page
    assert 'class="record"' not in page


def test_an_attack_that_gave_no_number_says_so(table: Tree) -> None:
    table["findings"][4] |= {"status": "done", "measures": {}, "worst": {}, "beyond": {}}
    said = next(card.said for card in cards(voice_of(table)) if card.name == "The coordinator and one hospital")
    assert said == "It ran to its end, and nothing of it was measured."


# --- ladder -----------------------------------------------------------------------------------------------------------


def test_the_ladder_has_a_row_for_each_rung_and_one_for_the_guess(table: Tree) -> None:
    found = ladder(voice_of(table))
    assert plain(found.table.rows) == [
        ("no protection", "SPEAR (The coordinator, curious)", "100 %", "90 %", "–", "–", "–", "0.87 (0.84–0.90)"),
        (
            "+ clipping to norm 1 (the study as written)", "SPEAR (The coordinator, curious)", "100 %", "90 %", "92 %",
            "0.58", "6 %", "0.87 (0.84–0.90)",
        ),
        (
            "+ secure aggregation over 4 sites (not in the study)", "SPEAR (The coordinator, curious)", "31 %", "0 %",
            "–", "–", "–", "0.87 (0.84–0.90)",
        ),
        ("+ noise, ε = 3 for each patient (not in the study)", "none was played", *["–"] * 5, "0.82 (0.79–0.85)"),
        ("A guess without the update, on average", "–", "21 %", "0 %", "3 %", "0.50", "14 %", "–"),
    ]  # fmt: skip
    assert found.said.replace(NARROW, " ") == (
        "Exact cells of the worst-off patient: 100 % with no protection, 100 % with the study as written, under the "
        "attacks that were played on both. AUROC of the model: 0.87 (0.84–0.90) and 0.87 (0.84–0.90)."
    )


def test_the_ladder_is_drawn_with_what_is_missing_named(table: Tree) -> None:
    figure = ladder(voice_of(table)).figure
    assert figure is not None
    assert [row.name for row in figure.rows] == [rung["label"] for rung in table["rungs"]]
    assert figure.rows[3].note == "not in the study; not measured"
    assert [(series, text.replace(NARROW, " ")) for series, _, text in figure.rows[2].values] == [
        ("federated", "31 %"),
        ("alone", "20 % (17–23 %)"),
        ("pooled", "25 %"),
    ]
    assert figure.marks == (("federated", "Worst"), ("alone", "All"), ("pooled", "Guess"))


def test_a_ladder_of_one_rung_has_nothing_to_compare(vector: Tree, unfinished: Tree) -> None:
    assert ladder(voice_of(vector)).said == ""
    assert ladder(voice_of(vector)).measure == "Membership AUC"
    found = ladder(voice_of(unfinished))
    assert found.figure is None
    assert found.table.rows == (("no protection (the study as written)", "none was played"),)


def test_a_measure_is_drawn_where_its_numbers_are() -> None:
    drawn = forest("exact_cells", [Compared("a", "", 1.0, Estimate(0.5, 0.25, 0.75), 0.0)])
    assert drawn is not None
    svg = drawn.rows[0].svg
    assert 'cx="100%"' in svg
    assert 'x1="25%" x2="75%"' in svg
    assert forest("exact_cells", [Compared("a", "", None, None, None)]) is None


def test_rungs_are_compared_by_the_attacks_that_both_had(image: Tree) -> None:
    said = ladder(voice_of(image)).said.replace(NARROW, " ")
    assert said.startswith(
        "PSNR of the worst-off patient: 33.0 dB with no protection, 31.4 dB with the study as written"
    )
    image["findings"][1] |= {"attack": "dlg", "name": "DLG"}
    assert ladder(voice_of(image)).said == ""
    image["findings"][3]["rung"] = "sealed"
    image["showcase"] = []
    assert switches(voice_of(image))[0].said.startswith("What is recovered with it was not measured.")


def test_what_to_switch_on_says_what_it_changes_and_how(table: Tree, own: Tree) -> None:
    first, second = switches(voice_of(table))
    assert (first.label, first.said.replace(NARROW, " ")) == (
        "Secure aggregation over 4 sites",
        "Exact cells: 100 % → 31 %. AUROC of the model: 0.87 (0.84–0.90), as without it.",
    )
    assert first.toml in unescape(render_audit(table))
    assert second.said == (
        "What is recovered with it was not measured. AUROC of the model: 0.87 (0.84–0.90) → 0.82 (0.79–0.85)."
    )
    assert switches(voice_of(own)) == ()
    assert "That is not to say that it needs none." in words(own)


# --- likelihood, bounds -----------------------------------------------------------------------------------------------


def test_the_three_questions_are_answered_or_said_to_be_open(table: Tree, own: Tree) -> None:
    identity, membership, property_ = questions(voice_of(table))
    assert plain(identity.table.rows) == [
        ("Linkage", "The coordinator, curious", "Linked to a person", "92 % (81–97 %)", "3 %", "40")
    ]
    assert plain(membership.table.rows)[0][3:] == ("0.58 (0.53–0.63)", "4 % (1–9 %)", "0.50", "1 %", "40")
    assert plain(property_.table.rows)[0][2:] == ("Gives something away", "6 % (3–9 %)", "14 %", "40")
    identity, membership, property_ = questions(voice_of(own))
    assert identity.said.endswith("this page cannot say.")
    assert identity.figure is None
    assert membership.figure is not None
    assert property_.table.rows == ()


def test_attacks_on_one_question_stand_the_worst_first(vector: Tree) -> None:
    weaker = vector["findings"][0] | {"name": "LiRA", "measures": {"auc": {"value": 0.6, "low": 0.5, "high": 0.7}}}
    vector["findings"].insert(0, weaker)
    assert [row[0] for row in questions(voice_of(vector))[1].table.rows] == ["RMIA", "LiRA"]


def test_bounds_are_of_the_patient_who_is_worst_off(own: Tree) -> None:
    found = bounded(voice_of(own))
    assert found is not None
    assert found.said[0].startswith(
        "Of the 13 numbers of the worst-off patient, the update of the study as written deter"
    )
    assert "determines 5:" in found.said[0]
    assert "no unbiased attack can come nearer" in found.said[1]
    assert "error of 0.80 (the standard deviation of its column, of 1)" in found.said[1]
    assert plain(found.table.rows)[0][2:] == (
        "42 of 104", "1 410", "5 of 13", "2.1 × 10⁻⁶ to 0.41", "0.020", "0.80", "1234", "0.0031",
    )  # fmt: skip
    assert [row.values[0][2].replace(NARROW, " ") for row in found.bars] == ["5 of 13 (38 %)"]


def test_bounds_without_patients_or_at_other_rungs_only(table: Tree) -> None:
    for entry in table["bounds"]:
        entry["rung"] = "sealed"
    table["bounds"][0]["patients"] = []
    found = bounded(voice_of(table))
    assert found is not None
    assert found.said == ("Nothing was computed of the study as written.",)
    assert len(found.bars) == 1
    table["bounds"] = []
    assert bounded(voice_of(table)) is None
    assert "How much of a patient the update determines is not known." in words(table)


def test_where_nothing_blurs_no_error_is_promised(table: Tree) -> None:
    table["bounds"][0]["precision"] = 0.0
    found = bounded(voice_of(table))
    assert found is not None
    assert found.said[1] == "Nothing blurs what is sent, so there is no error below which an attack cannot get."


# --- grants, worlds, gate ---------------------------------------------------------------------------------------------


def test_grants_are_a_table_of_attack_by_what(table: Tree) -> None:
    found = assumptions(voice_of(table))
    assert found.head == (
        "Attack", "Attacker", "Labels", "Batch size", "Batch order", "Model", "Colluding site's records"
    )  # fmt: skip
    assert found.rows[0] == (
        "SPEAR", "The coordinator, curious", "recovered from the update", "known", "not known", "initial", "–"
    )  # fmt: skip
    assert ("TabLeak", "The coordinator and one hospital", "recovered from the update", "known", "–", "–", "known") in (
        found.rows
    )
    assert len(found.rows) == len(set(found.rows)) == 6
    assert not any("Robbing" in row[0] for row in found.rows)


def test_two_worlds_that_are_not_told_apart_are_no_proof(own: Tree, vector: Tree, table: Tree) -> None:
    said, listed = worlds(voice_of(own)) or ("", ())
    assert said.replace(NARROW, " ") == (
        "Not told apart in 400 views (p = 0.61, false alarms 1 %): this statistic saw nothing but the sum. Another "
        "statistic, or more views, may."
    )
    assert ("Who looks", "the coordinator and one site") in listed
    said, _ = worlds(voice_of(vector)) or ("", ())
    assert said.replace(NARROW, " ") == (
        "Told apart: what this coalition sees depends on what an honest site holds beyond the sum (p = 1.0 × 10⁻⁹, "
        "false alarms 0.1 %). Secure aggregation does not hide it."
    )
    assert worlds(voice_of(table)) is None
    assert 'id="worlds"' not in render_audit(table)


def test_the_gate_says_limit_finding_and_verdict(table: Tree, own: Tree, vector: Tree) -> None:
    found = gate(voice_of(table))
    assert found is not None
    assert plain(found.rows) == [
        ("Exact cells of one patient, beyond a guess", "exceeded", "10 %", "75 %"),
        ("Membership AUC", "kept", "0.60", "0.58"),
        ("PSNR of one patient's picture", "not measured, so not kept", "20.0 dB", "–"),
    ]
    assert gate_says(voice_of(table)).startswith("Not within the limits")
    assert gate_says(voice_of(own)) == "Within the limits: no attack that was played found more than the study permits."
    own["plan"]["finished"] = False
    assert "so the study does not start" in gate_says(voice_of(own))
    assert gate(voice_of(vector)) is None
    assert gate_says(voice_of(vector)).startswith("The study requires nothing of its audit")


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_every_finding_is_in_the_table(any_audit: Tree) -> None:
    found = findings(voice_of(any_audit))
    assert len(found.rows) == len(any_audit["findings"])
    assert all(len(row) == len(found.head) for row in found.rows)
    assert sorted(row[0] for row in found.rows) == sorted(entry["name"] for entry in any_audit["findings"])


def test_a_finding_says_how_it_ended_and_why(table: Tree) -> None:
    ended = {(row[0], row[3]): row[5] for row in findings(voice_of(table)).rows}
    assert ended["TabLeak", "The coordinator and one hospital"] == "Perhaps more than a guess (cut short)"
    assert ended["Robbing the Fed", "The coordinator, malicious"] == "Refused by the site: a layer with 64 equal rows"
    assert ended["R-GAP", "The coordinator, curious"] == "Does not apply: the batch has several records"


def test_every_table_is_as_wide_as_its_head(any_audit: Tree) -> None:
    voice = voice_of(any_audit)
    tables = [ladder(voice).table, assumptions(voice), *(question.table for question in questions(voice))]
    tables += [one.table for one in (bounded(voice),) if one is not None]
    tables += [one for one in (gate(voice),) if one is not None]
    for one in tables:
        assert {len(row) for row in one.rows} <= {len(one.head)}, one.caption


@pytest.mark.parametrize(
    ("budget", "option"), [(None, ""), (120.0, " --budget 2m"), (90.0, " --budget 90s"), (5.0, " --budget 5s")]
)
def test_the_command_repeats_the_audit(table: Tree, budget: float | None, option: str) -> None:
    table["plan"]["budget_s"] = budget
    assert command(voice_of(table)) == f"sealround audit study.toml --seed 7{option}"
    said = [text for text in limits(voice_of(table)) if text.startswith("All attacks together had")]
    assert len(said) == (budget is not None)


def test_cost_and_facts(table: Tree, own: Tree) -> None:
    assert cost(voice_of(table)) == (
        ("Time", f"1{NARROW}min 24{NARROW}s"), ("Budget", f"2{NARROW}min 0{NARROW}s"), ("Attacks that ran", "8"),
        ("Cut short by the budget", "1"),
    )  # fmt: skip
    assert ("Data", "public: UCI heart disease, published with names removed") in facts(voice_of(table))
    assert ("Data", "the sites' own") in facts(voice_of(own))


def test_pixel_wise_accuracy_is_explained_where_there_are_pictures(image: Tree, table: Tree) -> None:
    said = pixels(voice_of(image)).replace(NARROW, " ")
    assert "a flat disc of the mean colour comes to 95.6 %" in said
    assert "within 8 of 255 grey values" in said
    assert pixels(voice_of(table)) == ""
    assert "pixel-wise" not in words(table)


def test_words_are_explained_where_they_are_used(table: Tree, vector: Tree) -> None:
    explained = {word for word, _ in glossary(voice_of(table))}
    assert {"SPEAR", "Exact cells", "Membership AUC", "Certificate (proved)", "Numbers determined"} <= explained
    assert "PSNR" not in explained
    explained = {word for word, _ in glossary(voice_of(vector))}
    assert "Two-world test" in explained
    assert not {"Exact cells", "I²F"} & explained


def test_what_was_left_out_is_listed(table: Tree, vector: Tree) -> None:
    assert "generative-prior : no pictures in this study" in words(table)
    assert "No attack was left out" in words(vector)


def test_missing_parts_leave_a_page(synthetic_audit: ModuleType) -> None:
    tree = synthetic_audit.table()
    tree |= {"findings": [], "bounds": [], "showcase": [], "require": {}, "passed": None, "skipped": []}
    for rung in tree["rungs"]:
        rung |= {"accuracy": None, "switch": None}
    text = words(tree)
    assert "No attack on this study gave a result" in text
    assert "What is recovered with it was not measured." in text
