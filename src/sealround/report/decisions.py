"""What the decision threshold means for patients: of 100, how many are found, missed, cleared, alarmed for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.report.comparison import worst_first
from sealround.report.figures.intervals import proportion_bar
from sealround.report.typography import percent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from markupsafe import Markup

    from sealround.report.evidence import Estimate, SiteResult
    from sealround.report.voice import Voice

__all__ = ["Decision", "Decisions", "decisions"]

_SHOWN = 6
_FEW = 20


@dataclass(frozen=True, slots=True)
class Decision:
    """What the threshold does at one site, for one side of the outcome."""

    site: str
    found: str
    found_bar: Markup | None
    cleared: str
    cleared_bar: Markup | None
    few: str


@dataclass(frozen=True, slots=True)
class Decisions:
    """The decision threshold, and what it means per site."""

    threshold: str
    rows: tuple[Decision, ...]
    note: str


def decisions(voice: Voice) -> Decisions | None:
    """Put sensitivity and specificity into words, for all sites together and for each; ``None`` where there are none."""
    model = voice.evidence.federated
    results = model.sites
    if voice.evidence.study.task == "survival" or not any("sensitivity" in entry.metrics for entry in results.values()):
        return None
    shown = [site for site in voice.evidence.cohort.sites if site in results]
    note = ""
    if voice.many:
        shown = sorted(
            (site for site in worst_first(voice) if site in results), key=lambda site: _sensitivity(results[site])
        )[:_SHOWN]
        note = f"Shown: the {_SHOWN} {voice.sites()} with the lowest sensitivity, of {len(results)}."
    rows = [_decision(site, results[site].metrics, _few(results[site].n, results[site].positives)) for site in shown]
    if len(results) > 1 and "sensitivity" in model.everyone:
        rows.insert(0, _decision(f"All {voice.sites()} together", model.everyone, ""))
    threshold = "" if model.threshold is None else percent(model.threshold)
    return Decisions(threshold, tuple(rows), note)


def _sensitivity(entry: SiteResult) -> float:
    """Return a site's sensitivity; undefined ones sort last."""
    found = entry.metrics.get("sensitivity")
    return 2.0 if found is None or found.value is None else found.value


def _few(n: int | None, positives: int | None) -> str:
    """Warn where a share rests on few patients."""
    if n is None or positives is None:
        return ""
    sides = ((positives, "with"), (n - positives, "without"))
    return "; ".join(f"{count} {side}: one is {round(100 / count)} of 100" for count, side in sides if 0 < count < _FEW)


def _decision(site: str, metrics: Mapping[str, Estimate], few: str) -> Decision:
    found, cleared = metrics.get("sensitivity"), metrics.get("specificity")
    return Decision(
        site=site,
        found=_of_hundred(found, "are found", "missed"),
        found_bar=_bar(found),
        cleared=_of_hundred(cleared, "are cleared", "called positive by mistake"),
        cleared_bar=_bar(cleared),
        few=few,
    )


def _of_hundred(found: Estimate | None, right: str, wrong: str) -> str:
    if found is None or found.value is None:
        return "not measured: no such patient in the test set"
    count = round(100 * found.value)
    ends = ""
    if found.low is not None and found.high is not None:
        ends = f" ({round(100 * found.low)}–{round(100 * found.high)})"
    return f"about {count}{ends} {right}, {100 - count} {wrong}"


def _bar(found: Estimate | None) -> Markup | None:
    return None if found is None or found.value is None else proportion_bar(found.value, found.low, found.high)
