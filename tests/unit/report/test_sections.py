"""Curves, patients, decisions and statements: what each section says for what it is given."""

from __future__ import annotations

from typing import Any

import pytest

from sealround.report import diagnostics, render, statements
from sealround.report.decisions import decisions
from sealround.report.patients import patients
from sealround.report.reading import read_evidence
from sealround.report.voice import Voice

Tree = dict[str, Any]


def _voice(evidence: Tree) -> Voice:
    return Voice(read_evidence(evidence))


# --- curves -----------------------------------------------------------------------------------------------------------


def test_rounds_show_loss_and_validation_with_a_line_for_each_of_few_sites(four: Tree) -> None:
    figure = diagnostics.learning_figure(_voice(four))
    assert figure is not None
    loss, validation = figure.panels
    assert loss.svg.count('class="line ') == 2
    assert validation.svg.count('class="line site"') == 4
    assert "round 27, whose model was released" in figure.note
    assert len(figure.tables[0].rows) == 30
    assert "27 (released)" in [row[0] for row in figure.tables[0].rows]


def test_many_sites_become_a_band(many: Tree) -> None:
    figure = diagnostics.learning_figure(_voice(many))
    assert figure is not None
    assert 'class="band sites"' in figure.panels[1].svg
    assert 'class="line site"' not in figure.panels[1].svg
    assert len(figure.tables[0].head) == 4


def test_what_is_followed_is_named_whatever_leads(four: Tree) -> None:
    four["study"]["primary"] = "accuracy"
    figure = diagnostics.learning_figure(_voice(four))
    assert figure is not None
    assert figure.panels[1].title == "AUROC on validation patients"


def test_one_round_is_a_dot(four: Tree) -> None:
    four["rounds"] = four["rounds"][:1]
    figure = diagnostics.learning_figure(_voice(four))
    assert figure is not None
    assert "A single round was run" in figure.note
    assert figure.panels[0].svg.count("<circle") == 2
    assert "<path" not in figure.panels[0].svg


def test_no_validation_patients_leave_the_loss(four: Tree) -> None:
    for entry in four["rounds"]:
        entry |= {"validation": None, "validation_loss": None, "sites": {}}
    figure = diagnostics.learning_figure(_voice(four))
    assert figure is not None
    assert (figure.shape, len(figure.panels)) == ("single", 1)
    assert "No patients were set aside for validation." in figure.note


def test_no_rounds_no_figure(four: Tree) -> None:
    four["rounds"] = []
    assert diagnostics.learning_figure(_voice(four)) is None
    assert 'id="learning"' not in render(four)


def test_a_gap_breaks_the_line(four: Tree) -> None:
    for entry in four["rounds"][10:12]:
        entry["train_loss"] = None
    figure = diagnostics.learning_figure(_voice(four))
    assert figure is not None
    assert figure.panels[0].svg.count('class="line train"') == 2


def test_thousands_of_rounds_are_thinned_and_say_so(synthetic: Any) -> None:
    four = synthetic.four_hospitals(2000)
    four["models"]["federated"]["released_round"] = 778
    figure = diagnostics.learning_figure(_voice(four))
    assert figure is not None
    assert "301 of 2\u202f000 rounds are drawn" in figure.note
    rounds = [row[0] for row in figure.tables[0].rows]
    assert {"1", "2000", "778 (released)"} <= set(rounds)
    assert len(rounds) <= 121


def test_an_roc_panel_for_each_site_with_every_model(four: Tree) -> None:
    figure = diagnostics.roc_figure(_voice(four))
    assert figure is not None
    assert [panel.title for panel in figure.panels] == list(four["cohort"]["sites"])
    for panel in figure.panels:
        assert {name for name in ("federated", "alone", "pooled") if f'class="line {name}"' in panel.svg} == {
            "federated",
            "alone",
            "pooled",
        }
        assert "operating" in panel.svg
    assert len(figure.tables[0].rows) == 12


def test_an_roc_curve_is_read_between_its_points(four: Tree) -> None:
    for model in four["models"].values():
        model["sites"]["Cleveland"]["roc"] = {"fpr": [0.0, 0.2, 1.0], "tpr": [0.0, 0.6, 1.0]}
    figure = diagnostics.roc_figure(_voice(four))
    assert figure is not None
    assert figure.tables[0].rows[0][:5] == ("Cleveland, together", "0.00", "0.15", "0.30", "0.60")


def test_one_class_only_is_said_not_drawn(four: Tree) -> None:
    four["models"]["federated"]["sites"]["Cleveland"]["roc"] = None
    figure = diagnostics.roc_figure(_voice(four))
    assert figure is not None
    assert figure.panels[0].note == "undefined: one class only"
    assert "operating" not in figure.panels[0].svg


def test_many_sites_show_the_ends(many: Tree) -> None:
    figure = diagnostics.roc_figure(_voice(many))
    assert figure is not None
    assert len(figure.panels) == 8
    assert "the 6 sites with the lowest AUROC and the 2 with the highest, of 119" in figure.note


def test_calibration_counts_its_patients(four: Tree) -> None:
    figure = diagnostics.calibration_figure(_voice(four))
    assert figure is not None
    bins = four["models"]["federated"]["sites"]["Cleveland"]["calibration"]
    assert figure.panels[0].svg.count("<circle") == len(bins)
    assert figure.panels[0].note.startswith(f"{sum(entry['count'] for entry in bins)} patients in {len(bins)} groups")
    assert sum(row[0] == "Cleveland" for row in figure.tables[0].rows) == len(bins)


def test_no_group_is_large_enough(four: Tree) -> None:
    sites = four["models"]["federated"]["sites"]
    sites["Hungary"]["calibration"] = []
    figure = diagnostics.calibration_figure(_voice(four))
    assert figure is not None
    assert figure.panels[1].note.startswith("too few patients to show")
    for entry in sites.values():
        entry["calibration"] = []
    assert diagnostics.calibration_figure(_voice(four)) is None


def test_survival_by_thirds_of_risk(six: Tree) -> None:
    figure = diagnostics.survival_figure(_voice(six))
    assert figure is not None
    assert len(figure.panels) == 6
    for css in ("risk-low", "risk-middle", "risk-high"):
        assert f'class="line {css}"' in figure.panels[0].svg
    assert "time in days" in figure.note
    assert all(head.endswith(" days") for head in figure.tables[0].head[1:])


def test_a_survival_curve_is_read_as_steps(six: Tree) -> None:
    for site in six["models"]["federated"]["sites"].values():
        for group in site["risk_groups"]:
            group |= {"time": [100.0, 1500.0, 4000.0], "survival": [0.9, 0.6, 0.5]}
    figure = diagnostics.survival_figure(_voice(six))
    assert figure is not None
    assert figure.tables[0].head[1:] == ("1000 days", "2000 days", "3000 days", "4000 days")
    shares = tuple(cell.replace("\u202f", " ") for cell in figure.tables[0].rows[0][1:])
    assert shares == ("90 %", "60 %", "60 %", "50 %")


# --- patients ---------------------------------------------------------------------------------------------------------


def _cells(evidence: Tree, name: str) -> tuple[str, ...]:
    rows = {row[0]: row for row in patients(_voice(evidence)).table.rows}
    return tuple(cell.replace("\u202f", " ") for cell in rows[name][1:])


def test_table_one_has_counts_moments_shares_and_missing(four: Tree) -> None:
    sites = four["cohort"]["sites"]
    for site in sites.values():
        site["features"] = [
            {"name": "age", "unit": "years", "kind": "numeric", "n": 100, "mean": 54.44, "sd": 9.06, "missing": 3},
            {"name": "sex", "kind": "categorical", "levels": {"f": 97, "m": 206}, "missing": 0},
        ]
    sites["Cleveland"]["features"][0]["missing"] = 30
    sites["Hungary"]["features"][0] |= {"missing": None, "mean": None, "sd": None}
    assert _cells(four, "age, years") == ("54.4 ± 9.1", "–", "54.4 ± 9.1", "54.4 ± 9.1")
    assert _cells(four, "↳ missing, n (%)") == ("30 (10 %)", "–", "–", "–")
    assert _cells(four, "↳ f")[0] == "97 (32 %)"
    assert _cells(four, "Patients") == ("303", "294", "123", "200")


def test_suppressed_cells_are_not_read_off_the_rest(four: Tree) -> None:
    site = four["cohort"]["sites"]["Cleveland"]
    site |= {"rows": 46, "patients": 46, "positives": 45}
    site["features"] = [{"name": "sex", "kind": "categorical", "levels": {"f": None, "m": 43}, "missing": 0}]
    assert _cells(four, "With coronary artery disease, n (%)")[0] == "–"
    assert _cells(four, "↳ f")[0] == "–"
    assert _cells(four, "↳ m")[0] == "–"


def test_a_count_that_is_not_shown_may_be_large_and_is_not_called_small(four: Tree, many: Tree) -> None:
    for evidence in (four, many):
        for site in evidence["cohort"]["sites"].values():
            site |= {"train": None, "validation": None, "positives": None}
        page = render(evidence)
        assert "&lt;5" not in page
        assert "&gt;" not in patients(_voice(evidence)).table.note
        assert "–: not known, or not shown because it or a difference to it describes fewer than 5 patients" in page
    assert _cells(four, "Training records") == ("–",) * 4
    assert _cells(many, "Training records") == ("–",) * 4


def test_the_spread_is_over_the_sites_that_show_a_number(many: Tree) -> None:
    first, second, *others = many["cohort"]["sites"].values()
    for site in others:
        site["train"] = None
    first["train"], second["train"] = 40, 60
    assert _cells(many, "Training records") == ("40", "50", "60", "100 or more")


def test_missing_values_that_are_not_shown_keep_their_row(four: Tree) -> None:
    for site in four["cohort"]["sites"].values():
        site["features"] = [{"name": "age", "kind": "numeric", "n": None, "mean": 5.0, "sd": 1.0, "missing": None}]
    assert _cells(four, "↳ missing, n (%)") == ("–",) * 4


def test_without_a_stated_minimum_nothing_is_made_up(four: Tree) -> None:
    four["study"]["min_cell_count"] = None
    four["cohort"]["sites"]["Cleveland"]["validation"] = None
    assert _cells(four, "Validation records")[0] == "–"
    assert "describes too few patients" in patients(_voice(four)).table.note


def test_levels_that_count_patients_are_no_share_of_rows(four: Tree) -> None:
    site = four["cohort"]["sites"]["Cleveland"]
    site |= {"rows": 500, "patients": 300}
    site["features"] = [{"name": "sex", "kind": "categorical", "levels": {"f": None, "m": 200}, "missing": 0}]
    assert _cells(four, "↳ m")[0] == "200"


def test_a_site_without_a_feature_has_a_dash(four: Tree) -> None:
    four["cohort"]["sites"]["Hungary"]["features"] = []
    assert _cells(four, "age, years")[1] == "–"


def test_what_is_mostly_missing_is_warned_of(four: Tree) -> None:
    assert patients(_voice(four)).warnings == (("Switzerland", "cholesterol"),)


def test_many_sites_have_a_summary_and_all_counts(many: Tree) -> None:
    made = patients(_voice(many))
    assert made.table.head == ("", "Smallest", "Median", "Largest", "All sites")
    assert len(made.details[0].rows) == 120
    assert [row[0] for row in made.table.rows][:2] == ["Patients", "Records"]


# --- decisions --------------------------------------------------------------------------------------------------------


def _judge(four: Tree, site: str, sensitivity: tuple[float, float, float], n: int, positives: int | None) -> Any:
    entry = four["models"]["federated"]["sites"][site]
    entry |= {"n": n, "positives": positives}
    entry["metrics"]["sensitivity"] = dict(zip(("value", "low", "high"), sensitivity, strict=True))
    made = decisions(_voice(four))
    assert made is not None
    return next(row for row in made.rows if row.site == site)


def test_of_a_hundred_patients(four: Tree) -> None:
    row = _judge(four, "Cleveland", (0.84, 0.72, 0.93), 91, 42)
    assert row.found == "about 84 (72–93) are found, 16 missed"
    assert row.found_bar is not None


def test_all_found_is_not_certain(four: Tree) -> None:
    row = _judge(four, "Hungary", (1.0, 1.0, 1.0), 40, 15)
    assert row.found == "about 100 (80–100) are found, 0 missed"
    assert row.few == "15 with: one is 7 of 100"


@pytest.mark.parametrize("positives", [None, 1, 15])
def test_too_few_to_say_and_their_number_is_not_given_away(four: Tree, positives: int | None) -> None:
    row = _judge(four, "Switzerland", (0.9, 0.8, 1.0), 16, positives)
    said = "too few to say: fewer than 5 test patients with, or without, coronary artery disease"
    assert (row.found, row.cleared) == (said, said)
    assert row.found_bar is None
    assert row.cleared_bar is None
    assert row.few == ""


def test_undefined_is_said(four: Tree) -> None:
    four["models"]["federated"]["sites"]["Cleveland"]["metrics"]["sensitivity"]["value"] = None
    made = decisions(_voice(four))
    assert made is not None
    assert made.rows[1].found == "not measured: no such patient in the test set"


def test_threshold_is_said_where_it_is_known(four: Tree) -> None:
    assert "predicted risk of 42\u202f% or more" in render(four)
    four["models"]["federated"]["threshold"] = None
    assert "is called positive at" not in render(four)


def test_many_sites_show_those_who_miss_most(many: Tree) -> None:
    made = decisions(_voice(many))
    assert made is not None
    assert made.note.startswith("Shown: the 6 sites with the lowest sensitivity, of 119")
    assert len(made.rows) == 7


def test_survival_has_no_threshold(six: Tree) -> None:
    assert decisions(_voice(six)) is None


# --- statements -------------------------------------------------------------------------------------------------------


def test_left_out_lists_excluded_absent_and_missing(four: Tree) -> None:
    four["excluded"] = [
        {"site": "Hungary", "round": 4, "why": "diverged"},
        {"site": "Cleveland", "round": 0, "why": "refused"},
        {"site": "Cleveland", "round": None, "why": "alone-Cleveland: diverged"},
    ]
    for number in (2, 3, 4, 9):
        four["rounds"][number - 1]["absent"] = ["Switzerland"]
    del four["models"]["federated"]["sites"]["V.A. Long Beach"]
    found = [(entry.site, entry.when, entry.why) for entry in statements.left_out(_voice(four))]
    assert found == [
        ("Hungary", "from round 4", "diverged"),
        ("Cleveland", "before round 1", "refused"),
        ("Cleveland", "–", "alone-Cleveland: diverged"),
        ("Switzerland", "rounds 2–4, 9 (4 of 30)", "absent"),
        ("V.A. Long Beach", "at the end", "no result of the model trained together"),
    ]


def test_nobody_left_out_is_said(four: Tree) -> None:
    assert statements.left_out(_voice(four)) == ()
    assert "every hospital took part in every round" in render(four)


def test_limits_weigh_one_patient_at_small_sites(four: Tree) -> None:
    four["models"]["federated"]["sites"]["Switzerland"]["n"] = 16
    said = " ".join(statements.limits(_voice(four)))
    assert said.startswith("Not for clinical use.")
    assert "Switzerland (16 patients: one is 6.2 points)" in said
    assert "At hospital number 5 the model may do worse" in said
    assert "Nothing on this page shows that records stayed private" in said


def test_limits_follow_the_run(four: Tree, many: Tree) -> None:
    assert "The sites are simulated" in " ".join(statements.limits(_voice(many)))
    for entry in four["protection"]:
        entry["state"] = "on"
    del four["models"]["pooled"]
    for entry in four["models"]["federated"]["sites"].values():
        entry["n"] = 1000
    said = " ".join(statements.limits(_voice(four)))
    for absent in ("simulated", "Small test sets", "stayed private", "pooled comparison"):
        assert absent not in said


def test_cost_is_per_site_and_round(four: Tree) -> None:
    four["cost"] |= {"bytes_up": 60_000, "bytes_down": 60_000, "workers": 0, "seconds": None}
    cost = {what: how.replace("\u202f", " ") for what, how in statements.cost(_voice(four))}
    assert cost["Sent both ways, per hospital and round"] == "1.0 kB"
    assert cost["Worker processes"] == "none, all in one process"
    assert cost["Time, whole run"] == "–"


@pytest.mark.parametrize(("which", "words"), [("four", ["AUROC", "Brier score"]), ("six", ["C-index"])])
def test_glossary_explains_the_metrics_used_and_no_other(
    which: str, words: list[str], request: pytest.FixtureRequest
) -> None:
    found = [word for word, _ in statements.glossary(_voice(request.getfixturevalue(which)))]
    assert set(words) <= set(found)
    assert ("C-index" in found) == (which == "six")


def test_glossary_leaves_out_models_that_were_not_run(four: Tree) -> None:
    del four["models"]["pooled"]
    found = [word for word, _ in statements.glossary(_voice(four))]
    assert "Pooled" not in found
    assert "Alone" in found
