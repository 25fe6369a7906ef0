"""What to think of an attack: a verdict from limits, and a plain sentence.

A verdict is about harm: the loss of the primary metric, and the rise of a targeted attack's success. With a value and
its interval, and limits ``holds`` and ``degrades``:

==================  =====================================================
holds               the whole interval is at most ``holds``
fails               there is harm for certain, of more than ``degrades``; or there is no model
degrades            there is harm for certain, of more than ``holds``
not assessable      else: too few patients or seeds to tell
==================  =====================================================

Nothing ever holds for want of patients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from sealround.engines.drill.outcomes import EVERYBODY
from sealround.report.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LIMITS", "Verdict", "judge", "zone"]

Verdict: TypeAlias = Literal["holds", "degrades", "fails", "not applicable", "not assessable"]

LIMITS: Mapping[str, float] = {"holds": 0.02, "degrades": 0.10}
"""Up to where harm is called none, and from where on it is failure."""

_WITHHELD = "The gate withheld the model."
_WORST_FIRST: tuple[Verdict, ...] = ("fails", "degrades", "not assessable", "holds")


def zone(harm: Mapping[str, float | None] | None) -> Verdict:
    """Return the verdict on one kind of harm: ``value``, ``low`` and ``high``."""
    if harm is None or harm["value"] is None or harm["low"] is None or harm["high"] is None:
        return "not assessable"
    if harm["high"] <= LIMITS["holds"]:
        return "holds"
    if harm["low"] > 0.0 and harm["value"] > LIMITS["degrades"]:
        return "fails"
    if harm["low"] > 0.0 and harm["value"] > LIMITS["holds"]:
        return "degrades"
    return "not assessable"


def judge(entry: Mapping[str, Any], metric: str, *, honest: bool) -> tuple[Verdict, str]:
    """Return the verdict on one cell of the evidence, and a sentence.

    Args:
        entry: What `Pooling.pooled` returned.
        metric: The primary one.
        honest: Whether this is the cell where nobody lies.
    """
    name = METRICS[metric].label
    if entry["why_not"] is not None:
        return "not applicable", f"Cannot be played here: {entry['why_not']}."
    if entry["stopped_seeds"]:
        share = f" in {entry['stopped_seeds']} of {entry['seeds']} trainings" if entry["seeds"] > 1 else ""
        return "fails", f"No model{share}: {entry['stopped']}."
    value, baseline = entry["metric"]["value"], entry["baseline"]
    if value is None and entry["baseline_stopped"] is not None:
        return "not assessable", f"With this rule there is no model even when nobody lies: {entry['baseline_stopped']}."
    if value is None or baseline is None:
        return "not assessable", f"{name} is undefined on these test patients."
    if honest:
        said = f"{name} {value:.3f} when nobody lies."
        return ("degrades", f"{said} {_WITHHELD}") if entry["withheld_seeds"] else ("holds", said)
    verdict, harmed = zone(entry["loss"]), _harmed_groups(entry)
    if entry["success"] is not None:
        verdict = min(verdict, zone(entry["success_rise"]), key=_WORST_FIRST.index)
    if harmed and verdict in ("holds", "not assessable"):
        verdict = "degrades"
    told: tuple[str, ...] = ()
    if entry["withheld_seeds"]:
        # Harm that the gate averts is no failure; that there is no model to use is no success.
        verdict = "degrades" if entry["withheld_seeds"] == entry["seeds"] or verdict != "fails" else verdict
        told = (f"{_WITHHELD[:-1]} in {entry['withheld_seeds']} of {entry['seeds']} trainings.",)
    return verdict, " ".join((_of_loss(entry, name), *_of_success(entry), *harmed, *told))


def _of_loss(entry: Mapping[str, Any], name: str) -> str:
    value, baseline, loss = entry["metric"]["value"], entry["baseline"], entry["loss"]
    said = f"{name} {value:.3f} with the lie, {baseline:.3f} without"
    match zone(loss):
        case "holds":
            return f"{said}."
        case "not assessable":
            most = "" if loss["high"] is None else f": a loss of up to {loss['high']:.3f} cannot be ruled out"
            return f"{said}{most}."
        case _:
            return f"{said}: a loss of {loss['value']:.3f} ({loss['low']:.3f} to {loss['high']:.3f})."


def _of_success(entry: Mapping[str, Any]) -> tuple[str, ...]:
    success, without = entry["success"], entry["success_without"]
    if success is None:
        return ()
    before = "" if without is None else f", without the lie on {100 * without:.0f} %"
    return (f"The attack works on {100 * success['value']:.0f} % of the patients it is aimed at{before}.",)


def _harmed_groups(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the group that is harmed most for certain; it takes more certainty, the more groups there are."""
    groups = [group for group in entry["groups"] if group["rise"] is not None and group["group"] != EVERYBODY]
    hit = [group for group in groups if group["rise_for_certain"] > LIMITS["holds"]]
    if not hit:
        return ()
    worst = max(hit, key=lambda group: (group["rise"]["value"], group["group"]))
    rise = 100 * worst["rise"]["value"]
    return (f"Of the sick with {worst['group']}, {rise:.0f} in a hundred more are missed.",)
