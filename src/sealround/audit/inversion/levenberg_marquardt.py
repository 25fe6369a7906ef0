"""Levenberg-Marquardt on the gradient itself: float64-exact reconstruction through smooth networks.

The gradient of a batch is d equations in u unknowns (the pixels, and the labels if they are not known), with d far
larger than u for most networks. Where the network is smooth, Gauss-Newton steps solve them to rounding from almost any
start, while descent along the squared distance's slope (DLG) takes the square of the condition number. Steps are those
of `sealround.audit.inversion.gauss_newton`.

Whether the solution is the only one nearby is checked: a zero residual where J has full rank is an isolated root (the
inverse function theorem), and then it is certified.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sealround.audit.inversion.gauss_newton import GaussNewton, State, full_rank
from sealround.audit.inversion.simulation import flat_gradient
from sealround.audit.inversion.trail import GuessedLabels, Trail, box, check_single, guess_labels
from sealround.audit.inversion.unknowns import nearest_labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.audit.inversion.observation import Observation, Reconstruction

__all__ = ["LevenbergMarquardt", "attack", "certify", "residual_of"]

_SOLVED = 1e-9
"""Relative mismatch at which a gradient counts as explained."""

_SLOW, _PATIENCE = 0.8, 4  # A start is given up after so many steps in a row that left more than this of the cost.
_BROAD = 0.3  # Spread of starts, as a share of the box's width.


@dataclass(frozen=True, slots=True)
class LevenbergMarquardt:
    """How to search.

    Attributes:
        restarts: Starts, at most; one that solves the equations is the last.
        iterations: Steps of a start, at most.
        enough: Relative mismatch at which a start is exact; rounding is what ends most.
        products: With the derivative, at most, a step.
        direct: Products of one step after which the derivative is formed,
        most: if there are no more unknowns than this; also the limit of the certificate.
        certificate: Whether to look for one.
        start: Inputs to start from first, ``(n, *shape)``, such as another attack's.
    """

    restarts: int = 6
    iterations: int = 60
    enough: float = 1e-13
    products: int = 1500
    direct: int = 300
    most: int = 4096
    certificate: bool = True
    start: torch.Tensor | None = None


def residual_of(seen: Observation, labels: torch.Tensor | None) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return how far the gradient of a guess is from the one seen, as shares of the latter's length.

    Args:
        seen: The round.
        labels: If ``None``, they are unknowns too.

    Returns:
        A function from the inputs, flat, and then labels, ``(u,)``, to ``(d,)``.
    """
    gradient, target = flat_gradient(seen), seen.gradient
    scale = 1.0 / target.norm().clamp_min(torch.finfo(target.dtype).tiny)
    width, shape = seen.unknowns, (seen.examples, *seen.shape)

    def apart(unknowns: torch.Tensor) -> torch.Tensor:
        inputs = unknowns[:width].view(shape)
        given = unknowns[width:].view(seen.examples, -1) if labels is None else labels
        if labels is None and given.shape[1] == 1:
            given = given.squeeze(1)
        distance: torch.Tensor = (gradient(inputs, given) - target) * scale
        return distance

    return apart


def attack(
    seen: Observation,
    generator: torch.Generator,
    settings: LevenbergMarquardt,
    clock: Callable[[], float],
    deadline: float,
) -> Reconstruction:
    """Rebuild the records behind one gradient.

    Args:
        seen: The round: one step of SGD, of one site or the mean of several.
        generator: Starts, and the signs of estimates.
        settings: How.
        clock: Tells the time, in seconds; asked before every product with the derivative.
        deadline: When the best so far is returned.

    Returns:
        One record for each example. All are certified if the gradient is explained to a billionth and the derivative
        there has full rank: then no other records nearby explain it. Far away there might be others, though of d
        equations in u unknowns d - u would have to hold by chance.

    Raises:
        UsageError: If the site took several steps.
        UnsupportedError: If survival times are not known.
    """
    check_single(seen)
    trail = Trail(seen, clock, deadline)
    guessed = guess_labels(seen, generator)
    trail.note(_start(seen, generator, 0, settings.start), guessed.labels, float("inf"))
    for number in range(max(settings.restarts, 1)):
        if not trail.going() or trail.least <= _SOLVED**2:
            break
        point = _start(seen, generator, number, settings.start)
        # Uncertain labels are taken as they are estimated and, at every other start, searched for.
        found = _search(trail, point, guessed, settings, generator, joint=not guessed.certain and number % 2 == 0)
        if found is not None:
            _search(trail, found[0], GuessedLabels(found[1], certain=True), settings, generator, joint=False)
    return _concluded(trail, generator, settings)


def _concluded(trail: Trail, generator: torch.Generator, settings: LevenbergMarquardt) -> Reconstruction:
    seen = trail.seen
    inputs, labels = trail.best
    rounded = nearest_labels(labels) if seen.labels is None else labels
    trail.note(inputs, rounded, -1.0)
    proof = None
    exact = float(residual_of(seen, rounded)(inputs.flatten()).norm()) <= _SOLVED
    if exact and settings.certificate and trail.going():
        proof = certify(seen, inputs, rounded, generator, most=settings.most)
    certified = torch.full((seen.examples,), proof is True)
    reasons = {
        True: "the gradient is explained to rounding and its derivative has full rank: nothing else nearby explains it",
        False: "the gradient is explained to rounding; that no others nearby explain it too could not be shown",
        None: "the gradient is explained to rounding; whether by others nearby too was not checked",
    }
    note = reasons[proof] if exact else "the gradient is not explained: the nearest records found in the time given"
    return trail.reconstruction("Levenberg-Marquardt", note, certified)


def certify(
    seen: Observation, inputs: torch.Tensor, labels: torch.Tensor, generator: torch.Generator, *, most: int = 4096
) -> bool | None:
    """Say whether no other records near these give the same gradient: whether its derivative by them has full rank.

    Labels are whole numbers, so records nearby have the same ones: it is the derivative by inputs.

    Args:
        seen: The round.
        inputs: Records, ``(n, *shape)``, that give the gradient seen.
        labels: Theirs.
        generator: Draws the groups of coordinates that are added up; a sum loses rank, never gains any.
        most: Unknowns, at most.

    Returns:
        ``None`` if there are too many.
    """
    if inputs.numel() > most:
        return None
    return full_rank(residual_of(seen, labels), inputs.flatten(), generator)


def _start(seen: Observation, generator: torch.Generator, number: int, given: torch.Tensor | None) -> torch.Tensor:
    """Return the inputs of a start: those given, the middle of the box for one example, else random around it."""
    lower, upper = box(seen)
    bounded = (lower.isfinite() & upper.isfinite()).expand(lower.shape)
    middle = torch.where(bounded, (lower + upper) / 2, 0.0)
    width = torch.where(bounded, upper - lower, 1.0 / _BROAD)
    drawn = torch.randn(lower.shape, generator=generator, dtype=torch.float64).to(middle)
    if number == 0 and given is not None:
        return given.to(middle)
    # Equal examples of one class stay equal for ever; of different classes they do not.
    spread = 0.0 if number == 0 and seen.examples == 1 else _BROAD
    return middle + spread * width * drawn


def _search(
    trail: Trail,
    point: torch.Tensor,
    guessed: GuessedLabels,
    settings: LevenbergMarquardt,
    generator: torch.Generator,
    *,
    joint: bool,
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Search from one start; return inputs and rounded labels if labels were searched for."""
    seen, width = trail.seen, trail.seen.unknowns
    labels = guessed.labels
    residual = residual_of(seen, None if joint else labels)
    search = GaussNewton(
        residual, generator, trail.going, products=settings.products, direct=settings.direct, most=settings.most
    )
    flat = point.flatten()
    state = search.start(torch.cat([flat, labels.flatten()]) if joint else flat)
    slow = 0
    while _worth(state, settings) and slow < _PATIENCE and trail.going():
        search.step(state)
        slow = slow + 1 if state.last > _SLOW else 0
        inputs = state.point[:width].view_as(point)
        if joint:
            labels = state.point[width:].view_as(labels)
        trail.note(inputs, labels, state.cost)
        trail.mark(state.cost**0.5)
    if not joint:
        return None
    return state.point[:width].view_as(point), nearest_labels(labels)


def _worth(state: State, settings: LevenbergMarquardt) -> bool:
    return state.cost > settings.enough**2 and state.steps < settings.iterations and not state.stalled
