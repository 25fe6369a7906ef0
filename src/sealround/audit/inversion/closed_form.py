"""Examples as quotients: the gradient of a linear layer's weights over that of its bias.

A linear layer that sees the examples sends back, for one example, ``delta x`` to a neuron's weights and ``delta`` to
its bias: x is their quotient, at every neuron. Over a batch, the quotient is a mean of examples weighted by what each
sends back, and one example alone where only one turns the neuron on.

Neurons that agree are not proof: with one hidden layer, all neurons that the same examples turn on agree, whatever
their number. Proof is that an example with this quotient would send back just what was seen: its residual is that of
one of its possible labels.

Sources: L. T. Phong et al., "Privacy-Preserving Deep Learning via Additively Homomorphic Encryption", IEEE TIFS 13
(2018) (quotients); J. Geiping et al., "Inverting Gradients", NeurIPS 2020, proposition 3.1; L. Fowl et al.,
"Robbing the Fed", ICLR 2022 (neurons that one example turns on).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from sealround.audit.inversion.labels import labels_from_residuals, labels_from_slopes
from sealround.audit.inversion.layers import first_linear, is_random, output_slopes, stages
from sealround.audit.inversion.objectives import Cox
from sealround.audit.inversion.observation import Reconstruction
from sealround.audit.inversion.simulation import flat_gradient
from sealround.audit.inversion.sparse_columns import basis_of

if TYPE_CHECKING:
    from sealround.audit.inversion.labels import Labelled
    from sealround.audit.inversion.layers import Stage
    from sealround.audit.inversion.observation import Observation

__all__ = ["attack", "mean_features", "why_not"]

_NAME = "closed form"
_TOLERANCE = 1e-6
_ERROR = 1e-3
_KAPPA = 6.0


def why_not(seen: Observation) -> str | None:
    """Return why no example is a quotient of gradients, or ``None``."""
    if seen.plan.adaptive:
        return "steps of Adam are not sums of what examples send back"
    if seen.plan.weight_decay and not seen.plan.single_gradient:
        return "weight decay is mixed into the gradient of the weights"
    chain = stages(seen)
    index, reason = first_linear(chain)
    if index is None:
        return reason
    if chain[index].bias is None:
        if isinstance(seen.objective, Cox) and seen.examples == 1:
            return "a single patient has no one to be compared with: the gradient is zero"
        return "the first layer has no bias: its gradient is a sum of multiples of examples, of unknown size"
    return None


def attack(seen: Observation, generator: torch.Generator) -> Reconstruction:  # noqa: ARG001  (attacks are called alike)
    """Divide, and keep the quotients that several neurons share, or that the single neuron of a linear model gives.

    Args:
        seen: The round, for which `why_not` has nothing to say.
        generator: Not used: nothing is drawn.

    Returns:
        One example for each group of neurons that agree. Certified are those whose residual is that of one of their
        labels, and the only example of a batch; their error is less than a thousandth of their length by the noise
        that the update shows. Of a linear model's batch, the mean weighted by residuals, which is nobody's record.
    """
    chain = stages(seen)
    index = first_linear(chain)[0]
    assert index is not None  # noqa: S101  (for the type checker: `why_not` asked)
    stage = chain[index]
    assert stage.weight is not None  # noqa: S101
    assert stage.bias is not None  # noqa: S101
    slopes, bias = seen.gradient[stage.weight].view(-1, *stage.input_shape), seen.gradient[stage.bias]
    joined = torch.cat([slopes, bias.unsqueeze(1)], 1)
    noise = _noise(seen, joined)
    groups, errors = _groups(joined, noise)
    if not len(groups):
        return Reconstruction(
            _NAME, slopes.new_zeros((0, *seen.shape)), note="no two neurons agree, or they got nothing back"
        )
    joined_rows = [(joined[rows] * bias[rows].unsqueeze(1)).sum(0) for rows in groups]
    quotients = torch.stack([row[:-1] / row[-1] for row in joined_rows])
    return _judged(seen, stage, quotients, groups, errors)


def mean_features(seen: Observation) -> torch.Tensor:
    """Return the head's quotients, ``(c, width)``: what the batch's features are on average, by class.

    Weighted by residuals: for a class, mostly its own examples, whose residuals are the largest, above all early in
    training (Ma et al., ICLR 2023). For one output, the batch's mean weighted by signed residuals.

    Raises:
        ValueError: If the network does not end in a linear layer with bias.
    """
    last = stages(seen)[-1]
    if not isinstance(last.module, nn.Linear) or last.weight is None or last.bias is None:
        msg = "the network does not end in a linear layer with bias"
        raise ValueError(msg)
    return seen.gradient[last.weight].view(last.module.weight.shape) / seen.gradient[last.bias].unsqueeze(1)


def _noise(seen: Observation, joined: torch.Tensor) -> float:
    """Return the deviation of an entry of the gradient: as stated, or as its singular values show."""
    stated = seen.blur / (seen.plan.learning_rate * seen.plan.steps)
    basis = basis_of(joined, min(seen.examples, *joined.shape), stated)
    return stated if basis is None else basis.noise


def _groups(joined: torch.Tensor, noise: float) -> tuple[list[torch.Tensor], list[float]]:
    """Return rows of neurons that agree, and each group's error as a share of the example's length.

    A neuron alone makes a group only if it is the layer's only one.
    """
    bias = joined[:, -1]
    alive = torch.nonzero(bias.abs() > _KAPPA * noise).squeeze(1)
    alive = alive[bias[alive].abs().argsort(descending=True, stable=True)]
    if not alive.numel():
        return [], []
    quotients = joined[alive, :-1] / bias[alive].unsqueeze(1)
    length = quotients.norm(dim=1)
    width = quotients.shape[1]
    deviation = noise * (width + length.square()).sqrt() / bias[alive].abs()
    if len(joined) == 1:
        return [alive], [float(deviation[0] / length[0])]
    apart = torch.cdist(quotients, quotients, compute_mode="donot_use_mm_for_euclid_dist")
    allowed = _KAPPA * (deviation.unsqueeze(0) + deviation.unsqueeze(1)) + _TOLERANCE * length.unsqueeze(0)
    near = apart <= allowed
    groups, errors = [], []
    free = torch.ones(len(alive), dtype=torch.bool)
    for first in range(len(alive)):
        members = near[first] & free
        if not bool(free[first]) or int(members.sum()) < 2:  # noqa: PLR2004
            continue
        free &= ~members
        rows = alive[members]
        groups.append(rows)
        errors.append(float(noise * (width + length[first] ** 2).sqrt() / bias[rows].norm() / length[first]))
    return groups, errors


def _judged(
    seen: Observation, stage: Stage, quotients: torch.Tensor, groups: list[torch.Tensor], errors: list[float]
) -> Reconstruction:
    """Say which quotients are somebody's record, and with what label."""
    inputs = quotients.view(-1, *seen.shape)
    if not seen.plan.single_gradient or is_random(seen):
        note = "several steps: quotients that neurons agree on, not proven"
        return Reconstruction(_NAME, inputs, certified=torch.zeros(len(inputs), dtype=torch.bool), note=note)
    outputs, slopes = output_slopes(seen, stage, inputs)
    bias = seen.gradient[stage.bias]
    kept: list[tuple[int, Labelled, bool]] = []
    single = seen.examples == 1
    for index, rows in enumerate(groups):
        labelled = _labelled(seen, stage, (inputs[index], outputs[index], slopes[index]), (rows, bias))
        if labelled is not None:
            match = labelled.error <= _TOLERANCE + _KAPPA * errors[index] * (1.0 + inputs.shape[1:].numel() ** 0.5)
            proven = (single or (match and len(bias) > 1)) and errors[index] <= _ERROR
            kept.append((index, labelled, proven))
    if not kept:
        alone = torch.full((len(inputs),), single)
        return Reconstruction(_NAME, inputs, certified=alone, note="labels of this loss are not read off")
    rebuilt = torch.cat([inputs[index].expand(len(found.rows), *seen.shape) for index, found, _ in kept])
    labels = torch.cat([found.labels for _, found, _ in kept])
    certified = torch.cat([torch.full((len(found.rows),), proven) for _, found, proven in kept])
    mismatch = float("nan")
    if len(rebuilt) == seen.examples:
        mismatch = float((flat_gradient(seen)(rebuilt, labels) - seen.gradient).norm() / seen.gradient.norm())
    mixed = len(bias) == 1 and not bool(certified.all())
    note = "a mean of the batch, weighted by residuals: nobody's record" if mixed else ""
    return Reconstruction(_NAME, rebuilt, labels, mismatch, certified, note=note)


def _labelled(
    seen: Observation,
    stage: Stage,
    example: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    group: tuple[torch.Tensor, torch.Tensor],
) -> Labelled | None:
    """Read the label of one quotient off what its neurons got back; its error says whether anybody has it."""
    inputs, outputs, slopes = example
    rows, bias = group
    sent = torch.zeros_like(bias)
    sent[rows] = bias[rows]
    if outputs.ndim:
        # Neurons outside the group mix several examples: only the group is compared.
        return labels_from_slopes(seen, stage, inputs.unsqueeze(0), sent.unsqueeze(0), rows)
    weight = (sent[rows] * slopes[rows]).sum() / slopes[rows].square().sum()
    found = labels_from_residuals(seen, outputs.unsqueeze(0), weight.unsqueeze(0))
    if found is None or isinstance(seen.objective, Cox):
        return None
    misfit = float((sent[rows] - weight * slopes[rows]).norm() / sent[rows].norm())
    return type(found)(found.labels, found.rows, max(found.error, misfit))
