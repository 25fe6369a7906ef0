from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sealround import wire
from sealround.clinical import cohort_card, load_cohorts
from sealround.clinical.card import OTHER_LEVELS

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
    assert x["missing"] is None
    assert c["levels"] == {"a": 9, OTHER_LEVELS: None}
    assert d["levels"] == {"p": 9, "q": None, "r": None}
    assert s["missing"] is None
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
        "missing": 8,
    }


def test_the_counts_of_a_real_card_add_up(make_study: Callable[..., Study], places: Places) -> None:
    study = make_study({"source": {"kind": "builtin", "name": "heart-disease"}, "sites": {"kind": "column"}})
    for cohort in load_cohorts(study, places).values():
        card: Any = cohort_card(cohort, study, 1)
        assert card["train"] + card["validation"] + card["test"] == card["rows"] == cohort.rows
        for feature in card["features"]:
            held = feature["n"] if feature["kind"] == "numeric" else np.sum(list(feature["levels"].values()))
            assert held + feature["missing"] == cohort.rows
