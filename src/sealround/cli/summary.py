"""The table at the end of a run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["print_summary"]

_MODELS = {"alone": "alone", "federated": "together", "pooled": "pooled"}
_NAMES = {"auroc": "AUROC", "c_index": "c-index", "auprc": "AUPRC"}
_OVERALL = {
    "mean": "mean of hospitals",
    "worst": "worst hospital",
    "gap": "gap best-worst",
    "all": "all patients",
}
_OF_SUMS = ("mean", "all")
_NOISED = {"all": "all patients, noised"}
_MOST_ROWS = 24


def print_summary(evidence: Mapping[str, Any], folder: Path | None, console: Console | None = None) -> None:
    """Print each hospital's primary metric under every model, then means, worst, gap and cost.

    Of a sealed study there is no hospital's own result to print: only the mean and all patients together; of a private
    one, all patients together with noise, or nothing, and what it spent.

    Args:
        evidence: The run's evidence.
        folder: Its folder.
        console: Where to; else standard output.
    """
    console = console or Console()
    privacy = evidence.get("privacy")
    if privacy and privacy["metrics"] == "kept":
        console.print(f"{evidence['study']['name']}: test results stay with the hospitals", highlight=False)
    else:
        console.print(_table(evidence))
    cost = evidence["cost"]
    console.print(
        f"{cost['seconds']:.1f} s, {_size(cost['bytes_up'])} up, {_size(cost['bytes_down'])} down, "
        f"{_size(cost['peak_rss_bytes'])} memory at most",
        highlight=False,
    )
    for protection in evidence["protection"]:
        if protection["state"] == "off":
            console.print(f"[yellow]not protected[/yellow]: {protection['name']} is off", highlight=False)
    for gone in evidence["excluded"]:
        since = "" if gone["round"] is None else f" from round {gone['round']}"
        console.print(
            f"[yellow]excluded[/yellow]: {escape(gone['site'])}{since}: {escape(gone['why'])}", highlight=False
        )
    sealed = evidence.get("aggregation")
    where = "sites/" if folder is None else escape(f"{folder / 'sites'}/")
    if privacy:
        console.print(_private(privacy, None if sealed else where), highlight=False, soft_wrap=True)
    if sealed:
        least = sealed["smallest_sum"] or sealed["n_min"]
        said = f"sealed: sums over {least} hospitals or more; each one's own results: {where}"
        console.print(said, highlight=False, soft_wrap=True)
    if folder is not None:
        console.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def _table(evidence: Mapping[str, Any]) -> Table:
    study = evidence["study"]
    private = bool(evidence.get("privacy"))
    # Of a noised histogram there is one metric.
    metric = "auroc" if private else study["primary"]
    rows = (
        _NOISED if private else {key: _OVERALL[key] for key in (_OF_SUMS if evidence.get("aggregation") else _OVERALL)}
    )
    models = [name for name in _MODELS if name in evidence["models"]]
    table = Table(
        title=f"{study['name']}: {_NAMES.get(metric, metric.replace('_', ' '))} on test patients", box=SIMPLE_HEAD
    )
    # A long name is wrapped, an interval never: three models fit in 80 columns.
    table.add_column("hospital", overflow="fold")
    for name in models:
        table.add_column(_MODELS[name], justify="right", no_wrap=True)
    sites = sorted({site for name in models for site in evidence["models"][name]["sites"]})
    for site in sites[:_MOST_ROWS]:
        row = [evidence["models"][name]["sites"].get(site, {}).get("metrics", {}).get(metric) for name in models]
        table.add_row(escape(site), *(_with_interval(cell) for cell in row))
    if len(sites) > _MOST_ROWS:
        table.add_row(f"… and {len(sites) - _MOST_ROWS} more", *("" for _ in models))
    table.add_section()
    for key, label in rows.items():
        cells = [evidence["models"][name].get(key, {}).get(metric) for name in models]
        table.add_row(label, *(_with_interval(cell) for cell in cells))
    return table


def _private(privacy: Mapping[str, Any], where: str | None) -> str:
    """Say what was spent, and where each hospital's own results are, unless that is said elsewhere."""
    unit = "hospital" if privacy["unit"] == "site" else privacy["unit"]
    spent = math.ceil(1000 * privacy["epsilon"] - 1e-6) / 1000
    said = f"private: each {unit} spends an epsilon of {spent:g} at a delta of {privacy['delta']:g}"
    return said if where is None else f"{said}; each hospital's own results: {where}"


def _with_interval(cell: Mapping[str, Any] | None) -> str:
    if not cell or cell.get("value") is None:
        return "–"
    if cell.get("low") is None or cell.get("high") is None:
        return f"{cell['value']:.2f}"
    return f"{cell['value']:.2f} ({_bound(cell['low'])}–{_bound(cell['high'])})"


def _bound(value: float) -> str:
    """Write a bound in three characters, one more for a minus: ``.71``, ``1.0``."""
    text = f"{abs(value):.2f}"
    short = text.removeprefix("0") if abs(value) < 1 and text != "1.00" else f"{abs(value):.1f}"
    return f"−{short}" if value < 0 and float(text) else short


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
