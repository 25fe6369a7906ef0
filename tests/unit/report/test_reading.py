"""Half a page is never rendered: what is not known, missing or contradictory is refused, and the place is named."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from sealround.errors import ConsistencyError, UnsupportedError, VerificationError
from sealround.report import render
from sealround.report.nodes import Node
from sealround.report.reading import read_evidence

Tree = dict[str, Any]


def _set(tree: Tree, path: str, value: object) -> None:
    *steps, last = path.split("/")
    place: Any = tree
    for step in steps:
        place = place[int(step) if step.isdigit() else step]
    place[int(last) if last.isdigit() else last] = value


def _drop(tree: Tree, path: str) -> None:
    *steps, last = path.split("/")
    place: Any = tree
    for step in steps:
        place = place[int(step) if step.isdigit() else step]
    del place[last]


@pytest.mark.parametrize("format_", ["sealround-evidence/2", "sealround-evidence/1 ", "", "SEALROUND-EVIDENCE/1"])
def test_another_format_is_unsupported(four: Tree, format_: str) -> None:
    four["format"] = format_
    with pytest.raises(UnsupportedError, match="unknown format"):
        render(four)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("fairness", {}),
        ("models/personal", {}),
        ("study/primary", "f1"),
        ("models/federated/mean/f1", {"value": 0.5}),
        ("models/federated/sites/Cleveland/metrics/f1", {"value": 0.5}),
        ("differences/federated-alone/f1", {"value": 0.5}),
        ("protection/0/state", "mostly"),
    ],
)
def test_what_the_page_could_not_show_is_unsupported(four: Tree, path: str, value: object) -> None:
    _set(four, path, value)
    with pytest.raises(UnsupportedError) as refused:
        render(four)
    assert refused.value.hint


_CLEVELAND = "models/federated/sites/Cleveland"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", None),
        ("study", []),
        ("study/task", "regression"),
        ("study/rounds", "30"),
        ("study/rounds", -1),
        ("study/rounds", True),
        ("study/seed", 1.5),
        ("study/question", 7),
        ("study/confidence", 95),
        ("cohort/sites", {}),
        ("cohort/simulated", "yes"),
        ("cohort/site_term", "clinic"),
        ("cohort/sites/Cleveland/rows", 3.5),
        ("cohort/sites/Cleveland/features/0/kind", "ordinal"),
        ("cohort/sites/Cleveland/features/0/missing", 0.03),
        ("cohort/sites/Cleveland/features/0/sd", -1),
        ("rounds", {}),
        ("rounds/3/train_loss", math.nan),
        ("rounds/3/validation", math.inf),
        ("models/federated", None),
        ("models/federated/calibration", [1.0]),
        (f"{_CLEVELAND}/n", "91"),
        (f"{_CLEVELAND}/metrics/auroc/value", 91.0),
        (f"{_CLEVELAND}/metrics/auroc/low", -0.1),
        (f"{_CLEVELAND}/metrics/auroc", 0.9),
        (f"{_CLEVELAND}/roc/tpr", "0.1"),
        (f"{_CLEVELAND}/calibration/0/observed", 1.01),
        (f"{_CLEVELAND}/threshold", 2),
        ("differences/federated-alone/auroc/value", -1.5),
        ("protection/0/meaning", None),
        ("excluded", [{"site": "Hungary", "round": 1}]),
        ("cost/seconds", -1),
        ("environment/python", 3.11),
    ],
)
def test_ill_typed_or_out_of_range_values_are_refused_by_place(four: Tree, path: str, value: object) -> None:
    _set(four, path, value)
    with pytest.raises(VerificationError) as refused:
        render(four)
    assert path.replace("/", ".").replace(".0", "[0]").replace(".3", "[3]").split(".")[0] in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    "path",
    [
        "format",
        "sealround",
        "study",
        "study/digest",
        "study/primary",
        "cohort",
        "cohort/source",
        "rounds",
        "models",
        "models/federated",
        "models/federated/sites",
        f"{_CLEVELAND}/metrics",
        "protection",
        "excluded",
        "cost",
        "environment",
    ],
)
def test_missing_parts_are_refused_by_name(four: Tree, path: str) -> None:
    _drop(four, path)
    with pytest.raises(VerificationError, match=path.rsplit("/", maxsplit=1)[-1]):
        render(four)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("models/federated/sites/Atlantis", {"metrics": {}}),
        ("rounds/0/sites/Atlantis", {}),
        ("rounds/0/absent", ["Atlantis"]),
        ("rounds/5/round", 5),
        (f"{_CLEVELAND}/roc/tpr", [0.0, 1.0]),
        (f"{_CLEVELAND}/metrics/auroc", {"value": 0.8, "low": 0.9, "high": 0.7}),
        ("cohort/sites/Cleveland/features/0/missing", 304),
    ],
)
def test_contradictions_are_refused(four: Tree, path: str, value: object) -> None:
    _set(four, path, value)
    with pytest.raises(ConsistencyError):
        render(four)


def test_survival_curves_of_unequal_length_are_refused(six: Tree) -> None:
    _set(six, "models/federated/sites/South/risk_groups/0/time", [1.0])
    with pytest.raises(ConsistencyError, match="differ in length"):
        render(six)


@pytest.mark.parametrize("value", [None, [], "sealround-evidence/1", 7])
def test_what_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(VerificationError):
        render(value)


def test_absent_and_null_read_the_same(four: Tree) -> None:
    absent = json.loads(json.dumps(four))
    for tree, gone in ((four, False), (absent, True)):
        for key in ("confidence", "min_cell_count", "outcome"):
            if gone:
                del tree["study"][key]
            else:
                tree["study"][key] = None
    assert read_evidence(four) == read_evidence(absent)
    assert read_evidence(four).confidence == "CI"


def test_versions_are_listed_once_and_absent_packages_left_out(four: Tree) -> None:
    four["environment"] |= {
        "cores": 2,
        "sealround": "0.1.0",
        "packages": {"torch": "2.13.0", "zlib": "1", "polars": None},
    }
    assert list(read_evidence(four).environment.items()) == [
        ("python", "3.11.7"),
        ("platform", "Linux-6.1-x86_64"),
        ("numpy", "2.4.6"),
        ("torch", "2.13.0+cpu"),
        ("cores", "2"),
        ("zlib", "1"),
    ]


def test_a_node_names_its_place_and_never_shows_its_value() -> None:
    node = Node({"sites": {"St. Mary": {"n": "secret"}}})
    deep = node["sites"]["St. Mary"]["n"]
    assert deep.path == "sites['St. Mary'].n"
    assert "secret" not in repr(deep)
    with pytest.raises(VerificationError, match=r"sites\['St\. Mary'\]\.n: expected a whole number") as refused:
        deep.count()
    assert "secret" not in str(refused.value)
