"""The ladder of protections: a study without any, one more on each rung up to the study as written, and some beyond it.

Each rung is a study of its own that is run as such. What it costs is a whole training, and its test results.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sealround.engines.evidence import gather
from sealround.engines.parties import sealed_plan
from sealround.engines.simulation import Simulation
from sealround.errors import SealroundError
from sealround.federation.private import PrivacyTerms
from sealround.secagg import SitePolicy
from sealround.storage import RunFolder
from sealround.study import Study
from sealround.study.privacy_checks import privacy_problems
from sealround.study.sections import DifferentialPrivacy, NoSecureAggregation, RobustRule
from sealround.study.sections.protection import LEAST_SITES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sealround.clinical.cohort import SiteCohort
    from sealround.vocabulary import PartyId

__all__ = ["Accuracy", "Rung", "accuracy", "rungs"]

_REASON = "a leakage audit asks what this protection is worth"
_RESAMPLES = 200
_BUDGETS = (8, 3, 1)
_TABLES = ("csv", "parquet", "builtin")

_Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rung:
    """One rung.

    Attributes:
        key: Its word.
        label: What a report calls it.
        study: The study with these protections.
        here: Whether it is the study as written.
        beyond: Whether it has a protection that the study lacks.
        switch: What to write into the study file for it, as TOML; ``None`` for rungs below the study.
    """

    key: str
    label: str
    study: Study
    here: bool = False
    beyond: bool = False
    switch: str | None = None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What a rung's model is worth on all test patients together.

    Attributes:
        metric: Which figure.
        value: It, ``None`` where it is not released or not defined.
        low: Lower end of its interval.
        high: Upper end.
    """

    metric: str
    value: float | None
    low: float | None
    high: float | None

    def to_tree(self) -> dict[str, Any]:
        """Return it fit for JSON."""
        return {"metric": self.metric, "value": self.value, "low": self.low, "high": self.high}


def rungs(study: Study, sites: int, examples: int) -> tuple[Rung, ...]:
    """Return the ladder of a study, from no protection to more than it has.

    Clipping is part of a sealed sum, so it comes on top of one; clipping of patients is part of differential privacy.

    Args:
        study: The study.
        sites: How many take part in a round.
        examples: How many records all of them train on.
    """
    below = [*_below(study, sites)]
    here = Rung("here", _here_label(study, sites, bare=not below), study, here=True)
    return (*below, here, *_beyond(study, sites, examples))


def _below(study: Study, sites: int) -> Iterator[Rung]:
    """Yield the rungs under the study as written, where it has more than these."""
    protection = study.protection
    aggregation, private = protection.secure_aggregation, protection.private
    sealed, robust = protection.sealed, isinstance(protection.robustness, RobustRule)
    clipped = not isinstance(aggregation, NoSecureAggregation) and aggregation.clip_norm is not None
    if not (sealed or private or robust):
        return
    bare = _tree(study)
    bare["protection"] = {
        "secure_aggregation": {"mode": "none", "reason": _REASON},
        "robustness": {"rule": "mean", "reason": _REASON},
        "privacy": {"unit": "none", "reason": _REASON},
    }
    yield from _rung("none", "no protection", bare, sites)
    if not sealed:
        return
    summed = _tree(study)
    summed["protection"]["privacy"] = {"unit": "none", "reason": _REASON}
    summed["protection"]["secure_aggregation"].pop("clip_norm", None)
    summed["protection"]["robustness"] = {"rule": "mean", "reason": _REASON}
    if private or clipped or robust:
        yield from _rung("sealed", f"+ secure aggregation over {sites} {study.cohort.site_term}s", summed, sites)


def _here_label(study: Study, sites: int, *, bare: bool) -> str:
    """Say what the study has that the rung under it lacks."""
    protection, privacy = study.protection, study.protection.privacy
    aggregation = protection.secure_aggregation
    if bare:
        return "the study as written: no protection of updates"
    parts = []
    if isinstance(privacy, DifferentialPrivacy):
        worth = f"epsilon {privacy.epsilon:g}" if privacy.epsilon else f"noise {privacy.noise_multiplier:g}"
        parts.append(f"+ differential privacy of each {privacy.unit}, {worth}")
    elif not isinstance(aggregation, NoSecureAggregation):
        over = f"+ secure aggregation over {sites} {study.cohort.site_term}s"
        parts.append(over if aggregation.clip_norm is None else f"+ clipping to {aggregation.clip_norm:g}")
    if isinstance(protection.robustness, RobustRule):
        parts.append(f'+ rule "{protection.robustness.rule}"')
    return f"{', '.join(parts)}: the study as written"


def _beyond(study: Study, sites: int, examples: int) -> Iterator[Rung]:
    """Yield what the study could have on top."""
    protection = study.protection
    robust = isinstance(protection.robustness, RobustRule)
    if not protection.sealed and not robust and not protection.private and sites >= LEAST_SITES:
        tree = _tree(study)
        tree["protection"]["secure_aggregation"] = {"mode": "pairwise"}
        switch = '[protection]\nsecure_aggregation = { mode = "pairwise" }\n'
        label = f"+ secure aggregation over {sites} {study.cohort.site_term}s"
        yield from _rung("beyond-sealed", label, tree, sites, switch)
    spent = protection.privacy.epsilon if isinstance(protection.privacy, DifferentialPrivacy) else None
    if robust or sites < LEAST_SITES:
        return
    for epsilon in _BUDGETS:
        if spent is not None and epsilon < spent:
            tree = _tree(study)
            tree["protection"]["privacy"]["epsilon"] = float(epsilon)
            switch = f"[protection.privacy]\nepsilon = {epsilon}.0\n"
        elif not protection.private:
            tree, switch = _private(study, sites, examples, epsilon)
        else:
            continue
        label = f"+ differential privacy, epsilon {epsilon}"
        yield from _rung(f"beyond-epsilon-{epsilon}", label, tree, sites, switch)


def _private(study: Study, sites: int, examples: int, epsilon: int) -> tuple[_Tree, str]:
    """Return a study with differential privacy under sealed sums, and what to write for it."""
    tree, training = _tree(study), study.training
    share = round(min(1.0, max(0.01, training.batch_size * sites / max(examples, 1))), 3)
    delta = float(f"{min(1e-4, 0.1 / max(examples, 1)):.0e}")
    kind = "declared" if study.cohort.source.kind in _TABLES else "example"
    options: dict[str, float | str] = {
        "unit": "patient",
        "neighboring_relation": "add-or-remove-one",
        "trust": "sealed",
        "epsilon": float(epsilon),
        "delta": delta,
        "sampling_probability": share,
        "l2_clip_norm": 1.0,
        "patients": examples,
    }
    tree["standardisation"] = {**tree["standardisation"], "kind": kind}
    for key in ("algorithm", "personalisation", "class_balance", "augmentation", "server"):
        tree["training"].pop(key, None)
    rate = study.training.optimizer.learning_rate
    tree["training"] |= {"participation": 1.0, "server": {"kind": "fedavg", "learning_rate": rate}}
    tree["evaluation"] |= {"selection": "last"}
    tree["evaluation"].pop("primary", None)
    tree["fairness"] = {}
    tree["protection"]["privacy"] = options
    aggregation = tree["protection"]["secure_aggregation"]
    if aggregation["mode"] == "none":
        tree["protection"]["secure_aggregation"] = {"mode": "pairwise"}
    for key in ("clip_norm", "scale_bits"):
        tree["protection"]["secure_aggregation"].pop(key, None)
    mode = tree["protection"]["secure_aggregation"]["mode"]
    lines = [f"{key} = {_toml(value)}" for key, value in options.items()]
    head = [
        "[standardisation]",
        f'kind = "{kind}"',
        "",
        "[training]",
        f'server = {{ kind = "fedavg", learning_rate = {rate:g} }}',
        "",
        "[evaluation]",
        'selection = "last"',
        "compare = []",
        "",
        "[protection]",
        f'secure_aggregation = {{ mode = "{mode}" }}',
        "",
        "[protection.privacy]",
    ]
    return tree, "\n".join([*head, *lines]) + "\n"


def _toml(value: float | str) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _tree(study: Study) -> _Tree:
    """Return a study as a tree to change, compared with nothing and without a gate."""
    tree: _Tree = study.model_dump(mode="json", exclude_none=True)
    tree["evaluation"] |= {"compare": [], "bootstrap": _RESAMPLES}
    tree.pop("audit", None)
    tree["fairness"].pop("gate", None)
    return tree


def _rung(key: str, label: str, tree: _Tree, sites: int, switch: str | None = None) -> Iterator[Rung]:
    """Yield the rung, unless there is no such study."""
    try:
        study = Study.model_validate(tree, strict=False)
        if study.protection.sealed:
            sealed_plan(study).check(sites)
        fits = not any(True for _ in privacy_problems(study)) and math.isfinite(_worth(study, sites))
    except (ValidationError, SealroundError):
        return
    if fits:
        yield Rung(key, label, study, beyond=switch is not None, switch=switch)


def _worth(study: Study, sites: int) -> float:
    """Return the noise of a study's sums, 0 without; what does not add up raises."""
    terms = PrivacyTerms.of(study, sites)
    return 0.0 if terms is None else terms.noise_multiplier


def accuracy(study: Study, cohorts: Mapping[PartyId, SiteCohort], folder: Path) -> Accuracy:
    """Train to the end, as `sealround run` does, and return the test result of all patients together.

    Args:
        study: Of a rung.
        cohorts: Each site's records.
        folder: Where the training keeps its files while it lasts; made when missing.
    """
    short = Study.model_validate(_tree(study), strict=False)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="whole-") as name:
        run = RunFolder.create(Path(name) / "run", b"", {}, None)
        trainings = Simulation(short, cohorts, run, 0, policy=SitePolicy()).run(lambda _: None)
        evidence = gather(short, short, cohorts, trainings, 0.0)
    metric = "auroc" if study.protection.private else study.primary_metric
    found = evidence["models"].get("federated", {}).get("all", {}).get(metric) or {}
    name = {"auroc": "AUROC", "c_index": "c-index"}.get(metric, metric)
    return Accuracy(name, found.get("value"), found.get("low"), found.get("high"))
