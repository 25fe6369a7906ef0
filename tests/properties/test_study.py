"""The digest follows the meaning of a study and nothing else; mistakes are found wherever they are made."""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from pydantic import BaseModel

from sealround.errors import StudyError
from sealround.study import Study, parse_study, study_digest
from sealround.study.grammar import Grammar
from sealround.study.places import Places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealround.errors import Problem

REASON = "simulation on public data"
PROTECTION = {
    "secure_aggregation": {"mode": "none", "reason": REASON},
    "robustness": {"rule": "mean", "reason": REASON},
    "privacy": {"unit": "none", "reason": REASON},
}
HEADER = {"name": "x", "question": "Who?", "rounds": 3, "seed": 7}

# Together they say nearly everything a study can.
DOCUMENTS: list[dict[str, Any]] = [
    {
        "study": HEADER,
        "cohort": {"source": {"kind": "builtin", "name": "heart-disease"}, "sites": {"kind": "column"}},
        "model": {"kind": "logistic"},
        "training": {
            "optimizer": {"kind": "sgd", "learning_rate": 0.5, "momentum": 0.25},
            "local_steps": 100,
            "participation": 0.5,
            "server": {"kind": "fedyogi"},
            "personalisation": {"kind": "fine-tune", "epochs": 2},
        },
        "evaluation": {"threshold": {"kind": "sensitivity"}, "recalibration": "platt", "compare": ["pooled"]},
        "protection": PROTECTION,
    },
    {
        "study": HEADER,
        "cohort": {
            "source": {
                "kind": "csv",
                "path": "a b.csv",
                "delimiter": ";",
                "header": ["age", "sex", "t", "e", "who", "at"],
            },
            "columns": {
                "age": {
                    "role": "feature",
                    "kind": "numeric",
                    "unit": "years",
                    "range": [0, 120.5],
                    "missing": [-9, "x"],
                },
                "sex": {"role": "feature", "kind": "categorical", "levels": ["f", "m"], "drop_first": True},
                "t": {"role": "time"},
                "e": {"role": "event"},
                "who": {"role": "patient"},
                "at": {"role": "site"},
            },
            "sites": {"kind": "dirichlet", "number": 4, "alpha": 0.5},
            "split": {"kind": "random", "validation": 0.25, "test": 0.25, "seed": 3},
            "missing_codes": ["", 999],
        },
        "standardisation": {"kind": "local", "min_cell_count": 7},
        "model": {"kind": "cox", "hidden": [8, 4], "dropout": 0.125},
        "training": {
            "optimizer": {"kind": "adam", "learning_rate": 1},
            "local_epochs": 2,
            "algorithm": {"kind": "fedprox", "mu": 0.5},
        },
        "protection": PROTECTION,
    },
    {
        "study": HEADER,
        "cohort": {
            "source": {"kind": "image-folder", "path": "x.zip", "table": "x.csv", "size": 64, "channels": 3},
            "columns": {
                "y": {"role": "label", "positive": [1], "negative": [0]},
                "race": {"role": "sensitive", "levels": ["a", "b"]},
            },
            "sites": {"kind": "quantity", "number": 3, "alpha": 2},
            "split": {"kind": "column", "column": "part", "carve_validation": 0.125},
        },
        "model": {"kind": "vgg16", "group_norm": True},
        "training": {
            "optimizer": {"kind": "sgd", "learning_rate": 0.5},
            "local_epochs": 1,
            "algorithm": {"kind": "scaffold"},
            "augmentation": {"shift": 2, "flip": True, "brightness": 0.5},
            "class_balance": "weighted",
            "ema": 0.5,
        },
        "evaluation": {"primary": "auprc", "selection": "best-validation"},
        "protection": PROTECTION,
    },
]


def literal(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else literal(name)


def inline(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key(name)} = {inline(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return literal(value)


@st.composite
def layouts(draw: st.DrawFn, document: dict[str, Any]) -> str:
    """The same values as another text: order, layout, comments, and how whole numbers are spelt."""

    def spelt(name: str, value: object) -> str:
        whole = name in {"alpha", "learning_rate"} and value == int(value)  # type: ignore[call-overload]
        return draw(st.sampled_from([f"{value:.1f}", f"{value:.0f}", f"{value:.2e}"])) if whole else inline(value)

    def lines(table: dict[str, Any], path: tuple[str, ...]) -> Iterator[str]:
        below: list[tuple[str, dict[str, Any]]] = []
        for name, value in draw(st.permutations(list(table.items()))):
            style = (
                draw(st.sampled_from(["inline", "dotted", "table"])) if isinstance(value, dict) and value else "inline"
            )
            if style == "table":
                below.append((name, value))
            elif style == "dotted":
                for inner, item in draw(st.permutations(list(value.items()))):
                    yield f"{key(name)}.{key(inner)} = {spelt(inner, item)}{draw(ends)}"
            else:
                yield f"{key(name)}{draw(blanks)}={draw(blanks)}{spelt(name, value)}{draw(ends)}"
        for name, value in below:
            yield f"{draw(st.sampled_from(['', chr(10)]))}[{'.'.join(map(key, (*path, name)))}]{draw(ends)}"
            yield from lines(value, (*path, name))

    blanks = st.sampled_from(["", " ", "\t"])
    ends = st.sampled_from(["", " # note", "\n# a = [1", "\n\n"])
    return "\n".join(lines(document, ())) + "\n"


@given(st.data(), st.sampled_from(DOCUMENTS))
def test_layout_order_and_comments_do_not_change_the_digest(data: st.DataObject, document: dict[str, Any]) -> None:
    plain = parse_study("\n".join(f"{name} = {inline(value)}" for name, value in document.items()), "plain")
    other = parse_study(data.draw(layouts(document)), "other")
    assert other == plain
    assert study_digest(other) == study_digest(plain)


@given(st.data(), st.sampled_from(DOCUMENTS))
def test_every_key_of_every_layout_is_found_in_its_line(data: st.DataObject, document: dict[str, Any]) -> None:
    text = data.draw(layouts(document))
    places, lines = Places(text), text.split("\n")

    def check(value: object, path: tuple[str | int, ...]) -> None:
        if path:
            place = places[path]
            assert place is not None, path
            if isinstance(path[-1], str):
                spelt = lines[place.line - 1][slice(*place.key)]
                assert tomllib.loads(f"{spelt} = 1") == {path[-1]: 1}
            if not isinstance(value, dict | list):
                assert tomllib.loads(f"x = {lines[place.value_line - 1][slice(*place.value)]}") == {"x": value}
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for part, item in items:
            check(item, (*path, part))

    check(tomllib.loads(text), ())


def leaves(model: BaseModel) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value of a study, with the way to it."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from (((name, *path), leaf) for path, leaf in leaves(value))
        elif isinstance(value, dict):
            for entry, item in value.items():
                yield from (((name, entry, *path), leaf) for path, leaf in leaves(item))
        else:
            yield (name,), value


def replaced(node: Any, path: tuple[str, ...], value: object) -> Any:
    """A copy with one value replaced, unchecked: the digest must not rely on what validation allows."""
    if not path:
        return value
    name, *rest = path
    if isinstance(node, dict):
        return {**node, name: replaced(node[name], tuple(rest), value)}
    return node.model_copy(update={name: replaced(getattr(node, name), tuple(rest), value)})


def others(value: object) -> list[object]:
    """Values that differ from ``value`` as little as its type lets them."""
    match value:
        case bool():
            return [not value]
        case int():
            return [value + 1, -1 - value]
        case float():
            return [value + 2**-40, value - 0.5, None]
        case str():
            return [value + " ", value.swapcase() + "x", None]
        case tuple():
            return [(*value, 1), (*value, ""), None if value == () else ()]
        case _:
            return [0, "", 0.5]


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # some of the values are of a wrong type on purpose
@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_change_of_a_value_changes_the_digest(document: dict[str, Any]) -> None:
    study = parse_study("\n".join(f"{name} = {inline(value)}" for name, value in document.items()), "study")
    digests = {study_digest(study): ("nothing", None)}
    count = 0
    for path, value in leaves(study):
        for other in others(value):
            digest = study_digest(replaced(study, path, other))
            assert digest not in digests or digests[digest] == (path, other), (path, other, digests[digest])
            digests[digest] = (path, other)
            count += 1
    assert len(digests) == count + 1
    assert count > 60


KEYS = sorted({name for table in Grammar(Study).schema["$defs"].values() for name in table["properties"]})
junk = st.recursive(
    st.sampled_from([0, 1, -1, 2.5, True, "", "x", "none", "sgd", "logistic", "csv", "pairwise", 10**17]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def broken(draw: st.DrawFn) -> dict[str, Any]:
    """A valid document with a few tables, keys and values replaced, removed or added."""
    document = json.loads(json.dumps(draw(st.sampled_from(DOCUMENTS))))
    for _ in range(draw(st.integers(1, 5))):
        table = document
        while draw(st.booleans()) and (inner := [item for item in table.values() if isinstance(item, dict)]):
            table = draw(st.sampled_from(inner))
        name = draw(st.sampled_from([*table, *KEYS, "chest pain", ""]))
        if draw(st.booleans()):
            table.pop(name, None)
        else:
            table[name] = draw(junk)
    return document


@given(broken())
def test_a_broken_study_is_a_study_or_a_list_of_mistakes(document: dict[str, Any]) -> None:
    """Whatever the file says: never another error; every mistake with a path, a message and, if known, its line."""
    text = "\n".join(f"{key(name)} = {inline(value)}" for name, value in document.items())
    problems: tuple[Problem, ...] = ()
    try:
        assert len(study_digest(parse_study(text, "study"))) == 32
    except StudyError as error:
        problems = error.problems
        event("refused")
    assert len(set(problems)) == len(problems)
    for problem in problems:
        assert problem.path
        assert problem.message
        assert problem.line is None or 1 <= problem.line <= text.count("\n") + 1


@given(st.text(st.sampled_from("ab.=[]{}'\"#,\n 1-"), max_size=60))
def test_any_text_is_a_study_or_a_study_error(text: str) -> None:
    with pytest.raises(StudyError):
        parse_study(text, "study")
