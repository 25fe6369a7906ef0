"""The trainings of one attack, rule and mix over all seeds, as one result with intervals.

Seeds differ in who lies and in what is random; the patients are the same. So each bootstrap sample draws patients, the
same for every seed, and then seeds. Shares of patients are means over seeds, with the interval of one seed's number of
patients: the same patients twice are not twice as many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sealround.engines.drill.exclusion import precision_and_recall
from sealround.engines.drill.plays import NOBODY, PLAYS
from sealround.fairness.intervals import difference, wilson
from sealround.federation.randomness import stream
from sealround.learning.bootstrap import interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sealround.engines.drill.grid import Grid
    from sealround.fairness.intervals import Estimate
    from sealround.federation.groups import Group
    from sealround.study import Study

    Found = Mapping[str, Any]

__all__ = ["EVERYBODY", "Pooling", "half_life"]

EVERYBODY = "everybody"
"""Name of the first of the groups."""

_LOWER_IS_BETTER = ("brier", "ece")


@dataclass(frozen=True, slots=True)
class Pooling:
    """How the seeds of a drill are put together.

    Attributes:
        study: The study.
        grid: All that the drill goes through.
        groups: The study's groups of patients.
    """

    study: Study
    grid: Grid
    groups: tuple[Group, ...]

    def pooled(self, attack: str, found: Sequence[Found], baselines: Sequence[Found]) -> dict[str, Any]:
        """Put the seeds of one attack, rule and mix together.

        Args:
            attack: Its word.
            found: What `play_cell` returned for each seed.
            baselines: The same where nobody lies, for the same seeds.

        Returns:
            The keys of one cell of the evidence, all but where it belongs and what to think of it.
        """
        played = [(one, base) for one, base in zip(found, baselines, strict=True) if one["why_not"] is None]
        last = str(self.grid.last_lie(attack) if attack != NOBODY else self.grid.rounds)
        pairs = [
            (one["moments"].get(last) or _latest(one), base["moments"].get(last) or _latest(base))
            for one, base in played
            if one["stopped"] is None and base["stopped"] is None
        ]
        stopped = [one["stopped"] for one, _ in played if one["stopped"] is not None]
        entry: dict[str, Any] = {
            "seeds": len(played),
            "why_not": None if played else found[0]["why_not"],
            "stopped": stopped[0] if stopped else None,
            "stopped_seeds": len(stopped),
            "baseline_stopped": next((base["stopped"] for _, base in played if base["stopped"] is not None), None),
            "withheld_seeds": sum(one.get("withheld", False) for one, _ in played),
            "exclusion": self._exclusion([one for one, _ in played], lying=attack != NOBODY),
            "curve": _curve([one["curve"] for one, _ in played]),
        }
        success = attack != NOBODY and bool(PLAYS[attack].success)
        entry |= self._numbers(pairs, attack if success else None)
        return entry | {"durability": self._durability(attack, entry)}

    def _numbers(self, pairs: Sequence[tuple[Found, Found]], target: str | None) -> dict[str, Any]:
        if not pairs:
            return {
                "metric": {"value": None, "low": None, "high": None, "worst": None},
                "baseline": None,
                "loss": None,
                "success": None,
                "success_without": None,
                "success_rise": None,
                "groups": [],
            }
        metric, baseline = (
            np.array([one["metric"] for one in side], dtype=np.float64) for side in zip(*pairs, strict=True)
        )
        sign = -1.0 if self.study.primary_metric in _LOWER_IS_BETTER else 1.0
        worst = [one["worst"] for one, _ in pairs if one["worst"] is not None]
        shown = self._interval(metric)
        return {
            "metric": shown | {"worst": float(np.mean(worst)) if worst else None},
            "baseline": _number(float(np.mean(baseline[:, 0]))),
            "loss": self._interval(sign * (baseline - metric)),
            "groups": self._groups(pairs),
            **self._success(pairs, target),
        }

    def _interval(self, columns: np.ndarray) -> dict[str, float | None]:
        """Return the mean over seeds with its interval, of values and replicates ``(seeds, 1 + b)``."""
        seeds, width = columns.shape
        drawn = stream(self.study.study.seed, "drill", "seeds").integers(seeds, size=(width - 1, seeds))
        replicates = np.take_along_axis(columns[:, 1:].T, drawn, axis=1).mean(axis=1)
        return interval(float(columns[:, 0].mean()), replicates, self.study.evaluation.confidence)

    def _share(self, counts: Sequence[tuple[float, float]], ways: int = 1) -> Estimate | None:
        """Return the mean over seeds of a share of patients, ``None`` of nobody.

        Args:
            counts: Of each seed, on how many it came true, and of how many.
            ways: In how many such shares harm is looked for (Bonferroni).
        """
        known = [(events, number) for events, number in counts if number]
        if not known:
            return None
        share = float(np.mean([events / number for events, number in known]))
        number = float(np.mean([number for _, number in known]))
        return wilson(share * number, number, 1.0 - (1.0 - self.study.evaluation.confidence) / ways)

    def _success(self, pairs: Sequence[tuple[Found, Found]], target: str | None) -> dict[str, Any]:
        if target is None:
            return {"success": None, "success_without": None, "success_rise": None}
        lied, honest = (
            self._share([tuple(one["successes"].get(target, (0, 0))) for one in side])
            for side in zip(*pairs, strict=True)
        )
        return {
            "success": _shown(lied),
            "success_without": None if honest is None else honest.value,
            "success_rise": None if lied is None or honest is None else _shown(difference(lied, honest)),
        }

    def _groups(self, pairs: Sequence[tuple[Found, Found]]) -> list[dict[str, Any]]:
        """Return false-negative and false-positive rates; of groups too small to be shown, nothing."""
        if pairs[0][0]["groups"] is None:
            return []
        lied, honest = (
            np.array([one["groups"] for one in side], dtype=np.float64) for side in zip(*pairs, strict=True)
        )
        least, ways = self.study.fairness.min_group, max(1, len(self.groups))
        entries = []
        for row, name in enumerate((EVERYBODY, *(group.name for group in self.groups))):
            cells, before = lied[:, row], honest[:, row]
            sick, healthy = cells[:, 2:].sum(axis=1).mean(), cells[:, :2].sum(axis=1).mean()
            fnr = self._share([(c[2], c[2] + c[3]) for c in cells.tolist()]) if sick >= least else None
            fpr = self._share([(c[1], c[0] + c[1]) for c in cells.tolist()]) if healthy >= least else None
            rise, certain = (self._rise(cells, before, number) for number in (1, ways)) if fnr else (None, None)
            entries.append(
                {
                    "group": name,
                    "n": round(sick + healthy) if sick + healthy >= least else None,
                    "assessable": fnr is not None,
                    "fnr": _shown(fnr),
                    "fpr": _shown(fpr),
                    "rise": _shown(rise),
                    "rise_for_certain": None if certain is None else certain.low,
                }
            )
        return entries

    def _rise(self, lied: np.ndarray, honest: np.ndarray, ways: int) -> Estimate | None:
        """Return by how much more of the sick are missed. Same patients, taken for others: the interval is too wide."""
        after, before = (
            self._share([(cells[2], cells[2] + cells[3]) for cells in side.tolist()], ways) for side in (lied, honest)
        )
        return None if after is None or before is None else difference(after, before)

    def _exclusion(self, found: Sequence[Found], *, lying: bool) -> dict[str, Any] | None:
        """Return how sites were treated; ``None`` where nobody looks at a site's update by itself."""
        treated = [(one["parts"], frozenset(one["liars"] if lying else ())) for one in found if one["parts"]]
        if not treated:
            return None
        precision, recall = precision_and_recall(treated)
        sites: dict[str, Any] = {}
        for site in sorted({site for parts, _ in treated for site in parts}):
            lied = [parts[site] for parts, liars in treated if site in parts and site in liars]
            honest = [parts[site] for parts, liars in treated if site in parts and site not in liars]
            entries = lied or honest
            rounds = sum(entry["rounds"] for entry in entries)
            sites[site] = {
                "lies": bool(lied),
                "part": sum(entry["part"] for entry in entries) / rounds,
                "left_out": sum(entry["left_out"] for entry in entries) / rounds,
                "left_out_honest": _share_left_out(honest),
            }
        return {"precision": precision, "recall": recall, "sites": sites}

    def _durability(self, attack: str, entry: Found) -> dict[str, Any] | None:
        last = self.grid.last_lie(attack)
        if attack == NOBODY or not PLAYS[attack].success or last >= self.grid.rounds or not entry["seeds"]:
            return None
        curve = entry["curve"]
        after = [
            (number, success)
            for number, success in zip(curve["round"], curve["success"] or [], strict=False)
            if number >= last and success is not None
        ]
        if not after:
            return None
        rounds, success = (list(side) for side in zip(*after, strict=True))
        without = entry["success_without"] or 0.0
        return {
            "stopped_after": last,
            "rounds": rounds,
            "success": success,
            "half_life": half_life(rounds, success, without),
        }


def _sides(pairs: Sequence[tuple[Found, Found]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what was measured with the lie and without, float64, a row for each seed; NaN where undefined."""
    lied, honest = (np.array([one[key] for one in side], dtype=np.float64) for side in zip(*pairs, strict=True))
    return lied, honest


def _share_left_out(entries: Sequence[Found]) -> float | None:
    """Return in which share of the rounds a site was left out; ``None`` where it took part in none."""
    rounds = sum(entry["rounds"] for entry in entries)
    return sum(entry["left_out"] for entry in entries) / rounds if rounds else None


def half_life(rounds: Sequence[int], success: Sequence[float], without: float) -> int | None:
    """Return after how many rounds half of an attack's success is gone; ``None`` if it never is, or there was none.

    Args:
        rounds: Ascending, the first one the last in which anybody lied.
        success: After each.
        without: What it would be had nobody lied.
    """
    gained = success[0] - without
    if gained <= 0:
        return None
    gone = (number for number, now in zip(rounds, success, strict=True) if now - without <= gained / 2)
    first = next(gone, None)
    return None if first is None else first - rounds[0]


def _latest(found: Found) -> Found:
    latest: Found = found["moments"][max(found["moments"], key=int)]
    return latest


def _curve(curves: Sequence[Mapping[str, Sequence[Any]]]) -> dict[str, Any]:
    """Return the mean of curves, over those that got so far."""
    rounds = sorted({number for curve in curves for number in curve["round"]})
    metric, success = [], []
    for number in rounds:
        at = [(curve, curve["round"].index(number)) for curve in curves if number in curve["round"]]
        metric.append(_mean([curve["metric"][place] for curve, place in at]))
        success.append(_mean([curve["success"][place] for curve, place in at]))
    known = any(value is not None for value in success)
    return {"round": rounds, "metric": metric, "success": success if known else None}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _shown(estimate: Estimate | None) -> dict[str, float] | None:
    return None if estimate is None else {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
