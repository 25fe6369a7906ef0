"""Words that are known and not built yet are refused by name, and nothing else is said about what they bring along."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sealround.study.grammar import Grammar
from sealround.study.sections import Study
from sealround.study.unbuilt import _SECTIONS, _WORDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.errors import Problem

    Problems = Callable[[dict[str, str]], tuple[Problem, ...]]

OFF = '{ unit = "none", reason = "simulation on public data" }'


@pytest.mark.parametrize(
    ("edit", "path", "phrase"),
    [
        (
            {'mode = "none", reason = "simulation on public data" }': 'mode = "shamir", threshold = 3 }'},
            "protection.secure_aggregation.mode",
            'instead: mode = "pairwise" or "replicated", or "none" with a reason',
        ),
        ({'kind = "logistic"': 'kind = "unet"\ndepth = 4'}, "model.kind", "another kind of model"),
        (
            {'kind = "csv", path = "cohort.csv"': 'kind = "dicom", folder = "/pacs"'},
            "cohort.source.kind",
            "image-folder",
        ),
        ({"[evaluation]": "[monitoring]\ndrift = 1\n\n[evaluation]"}, "monitoring", "leave the section out"),
        ({"[protection]": "[protection]\nbackdoor = { scan = true }"}, "protection.backdoor", "leave it out"),
    ],
)
def test_a_known_word_is_refused_by_name_and_never_ignored(
    problems: Problems, edit: dict[str, str], path: str, phrase: str
) -> None:
    (problem,) = problems(edit)
    assert problem.path == path
    assert problem.line is not None
    assert "known, but not supported by this version" in problem.message
    assert phrase in problem.message


def test_other_mistakes_are_still_found_beside_one(problems: Problems) -> None:
    found = problems({'kind = "logistic"': 'kind = "unet"', "rounds = 3": "rounds = 0", "[1]": "[]"})
    assert [problem.path for problem in found] == [
        "study.rounds",
        "cohort.columns.disease.positive",
        "model.kind",
    ]


def test_nothing_that_is_built_is_called_unbuilt() -> None:
    grammar = Grammar(Study)
    for place in _WORDS:
        table = grammar.root
        for part in place.path[:-1]:
            child = grammar.child(table, part)
            assert child is not None
            table = child
        key = place.path[-1]
        built = set(grammar.branches(table)) or {grammar.child(table, key)["const"]}
        assert built.isdisjoint(place.words)
        assert table["description"], place.path
    for place in _SECTIONS:
        table = grammar.root if not place.path else grammar.child(grammar.root, place.path[0])
        assert set(table["properties"]).isdisjoint(place.words)
