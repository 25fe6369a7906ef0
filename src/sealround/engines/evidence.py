"""The evidence of a run: every number of its report, in one JSON-able tree (``metrics.json``)."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sealround import __version__
from sealround.clinical import BUILTIN, cohort_card
from sealround.clinical.groups import groups_of
from sealround.clinical.roles import roles_of
from sealround.engines.gate_evidence import gate_evidence, is_withheld
from sealround.engines.group_evidence import group_evidence, summed_groups
from sealround.engines.model_file import threshold_of_groups
from sealround.engines.privacy_evidence import declared_cohort, privacy_evidence, private_results, private_sums
from sealround.engines.sealed_evidence import cohort_together, sealed_models
from sealround.learning import describe_model, device_name, difference, summarise
from sealround.study import study_digest
from sealround.study.sections import BuiltinSource, RobustRule
from sealround.study.summary import protection_states

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.clinical.cohort import SiteCohort
    from sealround.engines.in_process import Job
    from sealround.engines.simulation import Trainings
    from sealround.federation import Coordinator, TrainedModel
    from sealround.study import Study
    from sealround.vocabulary import PartyId, Tally
    from sealround.wire import Value

    Evaluations = Mapping[PartyId, Mapping[str, Value]]

__all__ = ["FORMAT", "environment", "gather"]

FORMAT = "sealround-evidence/1"

_PARTITIONS = {
    "column": None,
    "iid": "divided at random into sites of equal size and mix",
    "dirichlet": "divided so that the outcome is unequally common at the sites (Dirichlet label skew)",
    "quantity": "divided at random into sites of unequal size",
}

_PACKAGES = ("numpy", "polars", "pydantic", "safetensors", "scikit-learn", "torch")


def environment() -> dict[str, Any]:
    """Return versions and machine: what the same bytes depend on besides study and data."""
    packages: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = None
    return {
        "sealround": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "numpy": packages["numpy"],
        "torch": packages["torch"],
        "packages": packages,
    }


def gather(
    study: Study, local: Study, cohorts: Mapping[PartyId, SiteCohort], trainings: Trainings, seconds: float
) -> dict[str, Any]:
    """Gather the evidence of a finished run.

    Args:
        study: The study that is agreed on.
        local: The study as every site ran it.
        cohorts: Each site's records, for table 1.
        trainings: Every training, done.
        seconds: Wall time of this process so far.

    Returns:
        A tree fit for JSON: no NaN, ``None`` where a number is undefined or suppressed.
    """
    hidden = study.protection.sealed or study.protection.private
    models, differences, counts = (sealed_models if hidden else _open_models)(study, local, trainings)
    models = private_results(study, models)
    # Counts by group leave no site of a private study.
    subgroups = None if study.protection.private else group_evidence(study, local, counts)
    coordinator = trainings.federated.coordinator
    gate = gate_evidence(study, groups_of(study), coordinator)
    privacy = privacy_evidence(study, coordinator)
    return {
        "format": FORMAT,
        "sealround": __version__,
        "study": _study(study, local, coordinator.trained),
        "cohort": {
            **_source(local),
            "site_term": study.cohort.site_term,
            "simulated": study.cohort.sites.kind != "column",
            "partition": _PARTITIONS[study.cohort.sites.kind],
            **_patients(study, local, cohorts, trainings),
        },
        "rounds": _rounds(trainings.federated),
        "models": {name: model | _released(trainings, name) for name, model in models.items()},
        "differences": differences,
        **({} if subgroups is None else {"subgroups": subgroups}),
        **({} if gate is None else {"gate": gate}),
        **({} if privacy is None else {"privacy": privacy}),
        "protection": [asdict(state) for state in protection_states(study)],
        "aggregation": private_sums(study, coordinator.sealing_summary()),
        "robustness": _robustness(study, coordinator),
        "excluded": _excluded(trainings),
        "cost": _cost(study, trainings, seconds),
        "environment": environment(),
    }


def _robustness(study: Study, coordinator: Coordinator) -> dict[str, Any] | None:
    """Say whose updates counted, over all rounds; ``None`` where they were not looked at one by one."""
    options = study.protection.robustness
    if not isinstance(options, RobustRule):
        return None
    parts: dict[str, list[float]] = {}
    reasons: dict[str, str] = {}
    for record in coordinator.history:
        for site, (part, reason) in record.influence.items():
            if site != coordinator.plan.root:  # which measures, and is not measured
                parts.setdefault(site, []).append(part)
                reasons[site] = reason
    rule = coordinator.plan.rule
    return {
        "rule": options.rule,
        "num_byzantine": options.num_byzantine,
        "mixing": options.mixing,
        "root": coordinator.plan.root,
        "memory": None if rule is None or not rule.memory else rule.memory,  # 0 is no memory
        "sites": {
            site: {
                "rounds": len(found),
                "left_out": sum(part <= 0.0 for part in found),
                "mean": sum(found) / len(found),
                "reason": reasons[site],
            }
            for site, found in sorted(parts.items())
        },
    }


def _study(study: Study, local: Study, released: TrainedModel) -> dict[str, Any]:
    return {
        "name": study.study.name,
        "question": study.study.question,
        "digest": study_digest(study).hex(),
        "rounds": study.study.rounds,
        "seed": study.study.seed,
        "task": study.task,
        "primary": study.primary_metric,
        "model": describe_model(study, released.inputs, released.statistics),
        "parameters": int(released.vector.size),
        "confidence": study.evaluation.confidence,
        **_outcome(study),
        "min_cell_count": local.standardisation.min_cell_count,
    }


def _excluded(trainings: Trainings) -> list[dict[str, Any]]:
    """Return sites the federation went on without, then comparisons that failed.

    Why a site alone failed is that site's own matter in a sealed study.
    """
    protection = trainings.federated.plan.study.protection
    alone = () if protection.sealed or protection.private else trainings.alone.values()
    jobs = [*alone, *([trainings.pooled] if trainings.pooled else [])]
    return [
        {"site": gone.site, "round": gone.round, "why": gone.why} for gone in trainings.federated.coordinator.excluded
    ] + [
        {"site": job.plan.roster[0], "round": None, "why": f"training {job.plan.job}: {job.failure}"}
        for job in jobs
        if job.failure is not None
    ]


def _cost(study: Study, trainings: Trainings, seconds: float) -> dict[str, Any]:
    federated = trainings.federated
    bytes_down, bytes_up = federated.coordinator.traffic
    return {
        "seconds": round(seconds, 3),
        "training_seconds": round(sum(line["seconds"] for line in federated.journal.rounds()), 3),
        "bytes_up": bytes_up,
        "bytes_down": bytes_down,
        "peak_rss_bytes": _peak_rss(trainings.workers),
        "workers": trainings.workers,
        "device": device_name(study.model),
    }


def _outcome(study: Study) -> dict[str, str]:
    roles = roles_of(study.cohort)
    known = {
        "outcome": roles.label[1].outcome if roles.label else "",
        "time_unit": roles.time[1].unit if roles.time else "",
    }
    return {key: text for key, text in known.items() if text}


def _source(study: Study) -> dict[str, str | None]:
    source = study.cohort.source
    if isinstance(source, BuiltinSource):
        known = BUILTIN[source.name]
        return {"source": known.title, "attribution": f"{known.attribution} Licence: {known.licence}."}
    return {"source": f"{source.kind}: {Path(source.path).name}", "attribution": None}


def _patients(
    study: Study, local: Study, cohorts: Mapping[PartyId, SiteCohort], trainings: Trainings
) -> dict[str, Any]:
    """Return table 1: of each site, in a sealed study of all together, in a private one of nobody."""
    if study.protection.private:
        return {"sites": {}, "together": declared_cohort(trainings.federated.plan.roster)}
    if study.protection.sealed:
        federated = trainings.federated
        together = cohort_together(study, federated.plan, federated.coordinator.trained.statistics)
        return {"sites": {}, "together": together}
    minimum = local.standardisation.min_cell_count
    return {"sites": {site: cohort_card(cohort, study, minimum) for site, cohort in cohorts.items()}}


def _open_models(
    study: Study, _: Study, trainings: Trainings
) -> tuple[dict[str, dict[str, Value]], dict[str, Mapping[str, Any]], dict[str, Tally]]:
    """Return the summary of each model, the differences to the federated one, and counts by group."""
    confidence = study.evaluation.confidence
    evaluations: dict[str, Evaluations] = {"federated": trainings.federated.evaluations or {}}
    alone = {site: job.evaluations[site] for site, job in trainings.alone.items() if job.evaluations is not None}
    if alone:
        evaluations["alone"] = alone
    if trainings.pooled is not None and trainings.pooled.evaluations is not None:
        evaluations["pooled"] = trainings.pooled.evaluations
    models = {name: summarise(by_site, confidence) for name, by_site in evaluations.items()}
    differences = {
        f"federated-{other}": _difference(evaluations["federated"], evaluations[other], confidence)
        for other in ("alone", "pooled")
        if other in evaluations and evaluations["federated"]
    }
    groups = len(groups_of(study))
    counts = {name: summed_groups(by_site.values(), groups) for name, by_site in evaluations.items()}
    return models, differences, counts


def _released(trainings: Trainings, name: str) -> dict[str, Any]:
    """Return round, threshold and recalibration of a model that is one for all sites."""
    job = {"federated": trainings.federated, "pooled": trainings.pooled}.get(name)
    if job is None or is_withheld(job.coordinator):
        return {}
    released = job.coordinator.released
    return {
        "released_round": released.round,
        "threshold": released.threshold,
        "group_thresholds": threshold_of_groups(job.plan.study, released),
        "calibration": list(released.calibration),
    }


def _difference(ours: Evaluations, theirs: Evaluations, confidence: float) -> Mapping[str, Any]:
    """Compare at the sites that both have: the training of a site alone may have failed."""
    sites = sorted(ours.keys() & theirs.keys())
    return difference({site: ours[site] for site in sites}, {site: theirs[site] for site in sites}, confidence)


def _rounds(job: Job) -> list[dict[str, Any]]:
    seconds = {line["round"]: line["seconds"] for line in job.journal.rounds()}
    rounds = []
    for record in job.coordinator.history:
        tree: dict[str, Any] = record.to_wire()
        if job.plan.privacy is not None:
            tree["sites"] = {}  # each has nothing to say
        rounds.append(tree | {"seconds": seconds.get(record.round, 0.0)})
    return rounds


def _peak_rss(workers: int) -> int:
    """Largest resident memory of this process, plus that of the largest worker for each; in bytes (an upper bound)."""
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    largest_child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if workers else 0
    return unit * (own + workers * largest_child)
