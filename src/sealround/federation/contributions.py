"""Between a site's open reply and its vector in a sealed sum, and between that sum and what a stage concludes from.

==================  ==============================================  ==================================================
Reply               Coordinates                                     Exact numbers
==================  ==============================================  ==================================================
`Sums`              --                                              as they are
`Trained`           w update, then the control variate's change     weight, 1 if anything was clipped, the tally
`Evaluated`         --                                              `sealround.federation.scores.addend`
==================  ==============================================  ==================================================

w = min(weight, weight_cap) / weight_cap, and the weight that travels is min(weight, weight_cap): the mean update is the
sum of the coordinates divided by the sum of w, which is exact.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sealround import wire
from sealround.errors import DivergenceError, ProtocolViolationError, UsageError
from sealround.federation.messages import (
    AskCounts,
    AskGroups,
    AskSquares,
    Evaluate,
    Evaluated,
    Message,
    Sums,
    Train,
    Trained,
    Validate,
    comparisons_size,
)
from sealround.federation.scores import addend
from sealround.federation.sealing import Form, SealedPlan
from sealround.secagg import Part
from sealround.vocabulary import COORDINATOR

if TYPE_CHECKING:
    from sealround.crypto import RingVector, Secret
    from sealround.federation.statistics import Statistics
    from sealround.secagg import RoundManifest
    from sealround.vocabulary import PartyId, Tally

__all__ = ["SUMMED", "Form", "Opened", "encode", "form_of", "open_total", "order_hash"]

SUMMED = (AskCounts, AskSquares, Train, Validate, AskGroups, Evaluate)
"""Requests whose answers matter only as their sum."""

_TRAINED_HEAD = 2


def form_of(request: Message, plan: SealedPlan) -> Form:
    """Return what the vector that answers a request looks like.

    Raises:
        UsageError: If its answers are not summed.
    """
    match request:
        case AskCounts(layout=layout):
            return Form((), layout.size)
        case AskSquares(layout=layout):
            return Form((), len(layout.numeric))
        case Train(model=model, control=control):
            return Form((model.size,) * (1 if control is None else 2), _TRAINED_HEAD + plan.trained_tally)
        case Validate():
            return Form((), plan.validated_tally)
        case AskGroups():
            return Form((), comparisons_size(request))
        case Evaluate():
            return Form((), plan.scores)
        case _:
            raise UsageError(f"answers to {request.type!r} are not summed")


def order_hash(order: bytes, request: Message, statistics: Statistics | None) -> bytes:
    """Return the hash of all that decides how a site answers a request (32 bytes).

    Sites train and validate on inputs that they encoded beforehand. A coordinator that has all but one encode theirs to
    zeros would read that one's update off the sum: so what they were told to encode with is part of the request.

    Args:
        order: The packed request.
        request: The same, read.
        statistics: What the inputs are encoded with, `None` before they are.
    """
    hashed = hashlib.sha256(order)
    if isinstance(request, Train | Validate | AskGroups) and statistics is not None:
        hashed.update(wire.encode(statistics.to_wire()))
    return hashed.digest()


def encode(reply: Message, manifest: RoundManifest, plan: SealedPlan, seed: Secret, site: PartyId) -> RingVector:
    """Write a site's reply as its vector.

    Args:
        reply: `Sums`, `Trained` or `Evaluated`.
        manifest: Of the round.
        plan: Of the study.
        seed: Rounds the coordinates.
        site: Whose reply it is, to be named.

    Raises:
        DivergenceError: If an update is not finite.
        UsageError: If a number is not finite or too large.
    """
    fixed = manifest.fixed_point
    match reply:
        case Sums(values=values):
            return fixed.encode((), values, seed=seed)
        case Evaluated(result=result):
            numbers = addend(result, plan.study.task, plan.study.evaluation.bootstrap, plan.groups)
            return fixed.encode((), numbers, seed=seed)
        case Trained(update=update, weight=weight, tally=tally, control=control):
            vectors = [update] if control is None else [update, control]
            try:
                clipped = max(fixed.clips(vector) for vector in vectors)  # not `any`: each one is looked at
            except UsageError as error:
                hint = "lower the learning rate, or look at its data"
                raise DivergenceError(f"the update cannot be sent: {error.message}", party=site, hint=hint) from None
            counted = min(weight, float(manifest.weight_cap))
            # The change of a control variate counts the same for each site (Karimireddy et al. 2020, Algorithm 1).
            weights = (counted / manifest.weight_cap, 1.0)
            parts = [Part(vector, w) for vector, w in zip(vectors, weights, strict=False)]
            return fixed.encode(parts, np.concatenate(([counted, float(clipped)], tally)), seed=seed)
        case _:
            raise UsageError(f"{reply.type!r} is not summed")


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """What a stage learns from a sealed sum.

    Attributes:
        sites: How many vectors are in it.
        numbers: Summed counts, tally or test results, float64.
        sums: Summed stretches of coordinates, float64: weighted updates, changes of control variates.
        weight: Sum of w; 0 where there are no coordinates.
        clipped: How many of the sites had to clip.
        error_bound: How far a coordinate of the mean update can be from the plain mean of the clipped updates.
    """

    sites: int
    numbers: Tally
    sums: tuple[np.ndarray, ...] = ()
    weight: float = 0.0
    clipped: int | None = None
    error_bound: float | None = None


def open_total(total: RingVector, manifest: RoundManifest, form: Form, sites: int) -> Opened:
    """Read a sum.

    Args:
        total: In the ring.
        manifest: Of the round.
        form: Of the vectors.
        sites: How many are in it.

    Raises:
        ProtocolViolationError: If it cannot be a sum of so many contributions: somebody did not encode as agreed.
    """
    try:
        coordinates, numbers = manifest.fixed_point.decode(total)
    except UsageError as error:
        raise ProtocolViolationError(
            f"opened what is no sum of contributions: {error.message}",
            party=COORDINATOR,
            hint="a site did not encode its contribution as agreed; nobody can tell which: begin the training anew",
        ) from None
    if not form.parts:
        return Opened(sites, numbers)
    weight = float(numbers[0]) / manifest.weight_cap
    bound = sites / 2.0**manifest.scale_bits
    return Opened(
        sites=sites,
        numbers=numbers[_TRAINED_HEAD:],
        sums=tuple(np.split(coordinates, np.cumsum(form.parts[:-1]))),
        weight=weight,
        clipped=round(numbers[1]),
        error_bound=bound / weight if weight > 0 else None,
    )
