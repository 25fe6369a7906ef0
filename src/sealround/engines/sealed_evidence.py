"""The evidence of a sealed study: what sums over sites tell, and for each site its own results, which stay with it.

The federation's results reach its coordinator as one sum. Of the comparisons, alone and pooled, a simulation has each
site's in clear, as no coordinator would: they are added up here in the same way before anything is written about them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sealround.clinical import cohort_card
from sealround.clinical.groups import groups_of
from sealround.clinical.roles import roles_of
from sealround.engines.gate_evidence import is_withheld
from sealround.errors import UsageError
from sealround.federation.scores import Scores
from sealround.learning import describe_sum, difference_of_sums, shown, summarise_sum
from sealround.study import study_digest
from sealround.study.sections import LEAST_SITES, NoSecureAggregation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.clinical.cohort import SiteCohort
    from sealround.engines.simulation import Trainings
    from sealround.federation import Plan, Statistics
    from sealround.study import Study
    from sealround.vocabulary import PartyId, Tally
    from sealround.wire import Value

__all__ = ["SITE_FORMAT", "cohort_together", "sealed_models", "site_results"]

SITE_FORMAT = "sealround-site/1"


def sealed_models(
    study: Study, local: Study, trainings: Trainings
) -> tuple[dict[str, dict[str, Value]], dict[str, Mapping[str, Any]], dict[str, Tally]]:
    """Return the summary of each model, the differences to the federated one, and counts by group, from sums alone.

    A comparison that was made at fewer sites than a sum may have is left out: of one site, it is that site's.

    Args:
        study: The study that is agreed on.
        local: The study as every site ran it.
        trainings: Every training, done.
    """
    confidence, n_min = study.evaluation.confidence, _n_min(study)
    sums = _sums(study, trainings)
    models = {
        name: summarise_sum(scores, confidence, n_min)
        | {"together": describe_sum(scores, local.standardisation.min_cell_count)}
        for name, scores in sums.items()
    }
    differences: dict[str, Mapping[str, Any]] = {
        f"federated-{other}": difference_of_sums(sums["federated"], scores, confidence, n_min)
        for other, scores in sums.items()
        if other != "federated"
    }
    return models, differences, {name: scores.by_group for name, scores in sums.items()}


def _n_min(study: Study) -> int:
    options = study.protection.secure_aggregation
    if isinstance(options, NoSecureAggregation):
        if not study.protection.private:
            raise UsageError("the study's sums are not sealed")
        return LEAST_SITES
    return options.n_min or LEAST_SITES


def _sums(study: Study, trainings: Trainings) -> dict[str, Scores]:
    coordinator = trainings.federated.coordinator
    federated = coordinator.scores
    if federated is None and study.protection.private and not study.protection.sealed:
        found = trainings.federated.evaluations or {}
        summed = Scores.of(found, study.task, study.evaluation.bootstrap)
        federated = replace(summed, noise=coordinator.plan.noise_in_results)
    if federated is None and is_withheld(coordinator):  # nobody tested it
        federated = Scores.of({}, study.task, study.evaluation.bootstrap, len(groups_of(study)))
    if federated is None:
        raise UsageError("the training is not done", hint="gather the evidence at its end")
    alone = {site: job.evaluations[site] for site, job in trainings.alone.items() if job.evaluations is not None}
    pooled = {} if trainings.pooled is None else trainings.pooled.evaluations or {}
    compared = {"alone": alone, "pooled": pooled}
    return {"federated": federated} | {
        name: Scores.of(evaluations, study.task, study.evaluation.bootstrap, federated.groups)
        for name, evaluations in compared.items()
        if len(evaluations) >= _n_min(study)
    }


def cohort_together(study: Study, plan: Plan, statistics: Statistics) -> dict[str, Any]:
    """Describe the training patients of all sites by what the sums told: a table 1 of everybody.

    Args:
        study: The study.
        plan: Whose sites they are.
        statistics: Of the federation. Each site left out what describes too few of its patients, so that counts are
            lower bounds; where every site did, they are ``None``.

    Returns:
        ``roster``, examples, positives, and the features: counts, mean and standard deviation, patients at each level.
    """
    roles, spread = roles_of(study.cohort), study.standardisation.kind == "federated"
    layout = statistics.layout
    counts = iter(statistics.level_counts.tolist())
    levels = {name: {level: _count(next(counts)) for level in found} for name, found in layout.categories}
    moments = zip(
        layout.numeric, statistics.present.tolist(), statistics.mean.tolist(), statistics.scale.tolist(), strict=True
    )
    numeric = {
        name: {
            "name": name,
            "unit": roles.numeric[name].unit,
            "kind": "numeric",
            "n": _count(present),
            "mean": mean if present else None,
            # 1 stands for a constant too, which is not scaled.
            "sd": scale if present and spread and scale != 1.0 else None,
        }
        for name, present, mean, scale in moments
        if name in roles.numeric
    }
    categorical = {
        name: {"name": name, "kind": "categorical", "levels": _named(found, roles.categorical[name].names)}
        for name, found in levels.items()
        if name in roles.categorical
    }
    features = numeric | categorical
    return {
        "roster": list(plan.roster),
        "examples": _count(statistics.examples),
        "positives": _count(statistics.positives),
        "features": [features[name] for name in sorted(features)],
    }


def _count(total: float) -> int | None:
    return round(total) or None


def _named(levels: Mapping[str, int | None], names: Mapping[str, str]) -> dict[str, int | None]:
    return {names.get(level, level): count for level, count in levels.items()}


def site_results(
    study: Study, local: Study, cohorts: Mapping[PartyId, SiteCohort], trainings: Trainings
) -> dict[PartyId, dict[str, Any]]:
    """Return for each site what it would see at its own place, and nobody else: its cohort and its test results.

    Args:
        study: The study that is agreed on.
        local: The study as every site ran it.
        cohorts: Each site's records.
        trainings: Every training, done.

    Returns:
        By site, trees fit for JSON.
    """
    kept = trainings.federated.kept
    pooled = {} if trainings.pooled is None else trainings.pooled.evaluations or {}
    results: dict[PartyId, dict[str, Any]] = {}
    for site, cohort in cohorts.items():
        alone = trainings.alone.get(site)
        own = {} if alone is None else alone.evaluations or {}
        found = {"federated": kept.get(site), "alone": own.get(site), "pooled": pooled.get(site)}
        results[site] = {
            "format": SITE_FORMAT,
            "site": site,
            "study": {"name": study.study.name, "digest": study_digest(study).hex()},
            "cohort": cohort_card(cohort, study, local.standardisation.min_cell_count),
            "models": {name: shown(result) for name, result in found.items() if result is not None},
            "alone_failed": None if alone is None else alone.failure,
        }
    return results
