from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sealround import wire
from sealround.clinical import cohort_card, load_cohorts
from sealround.clinical.card import OTHER_LEVELS
from sealround.clinical.counting import suppressed

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.clinical import Places
    from sealround.study import Study

COLUMNS = {
    "x": {"role": "feature", "kind": "numeric", "unit": "mg"},
    "c": {"role": "feature", "kind": "categorical"},
    "d": {"role": "feature", "kind": "categorical", "levels": ["p", "q", "r"]},
    "s": {"role": "sensitive"},
    "label": {"role": "label", "positive": [1]},
}


def _card(csv_study: Callable[..., Study], places: Places, rows: list[str], minimum: int = 5) -> dict[str, Any]:
    study = csv_study("x,c,d,s,label\n" + "\n".join(rows) + "\n", COLUMNS)
    (cohort,) = load_cohorts(study, places).values()
    return cohort_card(cohort, study, minimum)


def test_a_card_counts_and_describes(csv_study: Callable[..., Study], places: Places) -> None:
    rows = ["1,a,p,m,0"] * 6 + ["3,b,q,f,1"] * 6 + [",,,,0"] * 7
    card = _card(csv_study, places, rows)
    assert {key: card[key] for key in ("rows", "patients", "train", "validation", "test", "positives")} == {
        "rows": 19,
        "patients": 19,
        "train": 19,
        "validation": 0,
        "test": 0,
        "positives": 6,
    }
    x, c, d, s = card["features"]
    assert x == {"name": "x", "unit": "mg", "kind": "numeric", "n": 12, "mean": 2.0, "sd": 1.0, "missing": 7}
    assert c == {"name": "c", "kind": "categorical", "levels": {"a": 6, "b": 6}, "missing": 7}
    assert d["levels"] == {"p": 6, "q": 6, "r": 0}
    assert s["levels"] == {"f": 6, "m": 6}
    wire.encode(card)


def test_small_cells_are_not_said_and_rare_levels_not_named(csv_study: Callable[..., Study], places: Places) -> None:
    rows = ["1,a,p,m,0"] * 9 + [",secret1,q,m,1", "2,secret2,,m,1", "3,secret2,r,,1"]
    card = _card(csv_study, places, rows)
    assert card["positives"] is None
    x, c, d, s = card["features"]
    assert (x["n"], x["missing"], x["mean"]) == (None, None, 1.27)
    assert c["levels"] == {"a": None, OTHER_LEVELS: None}
    assert d["levels"] == {"p": None, "q": None, "r": None}
    assert d["missing"] is None
    assert (s["levels"], s["missing"]) == ({"m": None}, None)
    assert "secret" not in str(card)


def test_moments_of_few_values_are_not_said(csv_study: Callable[..., Study], places: Places) -> None:
    card = _card(csv_study, places, ["7,a,p,m,0"] * 4 + [",a,p,m,1"] * 8)
    assert card["features"][0] == {
        "name": "x",
        "unit": "mg",
        "kind": "numeric",
        "n": None,
        "mean": None,
        "sd": None,
        "missing": None,
    }


@pytest.mark.parametrize(("positives", "said"), [(0, 0), (3, None), (5, 5), (55, 55), (57, None), (60, 60)])
def test_few_without_the_outcome_are_not_told_by_those_with_it(
    csv_study: Callable[..., Study], places: Places, positives: int, said: int | None
) -> None:
    card = _card(csv_study, places, ["1,a,p,m,1"] * positives + ["1,a,p,m,0"] * (60 - positives))
    assert card["rows"] == 60
    assert card["positives"] == said


def test_a_few_missing_values_are_not_told_by_those_present(csv_study: Callable[..., Study], places: Places) -> None:
    values = np.arange(59) // 2 + 40
    x = _card(csv_study, places, [f"{value},a,p,m,{value % 2}" for value in values] + [",a,p,m,0"])["features"][0]
    assert (x["n"], x["missing"]) == (None, None)
    # In full, the mean would tell that it is of 59 values: 59 times it is a whole number.
    assert x["mean"] == pytest.approx(values.mean(), rel=5e-3)
    assert x["sd"] == pytest.approx(values.std(), rel=5e-3)
    assert all(len(str(x[key])) <= len("54.3") for key in ("mean", "sd"))


@pytest.mark.parametrize(
    ("levels", "shown"),
    [
        ({"p": 30, "q": 20, "r": 10}, {"p": 30, "q": 20, "r": 10}),
        ({"p": 30, "q": 20, "r": 3}, {"p": 30, "q": None, "r": None}),
        ({"p": 30, "q": 3, "r": 3}, {"p": 30, "q": None, "r": None}),
        ({"p": 30, "q": 2, "r": 2}, {"p": None, "q": None, "r": None}),
        ({"p": 30, "q": 3, "r": 0}, {"p": None, "q": None, "r": 0}),
    ],
)
def test_a_small_level_is_not_told_by_the_others(
    csv_study: Callable[..., Study], places: Places, levels: dict[str, int], shown: dict[str, int | None]
) -> None:
    rows = [f"1,a,{level},m,{row % 2}" for level, count in levels.items() for row in range(count)]
    d = _card(csv_study, places, rows)["features"][2]
    assert (d["levels"], d["missing"]) == (shown, 0)


def _divided(csv_study: Callable[..., Study], places: Places, *sizes: int) -> dict[str, Any]:
    parts = zip(("train", "validation", "test"), sizes, strict=True)
    rows = [f"{row},{row % 2},{part}" for part, size in parts for row in range(size)]
    columns = {"x": COLUMNS["x"], "label": COLUMNS["label"]}
    split = {"kind": "column", "column": "part", "train": ["train"], "validation": ["validation"], "test": ["test"]}
    study = csv_study("x,label,part\n" + "\n".join(rows) + "\n", columns, split=split)
    (cohort,) = load_cohorts(study, places).values()
    return cohort_card(cohort, study, 5)


@pytest.mark.parametrize(
    ("sizes", "shown"),
    [
        ((40, 10, 10), (40, 10, 10)),
        ((40, 3, 17), (None, None, 17)),  # the test split is known from the metrics
        ((40, 17, 3), (40, None, None)),
        ((40, 2, 2), (None, None, None)),
        ((0, 3, 40), (0, None, None)),
        ((57, 0, 3), (None, 0, None)),
    ],
)
def test_a_small_split_is_not_told_by_the_others(
    csv_study: Callable[..., Study], places: Places, sizes: tuple[int, ...], shown: tuple[int | None, ...]
) -> None:
    card = _divided(csv_study, places, *sizes)
    assert (card["train"], card["validation"], card["test"]) == shown


def test_a_site_of_few_patients_says_no_count_at_all(csv_study: Callable[..., Study], places: Places) -> None:
    card = _card(csv_study, places, ["1,a,p,m,0", "2,b,q,f,1", "3,a,p,m,0"])
    counts = [card[key] for key in ("rows", "patients", "train", "validation", "test", "positives")]
    assert counts == [None, None, None, 0, 0, None]
    assert "3" not in str(card)


def test_kept_back_cells_count_patients_not_rows() -> None:
    patient = np.array([*range(20), 20, 20, 20, 20, 20, 20])
    cells = np.repeat([0, 1], [20, 6])
    assert suppressed(cells, patient, 2, 5).tolist() == [True, True]
    assert suppressed(cells, np.arange(26), 2, 5).tolist() == [False, False]


def test_the_counts_of_a_real_card_add_up(make_study: Callable[..., Study], places: Places) -> None:
    study = make_study({"source": {"kind": "builtin", "name": "heart-disease"}, "sites": {"kind": "column"}})
    for cohort in load_cohorts(study, places).values():
        card: Any = cohort_card(cohort, study, 1)
        assert card["train"] + card["validation"] + card["test"] == card["rows"] == cohort.rows
        for feature in card["features"]:
            held = feature["n"] if feature["kind"] == "numeric" else np.sum(list(feature["levels"].values()))
            assert held + feature["missing"] == cohort.rows
