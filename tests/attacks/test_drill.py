"""A drill tells a defence from none: on a small study, the same attacks with the rule and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sealround.clinical import Places, load_cohorts
from sealround.engines.drill.cell import Player
from sealround.engines.drill.evidence import gather_drill
from sealround.engines.drill.grid import Cell, Wishes, lay_out
from sealround.engines.drill.mixes import AS_IS
from sealround.engines.drill.setting import Setting, liars_of
from sealround.study import load_study

_STUDY = """
[study]
name = "small"
rounds = 8
seed = 3

[cohort]
source = {{ kind = "csv", path = "small.csv" }}
sites = {{ kind = "iid", number = 6 }}
split = {{ kind = "random", validation = 0.0, test = 0.5 }}

[cohort.columns]
outcome = {{ role = "label", positive = [1] }}
x = {{ role = "feature", kind = "numeric" }}
y = {{ role = "feature", kind = "numeric" }}
z = {{ role = "feature", kind = "numeric" }}
{columns}

[model]
kind = "logistic"

[training]
optimizer = {{ kind = "sgd", learning_rate = 0.5 }}
local_epochs = 1
on_divergence = "drop-site"

[evaluation]
compare = []

[protection]
secure_aggregation = {aggregation}
robustness = {robustness}
privacy = {{ unit = "none", reason = "made-up numbers in a test" }}
"""
_OPEN = '{ mode = "none", reason = "made-up numbers in a test" }'
_MEAN = '{ rule = "mean", reason = "made-up numbers in a test" }'
_KRUM = '{ rule = "multi-krum", num_byzantine = 1 }'
_SENSITIVE = 'sex = { role = "sensitive", levels = ["f", "m"] }'


def _study(folder: Path, robustness: str = _MEAN, aggregation: str = _OPEN, columns: str = _SENSITIVE) -> Path:
    draw = np.random.default_rng(1)
    sick = draw.random(600) < 0.5
    numbers = draw.normal(size=(600, 3)) + 1.5 * sick[:, None] * [1.0, 1.0, 0.0]
    sex = np.where(draw.random(600) < 0.4, "f", "m")
    lines = [
        "outcome,x,y,z,sex",
        *(f"{int(s)},{a:.4f},{b:.4f},{c:.4f},{g}" for s, (a, b, c), g in zip(sick, numbers, sex, strict=True)),
    ]
    (folder / "small.csv").write_text("\n".join(lines))
    path = folder / "study.toml"
    path.write_text(_STUDY.format(robustness=robustness, aggregation=aggregation, columns=columns))
    return path


class _Drill:
    def __init__(self, path: Path, **wishes: Any) -> None:
        study, places = load_study(path), Places.of_study(path)
        self.study, self.cohorts = study, load_cohorts(study, places)
        self.grid = lay_out(study, tuple(sorted(self.cohorts)), Wishes(**{"seeds": 1, "rules": ("own",), **wishes}))
        self.player = Player(Setting(study, places, self.grid))

    def cell(self, attack: str, rule: str | None = None) -> dict[str, Any]:
        return self.player.play(Cell(AS_IS, rule or self.grid.rules[0].key, self.grid.seeds[0], attack))

    def auroc(self, attack: str, rule: str | None = None) -> float:
        found = self.cell(attack, rule)
        assert found["stopped"] is None, found["stopped"]
        return float(found["moments"][max(found["moments"], key=int)]["metric"][0])

    def evidence(self) -> dict[str, Any]:
        return gather_drill(
            self.study, self.grid, self.cohorts, {cell: self.player.play(cell) for cell in self.grid.cells}
        )


def test_the_drill_notices_when_the_defence_is_taken_out(tmp_path: Path) -> None:
    drill = _Drill(_study(tmp_path, _KRUM), attacks=("opt-ipm",), rules=("own", "mean"), stop_after=8)
    evidence = drill.evidence()
    verdicts = {(cell["rule"], cell["attack"]): cell["verdict"] for cell in evidence["cells"]}
    assert verdicts["mean", "opt-ipm"] == "fails"
    assert verdicts["multi-krum", "opt-ipm"] != "fails"
    assert evidence["verdicts"][0]["verdict"] == verdicts["multi-krum", "opt-ipm"]
    by_rule = {cell["rule"]: cell for cell in evidence["cells"] if cell["attack"] == "opt-ipm"}
    exclusion = by_rule["multi-krum"]["exclusion"]
    assert exclusion["recall"] > 0.7
    assert exclusion["sites"][evidence["liars"]["3"][0]]["lies"] is True
    assert by_rule["mean"]["exclusion"] is None


def test_a_study_with_the_mean_is_told_of_a_better_rule(tmp_path: Path) -> None:
    evidence = _Drill(_study(tmp_path), attacks=("opt-ipm",), rules=("own", "multi-krum")).evidence()
    assert 'robustness = { rule = "multi-krum", num_byzantine = 1 }' in evidence["suggestions"][0]["text"]
    assert {worst["rule"]: worst["attack"] for worst in evidence["worst"]} == {
        "mean": "opt-ipm",
        "multi-krum": "opt-ipm",
    }


def test_a_boosted_backdoor_owns_the_mean_and_not_the_rule(tmp_path: Path) -> None:
    drill = _Drill(_study(tmp_path, _KRUM), attacks=("model-replacement",), rules=("own", "mean"))
    cells = {cell["rule"]: cell for cell in drill.evidence()["cells"] if cell["attack"] == "model-replacement"}
    assert cells["mean"]["success"]["value"] > cells["multi-krum"]["success"]["value"] + 0.2
    assert cells["mean"]["verdict"] == "fails"
    durability = cells["mean"]["durability"]
    assert durability["stopped_after"] == 5
    assert durability["success"][-1] < durability["success"][0]


def test_a_group_called_healthy_is_harmed_and_seen(tmp_path: Path) -> None:
    drill = _Drill(_study(tmp_path), attacks=("relabel-group-boosted",))
    evidence = drill.evidence()
    cell = evidence["cells"][-1]
    # The smaller group is the one that is attacked; with the mean, its sick are overlooked.
    assert evidence["attacks"][1]["what"].endswith("Here: sex = f.")
    assert cell["verdict"] == "fails"
    assert cell["groups"][1]["group"] == "sex = f"
    assert cell["groups"][1]["rise"]["value"] > 0.1


def test_what_is_not_a_number_is_excluded_and_the_study_goes_on(tmp_path: Path) -> None:
    found = _Drill(_study(tmp_path, _KRUM), attacks=("not-finite",)).cell("not-finite")
    liar = found["liars"][0]
    assert found["excluded"] == [[liar, 1, "update has a NaN"]]
    assert found["parts"][liar]["left_out"] == found["parts"][liar]["rounds"] == 8
    assert found["moments"]["8"]["metric"][0] > 0.8


def test_a_claim_of_many_patients_moves_the_mean_and_not_the_rule(tmp_path: Path) -> None:
    drill = _Drill(_study(tmp_path, _KRUM), attacks=("sample-inflation",), rules=("own", "mean"))
    assert drill.auroc("sample-inflation") == pytest.approx(drill.auroc("none"), abs=0.02)


def test_liars_are_measured_by_nobody(tmp_path: Path) -> None:
    drill = _Drill(_study(tmp_path), attacks=("badnets",))
    (liar,) = liars_of(drill.study, drill.grid, drill.cohorts, 3)
    tested = sum(int((cohort.split == 2).sum()) for site, cohort in drill.cohorts.items() if site != liar)
    for attack in ("none", "badnets"):
        cells = drill.cell(attack)["moments"]["5"]["groups"]
        assert sum(cells[0]) == tested


def test_with_nobody_lying_all_rules_learn_the_same_thing(tmp_path: Path) -> None:
    drill = _Drill(
        _study(tmp_path), attacks=("alie",), rules=("own", "median", "multi-krum", "geometric-median+mixing")
    )
    found = [drill.auroc("none", rule.key) for rule in drill.grid.rules]
    assert max(found) - min(found) < 0.01


def test_the_same_cell_gives_the_same_numbers(tmp_path: Path) -> None:
    path = _study(tmp_path, _KRUM)
    first, second = (_Drill(path, attacks=("mimic",)).cell("mimic") for _ in range(2))
    assert first | {"seconds": 0} == second | {"seconds": 0}


def test_a_study_without_sensitive_columns_has_no_group_to_harm(tmp_path: Path) -> None:
    drill = _Drill(_study(tmp_path, columns=""), attacks=("relabel-group", "label-flip"))
    evidence = drill.evidence()
    attack = next(found for found in evidence["attacks"] if found["key"] == "relabel-group")
    assert (attack["applicable"], "no column is sensitive" in attack["why_not"]) == (False, True)
    assert [group["group"] for group in evidence["cells"][-1]["groups"]] == ["everybody"]


def test_a_sealed_study_has_its_range_and_no_rule(tmp_path: Path) -> None:
    sealed = '{ mode = "pairwise", max_abs = 0.5, clip_norm = 0.2 }'
    drill = _Drill(_study(tmp_path, aggregation=sealed), attacks=("not-finite", "opt-ipm", "gaussian"), rules=None)
    assert {rule.key for rule in drill.grid.rules if rule.refused is None} == {"mean"}
    assert "whole numbers" in drill.cell("not-finite")["why_not"]
    # Without a range a tuned attack sends numbers beyond bounds, and training diverges; here it cannot.
    assert drill.cell("opt-ipm")["stopped"] is None
    open_ = _Drill(_study(tmp_path), attacks=("opt-ipm",))
    lied, honest = open_.cell("opt-ipm"), drill.auroc("none")
    assert lied["stopped"] is not None or lied["moments"]["8"]["metric"][0] < 0.6
    assert honest > 0.8


def test_every_attack_can_be_played_or_says_why_not(tmp_path: Path) -> None:
    drill = _Drill(_study(tmp_path, _KRUM), attacks=("all",), rounds=2, num_byzantine=2)
    unplayed = {attack: found["why_not"] for attack in drill.grid.attacks if (found := drill.cell(attack))["why_not"]}
    assert set(unplayed) == {"fiba", "fang-krum"}
    assert "image" in unplayed["fiba"]


def test_who_is_not_drawn_is_measured_all_the_same(tmp_path: Path) -> None:
    path = _study(tmp_path)
    text = path.read_text().replace('on_divergence = "drop-site"', 'on_divergence = "drop-site"\nparticipation = 0.4')
    text = text.replace("validation = 0.0", "validation = 0.2")
    path.write_text(text.replace("compare = []", 'compare = []\nthreshold = { kind = "youden" }'))
    drill = _Drill(path, attacks=("badnets", "sign-flip", "alie"))
    tested = [
        sum(drill.cell(attack)["moments"][moment]["groups"][0])
        for attack, moment in (("none", "5"), ("none", "8"), ("badnets", "5"), ("sign-flip", "8"))
    ]
    assert len(set(tested)) == 1
    assert tested[0] > 0
    # Two of six sites take part: with one liar there is one honest update, and no spread to hide in.
    assert "two updates" in drill.cell("alie")["why_not"]
