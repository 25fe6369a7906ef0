"""What the decision threshold means for patients: of 100, how many are found, missed, cleared, alarmed for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.report.comparison import worst_first
from sealround.report.figures.curves import wilson
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
    """The decision threshold, those of groups that have their own, and what they mean per site."""

    threshold: str
    by_group: str
    rows: tuple[Decision, ...]
    note: str


def decisions(voice: Voice) -> Decisions | None:
    """Put sensitivity and specificity into words, for all sites together and each; ``None`` where there are none."""
    model, results = voice.evidence.federated, voice.results("federated")
    measured = any("sensitivity" in entry.metrics for entry in results.values())
    if voice.evidence.study.task == "survival" or voice.private or not measured:
        return None
    shown = [site for site in voice.shown if site in results]
    note = ""
    if voice.many:
        shown = sorted(
            (site for site in worst_first(voice) if site in results), key=lambda site: _sensitivity(results[site])
        )[:_SHOWN]
        note = f"Shown: the {_SHOWN} {voice.sites()} with the lowest sensitivity, of {len(results)}."
    rows = [_at_site(voice, site, results[site]) for site in shown]
    if len(results) > 1 and "sensitivity" in model.everyone:
        rows.insert(0, _decision(f"All {voice.sites()} together", model.everyone, (None, None)))
    threshold = "" if model.threshold is None else percent(model.threshold)
    by_group = ", ".join(f"{group} {percent(own)}" for group, own in model.group_thresholds.items())
    return Decisions(threshold, by_group, tuple(rows), note)


def _sensitivity(entry: SiteResult) -> float:
    """Return a site's sensitivity; undefined ones sort last."""
    found = entry.metrics.get("sensitivity")
    return 2.0 if found is None or found.value is None else found.value


def _at_site(voice: Voice, site: str, entry: SiteResult) -> Decision:
    if voice.sealed and (entry.n is None or entry.positives is None):
        return _decision(site, entry.metrics, (None, None))
    if entry.n is None or entry.positives is None or voice.one_sided(entry):
        # The evidence does not say which side is small.
        said = f"too few to say: fewer than {voice.few} test patients with, or without, {voice.outcome}"
        return Decision(site, said, None, said, None, "")
    return _decision(site, entry.metrics, (entry.positives, entry.n - entry.positives))


def _decision(site: str, metrics: Mapping[str, Estimate], sides: tuple[int | None, int | None]) -> Decision:
    with_, without = sides
    found, found_bar = _side(metrics.get("sensitivity"), with_, ("are found", "missed"))
    cleared, cleared_bar = _side(metrics.get("specificity"), without, ("are cleared", "called positive by mistake"))
    return Decision(site, found, found_bar, cleared, cleared_bar, _weights(with_, without))


def _weights(with_: int | None, without: int | None) -> str:
    """Say what one patient weighs where a share rests on few."""
    if with_ is None or without is None or not min(with_, without):
        return ""
    sides = ((with_, "with"), (without, "without"))
    return "; ".join(f"{count} {side}: one is {round(100 / count)} of 100" for count, side in sides if count < _FEW)


def _side(found: Estimate | None, count: int | None, words: tuple[str, str]) -> tuple[str, Markup | None]:
    """Say in words and as a bar what happens to 100 patients of one side; ``count`` is how many the test set has."""
    if found is None or found.value is None:
        return "not measured: no such patient in the test set", None
    low, high = found.low, found.high
    if low is not None and low == high and count is not None:
        # All were judged alike: resampling them sees no uncertainty, Wilson's interval does.
        low, high = wilson(found.value, count)
    right = round(100 * found.value)
    ends = "" if low is None or high is None else f" ({round(100 * low)}–{round(100 * high)})"
    said = f"about {right}{ends} {words[0]}, {100 - right} {words[1]}"
    return said, proportion_bar(found.value, low, high)
