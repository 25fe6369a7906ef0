"""What each attacker of a study's threat model makes of what passed: one update, exact or blurred, and whose it is.

Every update is computed from what the attacker has: decoded messages, opened sums, models. Clipping, rounding, noise
and parameters that stay at a site are in it because they were in the bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sealround.audit.inversion.observing import Seen, observe, victims
from sealround.engines.audit.attackers import attackers_of
from sealround.errors import UsageError
from sealround.federation.private import PrivacyTerms
from sealround.federation.private.terms import SCALE_BITS
from sealround.study.sections import DifferentialPrivacy, FedAdam, FedAvg, LocalIntercept, RobustRule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.audit.inversion.observation import Observation, Victims
    from sealround.clinical.cohort import SiteCohort
    from sealround.engines.audit.attackers import AttackerKey
    from sealround.engines.audit.capture import Captured, Round, Truth
    from sealround.study import Study
    from sealround.vocabulary import PartyId, Rows, Update

__all__ = ["Exposure", "Hidden", "exposures", "judged", "observation", "true_batches", "worst_off"]

_HALF_UNIT = 2.0**-24 / math.sqrt(3.0)
"""Standard deviation of a float32's rounding, relative to the number: uniform within half a unit in its last place."""

_ROUNDED = 1.0 / 6.0
"""Variance of rounding at random, in squared units, for a fraction that is uniform: E f (1 - f)."""

_HALVINGS = 200


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exposure:
    """What one attacker holds of one round.

    Attributes:
        attacker: Who.
        round: Which round.
        site: Whose update it is; ``None`` for a sum over several.
        members: Whose records are behind it.
        accomplice: Which site's own addend was taken off, where one was.
        model: What the sites started from, float32 ``(d,)``.
        update: Local minus global parameters, of several sites their mean, float64 ``(d,)``.
        examples: How many records are behind it.
        steps: Steps of each site.
        batch_size: Examples a step, all members together.
        blur: Standard deviation of what blurs each coordinate: rounding, and the noise of a private study.
        granted: What the attacker is taken to know, and how it does.
        truth: Which records are behind it, for the judge.
        mix: Examples and those with the outcome of the one site, where they came in clear.
        note: Where the update is not what the plan gives, in one sentence.
    """

    attacker: AttackerKey
    round: int
    site: PartyId | None
    members: tuple[PartyId, ...]
    accomplice: PartyId | None
    model: Update
    update: np.ndarray
    examples: int
    steps: int
    batch_size: int
    blur: float
    granted: tuple[tuple[str, str], ...]
    truth: tuple[Truth, ...]
    mix: tuple[float, float] | None
    note: str | None


@dataclass(frozen=True, slots=True)
class Hidden:
    """An attacker that has no update to attack in a round, and why."""

    attacker: AttackerKey
    round: int
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """An update as somebody has it: the mean over some sites, its weight in the round's units, and its blur."""

    update: np.ndarray
    weight: float
    blur: float
    members: tuple[PartyId, ...]


def worst_off(captured: Captured) -> tuple[PartyId, ...]:
    """Return the sites that train, those with fewest records first: each record has the largest part in an update."""
    sizes = captured.sizes
    return tuple(sorted((site for site in sizes if sizes[site]), key=lambda site: (sizes[site], site)))


def exposures(captured: Captured, number: int, *, target: PartyId | None = None) -> tuple[Exposure | Hidden, ...]:
    """Return what each attacker but the reader of the released model holds of a round.

    Args:
        captured: The training.
        number: A round that was captured.
        target: Whose records are attacked; ``None`` for the site with fewest that took part.

    Returns:
        One for each attacker, in the order of `attackers_of`.

    Raises:
        UsageError: If the round was not captured, or the target took no part in it.
    """
    if number not in captured.rounds:
        raise UsageError(f"round {number} was not captured")
    found = captured.rounds[number]
    if target is None:
        target = next(site for site in worst_off(captured) if site in found.participants)
    if target not in found.participants:
        raise UsageError(f"{target} took no part in round {number}")
    others = [site for site in reversed(worst_off(captured)) if site in found.participants and site != target]
    accomplice = others[0] if others else None
    kinds = [attacker.key for attacker in attackers_of(captured.study, len(found.participants))]
    return tuple(_exposed(captured, found, key, target, accomplice) for key in kinds if key != "reader")


def _exposed(
    captured: Captured, found: Round, key: AttackerKey, target: PartyId, accomplice: PartyId | None
) -> Exposure | Hidden:
    """Return what one attacker holds."""
    inside = key in ("coordinator+site", "aggregator+site", "site")
    if inside and accomplice is None:
        return Hidden(key, found.number, "there is no other site that could collude")
    own = accomplice if inside else None
    if found.opened is None and key != "site":
        return _exposure(captured, found, key, _sent(captured, found, target), None)
    if key == "site":
        held = _between_models(captured, found)
        if isinstance(held, str):
            return Hidden(key, found.number, held)
    else:
        held = _opened(captured, found)
    rule = isinstance(captured.study.protection.robustness, RobustRule)
    if own is not None and own in held.members and len(held.members) > 1 and not rule:
        held = _without(captured, found, held, own)
    return _exposure(captured, found, key, held, own)


def _exposure(captured: Captured, found: Round, key: AttackerKey, held: _Held, accomplice: PartyId | None) -> Exposure:
    truth = tuple(found.truth[site] for site in held.members if site in found.truth)
    site = held.members[0] if len(held.members) == 1 else None
    steps, batch = _pace(captured.study, truth)
    return Exposure(
        attacker=key,
        round=found.number,
        site=site,
        members=held.members,
        accomplice=accomplice,
        model=found.model,
        update=held.update,
        examples=sum(each.rows.size for each in truth),
        steps=steps,
        batch_size=batch,
        blur=held.blur,
        granted=_granted(captured.study, found, key, accomplice),
        truth=truth,
        mix=None if site is None else captured.mixes.get(site),
        note=_note(captured.study, found, key, len(held.members)),
    )


def _pace(study: Study, truth: tuple[Truth, ...]) -> tuple[int, int]:
    """Return how many steps each site takes, on average, and how many examples a step of all together has."""
    if _sums_patients(study):
        return 1, max(1, sum(each.rows.size for each in truth))
    steps = [len(each.batches) for each in truth if each.batches]
    batch = sum(each.batches[0].size for each in truth if each.batches)
    return max(1, round(sum(steps) / max(len(steps), 1))), max(1, batch)


def _sums_patients(study: Study) -> bool:
    """Whether a round is one sum of clipped gradients of patients."""
    privacy = study.protection.privacy
    return isinstance(privacy, DifferentialPrivacy) and privacy.trust == "sealed" and privacy.unit != "site"


def _terms(captured: Captured, found: Round) -> PrivacyTerms | None:
    return PrivacyTerms.of(captured.study, len(found.participants))


def _float_blur(model: Update, update: np.ndarray, steps: int, batch: int = 1) -> float:
    """Return what float32 rounds off a difference of models, roughly.

    Each step rounds the weights once, and the sum of a batch's gradients once an example (errors add up as their root).
    """
    end = np.asarray(model, dtype=np.float64) + update
    return _HALF_UNIT * math.sqrt(steps * float(np.mean(end**2)) + batch * float(np.mean(np.square(update))))


def _sent(captured: Captured, found: Round, target: PartyId) -> _Held:
    """Return one site's update as it came."""
    sent, (steps, batch) = found.sent[target], _pace(captured.study, (found.truth[target],))
    update: np.ndarray = sent.update.astype(np.float64)
    blur, terms = _float_blur(found.model, update, steps, batch), _terms(captured, found)
    if terms is not None:
        noise = terms.noise(update.size)
        rate = captured.study.training.optimizer.learning_rate
        norm = terms.options.l2_clip_norm if found.clip_norm is None else found.clip_norm
        blur = math.hypot(blur, noise.sigma * norm / noise.clip / terms.expected * rate * math.sqrt(terms.steps))
    return _Held(update, sent.weight, blur, (target,))


def _opened(captured: Captured, found: Round) -> _Held:
    """Return the mean that the coordinator opens."""
    opened = found.opened
    if opened is None:
        raise UsageError("nothing was opened: the study is open")
    members = tuple(site for site in found.participants if found.addends[site].weight)
    return _mean(captured, found, opened.sums[0], opened.weight, members)


def _mean(captured: Captured, found: Round, total: np.ndarray, weight: float, members: tuple[PartyId, ...]) -> _Held:
    """Return the mean of an opened sum, or of what is left of one."""
    terms, sites = _terms(captured, found), len(members)
    unit = 2.0 ** -(found.scale_bits or 0)
    if terms is not None:
        step, noise = terms.step_at(found.clip_norm), terms.noise(total.size)
        blur = abs(step) * 2.0**-SCALE_BITS * math.hypot(noise.sigma * math.sqrt(sites), math.sqrt(sites / 12.0))
        return _Held(total * step, weight, blur, members)
    update = total / weight
    blur = math.sqrt(_ROUNDED * sites) * unit / weight
    return _Held(update, weight, math.hypot(blur, _float_blur(found.model, update, 1) / math.sqrt(sites)), members)


def _between_models(captured: Captured, found: Round) -> _Held | str:
    """Return the mean update that two successive models show, or why they do not."""
    server = captured.study.training.server
    change = found.following.astype(np.float64) - found.model
    rounding = _HALF_UNIT * math.sqrt(float(np.mean(np.square(found.following.astype(np.float64)))))
    match server:
        case FedAvg(learning_rate=rate, momentum=momentum):
            update, blur = change / rate, rounding / rate
            velocity = found.optimizer.get("velocity")
            if momentum and velocity is not None:
                update = update - momentum * velocity.astype(np.float64)
        case FedAdam() if not found.optimizer:
            update, blur = _undo_adam(server, change, rounding)
        case _:
            return "the server's optimiser has a memory that models do not give back: its steps have several causes"
    weighed = tuple(site for site in found.participants if _own(found, site)[1])
    weight = sum(_own(found, site)[1] for site in weighed)
    if (terms := _terms(captured, found)) is not None and found.opened is not None:
        blur = math.hypot(blur, _mean(captured, found, found.opened.sums[0], weight, weighed).blur)
    elif terms is not None:
        blur = math.hypot(blur, _sent(captured, found, weighed[0]).blur / math.sqrt(len(weighed)))
    elif found.opened is not None:
        unit = 2.0 ** -(found.scale_bits or 0)
        blur = math.hypot(blur, math.sqrt(_ROUNDED * len(weighed)) * unit / weight)
    return _Held(update, weight, blur, weighed)


def _undo_adam(server: FedAdam, change: np.ndarray, rounding: float) -> tuple[np.ndarray, float]:
    """Return the mean update of a first step of FedAdam, by bisection, and its blur.

    With no memory, a step is ``rate (1 - beta1) x / (sqrt(beta2 tau^2 + (1 - beta2) x^2) + tau)``, which rises with x.
    """
    tau, keep = server.tau, 1.0 - server.beta2

    def step(x: np.ndarray) -> np.ndarray:
        root = np.sqrt(server.beta2 * tau**2 + keep * x**2)
        return np.asarray(server.learning_rate * (1.0 - server.beta1) * x / (root + tau))

    low, high = np.zeros_like(change), np.full_like(change, 2.0**20)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        short = step(middle) < np.abs(change)
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    size = (low + high) / 2.0
    nudge = np.maximum(size, tau) * 1e-6
    slope = (step(size + nudge) - step(np.maximum(size - nudge, 0.0))) / (size + nudge - np.maximum(size - nudge, 0.0))
    blur = rounding / np.maximum(slope, np.finfo(np.float64).tiny)
    return np.sign(change) * size, float(np.sqrt(np.mean(np.minimum(blur, 2.0**20) ** 2)))


def _own(found: Round, site: PartyId) -> tuple[np.ndarray, float]:
    """Return a site's own weighted update and its weight, in the round's units."""
    if site in found.addends:
        return found.addends[site].coordinates, found.addends[site].weight
    sent = found.sent[site]
    return sent.update.astype(np.float64) * sent.weight, sent.weight


def _without(captured: Captured, found: Round, held: _Held, site: PartyId) -> _Held:
    """Take one site's own addend off a mean."""
    own, weight = _own(found, site)
    members = tuple(member for member in held.members if member != site)
    if (terms := _terms(captured, found)) is not None and found.opened is not None:
        update = held.update - own * terms.step_at(found.clip_norm)
        return _Held(update, held.weight, held.blur * math.sqrt(len(members) / len(held.members)), members)
    left = held.weight - weight
    update = (held.update * held.weight - own) / left
    return _Held(update, left, held.blur * held.weight / left, members)


def _granted(study: Study, found: Round, key: AttackerKey, accomplice: PartyId | None) -> tuple[tuple[str, str], ...]:
    """Say what the attacker is taken to know besides the update."""
    moment = "initial" if found.number == 1 else f"after {found.number - 1} rounds"
    chosen = "chosen by the attacker" if key == "malicious-coordinator" else moment
    granted = [
        ("model", chosen),
        ("number of records", "given, though a drawing by chance hides it" if study.protection.private else "known"),
        ("training plan", "known, from the study file"),
        ("batch order", "not known"),
        ("dropout and augmentation", "not known"),
    ]
    if accomplice is not None:
        granted.append(("one site's own update", "known, that site takes part in the attack"))
    if key == "site":
        granted.append(("server optimiser", "undone, with its state"))
    return tuple(granted)


def _note(study: Study, found: Round, key: AttackerKey, members: int) -> str | None:
    """Say where an update is not what the plan gives."""
    notes = []
    if isinstance(study.training.personalisation, LocalIntercept):
        notes.append("the output's bias stays at the site: its change is 0 here, and its value is the site's own")
    if study.protection.private:
        notes.append("patients' gradients are shortened to the norm, which the attack does not play")
    if found.corrected:
        notes.append("steps are corrected by control variates, which are not taken off")
    if members > 1 and study.task == "survival":
        notes.append("each site compares its own patients only, an attack on the sum takes them for one batch")
    if key == "site" and isinstance(study.protection.robustness, RobustRule):
        notes.append("the rule's aggregate is taken for a plain mean")
    if study.fairness.training != "plain":
        notes.append("examples are weighed by group, which the attack does not play")
    return "; ".join(notes) or None


def observation(
    captured: Captured,
    exposure: Exposure,
    *,
    labels: bool = False,
    cohorts: Mapping[PartyId, SiteCohort] | None = None,
) -> Observation:
    """Return what an attack takes.

    Args:
        captured: The training.
        exposure: What the attacker holds of it.
        labels: Whether the attacker is given the labels, in the order of `judged`.
        cohorts: Each site's records, to give labels.

    Raises:
        UsageError: If labels are to be given and there are no records to take them from.
    """
    given = None
    if labels:
        if cohorts is None:
            raise UsageError("labels are given from the sites' records")
        given = judged(captured, exposure, cohorts).labels
    seen = Seen(
        round=exposure.round,
        model=exposure.model,
        update=exposure.update,
        examples=exposure.examples,
        steps=exposure.steps,
        batch_size=exposure.batch_size,
        blur=exposure.blur,
        sites=len(exposure.members),
        mix=exposure.mix,
        labels=given,
    )
    return observe(captured.study, captured.inputs, captured.statistics, seen, whole=captured.whole)


def judged(captured: Captured, exposure: Exposure, cohorts: Mapping[PartyId, SiteCohort]) -> Victims:
    """Return the records behind an exposure, for the judge: site after site, in the order of its `truth`."""
    parts = [(cohorts[each.site], each.rows) for each in exposure.truth if each.rows.size]
    return victims(captured.study, parts, captured.statistics)


def true_batches(exposure: Exposure) -> tuple[Rows, ...]:
    """Return the rows of `judged` that each step of one site used, int64.

    Raises:
        UsageError: If it is a sum over several sites, whose steps are their own.
    """
    if len(exposure.truth) != 1:
        raise UsageError("a sum over several sites has no order of steps")
    return exposure.truth[0].batches
