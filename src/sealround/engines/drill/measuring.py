"""What a drill measures: on the test patients of honest sites alone, by what is true, whatever liars say.

Each number is of all honest sites together: the primary metric as their mean, everything else as counts over all their
patients. Resamples of patients depend on the study and the site only, so that what two cells measure is paired.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sealround.audit.data_poisoning import count_successes
from sealround.clinical.cohort import SplitName
from sealround.clinical.groups import groups_of, memberships
from sealround.federation.randomness import stream
from sealround.learning import TorchWork
from sealround.learning.bootstrap import resamples
from sealround.learning.evaluation import risk_of
from sealround.learning.metrics import binary_metrics, ones, predictions
from sealround.learning.survival import c_index

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sealround.audit.data_poisoning import Trial
    from sealround.clinical import SiteCohort
    from sealround.engines.drill.conspiracy import Honest
    from sealround.federation import Plan
    from sealround.federation.interfaces import EvaluateOrder
    from sealround.vocabulary import Labels, PartyId, Tally

__all__ = ["REPLICATES", "Meter", "Trials"]

REPLICATES = 200
"""Bootstrap samples of patients."""

_POINTS = 20

Trials = dict[str, dict["PartyId", "Trial"]]
"""By attack and honest site, the patients on whom its success is counted."""


@dataclass(slots=True)
class _Point:
    """What is known of one model.

    Attributes:
        outputs: Of each honest site's test rows.
        trials: By attack and site, outputs of a trial's patients: as they are, and with the trigger on.
        validation: Sum of honest sites' tallies; ``None`` where no threshold is made of it.
        threshold: Decision threshold on the recalibrated risk.
        calibration: Slope and intercept.
    """

    outputs: dict[PartyId, Labels] = field(default_factory=dict)
    trials: dict[tuple[str, PartyId], tuple[Labels, Labels | None]] = field(default_factory=dict)
    validation: Tally | None = None
    threshold: float = 0.5
    calibration: tuple[float, float] = (1.0, 0.0)


class Meter:
    """Measures one training.

    A model in the middle of a training is used with the threshold and recalibration that the study would choose on the
    validation data of honest sites, the released one with those that it is released with.

    Args:
        plan: Of the training.
        seed: Decides on resamples of patients; the same for every training of a drill.
        cohorts: Records of honest sites.
        trials: Where the success of attacks is counted.
        moments: Rounds after which to measure, besides those of a curve.
    """

    def __init__(
        self,
        plan: Plan,
        seed: int,
        cohorts: Mapping[PartyId, SiteCohort],
        trials: Trials,
        moments: Iterable[int],
    ) -> None:
        self._plan = plan
        self._seed = seed
        self._cohorts = cohorts
        self._trials = {
            (attack, site): (
                TorchWork(plan.study, trial.clean),
                None if trial.tricked is None else TorchWork(plan.study, trial.tricked),
            )
            for attack, by_site in trials.items()
            for site, trial in by_site.items()
        }
        rounds = plan.study.study.rounds
        evenly = np.linspace(0, rounds, min(rounds, _POINTS) + 1).round().astype(int).tolist()
        self._curve = frozenset((*evenly, *moments))
        evaluation = plan.study.evaluation
        self._decides = evaluation.threshold.kind != "fixed" or evaluation.recalibration != "none"
        self._points: dict[int, _Point] = {}

    def __call__(self, site: Honest, order: EvaluateOrder, round_: int | None) -> None:
        """Take note of what a model says of one honest site's patients.

        Args:
            site: The site.
            order: The model, as the site would be asked to test it.
            round_: After which round; ``None`` for what is released.
        """
        number = self._plan.study.study.rounds if round_ is None else round_
        if site.site not in self._cohorts or number not in self._curve:
            return
        point = self._points.setdefault(number, _Point())
        if site.site in point.outputs:  # the rounds are trained anew: the last word counts
            point = self._points[number] = _Point()
        point.outputs[site.site] = site.outputs(order)
        for (attack, where), (clean, tricked) in self._trials.items():
            if where == site.site:
                told = None if tricked is None else tricked.outputs(order)
                point.trials[attack, where] = clean.outputs(order), told
        if round_ is None:
            point.threshold, point.calibration = order.threshold, order.calibration
        elif self._decides and self._plan.study.task == "binary":
            tally = site.validate(order)
            point.validation = tally if point.validation is None else point.validation + tally
        else:
            point.threshold = self._plan.threshold(np.zeros(0), point.calibration)

    def tested(self, site: PartyId) -> bool:
        """Whether there is nothing left to do for a site: it tested the last model, or it is none that counts."""
        last = self._points.get(self._plan.study.study.rounds)
        return site not in self._cohorts or (last is not None and site in last.outputs)

    def moment(self, round_: int) -> dict[str, Any]:
        """Return all that is measured of the model after a round, fit for JSON, ``None`` where undefined.

        Returns:
            ``metric``: the primary one, mean over honest sites, and its replicates; ``worst``: of the sites;
            ``groups``: everybody's and each group's true negatives, false positives, false negatives and true
            positives; ``successes``: by attack, on how many it succeeded, and on how many it was tried.
        """
        point = self._settled(round_)
        columns = self._columns(point, REPLICATES)
        values = columns[:, 0][np.isfinite(columns[:, 0])]
        lower_is_better = self._plan.study.primary_metric in ("brier", "ece")
        worst = (values.max() if lower_is_better else values.min()) if values.size else float("nan")
        return {
            "metric": [_number(value) for value in _mean(columns)],
            "worst": _number(worst),
            "groups": self._groups(point) if self._plan.study.task == "binary" else None,
            "successes": {attack: counts.tolist() for attack, counts in _successes(point).items()},
        }

    def curve(self, attack: str) -> dict[str, list[Any]]:
        """Return rounds, the metric after each, and the success of one attack, ``None`` where undefined."""
        found: dict[str, list[Any]] = {"round": sorted(self._points), "metric": [], "success": []}
        for number in found["round"]:
            point = self._settled(number)
            columns = self._columns(point, 0)
            counts = _successes(point).get(attack)
            found["metric"].append(_number(_mean(columns)[0]))
            found["success"].append(None if counts is None or not counts[1] else float(counts[0] / counts[1]))
        return found

    def _settled(self, round_: int) -> _Point:
        """Return a point with its threshold chosen."""
        point = self._points.setdefault(round_, _Point())
        if point.validation is not None:
            point.calibration = self._plan.calibration(point.validation)
            point.threshold = self._plan.threshold(point.validation, point.calibration)
            point.validation = None
        return point

    def _columns(self, point: _Point, replicates: int) -> np.ndarray:
        """Return each honest site's primary metric and its replicates, ``(sites, 1 + b)``."""
        undefined = np.full(1 + replicates, np.nan)
        return np.stack(
            [
                self._metric(site, point, replicates) if site in point.outputs else undefined
                for site in sorted(self._cohorts)
            ]
        )

    def _metric(self, site: PartyId, point: _Point, replicates: int) -> np.ndarray:
        """Return one site's primary metric and its replicates, ``(1 + b,)``, NaN where undefined."""
        cohort, outputs = self._cohorts[site], point.outputs[site]
        rows = cohort.where(SplitName.TEST)
        if not rows.size:
            return np.full(1 + replicates, np.nan)
        event, time = cohort.outcome.event[rows], cohort.outcome.time
        draw = stream(self._seed, "drill", "patients", site)
        weights = np.concatenate([ones(rows.size), *resamples(cohort.patient[rows], replicates, draw)])
        if time is not None:
            return c_index(time[rows], event, outputs.astype(np.float64), weights)
        sample = predictions(risk_of(outputs, point.calibration), event)
        return binary_metrics(sample, point.threshold, weights)[self._plan.study.primary_metric]

    def _groups(self, point: _Point) -> list[list[int]]:
        study = self._plan.study
        total = np.zeros((1 + len(groups_of(study)), 4))
        for site, outputs in point.outputs.items():
            cohort = self._cohorts[site]
            rows = cohort.where(SplitName.TEST)
            sick, called = cohort.outcome.event[rows] > 0, risk_of(outputs, point.calibration) >= point.threshold
            members = np.hstack((np.ones((rows.size, 1), dtype=bool), memberships(study, cohort, rows)))
            cells = np.stack((~sick & ~called, ~sick & called, sick & ~called, sick & called))
            total += members.T.astype(np.float64) @ cells.T.astype(np.float64)
        counts: list[list[int]] = np.rint(total).astype(np.int64).tolist()
        return counts


def _successes(point: _Point) -> dict[str, np.ndarray]:
    """Return on how many each attack succeeded, and on how many it was tried."""
    found: dict[str, np.ndarray] = {}
    for (attack, _), (clean, tricked) in point.trials.items():
        plain = risk_of(clean, point.calibration)
        if tricked is None:
            counts = count_successes(plain, None, point.threshold)
        else:
            counts = count_successes(risk_of(tricked, point.calibration), plain, point.threshold)
        found[attack] = found.get(attack, np.zeros(2, dtype=np.int64)) + np.array(counts, dtype=np.int64)
    return found


def _mean(columns: np.ndarray) -> np.ndarray:
    """Return the mean over the sites where a metric is defined, NaN where it is at none."""
    known = np.isfinite(columns)
    total, number = np.where(known, columns, 0.0).sum(axis=0), known.sum(axis=0)
    return np.asarray(np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
