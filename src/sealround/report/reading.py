"""From ``metrics.json``, decoded, to `sealround.report.evidence`: everything is checked before a line is written.

What the page could not show in full is refused: an unknown format, section, model, metric or protection state raises
`UnsupportedError`; a missing, ill-typed or out-of-range value `VerificationError`; two parts that contradict each other
`ConsistencyError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from sealround.errors import ConsistencyError, UnsupportedError
from sealround.report.audited import read_audit_facts
from sealround.report.entries import environment, estimates, evidence_format, only, protection, site_term, study
from sealround.report.evidence import (
    MODELS,
    Aggregation,
    Bin,
    CohortFacts,
    Cost,
    Estimate,
    Evidence,
    Exclusion,
    Feature,
    Judged,
    ModelResult,
    RiskGroup,
    RobustAggregation,
    RoundFacts,
    SiteCohortFacts,
    SiteResult,
    SiteRound,
    Together,
)
from sealround.report.gate_entries import check_gate_facts, read_gate
from sealround.report.group_entries import subgroups
from sealround.report.metrics import METRICS
from sealround.report.nodes import Node
from sealround.report.privacy_entries import check_privacy_facts, read_privacy

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FORMAT", "read_evidence"]

FORMAT = "sealround-evidence/1"

_SECTIONS = frozenset(
    {
        "format", "sealround", "study", "cohort", "rounds", "models",
        "differences", "subgroups", "gate", "privacy", "audit", "protection", "aggregation", "robustness", "excluded",
        "cost", "environment",
    }
)  # fmt: skip


def read_evidence(evidence: Mapping[str, object]) -> Evidence:
    """Check and freeze one run's evidence.

    Args:
        evidence: ``metrics.json``, decoded.

    Raises:
        UnsupportedError: If its format, or something in it, is not known to this version.
        VerificationError: If a value is missing, of the wrong type or out of range.
        ConsistencyError: If two parts contradict each other.
    """
    root = Node(evidence)
    evidence_format(root, FORMAT)
    only(root, _SECTIONS, "section")
    read = Evidence(
        sealround=root["sealround"].text(),
        study=study(root["study"]),
        cohort=_cohort(root["cohort"]),
        rounds=tuple(_round(entry) for entry in root["rounds"].items()),
        models=_models(root["models"]),
        differences={
            name: estimates(entry, low=-1.0)
            for name, entry in root.entries("differences").items()
            if entry.value is not None
        },
        protection=tuple(protection(entry) for entry in root["protection"].items()),
        excluded=tuple(
            Exclusion(entry["site"].text(), entry.count_or_none("round"), entry["why"].text())
            for entry in root["excluded"].items()
        ),
        cost=_cost(root["cost"]),
        environment=environment(root["environment"]),
        aggregation=_aggregation(root.get("aggregation")),
        robustness=_robustness(root.get("robustness")),
        subgroups=subgroups(root.get("subgroups")),
        gate=read_gate(root.get("gate")),
        privacy=read_privacy(root.get("privacy")),
        audit=read_audit_facts(root.get("audit")),
    )
    _check(read)
    return read


def _check(read: Evidence) -> None:
    known = set(read.cohort.roster)
    if read.aggregation is not None or read.privacy is not None:
        _check_sealed(read)
    elif read.cohort.together is not None:
        raise ConsistencyError("evidence: cohort.together is for a study whose sums are sealed or noised")
    for name, model in read.models.items():
        if not model.sites.keys() <= known:
            raise ConsistencyError(f"evidence: model {name} has results of a site that the cohort does not list")
    if any(not entry.sites.keys() <= known or not known >= set(entry.absent) for entry in read.rounds):
        raise ConsistencyError("evidence: a round lists a site that the cohort does not list")
    judged = read.robustness
    if judged is not None and not {*(entry.site for entry in judged.sites), *filter(None, (judged.root,))} <= known:
        raise ConsistencyError("evidence: robustness lists a site that the cohort does not list")
    check_gate_facts(read.gate, known)
    check_privacy_facts(read.privacy, known, sealed=read.aggregation is not None)
    numbers = [entry.round for entry in read.rounds]
    if numbers != sorted(set(numbers)):
        raise ConsistencyError("evidence: rounds are not in order, or one is there twice")


def _check_sealed(read: Evidence) -> None:
    """Refuse a sealed or private study's evidence that tells what one site has: a page of it would."""
    told = [
        *(f"models.{name}" for name, model in read.models.items() if model.sites or model.worst or model.gap),
        *(f"rounds[{place}]" for place, entry in enumerate(read.rounds) if entry.sites),
        *(["cohort.sites"] if read.cohort.sites else []),
    ]
    if told:
        raise ConsistencyError(f"evidence: {told[0]}: a site's own numbers, in a study of sums alone")
    if read.cohort.together is None or any(model.together is None for model in read.models.values()):
        raise ConsistencyError("evidence: a study of sums alone lacks what they tell of all sites together")


def _cohort(node: Node) -> CohortFacts:
    attribution, partition, simulated, term = (
        node.get(key) for key in ("attribution", "partition", "simulated", "site_term")
    )
    sites = {name: _site_cohort(entry) for name, entry in node["sites"].fields().items()}
    together = node.get("together")
    if not sites and together is None:
        raise node["sites"].fault("one site or more")
    return CohortFacts(
        source=node["source"].text(),
        attribution=None if attribution is None else attribution.text(),
        site_term=site_term(term),
        partition=None if partition is None else partition.text(),
        simulated=None if simulated is None else simulated.flag(),
        sites=sites,
        together=None if together is None else _together(together),
    )


def _together(node: Node) -> Together:
    roster = tuple(entry.text() for entry in node["roster"].items())
    if not roster:
        raise node["roster"].fault("one site or more")
    examples = node.count_or_none("examples")
    return Together(
        roster=roster,
        examples=examples,
        positives=node.count_or_none("positives"),
        features=tuple(_feature(entry, examples) for entry in node["features"].items()),
    )


def _site_cohort(node: Node) -> SiteCohortFacts:
    features = node.get("features")
    rows = node.count_or_none("rows")
    return SiteCohortFacts(
        rows=rows,
        patients=node.count_or_none("patients"),
        train=node.count_or_none("train"),
        validation=node.count_or_none("validation"),
        test=node.count_or_none("test"),
        positives=node.count_or_none("positives"),
        features=() if features is None else tuple(_feature(entry, rows) for entry in features.items()),
    )


def _feature(node: Node, rows: int | None) -> Feature:
    kind = node["kind"].word("numeric", "categorical")
    missing = node.count_or_none("missing")
    if missing is not None and rows is not None and missing > rows:
        raise ConsistencyError(f"evidence: {node.path}: more cells are missing than the site has rows")
    if kind == "numeric":
        return Feature(
            name=node["name"].text(),
            kind="numeric",
            unit=node.text_or("unit", ""),
            missing=missing,
            mean=node.number_or_none("mean"),
            sd=node.number_or_none("sd", low=0.0),
            n=node.count_or_none("n"),
        )
    levels = node["levels"]
    return Feature(
        name=node["name"].text(),
        kind="categorical",
        unit="",
        missing=missing,
        levels={level: levels.count_or_none(level) for level in levels.fields()},
    )


def _round(node: Node) -> RoundFacts:
    absent = node.get("absent")
    return RoundFacts(
        round=node["round"].count(),
        train_loss=node.number_or_none("train_loss"),
        validation_loss=node.number_or_none("validation_loss"),
        validation=node.number_or_none("validation"),
        sites={name: _site_round(entry) for name, entry in node.entries("sites").items()},
        absent=() if absent is None else tuple(entry.text() for entry in absent.items()),
    )


def _site_round(node: Node) -> SiteRound:
    return SiteRound(
        train_loss=node.number_or_none("train_loss"),
        validation_loss=node.number_or_none("validation_loss"),
        validation=node.number_or_none("validation"),
    )


def _models(node: Node) -> dict[str, ModelResult]:
    only(node, frozenset(MODELS), "model")
    if node["federated"].value is None:
        raise node["federated"].fault("the result of the model trained together")
    found = ((name, node.get(name)) for name in MODELS)
    return {name: _model(entry) for name, entry in found if entry is not None}


def _model(node: Node) -> ModelResult:
    recalibration = node.get("calibration")
    pair = () if recalibration is None else recalibration.numbers()
    if recalibration is not None and len(pair) != 2:  # noqa: PLR2004 (slope and intercept)
        raise recalibration.fault("slope and intercept")
    everyone, together = estimates(node.get("all")), node.get("together")
    defined = node.entries("defined")
    for name in defined.keys() - METRICS.keys():
        raise UnsupportedError(
            f"evidence: {node.path}.defined: unknown metric {name!a}", hint="render with its version"
        )
    return ModelResult(
        sites={name: _site_result(entry) for name, entry in node["sites"].fields().items()},
        mean=estimates(node.get("mean")),
        worst=estimates(node.get("worst")),
        gap=estimates(node.get("gap"), low=-1.0),  # Its interval may reach over 0: a difference of two sites.
        everyone=everyone,
        released_round=node.count_or_none("released_round"),
        threshold=node.number_or_none("threshold", 0.0, 1.0),
        recalibration=(pair[0], pair[1]) if pair else None,
        defined={metric: entry.count() for metric, entry in defined.items()},
        together=None if together is None else _site_result(together, everyone),
        group_thresholds={name: entry.number(0.0, 1.0) for name, entry in node.entries("group_thresholds").items()},
    )


def _site_result(node: Node, metrics: Mapping[str, Estimate] | None = None) -> SiteResult:
    calibration, groups = node.get("calibration"), node.get("risk_groups")
    return SiteResult(
        n=node.count_or_none("n"),
        positives=node.count_or_none("positives"),
        metrics=estimates(node["metrics"]) if metrics is None else metrics,
        roc=_roc(node.get("roc")),
        calibration=() if calibration is None else tuple(_bin(entry) for entry in calibration.items()),
        threshold=node.number_or_none("threshold", 0.0, 1.0),
        risk_groups=() if groups is None else tuple(_risk_group(entry) for entry in groups.items()),
    )


def _roc(node: Node | None) -> tuple[tuple[float, float], ...]:
    if node is None or any(node[axis].value is None for axis in ("fpr", "tpr")):
        return ()  # Undefined at a site whose test patients are all of one class.
    across, up = node["fpr"].numbers(0.0, 1.0), node["tpr"].numbers(0.0, 1.0)
    if len(across) != len(up):
        raise ConsistencyError(f"evidence: {node.path}: fpr and tpr differ in length")
    return tuple(zip(across, up, strict=True))


def _bin(node: Node) -> Bin:
    return Bin(node["predicted"].number(0.0, 1.0), node["observed"].number(0.0, 1.0), node["count"].count())


def _risk_group(node: Node) -> RiskGroup:
    time, survival = node["time"].numbers(low=0.0), node["survival"].numbers(0.0, 1.0)
    if len(time) != len(survival):
        raise ConsistencyError(f"evidence: {node.path}: time and survival differ in length")
    return RiskGroup(node["group"].word("low", "middle", "high"), time, survival)


def _aggregation(node: Node | None) -> Aggregation | None:
    if node is None:
        return None
    return Aggregation(
        mode=cast(Literal["pairwise", "replicated"], node["mode"].word("pairwise", "replicated")),
        aggregators=tuple(entry.text() for entry in node["aggregators"].items()),
        n_min=node["n_min"].count(),
        smallest=node.count_or_none("smallest_sum"),
        threshold=node.count_or_none("threshold"),
        scale_bits=node["scale_bits"].count(),
        max_abs=node["max_abs"].number(low=0.0),
        clip_norm=node.number_or_none("clip_norm", low=0.0),
        error_bound=node.number_or_none("error_bound", low=0.0),
        clipped=tuple(entry.count() for entry in node["clipped"].items()),
        in_clear=tuple(entry.text() for entry in node["in_clear"].items()),
    )


def _robustness(node: Node | None) -> RobustAggregation | None:
    if node is None:
        return None
    return RobustAggregation(
        rule=node["rule"].text(),
        num_byzantine=node["num_byzantine"].count(),
        mixing=node["mixing"].value is True,
        sites=tuple(
            Judged(
                site,
                entry["rounds"].count(),
                entry["left_out"].count(),
                entry["mean"].number(low=0.0),
                entry.text_or("reason", ""),
            )
            for site, entry in node["sites"].fields().items()
        ),
        root=None if (root := node.get("root")) is None else root.text(),
        memory=node.number_or_none("memory", low=0.0, high=1.0),
    )


def _cost(node: Node) -> Cost:
    return Cost(
        seconds=node.number_or_none("seconds", low=0.0),
        training_seconds=node.number_or_none("training_seconds", low=0.0),
        bytes_up=node.count_or_none("bytes_up"),
        bytes_down=node.count_or_none("bytes_down"),
        peak_rss_bytes=node.count_or_none("peak_rss_bytes"),
        workers=node.count_or_none("workers"),
        device=node.text_or("device", ""),
    )
