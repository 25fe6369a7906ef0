from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sealround.cli.summary import _with_interval, print_summary


def cell(value: float | None, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}


def evidence(sites: tuple[str, ...]) -> dict[str, Any]:
    model = {
        "sites": {site: {"metrics": {"auroc": cell(0.9375, 0.75, 1.0)}} for site in sites},
        **{key: {"auroc": cell(0.787, 0.708, 0.864)} for key in ("mean", "worst", "all")},
        "gap": {"auroc": cell(0.154, -0.051, 0.308)},
    }
    return {
        "study": {"name": "heart-disease-four-hospitals", "primary": "auroc"},
        "models": dict.fromkeys(("alone", "federated", "pooled"), model),
        "cost": {"seconds": 1.25, "bytes_up": 999, "bytes_down": 12_000, "peak_rss_bytes": 3.5e8},
        "protection": [{"name": "Secure aggregation", "state": "off"}, {"name": "Robust aggregation", "state": "on"}],
        "excluded": [
            {"site": "Lugano", "round": 3, "why": "diverged"},
            {"site": "Bern", "round": None, "why": "small"},
        ],
    }


def sealed() -> dict[str, Any]:
    model = {key: {"auroc": cell(0.787, 0.708, 0.864)} for key in ("mean", "all")}
    return evidence(()) | {
        "models": dict.fromkeys(("alone", "federated", "pooled"), model | {"sites": {}, "worst": {}, "gap": {}}),
        "aggregation": {"smallest_sum": 4},
    }


def printed(sites: tuple[str, ...], width: int = 80, tree: dict[str, Any] | None = None) -> list[str]:
    out = io.StringIO()
    print_summary(tree or evidence(sites), Path("runs") / "first", Console(file=out, width=width, color_system=None))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_three_models_fit_in_80_columns_with_every_interval_on_one_line() -> None:
    lines = printed(("Cleveland", "Kantonsspital Sankt Gallen, Chirurgie"))
    assert max(map(len, lines)) <= 80
    intervals = {
        "Cleveland": "0.94 (.75–1.0)",
        "mean of hospitals": "0.79 (.71–.86)",
        "gap best-worst": "0.15 (−.05–.31)",
    }
    for name, interval in intervals.items():
        (line,) = [line for line in lines if name in line]
        assert line.count(interval) == 3
    assert sum(line.count("0.94 (.75–1.0)") for line in lines) == 6
    assert not any("…" in line for line in lines)


def test_cost_protection_and_what_was_left_out_follow() -> None:
    lines = printed(("Cleveland",))
    assert lines[-5:] == [
        "1.2 s, 999 B up, 12.0 kB down, 350.0 MB memory at most",
        "not protected: Secure aggregation is off",
        "excluded: Lugano from round 3: diverged",
        "excluded: Bern: small",
        "report: runs/first/report.html",
    ]


def test_of_a_sealed_study_the_mean_and_everybody_are_printed_and_where_the_rest_is() -> None:
    lines = printed((), tree=sealed())
    rows = [line.strip() for line in lines if line.count("0.79 (.71–.86)") == 3]
    assert [row.split("  ")[0] for row in rows] == ["mean of hospitals", "all patients"]
    assert not any("worst" in line or "gap" in line for line in lines)
    assert "sealed: sums over 4 hospitals or more; each one's own results: runs/first/sites/" in lines
    assert max(map(len, lines)) <= 80


def test_many_hospitals_are_counted_not_listed() -> None:
    lines = printed(tuple(f"site-{number:03}" for number in range(30)))
    assert sum("site-0" in line for line in lines) == 24
    assert any("… and 6 more" in line for line in lines)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (None, "–"),
        (cell(None), "–"),
        (cell(0.787), "0.79"),
        (cell(1.0, 0.996, 1.0), "1.00 (1.0–1.0)"),
        (cell(0.5, 0.0, 0.994), "0.50 (.00–.99)"),
        (cell(0.0, -0.004, 0.12), "0.00 (.00–.12)"),
    ],
)
def test_a_number_with_its_interval(entry: dict[str, float | None] | None, text: str) -> None:
    assert _with_interval(entry) == text


def private(metrics: str, *, trust: str = "sealed", unit: str = "patient") -> dict[str, Any]:
    model = {"sites": {}, "mean": {}, "worst": {}, "gap": {}, "all": {"auroc": cell(0.879, 0.829, 0.94)}}
    tree = sealed() | {
        "models": {"federated": model},
        "privacy": {"metrics": metrics, "unit": unit, "epsilon": 2.99866, "delta": 1e-4},
    }
    tree["study"] = tree["study"] | {"primary": "accuracy"}
    return tree if trust == "sealed" else tree | {"aggregation": None}


def test_noised_results_are_of_everybody_and_called_that() -> None:
    lines = printed((), tree=private("noised"))
    (row,) = [line for line in lines if "0.88 (.83–.94)" in line]
    assert row.split("0.88")[0].strip() == "all patients, noised"
    assert not any("mean of hospitals" in line for line in lines)
    assert "AUROC" in lines[0]
    assert "private: each patient spends an epsilon of 2.999 at a delta of 0.0001" in lines


def test_of_results_that_stay_there_is_no_table() -> None:
    lines = printed((), tree=private("kept", unit="site"))
    assert lines[0] == "heart-disease-four-hospitals: test results stay with the hospitals"
    assert not any("0.88" in line for line in lines)
    assert any(line.startswith("private: each hospital spends") for line in lines)


def test_private_messages_tell_where_the_own_results_are() -> None:
    lines = printed((), tree=private("noised", trust="local"))
    assert any(line.endswith("each hospital's own results: runs/first/sites/") for line in lines)
