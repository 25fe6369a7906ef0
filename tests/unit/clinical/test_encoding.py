from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from sealround.clinical import Encoder, Outcome, SiteCohort, SplitName
from sealround.errors import UsageError
from sealround.federation.interfaces import InputShape
from sealround.federation.statistics import Layout, Statistics
from sealround.study.sections import Cohort
from sealround.vocabulary import PartyId

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TRAIN, TEST = SplitName.TRAIN, SplitName.TEST
NUMERIC = {"role": "feature", "kind": "numeric"}
LEVELS = {"role": "feature", "kind": "categorical"}


def _section(columns: dict[str, Any]) -> Cohort:
    tree = {"source": {"kind": "csv", "path": "t.csv"}, "sites": {"kind": "iid", "number": 1}, "columns": columns}
    return Cohort.model_validate(tree, strict=False)


def _cohort(
    table: Mapping[str, Sequence[str | None]] | None = None,
    *,
    array: np.ndarray | None = None,
    split: Sequence[int] | None = None,
    patient: Sequence[int] | None = None,
    event: Sequence[int] | None = None,
) -> SiteCohort:
    rows = len(array) if array is not None else len(next(iter((table or {}).values())))
    kind = InputShape("table")
    if array is not None:
        channels = array.shape[3] if array.ndim == 4 else 1
        kind = (
            InputShape("vector", array.shape[1:])
            if array.ndim == 2
            else InputShape("image", (channels, *array.shape[1:3]))
        )
    return SiteCohort(
        PartyId("a"),
        kind,
        pl.DataFrame(dict(table or {}), schema=dict.fromkeys(table or {}, pl.String)),
        array,
        Outcome(np.array(event if event is not None else [0, 1] * rows)[:rows].astype(np.float32)),
        np.array(patient if patient is not None else range(rows), dtype=np.int64),
        np.array(split if split is not None else [TRAIN] * rows, dtype=np.int8),
    )


def _statistics(encoder: Encoder, cohorts: Sequence[SiteCohort], minimum: int = 1) -> Statistics:
    levels: dict[str, tuple[str, ...]] = {}
    for cohort in cohorts:
        for name, found in encoder.levels(cohort, minimum).items():
            levels[name] = (*levels.get(name, ()), *found)
    layout = encoder.layout.with_levels(levels)
    counts = np.sum([encoder.counts(cohort, layout, minimum) for cohort in cohorts], axis=0)
    statistics = Statistics.from_counts(layout, counts)
    squares = [encoder.squares(cohort, layout, minimum, statistics.mean) for cohort in cohorts]
    return statistics.with_squares(np.sum(squares, axis=0))


def test_columns_come_in_one_order_whatever_the_study_files() -> None:
    columns = {"b": NUMERIC, "z": LEVELS, "a": {**NUMERIC, "indicator": True}, "c": LEVELS}
    found = {"z": ("9", "10", "x"), "c": ("n",)}
    encoder, other = (
        Encoder(_section(dict(items)), InputShape("table")) for items in (columns.items(), reversed(columns.items()))
    )
    layout = encoder.layout.with_levels(found)
    assert layout == other.layout.with_levels(found)
    assert encoder.feature_names(layout) == (
        "a",
        "b",
        "a is missing",
        "c=n",
        "z=9",
        "z=10",
        "z=x",
    )


def test_numbers_are_standardised_and_missing_ones_become_the_mean() -> None:
    encoder = Encoder(_section({"x": {**NUMERIC, "indicator": True}}), InputShape("table"))
    cohort = _cohort({"x": ["1", "3", None, "100"]}, split=[TRAIN, TRAIN, TRAIN, TEST])
    encoded = encoder.encode(cohort, _statistics(encoder, [cohort]))
    assert encoded.feature_names == ("x", "x is missing")
    np.testing.assert_array_equal(encoded.inputs, np.array([[-1, 0], [1, 0], [0, 1], [98, 0]], dtype=np.float32))
    assert encoded.inputs.dtype == np.float32
    assert repr(encoded) == "Encoded(inputs=(4, 2), features=2)"


def test_levels_become_columns_and_unknown_ones_none() -> None:
    encoder = Encoder(_section({"c": LEVELS, "d": {**LEVELS, "drop_first": True}}), InputShape("table"))
    cohort = _cohort({"c": ["1", "1.0", "2", None, "7"], "d": ["a", "b", "c", "b", None]}, split=[TRAIN] * 4 + [TEST])
    encoded = encoder.encode(cohort, _statistics(encoder, [cohort]))
    assert encoded.feature_names == ("c=1", "c=2", "d=b", "d=c")
    assert encoded.inputs.tolist() == [[1, 0, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_standardised_levels_have_mean_0_and_variance_1() -> None:
    column = {**LEVELS, "levels": ["a", "b", "never"], "standardise": True}
    encoder = Encoder(_section({"c": column}), InputShape("table"))
    cohort = _cohort({"c": ["a", "b", "b", "a", "b", None]})
    inputs = encoder.encode(cohort, _statistics(encoder, [cohort])).inputs
    np.testing.assert_allclose(inputs[:5].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(inputs[:5].std(axis=0), [1, 1, 0], atol=1e-6)
    assert inputs[5].tolist() == [0, 0, 0]
    plain = encoder.encode(cohort, _statistics(encoder, [cohort]), "none").inputs
    assert set(np.unique(plain)) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("kind", "expected"), [("federated", [0.5, 2.5, 0.0]), ("local", [-1.0, 1.0, 0.0]), ("none", [10.0, 14.0, 9.0])]
)
def test_the_three_kinds_of_standardisation(kind: Any, expected: list[float]) -> None:
    encoder = Encoder(_section({"x": NUMERIC}), InputShape("table"))
    cohort = _cohort({"x": ["10", "14", None]})
    statistics = Statistics(encoder.layout, 9.0, 1.0, np.array([9.0]), np.array([9.0]), np.array([2.0]), np.zeros(0))
    assert encoder.encode(cohort, statistics, kind).inputs[:, 0].tolist() == expected


def test_a_column_that_is_all_missing_at_one_site_is_the_mean_there() -> None:
    encoder = Encoder(_section({"x": NUMERIC}), InputShape("table"))
    swiss, other = _cohort({"x": [None, None]}), _cohort({"x": ["1", "5"]})
    statistics = _statistics(encoder, [swiss, other])
    assert statistics.mean.tolist() == [3.0]
    for kind, expected in (("federated", 0.0), ("local", 0.0), ("none", 3.0)):
        inputs = encoder.encode(swiss, statistics, kind).inputs  # type: ignore[arg-type]
        assert inputs.tolist() == [[expected], [expected]]


def test_statistics_are_of_training_rows_only() -> None:
    encoder = Encoder(_section({"x": NUMERIC, "c": LEVELS}), InputShape("table"))
    table = {"x": ["1", "3", "1000"], "c": ["a", "a", "b"]}
    cohort = _cohort(table, split=[TRAIN, TRAIN, TEST], event=[1, 0, 1])
    statistics = _statistics(encoder, [cohort])
    assert (statistics.examples, statistics.positives) == (2.0, 1.0)
    assert (statistics.mean.tolist(), statistics.scale.tolist()) == ([2.0], [1.0])
    assert statistics.layout.categories == (("c", ("a",)),)


def test_levels_of_few_patients_are_not_named() -> None:
    encoder = Encoder(_section({"c": LEVELS}), InputShape("table"))
    cells = ["a"] * 6 + ["rare"] * 9  # nine rows of three patients
    cohort = _cohort({"c": cells}, patient=[*range(6), *[6, 6, 6, 7, 7, 7, 8, 8, 8]])
    assert encoder.levels(cohort, 5) == {"c": ("a",)}
    assert encoder.levels(cohort, 3) == {"c": ("a", "rare")}
    counts = encoder.counts(cohort, encoder.layout.with_levels({"c": ("a", "rare")}), 5)
    assert counts[-2:].tolist() == [6, 0]


def test_declared_levels_are_not_asked_for() -> None:
    encoder = Encoder(_section({"c": {**LEVELS, "levels": ["2.0", "1"]}}), InputShape("table"))
    assert encoder.levels(_cohort({"c": ["1", "2"]}), 1) == {}
    assert encoder.layout.categories == (("c", ("2", "1")),)


def test_a_site_of_few_patients_sends_nothing() -> None:
    encoder = Encoder(_section({"x": NUMERIC, "c": LEVELS}), InputShape("table"))
    cohort = _cohort({"x": ["1"] * 8, "c": ["a"] * 8}, patient=[0, 0, 1, 1, 2, 2, 3, 3])
    layout = encoder.layout.with_levels({"c": ("a",)})
    assert not encoder.counts(cohort, layout, 5).any()
    assert not encoder.squares(cohort, layout, 5, np.zeros(1)).any()


@pytest.mark.parametrize(
    ("positives", "sent"), [(0, 0), (1, 0), (4, 0), (5, 5), (6, 6), (15, 15), (16, 20), (19, 20), (20, 20)]
)
def test_few_patients_with_or_without_the_outcome_are_not_counted(positives: int, sent: int) -> None:
    encoder = Encoder(_section({"x": NUMERIC}), InputShape("table"))
    cohort = _cohort({"x": ["1"] * 20}, event=[1] * positives + [0] * (20 - positives))
    assert encoder.counts(cohort, encoder.layout, 5)[:2].tolist() == [20, sent]


@pytest.mark.parametrize(("missing", "sent"), [(0, 20), (2, 20), (4, 20), (5, 15), (15, 5), (16, 0), (20, 0)])
def test_few_present_or_missing_values_are_not_counted(missing: int, sent: int) -> None:
    encoder = Encoder(_section({"x": NUMERIC}), InputShape("table"))
    cohort = _cohort({"x": [None] * missing + ["3"] * (20 - missing)})
    layout = encoder.layout
    assert encoder.counts(cohort, layout, 5)[2:].tolist() == [sent, 3 * sent]
    assert encoder.squares(cohort, layout, 5, np.array([1.0])).tolist() == [4 * sent]


def test_vectors_are_numbered_and_missing_entries_imputed() -> None:
    array = np.array([[1, 2], [3, np.nan], [5, 6], [99, 99]], dtype=np.float32)
    encoder = Encoder(_section({}), InputShape("vector", (2,)))
    cohort = _cohort(array=array, split=[TRAIN, TRAIN, TRAIN, TEST])
    statistics = _statistics(encoder, [cohort])
    assert statistics.layout == Layout(("v0", "v1"), ())
    np.testing.assert_allclose(statistics.mean, [3, 4])
    encoded = encoder.encode(cohort, statistics)
    np.testing.assert_allclose(encoded.inputs[:3, 0].std(), 1, rtol=1e-6)
    assert encoded.inputs[1, 1] == 0
    np.testing.assert_array_equal(array[0], [1, 2])  # the cohort's own array is not touched


@pytest.mark.parametrize("channels", [1, 3])
def test_images_keep_their_pixels_and_get_a_mean_and_scale(channels: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 8, 6, channels), dtype=np.uint8)
    stored = images[..., 0] if channels == 1 else images
    encoder = Encoder(_section({}), InputShape("image", (channels, 8, 6)))
    cohort = _cohort(array=stored, split=[TRAIN] * 7 + [TEST] * 2)
    statistics = _statistics(encoder, [cohort])
    pixels = images[:7].reshape(-1, channels).astype(np.float64)
    np.testing.assert_allclose(statistics.mean, pixels.mean(axis=0))
    np.testing.assert_allclose(statistics.scale, pixels.std(axis=0))
    encoded = encoder.encode(cohort, statistics)
    assert encoded.inputs is stored
    assert encoded.mean is not None
    assert encoded.scale is not None
    np.testing.assert_allclose(encoded.mean, statistics.mean, rtol=1e-6)
    plain = encoder.encode(cohort, statistics, "none")
    assert plain.mean is not None
    assert plain.scale is not None
    assert (plain.mean.tolist(), plain.scale.tolist()) == ([0.0] * channels, [255.0] * channels)


def test_a_layout_of_another_study_is_refused() -> None:
    encoder = Encoder(_section({"x": NUMERIC}), InputShape("table"))
    with pytest.raises(UsageError, match="another study"):
        encoder.counts(_cohort({"x": ["1"]}), Layout(("y",), ()), 1)
    vectors = Encoder(_section({}), InputShape("vector", (1,)))
    with pytest.raises(UsageError, match="no array"):
        vectors.counts(_cohort({"x": ["1"]}), Layout(("v0",), ()), 1)


def test_thousands_of_wide_vectors_take_less_than_seconds() -> None:
    array = np.random.default_rng(1).normal(size=(5840, 1280)).astype(np.float32)
    encoder = Encoder(_section({}), InputShape("vector", (1280,)))
    cohort = _cohort(array=array, patient=np.arange(5840) // 2)
    started = time.process_time()
    encoder.encode(cohort, _statistics(encoder, [cohort]))
    assert time.process_time() - started < 10  # takes about half a second; a loop over rows would take minutes
