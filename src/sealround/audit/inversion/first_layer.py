"""What the first linear layer's update says of a whole round, however many steps it had.

A step of SGD adds ``-rate * delta^T [X, 1]`` to the first layer's weights and biases, one row of ``[X, 1]`` a record.
Momentum and FedProx's pull are linear in these, so that after any number of steps on the same records

    [change of weights, change of biases] = A [X, 1],    A of shape (neurons, records),

*exactly*: the records lie in the change's row space, of as many dimensions as there are records. Weight decay takes a
known share of the first weights off, and then the weights alone have this form. Where a neuron is off for a record in
every step, A has a zero: with ReLU half of A. As in SPEAR (Dimitrov, Baader, Mueller, Vechev, NeurIPS 2024, sections 3
and 4), which is stated for one gradient, this sparsity tells A's columns from their mixtures, and with them X.

Unlike SPEAR this takes no support of an active neuron as proof, since neurons may switch between steps: a column is
believed for having more zeros than any mixture could have but by chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from sealround.learning.layers import Dropout

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.audit.inversion.observation import LocalPlan, Observation

__all__ = ["RowSpace", "Sparse", "records_of", "rounding", "row_space", "sparse_directions"]

_LAYERED = 3  # Weights, biases, and something after them.
_TRIES = 4096  # Sets of neurons looked at together.
_ZERO = 1e-3  # Share of a column's largest entry that may be zero.
_ROUNDED = 16.0  # Zero is what is at most this many times the noise.
_MIXED_SIGNS = 0.02  # Share of a column that may have the wrong sign, where an output weight changed its own.
_BEYOND = 2  # Zeros beyond those that any mixture has, before a column is believed.
_PATIENCE = 3  # Rounds without a sparser direction, after which there is none.
_FITS = 0.97  # Share of neurons on and off as they should be, at which records are right; steps change some.
_POOL = 96  # Directions that are tried in place of others.
_INDEPENDENT = 1e-6  # Determinant of unit vectors.
_SAME = 0.999  # Cosine of two directions that are one.
_CLEAR = 8.0  # A singular value this many times the noise's is signal.


@dataclass(frozen=True, slots=True, eq=False)
class RowSpace:
    """The row space of the first layer's change.

    Attributes:
        basis: Orthonormal rows, float64 ``(r, p + 1)``, the last column for the biases; ``(r, p)`` with weight decay.
        mixed: The change in this basis, ``(neurons, r)``: A times an unknown ``(r, r)`` matrix.
        biases: Change of the biases, ``(neurons,)``.
        affine: Whether records are rows with a last 1.
        signs: Of each neuron's weight in a single output, if the output is the next layer; then all of a record's
            column has the sign of its error times these. Else ``None``.
        noise: Deviation of a number of the change.
        clear: How many times the noise's the smallest singular value is.
        weights: Of the layer before the round, biases last, ``(neurons, p + 1)``.
    """

    basis: torch.Tensor
    mixed: torch.Tensor
    biases: torch.Tensor
    affine: bool
    signs: torch.Tensor | None
    noise: float
    clear: float
    weights: torch.Tensor

    @property
    def rank(self) -> int:
        """How many dimensions."""
        return self.basis.shape[0]

    def unknowns(self, records: int) -> int:
        """How many numbers fix so many records in the space."""
        return records * (self.rank - 1 if self.affine else self.rank)

    def place(self, records: int) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the function from coordinates ``(unknowns(records),)`` to records ``(records, p)``."""
        if not self.affine:
            return lambda coordinates: coordinates.view(records, self.rank) @ self.basis
        origin, free = self._affine()
        return lambda coordinates: origin + coordinates.view(records, self.rank - 1) @ free

    def coordinates(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the coordinates of the nearest records in the space, flat.

        Args:
            inputs: ``(..., records, p)``; leading dimensions are kept.
        """
        if not self.affine:
            return (inputs @ self.basis.mT).flatten(-2)
        origin, free = self._affine()
        if not free.numel():
            return inputs.new_zeros((*inputs.shape[:-2], 0))
        nearest: torch.Tensor = (inputs - origin) @ torch.linalg.pinv(free)
        return nearest.flatten(-2)

    def _affine(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return one record of the space, ``(p,)``, and the directions along which the last number stays 1."""
        last = self.basis[:, -1]
        first = last / last.square().sum().clamp_min(torch.finfo(last.dtype).tiny)
        free = torch.linalg.svd(last.unsqueeze(0), full_matrices=True)[2][1:]
        return first @ self.basis[:, :-1], free @ self.basis[:, :-1]


@dataclass(frozen=True, slots=True, eq=False)
class Sparse:
    """Sparse directions of a row space.

    Attributes:
        directions: Independent unit vectors, float64 ``(found, r)``.
        zeros: How many zeros beyond those of any mixture each has, as a share of all neurons.
        agreement: How often a record has a neuron on where its column says so and off elsewhere, as a share, before the
            round; 0 unless all r are found.
    """

    directions: torch.Tensor
    zeros: torch.Tensor
    agreement: float


def row_space(seen: Observation) -> RowSpace | None:
    """Return the records' row space, or ``None`` where the update has none.

    There is none if the network does not begin with a linear layer with biases, if there are as many records as columns
    or neurons, if steps were Adam's, or if noise covers it.
    """
    leaves = [one for one in seen.module.modules() if not list(one.children())]
    layer = next((one for one in leaves if not isinstance(one, (nn.Identity, nn.Dropout, Dropout))), None)
    if not isinstance(layer, nn.Linear) or seen.plan.adaptive:
        return None
    parameters = list(seen.module.parameters())
    if len(parameters) < _LAYERED or parameters[1] is not layer.bias:
        return None
    if seen.shape != (layer.in_features,) or parameters[0] is not layer.weight:
        return None
    size, neurons = layer.weight.numel(), layer.out_features
    weights = seen.update[:size] - _decayed(seen.plan) * seen.model[:size]
    weights, biases = weights.view(neurons, -1), seen.update[size : size + neurons]
    affine = seen.plan.weight_decay == 0.0
    change = torch.cat([weights, biases.unsqueeze(1)], 1) if affine else weights
    if seen.examples >= min(change.shape):
        return None
    _, values, basis = torch.linalg.svd(change, full_matrices=False)
    noise = rounding(seen)
    largest = noise * (math.sqrt(change.shape[0]) + math.sqrt(change.shape[1]))
    rank = min(seen.examples, int((values > _CLEAR * largest).sum()))
    if not rank:
        return None
    clear = float(values[rank - 1]) / largest
    following = parameters[2]
    signs = None
    if following.shape == (1, neurons):
        outer = slice(size + neurons, size + 2 * neurons)
        before, after = seen.model[outer].sign(), (seen.model[outer] + seen.update[outer]).sign()
        signs = torch.where(before == after, before, 0.0)
    start = torch.cat([seen.model[:size].view(neurons, -1), seen.model[size : size + neurons].unsqueeze(1)], 1)
    return RowSpace(basis[:rank], change @ basis[:rank].mT, biases, affine, signs, noise, clear, start)


def sparse_directions(space: RowSpace, generator: torch.Generator, rounds: int, go_on: Callable[[], bool]) -> Sparse:
    """Tell the records of a row space apart, as far as that goes.

    A direction q with ``mixed @ q`` sparse is a column of A. Such directions are null vectors of r - 1 neurons that one
    record has all left off; sets are drawn at random, 4096 a round, and what has more zeros than it was made to have is
    made more exact with all of its zeros.

    Args:
        space: Of r dimensions.
        generator: Draws the sets.
        rounds: At most; fewer if nothing new turns up.
        go_on: Asked before every round.

    Where masks of neurons are nested, a difference of two columns is sparser than the columns are. So directions are
    exchanged afterwards, as long as records then fit their zeros better: neurons are on for them exactly where A says.

    Returns:
        What was found; `records_of` takes all r.
    """
    live = space.mixed.norm(dim=1) > _ZERO * space.mixed.norm(dim=1).amax()
    mixed, signs = space.mixed[live], None if space.signs is None else space.signs[live]
    rank, neurons = space.rank, len(mixed)
    if rank == 1:
        return Sparse(torch.ones(1, 1, dtype=mixed.dtype), torch.ones(1), 1.0)
    found, zeros, unchanged = mixed[:0], torch.zeros(0), 0
    pool, pooled = found, zeros
    if neurons < rank + _BEYOND:
        return Sparse(found, zeros, 0.0)
    chosen, agreement, seen = found, 0.0, 0
    for _ in range(rounds):
        if not go_on():
            break
        directions, count = _drawn(mixed, space.noise, generator)
        if signs is not None:
            columns = directions @ mixed.mT * signs
            one_signed = columns.sum(1).abs() >= (1.0 - _MIXED_SIGNS) * columns.abs().sum(1)
            directions, count = directions[one_signed], count[one_signed]
        pool, pooled = _unlike(torch.cat([pool, directions]), torch.cat([pooled, count]))
        before, (found, zeros) = zeros, _distinct(pool, pooled, rank)
        unchanged = unchanged + 1 if torch.equal(before, zeros) else 0
        if unchanged >= _PATIENCE and len(found) == rank and len(pool) > seen:
            seen = len(pool)
            chosen, agreement = _exchanged(
                space, found if len(chosen) < rank else chosen, pool[:0] if signs is None else pool
            )
            # In deeper networks no two columns are proportional, and no difference of two has zeros where both are on.
            if agreement >= _FITS or signs is None:
                break
    if len(chosen) < rank:
        chosen = found
    zero = (space.mixed @ chosen.mT).abs() <= _ROUNDED * space.noise
    return Sparse(chosen, (zero.sum(0) - (rank - 1)) / neurons, agreement)


def _drawn(mixed: torch.Tensor, noise: float, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return sparse directions that are null vectors of random sets of neurons, and their zeros beyond chance."""
    neurons, rank = mixed.shape
    drawn = torch.rand(_TRIES, neurons, generator=generator).topk(rank - 1, 1).indices
    # One more row at random makes the system square: its solution is the null vector of the others.
    rows = torch.cat([mixed[drawn], torch.randn(_TRIES, 1, rank, generator=generator, dtype=mixed.dtype)], 1)
    wanted = torch.zeros(_TRIES, rank, 1, dtype=mixed.dtype)
    wanted[:, -1] = 1.0
    directions = torch.linalg.solve_ex(rows, wanted)[0].squeeze(2)
    directions = directions[directions.isfinite().all(1)]
    return _sharpened(mixed, directions / directions.norm(dim=1, keepdim=True), noise)


def _unlike(directions: torch.Tensor, zeros: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return directions and their zeros, sparsest first, without those that are another one over again."""
    order = zeros.argsort(descending=True, stable=True)
    directions, zeros = directions[order], zeros[order]
    same = (directions @ directions.mT).abs() > _SAME
    first = ~same.tril(-1).any(1)
    return directions[first][:_POOL], zeros[first][:_POOL]


def _exchanged(space: RowSpace, directions: torch.Tensor, pool: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Exchange directions for others for as long as records fit their zeros better; return the share that fits."""
    rank = space.rank

    def agreement(sets: torch.Tensor) -> torch.Tensor:
        inputs = records_of(space, sets)
        on = inputs @ space.weights[:, :-1].mT + space.weights[:, -1] > 0.0
        column = (space.mixed @ sets.mT).mT.abs() > _ROUNDED * space.noise
        live = space.mixed.norm(dim=1) > _ZERO * space.mixed.norm(dim=1).amax()
        return (on == column)[..., live].double().mean((-2, -1))

    most = float(agreement(directions))
    for _ in range(2 * rank):
        tried = directions.repeat(rank, len(pool), 1, 1)
        places = torch.arange(rank)
        tried[places, :, places] = pool
        # What makes the set dependent has no records.
        tried = tried.flatten(0, 1)
        tried = tried[torch.linalg.det(tried).abs() > _INDEPENDENT]
        if not len(tried):
            break
        found = agreement(tried)
        if not float(found.max()) > most:
            break
        most, directions = float(found.max()), tried[int(found.argmax())]
    return directions, most


def records_of(space: RowSpace, directions: torch.Tensor) -> torch.Tensor:
    """Read the records off, ``(..., r, p)``: directions are scaled so that columns add up to the change of the biases.

    Args:
        space: Of r dimensions.
        directions: r independent ones, ``(..., r, r)``.
    """
    columns = space.mixed @ directions.mT
    wanted = space.biases.unsqueeze(1).expand(*columns.shape[:-1], 1)
    scale = torch.linalg.lstsq(columns, wanted).solution
    inputs: torch.Tensor = torch.linalg.pinv((directions * scale).mT) @ space.basis
    return inputs[..., :-1] if space.affine else inputs


def _sharpened(mixed: torch.Tensor, directions: torch.Tensor, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Keep directions with zeros beyond chance, each made the null vector of all of its zeros."""
    rank = mixed.shape[1]

    def off(columns: torch.Tensor, share: float) -> torch.Tensor:
        return columns.abs() <= torch.clamp(share * columns.abs().amax(1, keepdim=True), min=_ROUNDED * noise)

    # A zero too many spoils a direction: zeros are held to less at each turn, the last time to noise.
    for share in (_ZERO, _ZERO / 10, _ZERO / 100):
        zero = off(directions @ mixed.mT, share)
        zero = torch.unique(zero[zero.sum(1) >= rank - 1 + _BEYOND], dim=0)
        if not len(zero):
            return directions[:0], torch.zeros(0)
        _, values, basis = torch.linalg.svd(mixed * zero.unsqueeze(2), full_matrices=False)
        # Neurons that two records have off leave every mixture of the two: a column of A is the only null vector.
        directions = basis[values[:, -2] > _ROUNDED * noise][:, -1]
    count = off(directions @ mixed.mT, 0.0).sum(1) - (rank - 1)
    return directions[count >= _BEYOND], count[count >= _BEYOND].float()


def _distinct(directions: torch.Tensor, zeros: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return independent directions, those with the most zeros first; at most ``rank``."""
    kept: list[int] = []
    rest = directions.clone()
    for index in zeros.argsort(descending=True, stable=True).tolist():
        if len(kept) == rank:
            break
        length = float(rest[index].norm())
        same = bool((directions[kept] @ directions[index]).abs().gt(_SAME).any()) if kept else False
        if same or length < math.sqrt(1.0 - _SAME**2):
            continue
        kept.append(index)
        # What is left of the others at right angles to all kept ones.
        axis = rest[index] / length
        rest = rest - (rest @ axis).unsqueeze(1) * axis
    return directions[kept], zeros[kept]


def rounding(seen: Observation) -> float:
    """Return the deviation of a number of the update: what blurs it, else rounding of each step to float32."""
    typical = float(seen.model.square().mean().sqrt())
    return seen.blur or typical * 2.0**-24 / math.sqrt(3.0) * math.sqrt(seen.plan.steps)


def _decayed(plan: LocalPlan) -> float:
    """Return what multiple of the first weights weight decay alone adds in a round."""
    share, velocity = 1.0, 0.0
    for _ in range(plan.steps):
        pulled = plan.weight_decay * share + plan.proximal * (share - 1.0)
        velocity = plan.momentum * velocity + pulled
        share -= plan.learning_rate * velocity
    return share - 1.0
