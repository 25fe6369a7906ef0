"""The table at the end of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["print_summary"]

_MODELS = {"alone": "alone", "federated": "together", "pooled": "pooled"}
_NAMES = {"auroc": "AUROC", "c_index": "c-index", "auprc": "AUPRC"}
_MOST_ROWS = 24


def print_summary(evidence: Mapping[str, Any], folder: Path | None) -> None:
    """Print each hospital's primary metric under every model, then means, worst, gap and cost."""
    console = Console()
    study = evidence["study"]
    metric = study["primary"]
    models = [name for name in _MODELS if name in evidence["models"]]
    table = Table(title=f"{study['name']}: {_NAMES.get(metric, metric.replace('_', ' '))} on test patients")
    table.add_column("hospital")
    for name in models:
        table.add_column(_MODELS[name], justify="right")
    sites = sorted({site for name in models for site in evidence["models"][name]["sites"]})
    for site in sites[:_MOST_ROWS]:
        row = [evidence["models"][name]["sites"].get(site, {}).get("metrics", {}).get(metric) for name in models]
        table.add_row(site, *(_with_interval(cell) for cell in row))
    if len(sites) > _MOST_ROWS:
        table.add_row(f"… and {len(sites) - _MOST_ROWS} more", *("" for _ in models))
    table.add_section()
    for key, label in (
        ("mean", "mean of hospitals"),
        ("worst", "worst hospital"),
        ("gap", "gap best-worst"),
        ("all", "all patients"),
    ):
        cells = [evidence["models"][name].get(key, {}).get(metric) for name in models]
        table.add_row(label, *(_with_interval(cell) for cell in cells))
    console.print(table)
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
        console.print(
            f"[yellow]excluded[/yellow]: {gone['site']} from round {gone['round']}: {gone['why']}", highlight=False
        )
    if folder is not None:
        console.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def _with_interval(cell: Mapping[str, Any] | None) -> str:
    if not cell or cell.get("value") is None:
        return "–"
    if cell.get("low") is None or cell.get("high") is None:
        return f"{cell['value']:.3f}"
    return f"{cell['value']:.3f} ({cell['low']:.2f}–{cell['high']:.2f})"


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
