"""Which records a site took in which step: what an attacker does not know of a pass over shuffled records.

Several steps of several batches depend on the order of the records, in second order of the learning rate. For one pass
records can be named by their places. Over several passes the places of one pass say nothing of those in the next:
following Dimitrov, Balunovic, Konstantinov, Vechev ("Data leakage in federated averaging", TMLR 2022, section 4) the
records of every pass are then unknowns of their own, tied by what does not depend on their order, and matched
afterwards. What they tie is a mean over records of features: here the records themselves and 4 p random ramps.

Once records are nearly right, swapping two of them and playing the round again says whether the order was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.func import vmap

from sealround.audit.inversion.assignment import assign
from sealround.audit.inversion.least_squares import ranked
from sealround.audit.inversion.unrolled import unrolled_update

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealround.audit.inversion.observation import LocalPlan, Observation

__all__ = ["Arrangement", "arranged", "batches_in", "matched", "order_free"]

_TOGETHER = 256


def batches_in(plan: LocalPlan, orders: torch.Tensor) -> list[torch.Tensor]:
    """Return the rows of each step.

    Args:
        plan: How the site trains.
        orders: The records in the order of each pass, int64 ``(passes, n)``.
    """
    in_passes = [rows for order in orders for rows in torch.split(order, plan.batch_size)]
    return in_passes[: plan.steps]


@dataclass(frozen=True, slots=True, eq=False)
class Arrangement:
    """Records' labels and places.

    Attributes:
        orders: The records in the order of each pass, int64 ``(passes, n)``.
        labels: Of each record.
        distance: Of the round so played from the one seen, as a share of the latter's length.
    """

    orders: torch.Tensor
    labels: torch.Tensor
    distance: float


def arranged(
    seen: Observation,
    inputs: torch.Tensor,
    given: Arrangement,
    go_on: Callable[[], bool],
    *,
    relabel: bool = False,
) -> Arrangement:
    """Swap records between the steps of a pass, and change labels, while that brings the update nearer to the one seen.

    The best of all single changes is made each time: a descent, which can end where none helps.

    Args:
        seen: The round.
        inputs: Records ``(n, *shape)``.
        given: To begin with; its distance is not used.
        go_on: Asked before every change.
        relabel: Whether labels may change.

    Returns:
        The best found.
    """
    target = seen.update.norm().clamp_min(torch.finfo(seen.update.dtype).tiny)
    swaps = _swaps(seen.plan, given.orders)

    def distance(orders: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        batches = batches_in(seen.plan, orders)
        off: torch.Tensor = (unrolled_update(seen, inputs, labels, batches) - seen.update).norm() / target
        return off

    orders, labels = given.orders, given.labels
    least = float(distance(orders, labels))
    while go_on():
        moved, named = _swapped(orders, swaps), _relabelled(labels) if relabel else labels[None][:0]
        tried = torch.cat([moved, orders.expand(len(named), -1, -1)])
        names = torch.cat([labels.expand(len(moved), *labels.shape), named])
        if not len(tried):
            break
        parts = zip(torch.split(tried, _TOGETHER), torch.split(names, _TOGETHER), strict=True)
        found = torch.cat([vmap(distance)(*part) for part in parts])
        best = int(ranked(found)[0])
        if not float(found[best]) < least:
            break
        least, orders, labels = float(found[best]), tried[best], names[best]
    return Arrangement(orders, labels, least)


def _swapped(orders: torch.Tensor, swaps: torch.Tensor) -> torch.Tensor:
    tried = orders.expand(len(swaps), -1, -1).clone()
    every, (passes, one, other) = torch.arange(len(swaps)), swaps.unbind(1)
    tried[every, passes, one], tried[every, passes, other] = orders[passes, other], orders[passes, one]
    return tried


def _relabelled(labels: torch.Tensor) -> torch.Tensor:
    """Return labels with one record's changed, in every way, ``(k, n, ...)``."""
    records = torch.arange(len(labels))
    if labels.ndim == 1:
        tried = labels.expand(len(labels), -1).clone()
        tried[records, records] = 1.0 - labels
        return tried
    classes = labels.shape[1]
    tried = labels.expand(len(labels), classes - 1, -1, -1).clone()
    others = (labels.argmax(1).unsqueeze(1) + torch.arange(1, classes)) % classes
    tried[records, :, records] = torch.eye(classes, dtype=labels.dtype)[others]
    return tried.flatten(0, 1)


def order_free(inputs: torch.Tensor, generator: torch.Generator) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function of the records of all passes, ``(passes, n, *shape)``, that is 0 where passes agree.

    Args:
        inputs: Any records of the shape, ``(n, *shape)``.
        generator: Draws the features.
    """
    width = inputs[0].numel()
    axes = torch.randn(width, 4 * width, generator=generator, dtype=inputs.dtype) / width**0.5
    kinks = torch.randn(4 * width, generator=generator, dtype=inputs.dtype)

    def apart(passes: torch.Tensor) -> torch.Tensor:
        flat = passes.flatten(2)
        features = torch.cat([flat, torch.relu(flat @ axes + kinks)], 2).mean(1)
        off: torch.Tensor = (features - features.mean(0)).flatten() / width**0.5
        return off

    return apart


def matched(passes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Find every record of the first pass in the others.

    Args:
        passes: Records of each, ``(passes, n, *shape)``.

    Returns:
        The mean of each record over passes, ``(n, *shape)``, and the order of each pass, int64 ``(passes, n)``.
    """
    first, orders, total = passes[0].flatten(1), [], torch.zeros_like(passes[0])
    for one in passes:
        place = torch.from_numpy(assign(torch.cdist(first, one.flatten(1)).square().numpy()))
        total = total + one[place]
        # Record i is at place[i] of this pass: the order lists the record at each place.
        orders.append(place.argsort())
    return total / len(passes), torch.stack(orders)


def _swaps(plan: LocalPlan, orders: torch.Tensor) -> torch.Tensor:
    """Return every pair of places of a pass that are not in the same step: pass, place, place, int64 ``(k, 3)``."""
    passes, records = orders.shape
    pairs: Sequence[torch.Tensor] = torch.triu_indices(records, records, 1).unbind(0)
    step = torch.arange(records) // plan.batch_size
    apart = step[pairs[0]] != step[pairs[1]]
    one, other = pairs[0][apart], pairs[1][apart]
    number = torch.arange(passes).repeat_interleave(len(one))
    # Steps that the round does not get to are alike: nothing tells their records apart.
    found = torch.stack([number, one.repeat(passes), other.repeat(passes)], 1)
    steps_a_pass = -(-records // plan.batch_size)
    reached = number * steps_a_pass + step[found[:, 1]] < plan.steps
    return found[reached]
