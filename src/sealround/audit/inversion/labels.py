"""Labels from an update: how many patients had the outcome, and which.

Three sources, from weak to strong. The gradient of the output's bias is the batch's mean residual: with a guess of the
mean risk it says how many positives there were. With several classes, the gradients of the output's weights name a mean
feature vector for each class, from which the mean risks follow (iLRG). An attack that has rebuilt the inputs knows the
risks, and each patient's residual says the label, or for survival the event and the order of times.

Sources: Y. Ma, Y. Sun, M. Cui, C. Yan, Y. Liu, "Instance-wise Batch Label Restoration via Gradients in Federated
Learning" (iLRG), ICLR 2023; B. Zhao, K. R. Mopuri, H. Bilen, "iDLG", 2020 (the sign for one example).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sealround.audit.inversion.layers import output_slopes
from sealround.audit.inversion.objectives import Binary, Categorical, Cox
from sealround.audit.inversion.observation import Reconstruction

if TYPE_CHECKING:
    from sealround.audit.inversion.layers import Stage
    from sealround.audit.inversion.observation import Domain, Observation

__all__ = [
    "LabelCounts",
    "Labelled",
    "attack",
    "counts",
    "decoded_survival",
    "labels_from_residuals",
    "labels_from_slopes",
    "why_not",
]

_DRAWN = 256
_COPIES = 3


@dataclass(frozen=True, slots=True, eq=False)
class LabelCounts:
    """How many examples of a batch have each label.

    Attributes:
        counts: Best guess for each class, int64 ``(c,)``; negatives and positives if the loss is binary.
        low: No fewer, int64 ``(c,)``; as the stated reason says.
        high: No more.
        certain: Whether the update proves the counts.
        reason: What they rest on.
    """

    counts: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    certain: bool
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Labels of rebuilt inputs.

    Attributes:
        labels: In the objective's shape, one for each input and copy.
        rows: Which input each is for, int64.
        error: Greatest distance of a residual from the one that its label gives, as a share of the latter.
    """

    labels: torch.Tensor
    rows: torch.Tensor
    error: float


def why_not(seen: Observation) -> str | None:
    """Return why the update's last bias does not show how many examples have which label, or ``None``."""
    if isinstance(seen.objective, Cox):
        return "a partial likelihood does not see the intercept, so no residuals add up anywhere"
    if not isinstance(seen.objective, Binary | Categorical):
        return f"labels of {type(seen.objective).__name__} are not counted"
    if seen.plan.adaptive:
        return "steps of Adam show the gradient's signs, not its size"
    if _head(seen)[1] is None:
        return "the output has no bias"
    return None


def _head(seen: Observation) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the gradients of the output's weights ``(c, width)`` and bias ``(c,)``: the last parameters."""
    shapes = [parameter.shape for parameter in seen.module.parameters()]
    if len(shapes) < 2 or len(shapes[-1]) != 1 or len(shapes[-2]) != 2:  # noqa: PLR2004
        return seen.gradient.new_zeros((0, 0)), None
    classes, width = shapes[-2]
    tail = seen.gradient[-(classes * width + classes) :]
    return tail[:-classes].view(classes, width), tail[-classes:]


def counts(seen: Observation, generator: torch.Generator) -> LabelCounts:
    """Estimate how many examples have each label.

    Args:
        seen: The round, for which `why_not` has nothing to say.
        generator: Draws the examples by which the mean risk is guessed (binary loss).
    """
    if isinstance(seen.objective, Binary):
        return _binary_counts(seen, seen.objective, generator)
    return _class_counts(seen)


def _binary_counts(seen: Observation, objective: Binary, generator: torch.Generator) -> LabelCounts:
    """Solve ``n g = w1 n1 (p - t1) + w0 (n - n1) (p - t0)`` for n1, p the mean risk of invented examples.

    The analogue of ``n_c = n mean(p_c) - n g_c`` for one logit, with class weights, smoothing and an offset.
    """
    bias = _head(seen)[1]
    assert bias is not None  # noqa: S101  (for the type checker: `why_not` asked)
    number, total = seen.examples, float(bias[0]) * seen.examples
    (negative, positive), half = objective.weights, objective.smoothing / 2
    with torch.no_grad():
        risks = torch.sigmoid(seen.module(_invented(seen.domain, seen.shape, generator)) + objective.offset)
    mean, deviation = float(risks.mean()), float(risks.std())

    def positives(risk: float) -> float:
        of_positive, of_negative = positive * (risk - 1.0 + half), negative * (risk - half)
        return (total - number * of_negative) / (of_positive - of_negative)

    # Residuals are within these, whatever the risks are.
    least, most = -positive * (1.0 - half), negative * (1.0 - half)
    inside = [
        k
        for k in range(number + 1)
        if k * least + (number - k) * -negative * half <= total <= (number - k) * most + k * positive * half
    ]
    spread = 2.0 * deviation / math.sqrt(number)
    ends = sorted(positives(min(max(mean + shift, 0.0), 1.0)) for shift in (-spread, spread))
    bounds = (min(inside, default=0), max(inside, default=number))
    best = min(max(round(positives(mean)), bounds[0]), bounds[1])
    low = max(bounds[0], min(best, math.floor(ends[0] + 0.5)))
    high = min(bounds[1], max(best, math.ceil(ends[1] - 0.5)))
    certain = seen.plan.single_gradient and seen.blur == 0.0 and bounds[0] == bounds[1]
    reason = "sign of the residual" if certain else "mean residual, mean risk of invented examples"
    found = torch.tensor([[number - best, best], [number - high, low], [number - low, high]])
    return LabelCounts(found[0], found[1], found[2], certain, reason)


def _invented(domain: Domain, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Draw examples ``(256, *shape)``: standard normal within the domain, uniform where that leaves out zero."""
    lower, upper = (end.to(torch.float64).expand(shape) for end in (domain.lower, domain.upper))
    drawn = torch.randn((_DRAWN, *shape), dtype=torch.float64, generator=generator).clamp(lower, upper)
    share = torch.rand((_DRAWN, *shape), dtype=torch.float64, generator=generator)
    bounded = (lower >= 0) & torch.isfinite(upper)
    return torch.where(bounded, torch.nan_to_num(lower) + share * torch.nan_to_num(upper - lower), drawn)


def _class_counts(seen: Observation) -> LabelCounts:
    """Restore counts as iLRG does: mean features by class, their risks, and a linear system."""
    weights_gradient, bias_gradient = _head(seen)
    assert bias_gradient is not None  # noqa: S101
    classes, width = weights_gradient.shape
    head = seen.model[-(classes * width + classes) :]
    # A class's own examples dominate its row, as its residual is nearest to -1 there: ratio = mean feature vector.
    features = torch.nan_to_num(weights_gradient / bias_gradient.unsqueeze(1), posinf=0.0, neginf=0.0)
    risks = torch.softmax(features @ head[:-classes].view(classes, width).T + head[-classes:], 1)
    # sum_k n_k risk(k, c) - n_c = n g_c for each class c, and the counts add up.
    system = torch.cat([risks.T - torch.eye(classes, dtype=risks.dtype), torch.ones((1, classes), dtype=risks.dtype)])
    wanted = torch.cat([bias_gradient, bias_gradient.new_ones(1)]) * seen.examples
    solved = torch.linalg.lstsq(system, wanted.unsqueeze(1), driver="gelsd").solution.squeeze(1)
    best = _rounded(solved, seen.examples)
    alone = seen.examples == 1 and seen.plan.single_gradient and seen.blur == 0.0
    if alone:  # the only negative entry
        best = torch.nn.functional.one_hot(bias_gradient.argmin(), classes)
    everything = torch.full_like(best, seen.examples)
    low, high = (best, best) if alone else (torch.zeros_like(best), everything)
    return LabelCounts(best, low, high, alone, "sign of the residual" if alone else "mean features by class (iLRG)")


def _rounded(solved: torch.Tensor, total: int) -> torch.Tensor:
    """Return whole numbers near some real ones, not negative, with a given sum (largest remainders)."""
    share = torch.nan_to_num(solved).clamp_min(0.0)
    share = (
        share * (total / float(share.sum())) if float(share.sum()) > 0 else torch.full_like(share, total / len(share))
    )
    whole = torch.floor(share + 1e-9)
    order = torch.argsort(share - whole, descending=True, stable=True)
    whole[order[: total - int(whole.sum())]] += 1
    return whole.to(torch.int64)


def attack(seen: Observation, generator: torch.Generator) -> Reconstruction:
    """Count labels; the inputs are the domain's centre, which no update says, and nothing about them is proven."""
    found = counts(seen, generator)
    if isinstance(seen.objective, Binary):
        labels = torch.repeat_interleave(torch.tensor([0.0, 1.0], dtype=torch.float64), found.counts)
    else:
        classes = torch.repeat_interleave(torch.arange(found.counts.numel()), found.counts)
        labels = torch.nn.functional.one_hot(classes, found.counts.numel()).to(torch.float64)
    centre = torch.zeros((seen.examples, *seen.shape), dtype=torch.float64)
    centre = centre.clamp(seen.domain.lower.to(torch.float64), seen.domain.upper.to(torch.float64))
    none = torch.zeros(seen.examples, dtype=torch.bool)
    proof = "proven" if found.certain else "estimated"
    note = f"labels only, {proof}: {found.reason}"
    return Reconstruction(attack="label counts", inputs=centre, labels=labels, certified=none, note=note)


# --- with the inputs --------------------------------------------------------------------------------------------------


def labels_from_residuals(seen: Observation, outputs: torch.Tensor, residuals: torch.Tensor) -> Labelled | None:
    """Read labels off the derivatives of the mean loss by each rebuilt input's output.

    Inputs that several examples share show the sum of their residuals: up to three copies are told apart.

    Args:
        seen: The round.
        outputs: Of the rebuilt inputs, ``(k,)``.
        residuals: Derivative of the mean loss by each output, ``(k,)``.

    Returns:
        ``None`` if the objective is none of this module's.
    """
    match seen.objective:
        case Binary():
            return _binary_labels(seen, seen.objective, outputs, residuals)
        case Cox():
            labels, error = decoded_survival(outputs, residuals * seen.examples)
            return Labelled(labels, torch.arange(outputs.numel()), error)
        case _:
            return None


def _binary_labels(seen: Observation, objective: Binary, outputs: torch.Tensor, residuals: torch.Tensor) -> Labelled:
    number = outputs.numel()
    spare = min(max(seen.examples - number, 0), _COPIES - 1)
    splits = [(a, b) for a in range(spare + 2) for b in range(spare + 2) if 1 <= a + b <= spare + 1]
    of = torch.tensor(splits, dtype=outputs.dtype)
    risk = torch.sigmoid(outputs + objective.offset)
    (negative, positive), half = objective.weights, objective.smoothing / 2
    each = torch.stack([negative * (risk - half), positive * (risk - 1.0 + half)], 1)
    expected = each @ of.T
    apart = (expected - (residuals * seen.examples).unsqueeze(1)).abs()
    if not seen.plan.single_gradient:  # risks change on the way: the sign stays
        error, chosen = torch.zeros(number), (residuals < 0).to(torch.int64)
        order = {pair: index for index, pair in enumerate(splits)}
        chosen = torch.tensor([order[1, 0], order[0, 1]])[chosen]
    else:
        size = each.abs().amax(1)
        error, chosen = (apart / size.unsqueeze(1)).min(1)
    copies = of[chosen].to(torch.int64)
    rows = torch.repeat_interleave(torch.arange(number), copies.sum(1))
    labels = torch.repeat_interleave(torch.tensor([0.0, 1.0], dtype=outputs.dtype).repeat(number), copies.reshape(-1))
    return Labelled(labels, rows, float(error.max()) if number else 0.0)


def labels_from_slopes(
    seen: Observation,
    stage: Stage,
    inputs: torch.Tensor,
    columns: torch.Tensor,
    neurons: torch.Tensor | None = None,
) -> Labelled | None:
    """Read classes off what the loss sends back to a layer's outputs for each rebuilt input.

    Args:
        seen: The round.
        stage: The layer.
        inputs: Rebuilt, ``(k, *shape)``.
        columns: Derivatives of the mean loss by the layer's outputs, summed over an input's copies, ``(k, m)``.
        neurons: Which outputs to compare, int64; all if ``None``.

    Returns:
        ``None`` if the loss is not the cross-entropy of several classes.
    """
    if not isinstance(seen.objective, Categorical):
        return None
    outputs, _ = output_slopes(seen, stage, inputs)
    risks = torch.softmax(outputs, 1)
    basis = torch.eye(risks.shape[1], dtype=risks.dtype)
    # (classes, k, m): what one example with this input and class sends back, times n.
    sent = torch.stack([output_slopes(seen, stage, inputs, risks - one)[1] for one in basis])
    if neurons is not None:
        sent, columns = sent[:, :, neurons], columns[:, neurons]
    share = (sent * columns).sum(2) / sent.square().sum(2).clamp_min(torch.finfo(risks.dtype).tiny)
    misfit = (columns - share.unsqueeze(2) * sent).norm(dim=2) / columns.norm(dim=1)
    error, chosen = torch.where(share > 0, misfit, torch.inf).min(0)
    times = share.gather(0, chosen.unsqueeze(0)).squeeze(0) * seen.examples
    copies = times.round().clamp(1, seen.examples)
    rows = torch.repeat_interleave(torch.arange(len(inputs)), copies.to(torch.int64))
    return Labelled(basis[chosen][rows], rows, float(torch.maximum(error, (times - copies).abs()).max()))


def decoded_survival(scores: torch.Tensor, slopes: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Read events and the order of times off the derivatives of a partial likelihood.

    With Breslow's ties, ``slope_i = exp(score_i) H(t_i) - event_i``, where H is the sum of ``events / hazard at risk``
    over the times up to t. So H(t_i) is one of two numbers for each example, grows with time, and each of its steps is
    what those still at risk say it is: from the first time on, only one reading fits (up to coincidence). Whether the
    last one, alone at risk, had the event makes no difference to the loss: it is read as censored.

    Args:
        scores: Log hazard ratios ``(n,)``, of all examples of the batch.
        slopes: Derivatives of the *sum* of the loss by each.

    Returns:
        Labels ``(n, 2)``: event, and rank of the time, latest first; and the largest misfit of a slope.
    """
    hazard = torch.exp(scores)
    censored, event = slopes / hazard, (slopes + 1.0) / hazard
    number = scores.numel()
    time, happened = torch.full((number,), -1, dtype=torch.int64), torch.zeros(number, dtype=torch.bool)
    left, height, now, worst = torch.ones(number, dtype=torch.bool), 0.0, 0, 0.0
    while bool(left.any()):
        # Who is censored here leaves before the next event.
        tolerance = 1e-6 * (height + 1.0 / float(hazard[left].sum())) + 1e-12
        gone = left & ((censored - height).abs() <= tolerance)
        time[gone], left = 2 * now, left & ~gone
        if not bool(left.any()):
            break
        total = float(hazard[left].sum())
        best = min((_step_misfit(event, left, height, total, d), d) for d in range(1, int(left.sum()) + 1))
        (misfit, died), now = best, now + 1
        height += died / total
        chosen = torch.where(left, (event - height).abs(), torch.inf).argsort(stable=True)[:died]
        time[chosen], happened[chosen], left = 2 * now, True, left & ~_mask(chosen, number)
        worst = max(worst, misfit)
    ranks = torch.unique(-time, return_inverse=True)[1]
    return torch.stack([happened.to(scores.dtype), ranks.to(scores.dtype)], 1), worst


def _step_misfit(event: torch.Tensor, left: torch.Tensor, height: float, total: float, died: int) -> float:
    """Return how far from one step of a cumulative hazard the nearest ``died`` examples are, as a share of it."""
    after = height + died / total
    apart = torch.where(left, (event - after).abs(), torch.inf).sort().values
    return float(apart[died - 1]) / after


def _mask(rows: torch.Tensor, number: int) -> torch.Tensor:
    mask = torch.zeros(number, dtype=torch.bool)
    mask[rows] = True
    return mask
