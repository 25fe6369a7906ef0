"""From what passed in a study's round to what an attack takes: network, loss, plan and domain as the study file says.

Victims are encoded by the code that sites encode with (`sealround.learning.encodings`), so what is judged is what was
trained on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from sealround.audit.inversion.objectives import objective_of
from sealround.audit.inversion.observation import Domain, LocalPlan, Observation, Victims
from sealround.clinical.cohort import SplitName
from sealround.clinical.roles import declared_ranges, roles_of
from sealround.errors import UsageError
from sealround.learning.encodings import Encodings
from sealround.learning.layers import with_memory
from sealround.learning.losses import BinaryLoss, CoxLoss, Loss, class_weights
from sealround.learning.models import build_model, encoded_shape
from sealround.learning.steps import scheduled
from sealround.study.sections import Adam, DifferentialPrivacy, FedProx, Sgd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealround.clinical.cohort import SiteCohort
    from sealround.federation.interfaces import InputShape
    from sealround.federation.statistics import Statistics
    from sealround.learning.examples import Examples
    from sealround.study import Study
    from sealround.vocabulary import Rows, Update

__all__ = ["Seen", "as_attacked", "domain_of", "local_plan", "observe", "victims"]

_WHITE = 255.0

_FAR = 10.0
"""In standard deviations: how far from the mean a number may be where neither the study nor the counts bound it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What an attacker has of a round, as arrays.

    Attributes:
        round: Number of the round, for the learning rate.
        model: What the sites started from, ``(d,)``.
        update: What they changed, ``(d,)``; of several sites the mean weighted by examples.
        examples: How many are behind it.
        steps: Steps of each site.
        batch_size: Examples a step, all sites together.
        blur: Standard deviation of what blurs each coordinate.
        sites: How many sites it is the mean of.
        mix: Examples and those with the outcome, where the attacker knows them of the sites it attacks; else ``None``
            for those of the federated statistics. Only `class_balance` "logit-adjusted" needs it.
        labels: Where they are granted.
    """

    round: int
    model: Update
    update: np.ndarray
    examples: int
    steps: int = 1
    batch_size: int
    blur: float = 0.0
    sites: int = 1
    mix: tuple[float, float] | None = None
    labels: torch.Tensor | None = None


def observe(
    study: Study, inputs: InputShape, statistics: Statistics, seen: Seen, *, whole: Sequence[str] = ()
) -> Observation:
    """Put together what an attack takes.

    Dropout is off: what a site dropped is drawn from its own stream, and no attacker of a real one knows it.

    Args:
        study: The study.
        inputs: What one example looks like.
        statistics: What inputs are encoded with.
        seen: What passed.
        whole: Numeric columns of whole numbers.

    Raises:
        UsageError: If the model has another number of parameters.
    """
    shape = encoded_shape(study, inputs, statistics)
    module = with_memory(build_model(study.model, shape), torch.device("cpu")).double().eval()
    model = torch.from_numpy(np.asarray(seen.model, dtype=np.float64))
    if model.numel() != sum(parameter.numel() for parameter in module.parameters()):
        raise UsageError("the model that was seen is not this study's")
    torch.nn.utils.vector_to_parameters(model.clone(), module.parameters())
    return Observation(
        module=module,
        objective=objective_of(_loss(study, statistics, seen.mix)),
        model=model,
        update=torch.from_numpy(np.asarray(seen.update, dtype=np.float64)),
        plan=local_plan(study, seen),
        examples=seen.examples,
        shape=shape,
        domain=domain_of(study, inputs, statistics, whole),
        labels=seen.labels,
        blur=seen.blur,
        sites=seen.sites,
    )


def local_plan(study: Study, seen: Seen) -> LocalPlan:
    """Return how a site trains in a round, as the study file says.

    A sealed private round is one mean of clipped gradients, to which the server's rate comes only afterwards.
    """
    training, privacy = study.training, study.protection.privacy
    patients = isinstance(privacy, DifferentialPrivacy) and privacy.unit != "site"
    if patients and isinstance(privacy, DifferentialPrivacy) and privacy.trust == "sealed":
        return LocalPlan(1.0, seen.batch_size)
    optimizer, rounds = training.optimizer, study.study.rounds
    rate = scheduled(optimizer.learning_rate, training.schedule, (seen.round - 1) % rounds + 1, rounds)
    return LocalPlan(
        learning_rate=rate,
        batch_size=seen.batch_size,
        steps=seen.steps,
        momentum=optimizer.momentum if isinstance(optimizer, Sgd) else 0.0,
        adaptive=isinstance(optimizer, Adam),
        weight_decay=optimizer.weight_decay,
        proximal=training.algorithm.mu if isinstance(training.algorithm, FedProx) else 0.0,
    )


def victims(study: Study, parts: Sequence[tuple[SiteCohort, Rows]], statistics: Statistics) -> Victims:
    """Return the records behind an update, encoded as their sites encode them.

    Args:
        study: The study.
        parts: Of each site its cohort, and the training rows behind the update.
        statistics: What inputs are encoded with.

    Raises:
        UsageError: If there are none, or a row is none of the training rows.
    """
    found = []
    for cohort, rows in parts:
        if not np.isin(rows, cohort.where(SplitName.TRAIN)).all():
            raise UsageError("only records of the training split are behind an update")
        examples = Encodings(study, cohort, None).under(statistics).parts[SplitName.TRAIN]
        found.append(as_attacked(examples, torch.from_numpy(np.searchsorted(cohort.where(SplitName.TRAIN), rows))))
    if not found:
        raise UsageError("no record is behind the update")
    return Victims(torch.cat([part.inputs for part in found]), torch.cat([part.labels for part in found]))


def as_attacked(examples: Examples, rows: torch.Tensor) -> Victims:
    """Return examples as an attack writes them: float64 inputs, and labels in the objective's shape.

    Args:
        examples: Of one site and split.
        rows: Which, int64.
    """
    inputs, targets = next(examples.batches(rows, max(1, rows.numel())))  # one batch, of no rows too
    event = targets.event.double()
    labels = event if targets.rank is None else torch.stack([event, targets.rank.double()], 1)
    return Victims(inputs.double(), labels)


def domain_of(study: Study, inputs: InputShape, statistics: Statistics, whole: Sequence[str] = ()) -> Domain:
    """Return what values an encoded example can have, from the study file and what every party has.

    Numbers are bounded by the range that the study declares. Where it declares none, Samuelson's inequality bounds all
    of n values by their mean and standard deviation: none is further off than sqrt(n - 1) of the latter (Samuelson
    1968). With `standardisation` "local" the sites' own means are nobody else's: those of all sites stand for them.

    Args:
        study: The study.
        inputs: What one example looks like.
        statistics: What inputs are encoded with.
        whole: Numeric columns of whole numbers.
    """
    if inputs.kind == "image":
        return _image_domain(study, statistics)
    mean, scale, lower, upper = _numbers(study, inputs, statistics)
    if inputs.kind == "vector":
        return _domain(mean, scale, lower, upper)
    roles, kind = roles_of(study.cohort), study.standardisation.kind
    indicators = sum(feature.indicator for feature in roles.numeric.values())
    means, scales = [*mean, *[0.0] * indicators], [*scale, *[1.0] * indicators]
    groups: list[tuple[int, ...]] = [(len(mean) + number,) for number in range(indicators)]
    implicit, start = [True] * indicators, 0
    for name, levels in statistics.layout.categories:
        held = statistics.level_counts[start : start + len(levels)]
        start += len(levels)
        first, feature = int(roles.categorical[name].drop_first), roles.categorical[name]
        share = held / max(held.sum(), 1.0) if feature.standardise and kind != "none" else np.zeros(len(levels))
        spread = np.sqrt(share * (1.0 - share))
        groups.append(tuple(range(len(means), len(means) + len(levels) - first)))
        implicit.append(bool(first))
        means += [*share[first:]]
        scales += [*np.where(spread > 0, spread, 1.0)[first:]]
    names = statistics.layout.numeric
    rest = len(means) - len(mean)
    return _domain(
        np.array(means),
        np.array(scales),
        np.array([*lower, *[0.0] * rest]),
        np.array([*upper, *[1.0] * rest]),
        groups=tuple(groups),
        implicit=tuple(implicit),
        integer=tuple(number for number, name in enumerate(names) if name in whole),
    )


def _numbers(
    study: Study, inputs: InputShape, statistics: Statistics
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, scale, and smallest and largest raw value of each numeric input."""
    kind, size = study.standardisation.kind, len(statistics.layout.numeric)
    counted = kind in ("federated", "local")
    if kind == "example":
        # A row that has mean 0 and variance 1 by itself: Samuelson's bound of its own numbers.
        reach = math.sqrt(max(size - 1, 1))
        return np.zeros(size), np.ones(size), np.full(size, -reach), np.full(size, reach)
    far = np.sqrt(np.maximum(statistics.present - 1.0, 1.0)) if counted else np.full(size, _FAR)
    lower, upper = statistics.mean - far * statistics.scale, statistics.mean + far * statistics.scale
    ranges = declared_ranges(study) if inputs.kind == "table" else {}
    for number, name in enumerate(statistics.layout.numeric):
        if name in ranges:
            lower[number], upper[number] = ranges[name]
    plain = kind == "none"
    mean = np.zeros(size) if plain else statistics.mean
    return mean, np.ones(size) if plain else statistics.scale, lower, upper


def _image_domain(study: Study, statistics: Statistics) -> Domain:
    """Return the domain of images: raw values are grey values in [0, 1]."""
    plain = study.standardisation.kind in ("none", "example")
    channels = len(statistics.layout.numeric)
    mean = np.zeros(channels) if plain else statistics.mean / _WHITE
    scale = np.ones(channels) if plain else statistics.scale / _WHITE
    shape = (channels, 1, 1)
    return _domain(*(each.reshape(shape) for each in (mean, scale, np.zeros(channels), np.ones(channels))))


def _domain(
    mean: np.ndarray,
    scale: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    *,
    groups: tuple[tuple[int, ...], ...] = (),
    implicit: tuple[bool, ...] = (),
    integer: tuple[int, ...] = (),
) -> Domain:
    """Make a domain from raw bounds."""
    wide = [
        np.asarray(each, dtype=np.float64) for each in (mean, scale, (lower - mean) / scale, (upper - mean) / scale)
    ]
    centre, spread, least, most = (torch.from_numpy(each) for each in wide)
    return Domain(least, most, groups, implicit, integer, centre, spread)


def _loss(study: Study, statistics: Statistics, mix: tuple[float, float] | None) -> Loss:
    """Return what a site minimises, from what the attacker knows."""
    if study.task == "survival":
        return CoxLoss()
    smoothing, balance = study.training.label_smoothing, study.training.class_balance
    if balance == "weighted":
        return BinaryLoss(weights=class_weights(statistics), smoothing=smoothing)
    if balance == "logit-adjusted":
        examples, positives = (statistics.examples, statistics.positives) if mix is None else mix
        return BinaryLoss(smoothing=smoothing, offset=math.log((positives + 1.0) / (examples - positives + 1.0)))
    return BinaryLoss(smoothing=smoothing)
