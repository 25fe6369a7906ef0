"""The drawing ground: places, ticks, labels, intervals."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealround.report.evidence import Bin, Estimate, RiskGroup
from sealround.report.figures import curves
from sealround.report.figures.intervals import Axis, interval_row, scatter, swarm
from sealround.report.figures.plot import Plot, Scale, spread, tag, tick_text, ticks

FINITE = st.floats(-1e6, 1e6, allow_nan=False)


def test_a_tag_escapes_text_and_attributes() -> None:
    assert tag("text", "<&>", class_='a"b', text_anchor="end", x=1.50, y=None) == (
        '<text class="a&#34;b" text-anchor="end" x="1.5">&lt;&amp;&gt;</text>'
    )
    assert tag("g", tag("line", x1="0%")) == '<g><line x1="0%"/></g>'


def test_places_are_percentages_held_within_the_plot() -> None:
    scale = Scale(0.5, 1.0)
    assert [scale.at(value) for value in (0.5, 0.75, 1.0, 0.2, 7.0)] == ["0%", "50%", "100%", "0%", "100%"]


@given(low=FINITE, width=st.floats(1e-3, 1e6), target=st.integers(2, 8))
def test_ticks_cover_evenly_in_about_as_many_steps(low: float, width: float, target: int) -> None:
    at = ticks(low, low + width, target)
    steps = [after - before for before, after in itertools.pairwise(at)]
    assert at[0] <= low + 1e-6 * width + 1e-9
    assert at[-1] >= low + width - 1e-6 * width - 1e-9
    assert max(steps) == pytest.approx(min(steps), rel=1e-3)
    assert len(at) <= target + 3


@pytest.mark.parametrize("value", [0.0, 0.8, -3.0, 1e6])
def test_ticks_of_a_single_value_stand_around_it(value: float) -> None:
    at = ticks(value, value)
    assert at[0] < value < at[-1]


def test_whole_ticks_are_rounds() -> None:
    assert ticks(1, 3, 6, whole=True) == (1, 2, 3)
    assert all(value == int(value) for value in ticks(1, 30, 6, whole=True))


def test_tick_text_has_the_digits_of_its_step() -> None:
    assert [tick_text(value, step) for value, step in ((0.5, 0.05), (0.5, 0.1), (100, 50), (-0.05, 0.05))] == [
        "0.50",
        "0.5",
        "100",
        "−0.05",
    ]


@given(st.lists(st.floats(0, 200, allow_nan=False), max_size=10))
def test_labels_keep_their_distance_and_order(wanted: list[float]) -> None:
    placed = spread(wanted, 15, 0, 200)
    ordered = sorted(range(len(wanted)), key=lambda place: wanted[place])
    heights = [placed[place] for place in ordered]
    assert all(after - before >= 15 - 1e-6 for before, after in itertools.pairwise(heights))
    assert all(height >= -1e-9 for height in heights)
    assert all(height <= 200 + 1e-6 for height in heights)


def test_labels_with_room_stay_where_they_are_wanted() -> None:
    assert spread([100.0, 20.0], 15, 0, 200) == [100.0, 20.0]
    assert spread([], 15, 0, 200) == []


def test_a_missing_value_breaks_a_line_and_a_lone_point_is_a_dot() -> None:
    plot = Plot(Scale(0, 4), Scale(0, 1))
    plot.line([(0, 0.1), (1, 0.2), (2, None), (3, 0.5), (4, None)], "train")
    svg = plot.svg("key", "Title", "Says")
    assert svg.count("<path") == 1
    assert svg.count("<circle") == 1


def test_steps_go_across_before_they_go_down() -> None:
    plot = Plot(Scale(0, 10), Scale(0, 1))
    plot.line([(0, 1.0), (5, 0.5)], "risk-low", steps=True)
    assert 'd="M0 0L500 0L500 500"' in plot.svg("key", "Title", "Says")


def _parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 (our own)


@pytest.mark.parametrize(
    "svg",
    [
        curves.roc("r", "t", "d", {"federated": [(0.0, 0.2), (1.0, 1.0)]}, (0.1, 0.8)),
        curves.roc("r", "t", "d", {}, None),
        curves.calibration("c", "t", "d", [Bin(0.2, 0.1, 10), Bin(0.8, 0.9, 12)]),
        curves.calibration("c", "t", "d", []),
        curves.kaplan_meier("k", "t", "d", [RiskGroup("low", (1.0, 5.0), (0.9, 0.8))], {"low": "low risk"}),
        curves.kaplan_meier("k", "t", "d", [RiskGroup("high", (), ())], {"high": "high risk"}),
        curves.kaplan_meier("k", "t", "d", [], {}),
        curves.round_curves("l", "t", "d", [curves.Curve("A", "train", [(1.0, 0.5)])]),
        curves.round_curves("l", "t", "d", [curves.Curve("A", "train", [(1.0, None)])]),
        curves.round_curves("l", "t", "d", [], band=[(1.0, 0.2, 0.3), (2.0, 0.2, 0.4)]),
        swarm("s", "t", "d", Axis.around([Estimate(0.5)]), {"alone": ("Alone", {"a": 0.5, "b": 0.5, "c": 0.51})}),
        scatter("x", "t", "d", {"a": (0.5, 0.5)}),
    ],
)
def test_every_figure_is_well_formed_and_says_what_it_is(svg: str) -> None:
    root = _parsed(svg)
    assert root.get("role") == "img"
    children = [child.tag for child in root]
    assert children[:2] == ["title", "desc"]
    assert root.get("aria-labelledby") == f"{root[0].get('id')} {root[1].get('id')}"
    assert not re.search(r"nan|inf(?!o)|None", svg)


def test_an_roc_curve_begins_and_ends_in_the_corners() -> None:
    svg = curves.roc("r", "t", "d", {"federated": [(0.0, 0.3), (1.0, 0.9)]}, None)
    assert 'd="M0 1000L0 700L1000 100L1000 0"' in svg


def test_models_are_told_apart_by_shape_as_well() -> None:
    estimates = [(name, Estimate(0.5, 0.4, 0.6), name) for name in ("federated", "alone", "pooled")]
    row = _parsed(interval_row(Axis((0.0, 1.0)), estimates))
    marks = [(element.tag, element.get("class")) for element in row.iter() if "mark" in (element.get("class") or "")]
    assert [mark for mark in marks if mark[0] != "g"] == [
        ("circle", "mark federated"),
        ("circle", "mark alone"),
        ("path", "mark pooled"),
    ]
    assert sum((element.get("class") or "").startswith("interval") for element in row.iter()) == 3


def test_an_estimate_without_interval_or_value_draws_what_there_is() -> None:
    row = interval_row(Axis((0.0, 1.0)), [("federated", Estimate(0.5), "x"), ("alone", Estimate(), "y")])
    assert "interval" not in row
    assert row.count("<circle") == 1


@given(share=st.floats(0, 1), count=st.integers(1, 10_000))
def test_wilson_stays_within_bounds_and_holds_the_estimate(share: float, count: int) -> None:
    low, high = curves.wilson(share, count)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    assert low < high


def test_wilson_is_the_published_interval() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20 and 29 of 29, score method without correction.
    for part, whole, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (29, 29, 0.8830, 1),
    ):
        assert curves.wilson(part / whole, whole) == pytest.approx((low, high), abs=5e-5)
