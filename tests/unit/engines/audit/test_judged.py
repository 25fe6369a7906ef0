"""What is kept of a judgement: gains over the best guess, never more than was measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sealround.audit.inversion.observation import Reconstruction
from sealround.audit.inversion.scoring import Judgement
from sealround.engines.audit.findings import Outcome
from sealround.engines.audit.judged import outcome_of
from sealround.report.audit.measures import GAIN_DB


def outcome(kind: str, figures: dict[str, list[float]], guess: dict[str, list[float]]) -> Outcome:
    arrays = {name: np.array(values) for name, values in figures.items()}
    number = len(next(iter(arrays.values())))
    judgement = Judgement(
        attack="x",
        kind=kind,  # type: ignore[arg-type]
        figures=arrays,
        hits=None,
        rebuilt=np.arange(number),
        certified=np.arange(number) == 0,
        batch=np.zeros(number, dtype=np.int64),
        baselines={"mean": {name: np.array(values) for name, values in guess.items()}},
        blind=frozenset({"mean"}),
    )
    rebuilt = Reconstruction("x", torch.zeros(number, 2, dtype=torch.float64), note="")
    return outcome_of(rebuilt, judgement, "done", (), np.random.default_rng(0))


def test_a_table_s_limit_is_on_the_largest_gain_of_one_patient() -> None:
    found = outcome(
        "table",
        {"exact_cells": [1.0, 0.5], "exact_records": [1.0, 0.0], "psnr_db": [60.0, 10.0]},
        {"exact_cells": [0.75, 0.0], "exact_records": [0.0, 0.0]},
    )
    # The worst-off patient is the first; the largest gain, 0.5 - 0.0, is the second's.
    assert found.worst_patient == 1
    assert found.beyond == {"exact_cells": 0.5, "exact_records": 0.5}
    assert found.measures["exact_cells"].value == 0.75
    assert found.measures["exact_cells"].baseline == 0.375
    assert "psnr_db" not in found.measures
    assert "psnr_db" not in found.worst
    assert found.certified == 1
    assert found.patients == 2
    assert found.note is None


def test_what_a_guess_does_better_is_not_negative_leakage() -> None:
    figures = {"exact_cells": [0.25], "exact_records": [0.0], "psnr_db": [5.0]}
    assert outcome("table", figures, {"exact_cells": [0.5]}).beyond["exact_cells"] == 0.0


@pytest.mark.parametrize(("psnr", "beyond"), [(20.0 + GAIN_DB, 20.0 + GAIN_DB), (19.9 + GAIN_DB, 0.0)])
def test_a_picture_hardly_better_than_a_guess_was_not_recovered(psnr: float, beyond: float) -> None:
    found = outcome("image", {"psnr_db": [psnr, float("nan")]}, {"psnr_db": [20.0, 20.0]})
    assert found.beyond == {"psnr_db": beyond}
    assert found.worst == {"psnr_db": psnr}


def test_no_picture_at_all_is_zero_decibels() -> None:
    assert outcome("image", {"psnr_db": [float("nan")]}, {"psnr_db": [20.0]}).beyond == {"psnr_db": 0.0}
