"""The page of a drill: what it says, section by section, and that numbers and words land where they should."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest

from sealround.report import render_drill
from sealround.report.drill.answer import headline, most_harmed, sentences, tiles, verdicts
from sealround.report.drill.courses import learning_figure, success_figure
from sealround.report.drill.exclusion import exclusion
from sealround.report.drill.grid import grids
from sealround.report.drill.groups import groups
from sealround.report.drill.reading import read_drill
from sealround.report.drill.statements import command, glossary, liars, limits, not_played
from sealround.report.drill.voice import DrillVoice

if TYPE_CHECKING:
    from collections.abc import Callable

Tree = dict[str, Any]


def voice_of(tree: Tree) -> DrillVoice:
    return DrillVoice(read_drill(tree))


def own(tree: Tree, attack: str) -> Tree:
    """Return the cell of an attack on the study as it is."""
    rule = next(rule["key"] for rule in tree["rules"] if rule["own"])
    return next(
        cell
        for cell in tree["cells"]
        if (cell["attack"], cell["rule"], cell["heterogeneity"]) == (attack, rule, "as-is")
    )


def judge(tree: Tree, **verdicts_: str) -> Tree:
    """Set verdicts, and drop the attacks that are not named."""
    tree["verdicts"] = [
        entry | {"verdict": verdicts_[key]}
        for entry in tree["verdicts"]
        if (key := entry["attack"].replace("-", "_")) in verdicts_
    ]
    kept = {"none", *(entry["attack"] for entry in tree["verdicts"])}
    for name in ("attacks", "cells", "worst"):
        tree[name] = [entry for entry in tree[name] if entry.get("key", entry.get("attack")) in kept]
    return tree


def words(tree: Tree) -> str:
    body = re.sub(r"<style>.*?</style>", "", render_drill(tree), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def said(tree: Tree) -> list[str]:
    return [unescape(re.sub(r"<[^>]+>", "", sentence)) for sentence in sentences(voice_of(tree))]


# --- the answer -------------------------------------------------------------------------------------------------------


def test_same_evidence_gives_the_same_bytes_and_is_left_as_it_was(any_drill: Tree) -> None:
    before = json.dumps(any_drill)
    assert render_drill(any_drill) == render_drill(json.loads(before))
    assert json.dumps(any_drill) == before


@pytest.mark.parametrize(
    ("shape", "question"),
    [
        ({}, "What if one of the four hospitals lies?"),
        ({"sites": 7, "num_byzantine": 2}, "What if two of the seven hospitals lie?"),
        ({"sites": 120, "num_byzantine": 24}, "What if 24 of the 120 hospitals lie?"),
    ],
)
def test_the_question_says_how_many_lie(drilled: Callable[..., Tree], shape: Tree, question: str) -> None:
    assert headline(voice_of(drilled(**shape))) == question


@pytest.mark.parametrize(
    ("judged", "answer"),
    [
        ({"sign_flip": "holds", "alie": "holds"}, "This study withstands all two attacks that were played."),
        ({"sign_flip": "holds"}, "This study withstands the attack that was played."),
        ({"sign_flip": "fails"}, "This study fails against Sign flip."),
        ({"sign_flip": "fails", "alie": "fails"}, "Of two attacks, this study fails against every one."),
        ({"sign_flip": "holds", "alie": "not assessable"}, "Of two attacks, this study withstands one."),
        (
            {"sign_flip": "holds", "gaussian": "fails", "min_max": "degrades"},
            (
                "Of three attacks, this study fails against one: Noise; is weakened by one: Min-Max; and withstands "
                "the other one."
            ),
        ),
        ({"sign_flip": "not assessable"}, "This drill gives no answer: no attack could be judged."),
    ],
)
def test_the_answer_counts_and_names(drill: Tree, judged: dict[str, str], answer: str) -> None:
    assert said(judge(drill, **judged))[0] == answer


def test_the_worst_is_named_with_what_it_is_compared_with(drill: Tree) -> None:
    own(drill, "alie")["metric"]["value"] = 0.614
    own(drill, "alie")["baseline"] = 0.871
    own(drill, "alie")["loss"] = {"value": 0.257, "low": 0.2, "high": 0.3}
    assert said(drill)[1] == (
        "The worst it came to is an AUROC of 0.61, where nobody lying gives 0.87: under A little is enough (ALIE)."
    )
    assert [(tile.label, tile.value, tile.note) for tile in tiles(voice_of(drill))][-1] == (
        "AUROC, worst attack",
        "0.61",
        "0.87 where nobody lies",
    )


def test_where_nothing_is_lost_nothing_is_worst(drill: Tree) -> None:
    for cell in drill["cells"]:
        cell["loss"] = None if cell["loss"] is None else {"value": -0.01, "low": -0.02, "high": 0.01}
    assert not any("worst" in sentence for sentence in said(drill))


def test_a_model_that_obeys_is_told_with_the_metric_that_hides_it(drill: Tree) -> None:
    cell = own(drill, "trigger")
    cell |= {"success": {"value": 0.62, "low": 0.5, "high": 0.7}, "verdict": "fails", "success_without": 0.04}
    cell["metric"]["value"] = 0.86
    next(entry for entry in drill["verdicts"] if entry["attack"] == "trigger")["verdict"] = "fails"
    assert said(drill)[2] == (
        "Under Hidden trigger, the model does what the attacker wants with 62 of 100 patients it is aimed at (4 if "
        "nobody lies), while AUROC stays at 0.86."
    )
    cell["withheld_seeds"] = 3
    assert not any("Hidden trigger" in sentence for sentence in said(drill)[2:])


def test_harm_to_a_group_is_said_only_where_it_is_clear(drill: Tree) -> None:
    group = next(entry for entry in own(drill, "relabel-group")["groups"] if entry["group"] == "age < 50")
    group["rise"] = {"value": 0.31, "low": 0.12, "high": 0.5}
    assert (
        "Under Relabelled group, of 100 patients with coronary disease in the group age < 50 about 31 more are missed."
        in said(drill)
    )
    group["rise"]["low"] = -0.01
    assert most_harmed(voice_of(drill)) is None
    assert not any("more are missed" in sentence for sentence in said(drill))


def test_what_the_rule_is_worth_is_told_by_the_plain_mean(drill: Tree, drilled: Callable[..., Tree]) -> None:
    plain = [cell for cell in drill["cells"] if cell["rule"] == "mean" and cell["attack"] != "none"]
    lost = sum(cell["verdict"] == "fails" for cell in plain)
    assert lost == 7
    assert "With a plain mean it would fail against seven of them; with the study's rule, against one." in said(drill)
    assert not any("plain mean" in sentence for sentence in said(drilled(own="mean")))


def test_what_cannot_be_told_is_not_passed_over(drill: Tree) -> None:
    judge(drill, sign_flip="holds", alie="not assessable")
    assert said(drill)[-1] == (
        "Whether it withstands A little is enough (ALIE), this drill cannot tell: it would take more patients or more "
        "seeds."
    )
    assert ("Cannot be told", "1", "not a pass") in [
        (tile.label, tile.value, tile.note) for tile in tiles(voice_of(drill))
    ]


def test_an_attack_without_a_cell_or_a_verdict_was_not_played(drill: Tree) -> None:
    drill["cells"] = [cell for cell in drill["cells"] if cell["attack"] != "alie"]
    drill["verdicts"] = [entry for entry in drill["verdicts"] if entry["attack"] != "alie"]
    drill["worst"] = []
    row = next(row for row in verdicts(voice_of(drill)) if row.attack == "A little is enough (ALIE)")
    assert (row.key, row.label, row.numbers) == ("not-played", "Not played", ())
    assert "Not played" in words(drill)


# --- verdicts ---------------------------------------------------------------------------------------------------------


def test_verdicts_come_in_the_order_of_concern(any_drill: Tree) -> None:
    order = ["fails", "degrades", "not-assessable", "holds", "not-played", "not-applicable"]
    places = [order.index(row.key) for row in verdicts(voice_of(any_drill))]
    assert places == sorted(places)
    assert len(places) == len(any_drill["attacks"]) - 1


def test_a_verdict_has_icon_word_and_what_the_attacker_does_and_knows(drill: Tree) -> None:
    page = render_drill(drill)
    row = re.search(r'<li class="fails">.*?</li>', page, re.DOTALL)
    assert row is not None
    assert '<use href="#icon-fails"/></svg> Fails</p>' in row[0]
    text = " ".join(re.sub(r"<[^>]+>", " ", row[0]).split())
    assert text.startswith("Fails A little is enough (ALIE) The lying hospitals send what")
    assert "Has to know what honest sites send" in text
    assert "Source Baruch et al. NeurIPS 2019, algorithm 3" in text
    assert own(drill, "alie")["sentence"] in text


def test_who_knows_nothing_and_why_an_attack_does_not_apply(drill: Tree) -> None:
    rows = {row.attack: row for row in verdicts(voice_of(drill))}
    assert ("Has to know", "nothing") in rows["Noise"].facts
    assert rows["Mark on images"].label == "Does not apply"
    assert "this study has no images" in rows["Mark on images"].said


def test_numbers_of_a_verdict(drill: Tree) -> None:
    cell = own(drill, "trigger")
    cell |= {"success": {"value": 0.62, "low": 0.5, "high": 0.7}, "baseline": 0.9}
    cell["metric"] |= {"value": 0.88}
    cell["loss"] = {"value": 0.0204, "low": 0.011, "high": 0.03}
    cell["durability"]["half_life"] = 1
    row = next(row for row in verdicts(voice_of(drill)) if row.attack == "Hidden trigger")
    assert row.numbers == (
        ("AUROC", "0.88"),
        ("Change", "−0.020 (−0.030 to −0.011)"),
        ("Gets its way", "62\N{NARROW NO-BREAK SPACE}%"),
        ("Half gone after", "1 round"),
    )
    cell["durability"]["half_life"] = None
    row = next(row for row in verdicts(voice_of(drill)) if row.attack == "Hidden trigger")
    assert row.numbers[-1] == ("Half gone after", "not seen")


@pytest.mark.parametrize(
    ("loss", "written"), [(0.02, "−0.02"), (0.0204, "−0.020"), (0.024, "−0.024"), (0.026, "−0.03")]
)
def test_rounding_does_not_hide_on_which_side_of_a_limit_a_loss_lies(drill: Tree, loss: float, written: str) -> None:
    found = read_drill(drill).cells["sign-flip", "geometric-median", "as-is"].loss
    assert found is not None
    assert voice_of(drill).loss(type(found)(loss)) == written


def test_a_lower_metric_that_is_better_rises_when_it_is_lost(drill: Tree) -> None:
    drill["metric"] = "brier"
    own(drill, "alie")["loss"] = {"value": 0.1, "low": 0.05, "high": 0.15}
    row = next(row for row in verdicts(voice_of(drill)) if "ALIE" in row.attack)
    assert ("Change", "+0.10 (0.05–0.15)") in row.numbers


def test_a_stopped_training_is_said(drill: Tree) -> None:
    cell = own(drill, "alie")
    cell |= {"stopped": "no site sent a finite update", "metric": None, "loss": None, "curve": None, "verdict": "fails"}
    row = next(row for row in verdicts(voice_of(drill)) if "ALIE" in row.attack)
    assert row.said.endswith("Training stopped: no site sent a finite update.")
    assert row.numbers == ()
    field = next(row for row in grids(voice_of(drill))[0].rows if "ALIE" in row.name).squares[0]
    assert (field.number, field.icon, field.css) == ("no model", "fails", "heat-5")
    assert said(drill)[1].startswith(
        "Under A little is enough (ALIE) training stops, and there is no model. Else the worst it came to is an AUROC"
    )
    assert [(tile.label, tile.value) for tile in tiles(voice_of(drill))][-1] == ("Worst attack", "no model")
    worst = next(entry for entry in drill["worst"] if entry["rule"] == "geometric-median")
    worst |= {"attack": "alie", "value": None}
    grid = grids(voice_of(drill))[0]
    assert (grid.rows[-1].squares[0].number, grid.rows[-1].worst) == ("no model", "no model")
    assert grid.said.endswith("the study's own rule ends without a model.")


def test_a_model_that_the_gate_keeps_back_harms_nobody(drill: Tree) -> None:
    assert "gate" not in words(drill).replace("a gate on them", "")
    cell = own(drill, "alie")
    cell |= {"withheld_seeds": 3, "verdict": "degrades"}
    next(entry for entry in drill["verdicts"] if entry["attack"] == "alie")["verdict"] = "degrades"
    assert "Under A little is enough (ALIE) the study's gate keeps the model back. Else the worst" in said(drill)[1]
    assert "A little is enough" not in tiles(voice_of(drill))[-1].label
    row = next(row for row in verdicts(voice_of(drill)) if "ALIE" in row.attack)
    assert row.numbers[-1] == ("Kept back by the gate", "3 of 3 models")
    field = next(row for row in grids(voice_of(drill))[0].rows if "ALIE" in row.name).squares[0]
    assert field.below == "kept back"
    assert "the study's gate keeps every model back" in words(drill)


# --- the grid ---------------------------------------------------------------------------------------------------------


def test_there_is_a_grid_for_each_division_of_patients_the_studys_own_first(drilled: Callable[..., Tree]) -> None:
    tree = drilled(kinds=3)
    tree["heterogeneity"].reverse()
    found = grids(voice_of(tree))
    assert len(found) == 3
    assert found[0].title == "The study's own hospitals"


def test_a_field_says_number_verdict_and_shade(drill: Tree) -> None:
    cell = own(drill, "sign-flip")
    cell["metric"]["value"], cell["verdict"] = 0.812, "degrades"
    row = next(row for row in grids(voice_of(drill))[0].rows if row.name == "Sign flip")
    for loss, shade in ((0.03, "heat-1"), (0.09, "heat-2")):
        cell["loss"]["value"], cell["loss"]["low"], cell["loss"]["high"] = loss, loss, loss
        row = next(row for row in grids(voice_of(drill))[0].rows if row.name == "Sign flip")
        assert (row.squares[0].number, row.squares[0].label, row.squares[0].css) == ("0.81", "degrades", shade)
    cell["verdict"] = "fails"
    for loss, shade in ((0.11, "heat-3"), (0.3, "heat-4"), (0.5, "heat-5")):
        cell["loss"]["value"], cell["loss"]["low"], cell["loss"]["high"] = loss, loss, loss
        row = next(row for row in grids(voice_of(drill))[0].rows if row.name == "Sign flip")
        assert row.squares[0].css == shade
    assert row.squares[0].own
    assert not row.squares[1].own


def test_the_worst_of_a_row_a_column_and_all(drill: Tree) -> None:
    grid = grids(voice_of(drill))[0]
    by_rule = {title: place for place, (title, _) in enumerate(grid.rules)}
    last = grid.rows[-1]
    assert last.name == "Worst case"
    column = [row.squares[by_rule["Mean"]] for row in grid.rows[:-1]]
    assert last.squares[by_rule["Mean"]].number == min(square.number for square in column)
    assert [square.worst for square in column].count(True) == 1
    for row in grid.rows:
        assert row.worst == min(square.number for square in row.squares if square.number != "–")


def test_a_hidden_aim_that_is_met_is_as_dark_as_a_lost_metric(drill: Tree) -> None:
    cell = own(drill, "trigger")
    cell |= {"success": {"value": 0.62, "low": 0.5, "high": 0.7}, "verdict": "fails", "success_without": 0.0}
    row = next(row for row in grids(voice_of(drill))[0].rows if row.name == "Hidden trigger")
    assert row.squares[0].css == "heat-5"
    cell["success_without"] = 0.5
    row = next(row for row in grids(voice_of(drill))[0].rows if row.name == "Hidden trigger")
    assert row.squares[0].css == "heat-3"


def test_an_attack_that_gains_nothing_has_nothing_to_last(drill: Tree) -> None:
    cell = own(drill, "relabel-group")
    cell |= {"success": {"value": 0.33, "low": 0.2, "high": 0.5}, "success_without": 0.33}
    row = next(row for row in verdicts(voice_of(drill)) if row.attack == "Relabelled group")
    assert row.numbers[-1] == ("Gets its way", "33\u202f%, unattacked 33\u202f%")
    figure = success_figure(voice_of(drill))
    assert figure is not None
    assert figure.panels[0].note == "Stopped after round 20: there was nothing to be gone."


def test_an_attack_that_applies_nowhere_has_no_row(drill: Tree) -> None:
    for cell in drill["cells"]:
        if cell["attack"] == "ipm":
            cell["verdict"] = "not applicable"
    assert "Inner-product manipulation" not in [row.name for row in grids(voice_of(drill))[0].rows]


def test_code_in_advice_is_set_as_code(drill: Tree) -> None:
    drill["left_out"] = ["`--attacks all` plays <every> attack."]
    assert "<li><code>--attacks all</code> plays &lt;every&gt; attack.</li>" in render_drill(drill)


def test_how_often_an_attack_gets_its_way_stands_under_the_number(drill: Tree) -> None:
    own(drill, "trigger")["success"] = {"value": 0.004, "low": 0.0, "high": 0.02}
    page = render_drill(drill)
    assert re.search(r"Hidden trigger</th><td[^>]*>.*?<small><1\u202f%</small>", unescape(page))


def test_a_rule_that_cannot_run_is_a_blank_with_its_reason(drilled: Callable[..., Tree]) -> None:
    tree = drilled(rules=12)
    grid = grids(voice_of(tree))[0]
    place = [title for title, _ in grid.rules].index("Bulyan")
    assert {row.squares[place].css for row in grid.rows[:-1]} == {"blank"}
    assert all(row.squares[place].label == "cannot run" for row in grid.rows[:-1])
    assert "Bulyan: bulyan needs 7 sites to withstand 1, and there are 4." in not_played(voice_of(tree))


def test_the_rule_with_the_best_worst_case_is_named(drilled: Callable[..., Tree]) -> None:
    tree = drilled(rules=12)
    for entry in tree["worst"]:
        entry["value"] = {"adaptive": 0.84, "geometric-median": 0.72}.get(entry["rule"], 0.5)
    assert grids(voice_of(tree))[0].said == ("The best worst case has Adaptive: AUROC 0.84; the study's own has 0.72.")
    tree["metric"] = "brier"
    assert grids(voice_of(tree))[0].said.startswith("The best worst case has Mean")


def test_every_field_says_its_verdict_to_who_cannot_see_it(drilled: Callable[..., Tree]) -> None:
    tree = drilled(attacks=20, rules=12, kinds=3)
    page = render_drill(tree)
    played = [cell for cell in tree["cells"] if cell["attack"] != "none"]
    assert len(re.findall(r'<span class="unseen">, (?:holds|degrades|fails)</span>', page)) == len(played)


# --- over the rounds --------------------------------------------------------------------------------------------------


def test_each_attack_has_a_panel_on_a_common_axis(drill: Tree) -> None:
    figure = learning_figure(voice_of(drill))
    assert figure is not None
    assert [panel.title for panel in figure.panels] == [
        row.attack for row in verdicts(voice_of(drill)) if row.key != "not-applicable"
    ]
    axes = {
        tuple(re.findall(r'class="tick" text-anchor="end">([^<]+)<', panel.svg)) for panel in figure.panels
    }  # The texts at the left.
    assert len(axes) == 1
    assert all(
        {'"line pooled"', '"line alone"', '"line federated"'} <= set(re.findall(r'"line \w+"', panel.svg))
        for panel in figure.panels
    )


def test_a_panel_tells_its_ends_in_words(drill: Tree) -> None:
    own(drill, "alie")["curve"]["metric"][-1] = 0.31
    figure = learning_figure(voice_of(drill))
    assert figure is not None
    assert "At the end: with the study's rule 0.31; with a plain mean" in unescape(figure.panels[0].svg)
    row = next(row for row in figure.tables[0].rows if "ALIE" in row[0])
    found = own(drill, "alie")
    assert row[1:4] == tuple(f"{found[key]:.2f}" for key in ("baseline",)) + tuple(
        f"{found['metric'][key]:.2f}" for key in ("value", "worst")
    )


def test_a_plain_mean_that_is_the_studys_rule_is_drawn_once(drilled: Callable[..., Tree]) -> None:
    figure = learning_figure(voice_of(drilled(own="mean")))
    assert figure is not None
    assert not any('"line alone"' in panel.svg for panel in figure.panels)


def test_success_goes_on_after_the_attack_has_stopped(drill: Tree) -> None:
    figure = success_figure(voice_of(drill))
    assert figure is not None
    assert [panel.title for panel in figure.panels] == ["Relabelled group", "Hidden trigger"]
    assert figure.panels[0].note == "Stopped after round 20: half of it was gone after 4 rounds."
    assert all('class="released"' in panel.svg for panel in figure.panels)
    assert 'x1="65.52%"' in figure.panels[0].svg  # Round 20 of 1..30.


def test_without_attacks_that_are_after_something_there_is_no_such_figure(drill: Tree) -> None:
    judge(drill, sign_flip="holds", alie="fails")
    assert success_figure(voice_of(drill)) is None
    assert "How often an attack gets its way" not in words(drill)


def test_gaps_in_a_course_are_gaps(drill: Tree) -> None:
    curve = own(drill, "alie")["curve"]
    curve["metric"][10] = None
    curve["metric"][0] = None
    assert "AUROC per round: A little is enough (ALIE)" in render_drill(drill)


# --- groups and exclusion ---------------------------------------------------------------------------------------------


def test_groups_are_shown_under_the_attack_that_hits_them_most(drill: Tree) -> None:
    group = next(entry for entry in own(drill, "trigger")["groups"] if entry["group"] == "sex = male")
    group |= {
        "fnr": {"value": 0.41, "low": 0.3, "high": 0.52},
        "fpr": {"value": 0.052, "low": 0.03, "high": 0.08},
        "rise": {"value": 0.29, "low": 0.18, "high": 0.4},
    }
    before = next(entry for entry in own(drill, "none")["groups"] if entry["group"] == "sex = male")
    before |= {"fnr": {"value": 0.12, "low": 0.07, "high": 0.18}, "fpr": None}
    found = groups(voice_of(drill))
    assert found is not None
    percent = "\N{NARROW NO-BREAK SPACE}%"
    assert next(row for row in found.table.rows if row[0] == "sex = male") == (
        "sex = male",
        "Hidden trigger",
        "388",
        f"12{percent} (7–18)",
        f"41{percent} (30–52)",
        "+29 (+18 to +40)",
        "–",
        f"5{percent} (3–8)",
    )
    row = next(row for row in found.rows if row.name == "sex = male")
    assert (row.note, row.values[0][2]) == ("under Hidden trigger", "+29 (+18 to +40)")


def test_a_small_group_is_not_assessable_and_never_a_number(drill: Tree) -> None:
    found = groups(voice_of(drill))
    assert found is not None
    small = "sex = female, age < 50"
    assert next(row for row in found.table.rows if row[0] == small)[1:] == ("not assessable", *["–"] * 6)
    assert small not in [row.name for row in found.rows]
    assert found.small == f"{small}: too few patients to say anything. An attack on them would not be seen here."
    assert all(next(row for row in table.rows if row[0] == small)[2] == "not assessable" for table in found.details)


def test_without_groups_the_page_says_that_harm_would_not_be_seen(drilled: Callable[..., Tree]) -> None:
    assert "The study declares no groups of patients." in words(drilled(groups=False))
    survival = words(drilled(survival=True, groups=False))
    assert "this study predicts when, not whether" in survival
    assert "False alarms (FPR)" not in survival


def test_who_was_left_out_and_who_wrongly(drill: Tree) -> None:
    for key in ("sign-flip", "alie"):
        own(drill, key)["exclusion"] = {
            "precision": 0.6,
            "recall": 1.0,
            "sites": {
                "Cleveland": {"lies": True, "part": 0.0, "left_out": 1.0},
                "Hungary": {"lies": False, "part": 0.3, "left_out": 0.1},
                "Switzerland": {"lies": False, "part": 0.1, "left_out": 0.67},
                "VA Long Beach": {"lies": False, "part": 0.3, "left_out": None},
            },
        }
    judge(drill, sign_flip="holds", alie="fails")
    found = exclusion(voice_of(drill))
    assert found is not None
    percent = "\N{NARROW NO-BREAK SPACE}%"
    assert found.attacks.rows[0] == (
        "A little is enough (ALIE)",
        f"Switzerland (67{percent})",
        f"100{percent}",
        f"60{percent}",
    )
    assert found.said.startswith(f"Over all attacks, lying hospitals were put down in 100{percent} of their rounds.")
    assert f"Even where nobody lies, the rule leaves out VA Long Beach in 21{percent} of the rounds." in found.said
    assert f"Honest, and left out in more than 10{percent} of the rounds of some attack: Switzerland." in found.said
    assert found.sites is not None
    rows = {row[0]: row[1:] for row in found.sites.rows}
    assert rows["Cleveland"] == (f"3{percent}", "–", f"100{percent}")
    assert rows["Switzerland"] == (f"3{percent}", f"67{percent}", "–")


def test_who_lies_with_one_seed_may_be_wronged_with_another(drill: Tree) -> None:
    sites = own(drill, "alie")["exclusion"]["sites"]
    sites["Cleveland"] |= {"lies": True, "left_out": 1.0, "left_out_honest": 0.4}
    sites["Hungary"] |= {"lies": True, "left_out": 1.0, "left_out_honest": None}
    found = exclusion(voice_of(drill))
    assert found is not None
    row = next(row for row in found.attacks.rows if "ALIE" in row[0])
    assert row[1] == "Cleveland (40\u202f%) and VA Long Beach (21\u202f%)"


def test_where_no_honest_site_is_left_out_the_page_says_so(drill: Tree) -> None:
    for cell in drill["cells"]:
        for site in (cell["exclusion"] or {"sites": {}})["sites"].values():
            site["left_out"] = 0.0
    found = exclusion(voice_of(drill))
    assert found is not None
    assert found.said.endswith("No honest hospital was left out in more than 10\u202f% of the rounds of an attack.")


def test_a_rule_that_leaves_nobody_out_has_no_such_section(drilled: Callable[..., Tree]) -> None:
    assert exclusion(voice_of(drilled(own="mean"))) is None
    assert "Who was left out" not in words(drilled(own="mean"))


def test_of_many_sites_a_few_are_named(drilled: Callable[..., Tree]) -> None:
    tree = drilled(sites=120, num_byzantine=24)
    for number in range(30, 60):
        own(tree, "alie")["exclusion"]["sites"][f"site-{number:03}"]["left_out"] = 0.5
    found = exclusion(voice_of(tree))
    assert found is not None
    row = next(row for row in found.attacks.rows if "ALIE" in row[0])
    assert row[1].endswith("and 27 more") or row[1].endswith("and 28 more")
    assert found.sites is not None
    assert len(found.sites.rows) == 120


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_what_was_not_played_how_to_repeat_and_what_it_cost(drill: Tree) -> None:
    text = words(drill)
    for part in (
        "Image attacks: this study has no images.", "sealround drill study.toml", drill["study"]["digest"],
        "8\N{NARROW NO-BREAK SPACE}min 32\N{NARROW NO-BREAK SPACE}s", "Trainings 162", "Seeds 0, 1 and 2",
        "Who lied Cleveland", "AUROC is certainly no more than 0.02 worse",
    ):  # fmt: skip
        assert " ".join(part.split()) in text
    drill["left_out"], drill["rules"] = [], [rule | {"refused": None} for rule in drill["rules"]]
    assert "Nothing: every attack and every rule that applies was played." in words(drill)


def test_the_command_plays_the_same_drill_again_and_nothing_else(drill: Tree) -> None:
    judge(drill, sign_flip="holds", trigger="fails")
    drill["rules"] = [rule for rule in drill["rules"] if rule["key"] in {"geometric-median", "mean"}]
    drill["cells"] = [cell for cell in drill["cells"] if cell["rule"] in {"geometric-median", "mean"}]
    drill["worst"] = []
    start = "sealround drill study.toml \\\n  --num-byzantine 1 --seeds 3 --rounds 30 \\\n  --heterogeneity as-is \\\n"
    assert command(voice_of(drill)) == (
        f"{start}  --rules own,mean \\\n  --attacks sign-flip,trigger \\\n  --stop-after 20"
    )
    drill["attacks"].append(drill["attacks"][0] | {"key": "x; rm -rf ~"})
    assert "--attacks 'sign-flip,trigger,x; rm -rf ~' " in command(voice_of(drill))


@pytest.mark.parametrize(
    ("liars_", "expected"),
    [
        ({}, "not recorded"),
        ({"1": ["Hungary"], "2": ["Hungary"]}, "Hungary"),
        ({"1": ["Hungary"], "2": ["Cleveland"]}, "seed 1: Hungary; seed 2: Cleveland"),
        (
            {"1": ["Hungary", "Cleveland", "Switzerland", "VA Long Beach"], "2": ["Cleveland"]},
            "drawn anew for each of 2 seeds; see drill.json",
        ),
    ],
)
def test_who_lied(drill: Tree, liars_: dict[str, list[str]], expected: str) -> None:
    drill["liars"] = liars_
    assert liars(voice_of(drill)) == expected


def test_a_drill_says_where_it_ends(drill: Tree) -> None:
    said_ = limits(voice_of(drill))
    assert said_[0].startswith("To hold against these attacks is no proof against others.")
    assert any("about privacy" in one for one in said_)
    assert not any("seed" in one for one in said_)
    drill["seeds"] = [7]
    assert any(one.startswith("Only 1 seed played") for one in limits(voice_of(drill)))


def test_words_that_are_used_are_explained(drill: Tree, drilled: Callable[..., Tree]) -> None:
    explained = dict(glossary(voice_of(drill)))
    assert {"Plain mean", "Missed patients (FNR)", "AUROC", "Not assessable"} <= explained.keys()
    assert "Plain mean" not in dict(glossary(voice_of(drilled(rules=1))))


def test_another_division_of_patients_than_the_studys_is_said(drilled: Callable[..., Tree]) -> None:
    tree = drilled(kinds=2)
    tree["heterogeneity"] = [kind for kind in tree["heterogeneity"] if not kind["own"]]
    tree["cells"] = [cell for cell in tree["cells"] if cell["heterogeneity"] == "iid"]
    tree["worst"] = [entry for entry in tree["worst"] if entry["heterogeneity"] == "iid"]
    assert "patients divided among the hospitals in another way: Patients dealt out evenly" in words(tree)


def test_missing_parts_leave_a_page(drill: Tree) -> None:
    for cell in drill["cells"]:
        cell |= {
            "metric": None, "baseline": None, "loss": None, "success": None, "durability": None, "groups": [],
            "exclusion": None, "curve": None,
        }  # fmt: skip
    drill |= {"worst": [], "suggestions": [], "liars": {}, "protection": []}
    drill["study"]["confidence"] = None
    text = words(drill)
    assert "What to change" not in text
    assert "Over the rounds" not in text
    assert "Treat this run as unprotected" in text
    assert not re.search(r"\bNone\b", text)


def test_size_is_kept_small(drilled: Callable[..., Tree]) -> None:
    page = render_drill(drilled(sites=120, num_byzantine=24, attacks=20, rules=12, kinds=3))
    assert len(page.encode()) < 600_000
