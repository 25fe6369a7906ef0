"""Site by site: few sites each with a row, many as their spread."""

from __future__ import annotations

from typing import Any

from sealround.report.comparison import comparison, worst_first
from sealround.report.evidence import Estimate
from sealround.report.figures.intervals import Axis
from sealround.report.reading import read_evidence
from sealround.report.voice import Voice

Tree = dict[str, Any]


def _voice(evidence: Tree) -> Voice:
    return Voice(read_evidence(evidence))


def test_few_sites_have_a_row_each_and_two_for_the_whole(four: Tree) -> None:
    made = comparison(_voice(four))
    assert [row.name for row in made.rows] == [
        *four["cohort"]["sites"],
        "Mean over hospitals",
        "All test patients together",
    ]
    assert [label for _, label, _ in made.rows[0].values] == ["Together", "Alone", "Pooled"]
    assert made.rows[0].note == "91 test patients, 42 positive"
    assert made.spread is None
    assert made.chance


def test_a_site_that_was_left_out_keeps_its_row(four: Tree) -> None:
    for model in four["models"].values():
        del model["sites"]["Hungary"]
    row = comparison(_voice(four)).rows[1]
    assert (row.name, row.note, row.values) == ("Hungary", "left out", ())


def test_many_sites_are_shown_as_their_spread_and_the_worst_first(many: Tree) -> None:
    voice = _voice(many)
    made = comparison(voice)
    assert made.spread is not None
    assert [panel.title for panel in made.spread.panels] == ["Spread of AUROC", "Alone (across) against together (up)"]
    values = [many["models"]["federated"]["sites"][row.name]["metrics"]["auroc"]["value"] for row in made.rows[:100]]
    assert values == sorted(values)
    assert len(made.rows) == 120
    undefined = [site for site in worst_first(voice) if site not in voice.evidence.federated.sites]
    assert undefined == ["site-007"]
    assert "site-007" in worst_first(voice)[-4:]
    assert made.spread.panels[0].svg.count("<circle") == 3 * sum(
        many["models"]["federated"]["sites"][site]["metrics"]["auroc"]["value"] is not None
        for site in many["models"]["federated"]["sites"]
    )


def test_worst_first_turns_where_lower_is_better(four: Tree) -> None:
    four["study"]["primary"] = "brier"
    order = worst_first(_voice(four))
    values = [four["models"]["federated"]["sites"][site]["metrics"]["brier"]["value"] for site in order]
    assert values == sorted(values, reverse=True)


def test_wins_are_counted_by_site(four: Tree) -> None:
    for site, (together, alone) in {
        "Cleveland": (0.9, 0.8), "Hungary": (0.8, 0.9), "Switzerland": (0.7, 0.7), "V.A. Long Beach": (0.8, 0.6),
    }.items():  # fmt: skip
        four["models"]["federated"]["sites"][site]["metrics"]["auroc"]["value"] = together
        four["models"]["alone"]["sites"][site]["metrics"]["auroc"]["value"] = alone
    assert "better than alone at 2 of 4 hospitals and worse at 1." in comparison(_voice(four)).wins


def test_next_to_no_patients_of_a_kind_is_warned_of_without_their_number(four: Tree) -> None:
    for positives in (None, 1, 15):
        four["models"]["federated"]["sites"]["Switzerland"] |= {"n": 16, "positives": positives}
        made = comparison(_voice(four))
        assert made.thin.startswith("Fewer than 5 test patients with, or without, coronary artery disease at Switz")
        assert made.rows[2].note == "16 test patients, positives not shown"
        assert made.tables[0].rows[2][1:3] == ("16", "–")
    four["models"]["federated"]["sites"]["Switzerland"] |= {"n": None, "positives": None}
    assert comparison(_voice(four)).rows[2].note == "number of test patients not shown"
    four["models"]["federated"]["sites"]["Switzerland"] |= {"n": 16, "positives": 8}
    assert comparison(_voice(four)).thin == ""


def test_the_table_marks_differences_that_exclude_zero(four: Tree) -> None:
    four["differences"]["federated-alone"]["auroc"] = {"value": 0.05, "low": 0.01, "high": 0.09}
    four["differences"]["federated-pooled"]["auroc"] = {"value": -0.01, "low": -0.03, "high": 0.02}
    row = next(row for row in comparison(_voice(four)).tables[1].rows if row[0] == "AUROC")
    assert row[-2:] == ("+0.05 (0.01–0.09) *", "−0.01 (−0.03 to 0.02)")


def test_one_model_alone_compares_nothing(four: Tree) -> None:
    four["models"] = {"federated": four["models"]["federated"]}
    four["differences"] = {}
    made = comparison(_voice(four))
    assert made.wins == ""
    assert made.tables[1].head == ("Measure", "Together")


def test_an_axis_covers_its_values_and_stays_within_bounds() -> None:
    axis = Axis.around([Estimate(0.9, 0.81, 1.0), Estimate(0.6, 0.47, 0.7)], 0.5)
    assert axis.at[0] <= 0.47
    assert axis.at[-1] == 1.0
    assert axis.reference == 0.5
    assert Axis.around([Estimate(0.9, 0.85, 0.95)], 0.5).reference is None
    assert Axis.around([], 0.5).at == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    both = Axis.around([Estimate(-0.05, -0.09, -0.01)], 0.0, bounded=False)
    assert both.at[-1] == 0.0 == both.reference
