"""What an audit found, in one sentence each: for a terminal, while it runs and at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.study import Study

__all__ = ["advice", "said_of", "sentence_of", "strength_of"]

_NEWS = 0.05
"""What is said while an audit runs is stronger than this; all of it is in the report."""

_PLAYED = ("done", "stopped")


def sentence_of(study: Study, found: Mapping[str, Any]) -> str:
    """Return what one attack found, where that is news; else nothing."""
    if found["status"] == "refused by the site":
        return f"{found['name']}: refused by the {study.cohort.site_term}'s own check"
    strength = strength_of(found)
    return f"{found['name']} ({found['rung']}): {_said(found)}" if strength > _NEWS else ""


def said_of(evidence: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return for each attacker of the study as written what it recovered at most, the worst first."""
    (here,) = [rung["key"] for rung in evidence["rungs"] if rung["here"]]
    found: dict[str, list[Mapping[str, Any]]] = {}
    for one in evidence["findings"]:
        if one["rung"] == here:
            found.setdefault(one["attacker"], []).append(one)
    strongest = {attacker: max(ones, key=strength_of) for attacker, ones in found.items()}
    ordered = sorted(strongest.items(), key=lambda item: -strength_of(item[1]))
    said = []
    for attacker, one in ordered:
        number = sum(each["status"] in _PLAYED for each in found[attacker])
        if strength_of(one) > _NEWS:
            said.append((attacker, f"{one['name']}: {_said(one)}"))
        elif one["status"] == "refused by the site" and not number:
            said.append((attacker, "refused by the site's own check, before any training"))
        elif not number:
            said.append((attacker, "no attack applied"))
        else:
            said.append(
                (attacker, f"{number} attack{'' if number == 1 else 's'} recovered next to nothing beyond a guess")
            )
    return said


def advice(evidence: Mapping[str, Any]) -> list[str]:
    """Return what to switch on: the first rung beyond the study on which the worst attack finds less."""
    (here,) = [rung["key"] for rung in evidence["rungs"] if rung["here"]]
    now = _most(evidence, here)
    if now <= 0.0:
        return []
    for rung in evidence["rungs"]:
        if rung["beyond"] and rung["switch"] and _most(evidence, rung["key"]) < now:
            return [f"Switch on:\n{rung['switch']}"]
    return []


def _most(evidence: Mapping[str, Any], rung: str) -> float:
    return max((strength_of(one) for one in evidence["findings"] if one["rung"] == rung), default=0.0)


def strength_of(found: Mapping[str, Any]) -> float:
    """Return how bad a finding is, to order them: 0 where nothing beyond a guess was recovered, up to about 3."""
    if found["status"] not in _PLAYED:
        return 0.0
    beyond = found["beyond"]
    strength = 1.0 * (found["certified"] > 0) + beyond.get("exact_cells", 0.0) + beyond.get("reidentified", 0.0)
    strength += min(1.0, beyond.get("psnr_db", 0.0) / 60.0)
    return float(strength + max(0.0, 2.0 * beyond.get("membership_auc", 0.5) - 1.0))


def _said(found: Mapping[str, Any]) -> str:
    worst, patients = found["worst"], found["patients"]
    parts = []
    if "exact_cells" in worst:
        guess = worst.get("baseline", {}).get("exact_cells")
        guessed = "" if guess is None else f" (a guess gets {guess:.0%})"
        parts.append(f"{worst['exact_cells']:.0%} of one patient's values exactly{guessed}")
        whole = found["measures"].get("exact_records")
        if whole is not None and whole["value"]:
            parts.append(f"{round(whole['value'] * patients)} of {patients} records whole")
    elif "psnr_db" in worst:
        guess = worst.get("baseline", {}).get("psnr_db")
        guessed = "" if guess is None else f" (a guess gets {guess:.0f} dB)"
        parts.append(f"one patient's image at {worst['psnr_db']:.0f} dB{guessed}")
    measures = found["measures"]
    if "reidentified" in measures:
        one = worst.get("reidentified")
        said = "" if one is None else f"one patient linked to the right person with probability {one:.0%}, "
        parts.append(f"{said}{measures['reidentified']['value']:.0%} of all linked to the right one")
    if "auc" in measures:
        parts.append(f"AUC for who took part {measures['auc']['value']:.2f}")
    if found["certified"]:
        parts.append(f"{found['certified']} of {patients} proven by the attack itself")
    return ", ".join(parts)
