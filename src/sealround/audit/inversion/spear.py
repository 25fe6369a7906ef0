"""SPEAR: whole batches, exactly, through a first linear layer with ReLU.

The gradient of the layer's weights and bias is ``D [X 1]``: D has a column for each example, what the loss sends back
to the neurons, with zeros where ReLU was off; X holds the examples. A singular value decomposition gives D up to an
invertible ``Q``, its rank is the number of different examples, `sparse_columns.search` finds Q's columns by their
zeros, and ``[X 1] = Q^-1 R``: the column of ones says each example's scale.

With one output, a column of D is known, its length aside, once the neurons that an example turns on are known. So X
follows once more by least squares, from the exact D: this is what makes float32 updates give more than the search
alone, and the length that a column gets is the example's residual, which says its label.

It works on whatever is a sum of such outer products: several examples a step, several steps of SGD (with momentum or
FedProx's pull) as long as few neurons change sides on the way, several sites. It needs no more than min(m, p + 1)
different examples in all, p numbers each, m neurons.

Source: D. I. Dimitrov, M. Baader, M. N. Müller, M. Vechev, "SPEAR: Exact Gradient Inversion of Batches in Federated
Learning", NeurIPS 2024 (arXiv 2403.03945). Here other than there: the search (`sparse_columns`), the bias inside the
decomposition, the last two columns by enumeration, the least squares, the replay of the whole gradient as certificate.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import nn

from sealround.audit.inversion.assembly import assembled, independent
from sealround.audit.inversion.binary_columns import MOST, binary_columns
from sealround.audit.inversion.labels import labels_from_residuals, labels_from_slopes
from sealround.audit.inversion.layers import first_linear, is_random, stages
from sealround.audit.inversion.observation import Reconstruction
from sealround.audit.inversion.sharpening import error_of, joined, layer_of, repeatable, sharpened
from sealround.audit.inversion.simulation import flat_gradient
from sealround.audit.inversion.sparse_columns import BATCH, basis_of, complement, completed, implied, search

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealround.audit.inversion.assembly import Assembly
    from sealround.audit.inversion.labels import Labelled
    from sealround.audit.inversion.layers import Stage
    from sealround.audit.inversion.observation import Observation
    from sealround.audit.inversion.sharpening import FirstLayer
    from sealround.audit.inversion.sparse_columns import Basis

__all__ = ["attack", "why_not"]

_NAME = "SPEAR"
_STARTS = 6000
_TOLERANCE = 1e-3
_WORST = 4
_PATIENCE = 8
_CLOSE = 0.02
_DROPPED = 0.4  # of neurons that are on, and were dropped
_FLOOR = 1e-9
_SLACK = 10.0
_FLIPPED = 0.03


def why_not(seen: Observation) -> str | None:
    """Return why SPEAR does not apply, or ``None``."""
    if seen.plan.adaptive:
        return "steps of Adam are not sums of outer products"
    if seen.plan.weight_decay and not seen.plan.single_gradient:
        return "weight decay is mixed into the gradient of the weights"
    chain = stages(seen)
    index, reason = first_linear(chain)
    return reason if index is None else _unlike(chain[index:])


def _unlike(chain: tuple[Stage, ...]) -> str | None:
    """Return what the layers from the first linear one lack, or ``None``."""
    if chain[0].bias is None:
        return "the first layer has no bias, which would say the scale"
    after = next((stage for stage in chain[1:] if not (stage.follows and stage.passive)), None)
    if after is None:
        return "no ReLU follows the first layer: it is the only one"
    if not after.follows or not isinstance(after.module, nn.ReLU):
        return "what follows the first layer is not ReLU"
    return None


def attack(seen: Observation, generator: torch.Generator, *, starts: int = _STARTS) -> Reconstruction:
    """Rebuild all examples of an update.

    Args:
        seen: The round, for which `why_not` has nothing to say.
        generator: Draws where searches start.
        starts: How many searches at most.

    Returns:
        All different examples with their copies, or none. Certified are those that the whole gradient, played again
        from them, proves, and whose own error is less than a thousandth of their length by the noise that the update
        shows; over several steps, those whose neurons agree.
    """
    layer = layer_of(seen)
    noise = seen.blur / (seen.plan.learning_rate * seen.plan.steps)
    basis = basis_of(layer.gradient, min(seen.examples, *layer.gradient.shape), noise)
    if basis is None:
        return _nothing(seen, "the gradient's rank is full, or hidden by noise")
    best: Reconstruction | None = None
    for directions in _directions(seen, layer, basis, generator, starts):
        rebuilt = torch.linalg.solve(directions.T, basis.values.unsqueeze(1) * basis.right)
        found = _judged(seen, layer, basis, rebuilt[:, :-1] / rebuilt[:, -1:], generator)
        if best is None or int(found.certified.sum()) > int(best.certified.sum()):
            best = found
        if bool(found.certified.all()) or not repeatable(seen):
            break
    if best is None:
        return _nothing(seen, f"{basis.rank} examples span the gradient; not all of their columns were found")
    return best


def _nothing(seen: Observation, note: str) -> Reconstruction:
    return Reconstruction(attack=_NAME, inputs=torch.zeros((0, *seen.shape), dtype=seen.model.dtype), note=note)


def _directions(
    seen: Observation, layer: FirstLayer, basis: Basis, generator: torch.Generator, starts: int
) -> Iterator[torch.Tensor]:
    """Yield coordinates of all columns ``(b, b)``: those in which neurons agree; at last, the best of the others."""
    # Pre-activations of the input that a row of the inverse of the directions stands for, its scale aside.
    forward = (layer.forward @ basis.right.T) * basis.values
    if layer.output is not None and basis.rank <= MOST and repeatable(seen):
        chosen = assembled(basis, binary_columns(basis, layer.output), forward, generator)
        if chosen is not None:
            yield chosen.directions
        return
    best, judged, stale = None, None, 0
    flipped = _DROPPED if is_random(seen) else 0.0 if seen.plan.single_gradient else _FLIPPED
    close = _CLOSE * len(forward) * (flipped == 0.0)  # the replay tells, where there is one
    for chosen in _assemblies(basis, forward, generator, starts, flipped):
        stale += 1
        if best is None or chosen.disagreements < best.disagreements:
            best, stale = chosen, 0
        if (chosen.fits or int(chosen.wrong.max()) <= close) and chosen.disagreements != judged:
            judged = chosen.disagreements
            yield chosen.directions
        if stale > _PATIENCE and flipped:  # neurons changed sides: nothing may ever fit
            break
    if best is not None and best.disagreements != judged:
        yield best.directions


def _assemblies(
    basis: Basis, forward: torch.Tensor, generator: torch.Generator, starts: int, flipped: float
) -> Iterator[Assembly]:
    """Search, and yield what can be put together: from the pool, and with columns that follow from the better ones."""
    found = torch.zeros((0, basis.rank), dtype=basis.left.dtype)
    for _ in range(0, starts, BATCH):
        found = search(basis, found, generator)
        few = independent(found)
        missing = basis.rank - len(few)
        if missing > 2:  # noqa: PLR2004  (two follow from the others)
            continue
        chosen = None if missing else assembled(basis, found, forward, flipped=flipped)
        if chosen is not None:
            yield chosen
        base = torch.cat([few, complement(few)]) if chosen is None else chosen.directions
        found = implied(basis, base, forward, found)
        for pair in _doubtful(chosen, basis.rank, missing):
            rest = [k for k in range(basis.rank) if k not in pair]
            found = completed(basis, base[rest], forward, found)
        chosen = assembled(basis, found, forward, flipped=flipped)
        if chosen is not None:
            yield chosen


def _doubtful(chosen: Assembly | None, rank: int, missing: int) -> list[tuple[int, int]]:
    """Return pairs of columns to be doubted: those missing (the last), else those that fit worst."""
    if rank < 2:  # noqa: PLR2004
        return []
    if chosen is None:
        first = rank - missing
        return [(first, first + 1)] if missing > 1 else [(k, first) for k in range(max(0, first - _WORST), first)]
    worst = chosen.wrong.argsort(descending=True, stable=True)[:_WORST].tolist()
    return list(itertools.combinations(worst, 2))


def _judged(
    seen: Observation, layer: FirstLayer, basis: Basis, inputs: torch.Tensor, generator: torch.Generator
) -> Reconstruction:
    """Sharpen examples, read their labels, and say which are proven."""
    sharp = sharpened(seen, layer, basis, inputs, generator)
    shaped = sharp.inputs.view(-1, *seen.shape)
    certain = 3.0 * error_of(basis, sharp.columns, sharp.inputs) <= _TOLERANCE
    if sharp.outputs.ndim == 1:
        labelled = labels_from_residuals(seen, sharp.outputs, sharp.weights)
    else:
        labelled = labels_from_slopes(seen, layer.stage, shaped, sharp.columns)
    if labelled is None or not repeatable(seen):
        certain &= _agree(layer, basis, (sharp.inputs, sharp.columns), dropped=is_random(seen))
        note = "the update was not played again: certified by which neurons are on"
        labels = None if labelled is None or labelled.rows.numel() != len(shaped) else labelled.labels
        return Reconstruction(attack=_NAME, inputs=shaped, labels=labels, certified=certain, note=note)
    return _proven(seen, layer, basis, (shaped, certain), labelled)


def _agree(layer: FirstLayer, basis: Basis, found: tuple[torch.Tensor, torch.Tensor], *, dropped: bool) -> torch.Tensor:
    """Return for which examples the column is zero where the example turns the neuron off, and only there, ``(b,)``.

    Over several steps this is not true of examples for which a neuron changed sides: these may be right, unproven. If
    many neurons of some example disagree, its column is wrong, and no other's input is beyond doubt. Neurons that were
    dropped are on, and their column is zero.
    """
    inputs, columns = found
    off = torch.cat([inputs, torch.ones_like(inputs[:, :1])], 1) @ layer.forward.T <= 0
    extended = torch.cat([inputs, torch.ones_like(inputs[:, :1])], 1)
    deviation = basis.noise * torch.linalg.pinv(extended).norm(dim=0)
    present = columns.abs() > 6.0 * deviation.unsqueeze(1) + 1e-9 * columns.abs().amax(1, keepdim=True)
    alive = basis.alive
    surplus = (~present & alive).sum(1) > basis.rank
    disagree = (present & off if dropped else present == off) & alive
    whole = bool((disagree.to(inputs.dtype).mean(1) <= _FLIPPED).all())
    return torch.logical_and(surplus, ~disagree.any(1)) if whole else torch.zeros_like(surplus)


def _proven(
    seen: Observation, layer: FirstLayer, basis: Basis, found: tuple[torch.Tensor, torch.Tensor], labelled: Labelled
) -> Reconstruction:
    """Play the whole gradient again; what it gives within the noise is proven, of what the noise leaves certain."""
    shaped, certain = found
    inputs, labels = shaped[labelled.rows], labelled.labels
    gradient, target = flat_gradient(seen)(inputs, labels), seen.gradient
    whole = len(inputs) == seen.examples
    if not whole:  # the others turn no neuron of the first layer on, and show in the other layers
        gradient, target = (joined(layer.stage, flat) for flat in (gradient, target))
        gradient = gradient * (len(inputs) / seen.examples)
    mismatch = float((gradient - target).norm() / target.norm())
    limit = _FLOOR + _SLACK * basis.noise * target.numel() ** 0.5 / float(target.norm())
    certified = certain[labelled.rows] & (mismatch <= limit)
    return Reconstruction(
        attack=_NAME,
        inputs=inputs,
        labels=labels,
        mismatch=mismatch if whole else float("nan"),
        certified=certified,
        note="" if whole else f"{seen.examples - len(inputs)} examples turn no neuron on, or are not told apart",
    )
