from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sealround.errors import PolicyDeniedError, StudyError
from sealround.study import apply_site, load_site_file, parse_site_file, parse_study, study_digest
from sealround.study.grammar import Grammar
from sealround.study.sections import ModelKind, Study
from sealround.study.site_file import check_roster

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sealround.study import SiteFile

    Changed = Callable[[dict[str, str]], str]

SIMULATED = {'sites = { kind = "column" }': 'sites = { kind = "iid", number = 4 }'}


def site_file(text: str = "") -> SiteFile:
    return parse_site_file('[site]\nname = "cleveland"\n' + text, "site.toml")


def test_a_site_that_asks_for_nothing_changes_nothing(small: str) -> None:
    study = parse_study(small, "study.toml")
    assert apply_site(study, site_file()) == study


def test_a_site_file_is_read_from_disk(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text('[site]\nname = "cleveland"\n[compute]\nworkers = 2\n')
    loaded = load_site_file(path)
    assert (loaded.site.name, loaded.compute.workers) == ("cleveland", 2)


def test_every_mistake_of_a_site_file_is_reported_at_once() -> None:
    with pytest.raises(StudyError) as caught:
        parse_site_file('[site]\nnane = "x"\n[flors]\nmodels = ["logstic"]\nrequire = ["privcy"]\n', "site.toml")
    assert [(problem.path, problem.suggestion) for problem in caught.value.problems] == [
        ("site.nane", "name"),
        ("flors", "floors"),
        ("flors.models[0]", "logistic"),
        ("flors.require[0]", "privacy"),
    ]


@pytest.mark.parametrize(("floor", "count"), [(10, 10), (5, 5), (2, 5)])
def test_the_stricter_cell_count_holds(small: str, floor: int, count: int) -> None:
    study = parse_study(small, "study.toml")
    applied = apply_site(study, site_file(f"[floors]\nmin_cell_count = {floor}\n"))
    assert applied.standardisation.min_cell_count == count
    assert study.standardisation.min_cell_count == 5


def test_local_paths_take_the_place_of_the_studys(small: str) -> None:
    study = parse_study(small, "study.toml")
    before = study_digest(study)
    applied = apply_site(study, site_file('[data]\npath = "/srv/heart.csv"\n'))
    assert applied.cohort.source.path == "/srv/heart.csv"  # type: ignore[union-attr]
    assert applied.cohort.columns == study.cohort.columns
    assert study_digest(study) == before


@pytest.mark.parametrize(
    ("edits", "site", "reasons"),
    [
        ({}, '[floors]\nrequire = ["privacy"]', ["floors.require: privacy is switched off"]),
        ({}, '[floors]\nmodels = ["cnn", "cox"]', ['floors.models: model "logistic" is not among cnn, cox']),
        ({}, "[floors]\nmax_rounds = 2", ["floors.max_rounds: 3 rounds are more than 2"]),
        (SIMULATED, "[floors]\nmin_sites = 5", ["floors.min_sites: 4 sites are fewer than 5"]),
        ({}, '[data]\ntable = "x.csv"', ['data.table: a source of kind "csv" has no table']),
        (
            SIMULATED,
            '[floors]\nrequire = ["secure-aggregation", "robustness"]\nmin_sites = 9',
            [
                "floors.require: secure-aggregation is switched off",
                "floors.require: robustness is switched off",
                "floors.min_sites: 4 sites are fewer than 9",
            ],
        ),
    ],
)
def test_a_site_refuses_with_every_reason(
    changed: Changed, edits: dict[str, str], site: str, reasons: list[str]
) -> None:
    study = parse_study(changed(edits), "study.toml")
    with pytest.raises(PolicyDeniedError, match="cleveland does not take part in small") as caught:
        apply_site(study, site_file(site))
    assert list(caught.value.decision) == reasons
    for reason in reasons:
        assert reason in str(caught.value)


@pytest.mark.parametrize(
    "site",
    ["[floors]\nmax_rounds = 3", '[floors]\nmodels = ["logistic"]', "[floors]\nmin_sites = 4"],
)
def test_a_study_that_just_keeps_to_the_floors_is_joined(changed: Changed, site: str) -> None:
    study = parse_study(changed(SIMULATED), "study.toml")
    assert apply_site(study, site_file(site)) == study


def test_a_round_needs_the_sites_that_the_site_asks_for() -> None:
    site = site_file("[floors]\nmin_sites = 3")
    check_roster(site, 3)
    with pytest.raises(PolicyDeniedError, match="round of 2"):
        check_roster(site, 2)


def test_the_kinds_of_model_a_site_can_name_are_those_a_study_can() -> None:
    grammar = Grammar(Study)
    model = grammar.child(grammar.root, "model")
    assert model is not None
    assert list(grammar.branches(model)) == list(ModelKind.__args__)  # type: ignore[attr-defined]
