"""Each sign on the least model that shows it, and what must not show it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sealround.monitoring import (
    LIMITS,
    Before,
    Finding,
    Reach,
    change_findings,
    start_findings,
    structure_findings,
    use_findings,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealround.monitoring import Sign

ROWS, WIDTH = 64, 13
Model = dict[str, np.ndarray]


def honest(rows: int = ROWS, width: int = WIDTH, *, seed: int = 0) -> Model:
    """Make a perceptron as it is after some training: normal weights, small biases."""
    draw = np.random.default_rng(seed)
    arrays = {
        "features.0.weight": draw.normal(0.0, np.sqrt(2.0 / width), (rows, width)),
        "features.0.bias": draw.normal(0.0, 0.02, rows),
        "head.weight": draw.uniform(-0.1, 0.1, (1, rows)),
        "head.bias": draw.normal(0.0, 0.02, 1),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def signs(findings: Sequence[Finding]) -> set[Sign]:
    return {finding.sign for finding in findings}


def imprinted(*, noise: float = 0.0, spread: float = 1.0, shuffled: bool = True, width: int = WIDTH) -> Model:
    """Plant rows that all measure one thing, against thresholds that lie ``spread`` apart."""
    draw, model = np.random.default_rng(1), honest(width=width)
    direction = draw.normal(size=width)
    direction /= np.linalg.norm(direction)
    rows = direction + noise * draw.normal(size=(ROWS, width)) / np.sqrt(width)
    thresholds = spread * np.linspace(-1.5, 1.5, ROWS)
    if shuffled:
        thresholds = draw.permutation(thresholds)
    model["features.0.weight"] = rows.astype(np.float32)
    model["features.0.bias"] = (-thresholds * np.linalg.norm(rows, axis=1)).astype(np.float32)
    return model


# --- the model alone --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("width", [1, 2, 3, 5, 9, 30, 300])
def test_random_networks_show_nothing(width: int, seed: int) -> None:
    """140 networks without a finding: more than 2.2 % false alarms on such would show with a probability of 95 %."""
    assert structure_findings(honest(width=width, seed=seed)) == ()


def test_parallel_rows_with_a_ladder_of_thresholds_are_an_imprint() -> None:
    assert {"parallel-rows", "one-direction"} <= signs(structure_findings(imprinted()))
    assert "ordered-biases" not in signs(structure_findings(imprinted()))
    assert "ordered-biases" in signs(structure_findings(imprinted(shuffled=False)))


def test_rows_turned_round_are_still_one_direction() -> None:
    model = imprinted()
    model["features.0.weight"][::2] *= -1.0
    assert {"parallel-rows", "one-direction"} <= signs(structure_findings(model))


def test_noise_on_the_copies_leaves_their_direction() -> None:
    assert signs(structure_findings(imprinted(noise=0.5))) == {"one-direction"}


def test_an_imprint_in_part_of_a_layer_is_seen() -> None:
    model, planted = honest(), imprinted()
    for name in ("features.0.weight", "features.0.bias"):
        model[name][10:26] = planted[name][10:26]
    assert "parallel-rows" in signs(structure_findings(model))


def test_copies_of_one_neuron_are_what_weight_decay_leaves() -> None:
    assert structure_findings(imprinted(spread=0.05)) == ()


def test_narrow_rows_must_be_nearly_equal_to_count_as_parallel() -> None:
    assert structure_findings(imprinted(width=3, noise=0.3)) == ()
    assert signs(structure_findings(imprinted(width=3))) == {"parallel-rows"}


def test_kernels_without_biases_count_as_parallel_only_when_they_are_copies() -> None:
    model = honest()
    del model["features.0.bias"]
    model["features.0.weight"] = imprinted(noise=0.1)["features.0.weight"]
    assert structure_findings(model) == ()
    model["features.0.weight"] = imprinted()["features.0.weight"]
    assert signs(structure_findings(model)) == {"parallel-rows"}


def test_convolutions_are_rows_of_their_kernels() -> None:
    model = honest(width=9)
    model["features.0.weight"] = imprinted(width=9)["features.0.weight"].reshape(ROWS, 1, 3, 3)
    model["features.0.bias"] = imprinted(width=9)["features.0.bias"]
    assert "parallel-rows" in signs(structure_findings(model))


def test_biases_far_below_zero_are_traps() -> None:
    model = honest()
    lengths = np.linalg.norm(model["features.0.weight"], axis=1)
    model["features.0.bias"] = (-1.3 * lengths).astype(np.float32)
    assert signs(structure_findings(model)) == {"shy-rows"}
    model["features.0.bias"] = (1.3 * lengths).astype(np.float32)
    assert structure_findings(model) == ()


def test_one_weight_or_row_far_out_is_seen() -> None:
    model = honest()
    model["features.0.weight"][3, 4] = 100.0
    assert signs(structure_findings(model)) == {"outlying-weights"}
    model = honest()
    model["features.0.weight"][3] *= 12.0
    assert signs(structure_findings(model)) == {"outlying-weights"}


def test_empty_rows_sparse_kernels_and_an_empty_head_are_seen() -> None:
    model = honest()
    model["features.0.weight"][:9] = 0.0
    assert "empty-rows" in signs(structure_findings(model))
    model = honest(width=9)
    model["features.0.weight"][:, :8] = 0.0
    assert "empty-rows" in signs(structure_findings(model))
    model = honest()
    model["head.weight"][:] = 0.0
    assert signs(structure_findings(model)) == {"empty-rows"}


def test_a_layer_of_zeros_is_empty_and_nothing_else() -> None:
    model = honest()
    model["features.0.weight"][:] = 0.0
    assert signs(structure_findings(model)) == {"empty-rows"}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_is_named_and_nothing_else_is_looked_at(value: float) -> None:
    model = honest()
    model["head.bias"][0] = value
    (finding,) = structure_findings(model)
    assert (finding.sign, finding.layer) == ("not-finite", "head.bias")


def test_a_linear_model_has_no_structure() -> None:
    model = {"head.weight": np.zeros((1, 5), np.float32), "head.bias": np.ones(1, np.float32)}
    assert structure_findings(model) == ()


def test_a_wide_layer_is_looked_at_in_every_so_many_rows() -> None:
    model = honest(rows=3000, width=20)
    direction = model["features.0.weight"][0].copy()
    model["features.0.weight"][:] = direction
    model["features.0.bias"] = np.random.default_rng(0).permutation(np.linspace(-1, 1, 3000)).astype(np.float32)
    assert "parallel-rows" in signs(structure_findings(model))


# --- the first model --------------------------------------------------------------------------------------------------


def test_the_first_model_is_the_studys() -> None:
    assert start_findings(honest(), honest()) == ()
    other = honest()
    other["features.0.bias"][5] += 1e-3
    (finding,) = start_findings(other, honest())
    assert (finding.sign, finding.layer) == ("other-start", "features.0.bias")


def test_rounding_is_no_other_start_and_nan_is() -> None:
    other = honest()
    other["features.0.weight"] = np.nextafter(other["features.0.weight"], np.float32(np.inf))
    assert start_findings(other, honest()) == ()
    other["features.0.weight"][0, 0] = np.nan
    assert signs(start_findings(other, honest())) == {"other-start"}


def test_a_start_at_zero_is_exact() -> None:
    zero = {"head.weight": np.zeros((1, 3), np.float32)}
    assert start_findings(zero, zero) == ()
    assert signs(start_findings({"head.weight": np.full((1, 3), 1e-12, np.float32)}, zero)) == {"other-start"}


# --- changes ----------------------------------------------------------------------------------------------------------


def moved(model: Model, far: float, *, seed: int = 3) -> Model:
    """Move every weight by a normal number times ``far``."""
    draw = np.random.default_rng(seed)
    return {name: (array + far * draw.normal(size=array.shape)).astype(np.float32) for name, array in model.items()}


def own(model: Model, far: float) -> dict[str, float]:
    return {name: far * float(np.sqrt(array.size)) for name, array in model.items()}


def test_steps_like_ones_own_show_nothing() -> None:
    before = Before(honest(), own(honest(), 0.01))
    assert change_findings(moved(honest(), 0.01), before, Reach()) == ()
    assert change_findings(moved(honest(), 0.04), before, Reach()) == ()


def test_one_replaced_row_is_seen_and_a_layer_that_moves_as_one_is_not() -> None:
    before = Before(honest(), own(honest(), 0.3))
    model = moved(honest(), 0.01)
    model["features.0.weight"][7] = honest(seed=9)["features.0.weight"][7] * 1.2
    assert signs(change_findings(model, before, Reach())) == {"replaced-rows"}
    assert change_findings(moved(honest(), 0.4), before, Reach()) == ()


def test_a_replaced_layer_is_far_from_anything_the_site_did() -> None:
    before = Before(honest(), own(honest(), 0.01))
    model = honest() | {"features.0.weight": honest(seed=8)["features.0.weight"]}
    assert signs(change_findings(model, before, Reach())) == {"far-change"}
    assert change_findings(model, dataclasses.replace(before, own=own(honest(), 0.2)), Reach()) == ()


def test_an_intercept_that_jumps_is_far() -> None:
    before = Before(honest(), own(honest(), 0.001))
    model = honest()
    model["head.bias"] = model["head.bias"] - 5.0
    (finding,) = change_findings(model, before, Reach())
    assert (finding.sign, finding.layer) == ("far-change", "head")


@pytest.mark.parametrize(
    "reach", [Reach(gain=10.0), Reach(longer=100.0), Reach(gain=0.0, step=0.3)], ids=["momentum", "longer", "adaptive"]
)
def test_a_server_that_reaches_further_may(reach: Reach) -> None:
    before = Before(honest(), own(honest(), 0.001))
    model = honest() | {"head.weight": honest()["head.weight"] + np.float32(0.1)}
    assert signs(change_findings(model, before, Reach())) == {"far-change"}
    assert change_findings(model, before, reach) == ()


def test_rounds_without_the_site_move_the_model_too() -> None:
    before = Before(honest(), own(honest(), 0.001))
    model = honest() | {"head.weight": honest()["head.weight"] + np.float32(0.1)}
    assert change_findings(model, dataclasses.replace(before, rounds=5), Reach()) == ()


def test_rows_are_not_compared_with_an_imagined_past() -> None:
    before = Before(honest(), own(honest(), 0.3), imagined=True)
    model = honest()
    model["features.0.weight"][7] *= -1.0
    assert change_findings(model, before, Reach()) == ()
    assert signs(change_findings(model, dataclasses.replace(before, imagined=False), Reach())) == {"replaced-rows"}


def test_a_control_variate_must_not_move_the_model_further_than_rounds_do() -> None:
    before = Before(honest(), own(honest(), 0.01))
    near = {name: np.full_like(array, 0.02) for name, array in honest().items()}
    far = {name: np.full_like(array, 2.0) for name, array in honest().items()}
    assert change_findings(honest(), before, Reach(), control=near) == ()
    assert signs(change_findings(honest(), before, Reach(), control=far)) == {"far-control"}


def test_a_linear_model_is_judged_by_its_change() -> None:
    then = {"head.weight": np.zeros((1, 5), np.float32), "head.bias": np.zeros(1, np.float32)}
    before = Before(then, {"head.weight": 0.1, "head.bias": 0.02})
    steps = {"head.weight": np.full((1, 5), 0.1, np.float32), "head.bias": np.zeros(1, np.float32)}
    sweep = {"head.weight": np.full((1, 5), 100.0, np.float32), "head.bias": np.zeros(1, np.float32)}
    assert change_findings(steps, before, Reach()) == ()
    assert signs(change_findings(sweep, before, Reach())) == {"far-change"}


# --- use --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", ["lone-rows", "silent-rows", "one-record", "misfit"])
def test_use_is_judged_by_its_limit(sign: Sign) -> None:
    limit = {
        "lone-rows": LIMITS.lone,
        "silent-rows": LIMITS.silent,
        "one-record": LIMITS.record,
        "misfit": LIMITS.loss,
    }[sign]
    assert use_findings({sign: {"features.0": limit}}) == ()
    assert use_findings({sign: {"features.0": limit * 1.01}}) == (Finding(sign, "features.0", limit * 1.01, limit),)


def test_what_cannot_be_measured_is_not_normal() -> None:
    assert signs(use_findings({"misfit": {"": float("nan")}})) == {"misfit"}


def test_a_finding_reads_as_one_line() -> None:
    assert str(Finding("lone-rows", "features.0", 0.71234, 0.5)) == "lone-rows in features.0: 0.712, beyond 0.5"
    assert str(Finding("misfit", "", 9.0, 6.0)) == "misfit: 9, beyond 6"
