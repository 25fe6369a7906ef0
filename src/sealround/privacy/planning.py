"""A plan of private training with one number missing, and that number.

A plan spends ``epsilon_of`` its steps and all other releases. Epsilon falls with noise and rises with the sampling
probability and the number of rounds, so the number that is missing is where it meets the budget. Every answer is on the
safe side: filled in, the plan spends what it may, and no more.

How much noise that is: the mean gradient of a step is the noised sum over q N, the expected number of units in it. Each
of its d coordinates has noise of standard deviation sigma C / (q N), so that the noise is about sigma C sqrt(d) / (q N)
long; the mean of clipped gradients is at most C long (Abadi et al., CCS 2016, Algorithm 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sealround.errors import UsageError
from sealround.privacy.accounting import SMALLEST_DELTA, delta_of, epsilon_of
from sealround.privacy.events import PrivacyEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealround.privacy.accounting import Accountant
    from sealround.privacy.events import NeighboringRelation

__all__ = [
    "LEAST_NOISE",
    "MOST_NOISE",
    "MOST_ROUNDS",
    "Plan",
    "noise_std",
    "noise_to_signal",
    "patients_needed",
    "solve",
]

LEAST_NOISE = 0.01
"""No plan is solved with less noise: epsilon is in the thousands there."""

MOST_NOISE = 1e6
"""Nor with more."""

MOST_ROUNDS = 10**6
"""Nor with more rounds."""

_LEAST_SAMPLING = 1e-6
_MANTISSAS = 9000  # numbers of four digits in each power of ten: 1.000 to 9.999
_UNKNOWNS = ("epsilon", "delta", "noise_multiplier", "sampling_probability", "rounds")


@dataclass(frozen=True, slots=True)
class Plan:
    """Numbers of one private training; of the first five, one may be missing.

    Attributes:
        epsilon: What may be spent, at least 0, other releases included.
        delta: At which, from 10^-12 to 1, not included.
        noise_multiplier: Of each step, as of `PrivacyEvent`; more than 0.
        sampling_probability: q, of each unit in each step, within 0..1 and not 0.
        rounds: How many steps, at least 1.
        l2_clip_norm: C, the longest gradient of one unit; more than 0.
        patients: N, the units of all sites together; at least 1.

    Raises:
        UsageError: If a number is not one of these; the message says which.
    """

    epsilon: float | None
    delta: float | None
    noise_multiplier: float | None
    sampling_probability: float | None
    rounds: int | None
    l2_clip_norm: float
    patients: int

    def __post_init__(self) -> None:
        """Refuse numbers that no training has."""
        _within("epsilon", self.epsilon, lambda x: x >= 0.0, "at least 0")
        _within("delta", self.delta, lambda x: SMALLEST_DELTA <= x < 1.0, f"from {SMALLEST_DELTA:g} to 1")
        _within("noise_multiplier", self.noise_multiplier, lambda x: x > 0.0, "more than 0")
        _within("sampling_probability", self.sampling_probability, lambda x: 0.0 < x <= 1.0, "within 0..1")
        _within("l2_clip_norm", self.l2_clip_norm, lambda x: x > 0.0, "more than 0")
        for name, number in (("rounds", self.rounds), ("patients", self.patients)):
            _within(name, number, lambda x: x >= 1 and isinstance(x, int), "a whole number of at least 1")

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the numbers that are not there."""
        return tuple(name for name in _UNKNOWNS if getattr(self, name) is None)

    @property
    def steps(self) -> PrivacyEvent:
        """The training as an event.

        Raises:
            UsageError: If its noise, sampling or rounds are missing.
        """
        noise, sampling, rounds = self.noise_multiplier, self.sampling_probability, self.rounds
        if noise is None or sampling is None or rounds is None:
            raise UsageError(f"the plan lacks {' and '.join(self.missing)}", hint="solve it first")
        return PrivacyEvent("training", noise, sampling, rounds)


def solve(
    plan: Plan,
    relation: NeighboringRelation,
    other_events: Sequence[PrivacyEvent] = (),
    accountant: Accountant = "pld",
) -> Plan:
    """Fill in the one number that a plan lacks.

    Args:
        plan: With exactly one number missing.
        relation: Whom nobody can tell apart.
        other_events: What is released besides, and paid from the same budget.
        accountant: How it is all added up.

    Returns:
        The whole plan, which keeps to its epsilon. Noise and delta are the smallest of four digits that do, the
        sampling probability the largest of four digits, rounds the most.

    Raises:
        UsageError: If none or several numbers are missing, or no value of the one that is reaches the target.
        UnsupportedError: As `sealround.privacy.accounting.epsilon_of`.
    """
    if len(plan.missing) != 1:
        found = " and ".join(plan.missing) or "none"
        raise UsageError(f"of a plan one number is solved for, and {found} is missing", hint="leave exactly one out")
    name = plan.missing[0]

    def spent(whole: Plan) -> float:
        assert whole.delta is not None  # noqa: S101  (for the type checker: it is missing only where it is tried)
        return epsilon_of((*other_events, whole.steps), whole.delta, relation, accountant)

    if name == "epsilon":
        epsilon = spent(plan)
        if math.isinf(epsilon):
            raise UsageError("with so little noise no epsilon is finite", hint="raise noise_multiplier")
        return replace(plan, epsilon=epsilon)
    target = plan.epsilon
    assert target is not None  # noqa: S101  (for the type checker: another number is missing)
    if name == "delta":
        return _solve_delta(plan, delta_of((*other_events, plan.steps), target, relation, accountant), spent)
    assert plan.delta is not None  # noqa: S101  (as above)
    _leave_something(epsilon_of(other_events, plan.delta, relation, accountant), target)

    def filled(index: int) -> Plan:
        match name:
            case "noise_multiplier":
                return replace(plan, noise_multiplier=_number(-index))
            case "sampling_probability":
                return replace(plan, sampling_probability=_number(index))
            case _:
                return replace(plan, rounds=index)

    best = _most(lambda index: spent(filled(index)), target, _search(plan, relation))
    if best is None:
        raise UsageError(
            f"no {name} keeps to an epsilon of {target:g} at a delta of {plan.delta:g}",
            hint="raise the budget, or plan less noise-hungry: fewer rounds, a smaller sampling probability",
        )
    return filled(best)


def noise_std(plan: Plan) -> float:
    """Return the standard deviation of noise in each coordinate of a step's mean gradient: sigma C / (q N).

    Raises:
        UsageError: If the plan is not whole.
    """
    steps = plan.steps
    return steps.noise_multiplier * plan.l2_clip_norm / (steps.sampling_probability * plan.patients)


def noise_to_signal(plan: Plan, parameters: int) -> float:
    """Return how long the noise in a step's mean gradient is, in lengths of the longest mean gradient.

    That is sigma sqrt(d) / (q N). Steps average noise out, so that training can succeed at a ratio well above 1.

    Args:
        plan: Whole.
        parameters: d, how many the model has; at least 1.

    Raises:
        UsageError: If the plan is not whole.
    """
    return noise_std(plan) * math.sqrt(parameters) / plan.l2_clip_norm


def patients_needed(plan: Plan, parameters: int, ratio: float = 1.0) -> int:
    """Return the smallest cohort in which `noise_to_signal` is at most a ratio, everything else alike.

    That is N = sigma sqrt(d) / (q ratio), rounded up; the privacy of a plan does not depend on N.

    Args:
        plan: Whole; its own number of patients does not matter.
        parameters: d, how many the model has; at least 1.
        ratio: More than 0.

    Raises:
        UsageError: If the plan is not whole, or the ratio is not positive.
    """
    if not 0.0 < ratio < math.inf:
        raise UsageError(f"ratio is {ratio:g}, and not more than 0")
    least = max(math.floor(noise_to_signal(replace(plan, patients=1), parameters) / ratio), 1)
    # A float may round either way.
    return next(n for n in range(least, least + 3) if noise_to_signal(replace(plan, patients=n), parameters) <= ratio)


def _solve_delta(plan: Plan, delta: float, spent: Callable[[Plan], float]) -> Plan:
    if delta >= 1.0:
        raise UsageError(
            f"no delta below 1 keeps to an epsilon of {plan.epsilon:g}", hint="raise epsilon or noise_multiplier"
        )
    index = _index(max(delta, SMALLEST_DELTA))
    assert plan.epsilon is not None  # noqa: S101  (for the type checker: delta is what is missing)
    while (number := _number(index)) < 1.0:
        if delta <= number and spent(whole := replace(plan, delta=number)) <= plan.epsilon:
            return whole
        index += 1
    raise UsageError(f"no delta below 1 keeps to an epsilon of {plan.epsilon:g}", hint="raise epsilon")


def _leave_something(spent: float, target: float) -> None:
    if spent > target:
        raise UsageError(
            f"other releases alone spend an epsilon of {spent:.4g}, and {target:g} is all there is",
            hint="raise epsilon, release less, or put more noise on it",
        )


@dataclass(frozen=True, slots=True)
class _Search:
    """Where to look for an index: from a start, by steps of a size at first, between two that are included."""

    start: int
    step: int
    lowest: int
    highest: int


def _search(plan: Plan, relation: NeighboringRelation) -> _Search:
    """Guess where the budget is met.

    By rho = mu^2 / 2 with epsilon = rho + 2 sqrt(rho log(1 / delta)) (Bun and Steinke, TCC 2016, Proposition 1.3), and
    mu = q sqrt(rounds (e^(1 / sigma^2) - 1)) (Bu, Dong, Long, Su, HDSR 2020, Theorem 5).
    """
    epsilon, delta = plan.epsilon or 0.0, plan.delta or SMALLEST_DELTA
    root = math.sqrt(-math.log(delta))
    rho = max((math.sqrt(root**2 + epsilon) - root) ** 2, 1e-12)
    mu_squared = 2.0 * rho / (4.0 if relation == "replace-one" else 1.0)
    noise, q, rounds = plan.noise_multiplier, plan.sampling_probability, plan.rounds
    excess = math.expm1(min(noise**-2.0, 100.0)) if noise is not None else 1.0
    if noise is None:
        guess = 1.0 / math.sqrt(math.log1p(mu_squared / ((q or 1.0) ** 2 * (rounds or 1))))
        lowest, highest = -_index(MOST_NOISE), -_index(LEAST_NOISE)
        return _Search(min(max(-_index(min(guess, MOST_NOISE)), lowest), highest), 500, lowest, highest)
    if q is None:
        guess = math.sqrt(mu_squared / ((rounds or 1) * excess))
        lowest, highest = _index(_LEAST_SAMPLING), _index(1.0)
        return _Search(min(max(_index(min(max(guess, _LEAST_SAMPLING), 1.0)), lowest), highest), 500, lowest, highest)
    start = int(min(max(mu_squared / (q**2 * excess), 1.0), MOST_ROUNDS))
    return _Search(start, max(start // 8, 1), 1, MOST_ROUNDS)


def _most(spent: Callable[[int], float], target: float, search: _Search) -> int | None:
    """Return the largest index that spends no more than a target; ``None`` if none does.

    Gallops from the start until the index is between two, then interpolates the logarithm of what is spent.

    Args:
        spent: Rising with the index.
        target: At least 0.
        search: Where to look.
    """
    goal, step, index = _log(target), search.step, search.start
    low: tuple[int, float] | None = None
    high: tuple[int, float] | None = None
    while low is None or high is None:
        value = spent(index)
        if value <= target:
            low = index, _log(value)
            if index == search.highest:
                return index
            index = min(index + step, search.highest)
        else:
            high = index, _log(value)
            if index == search.lowest:
                return None
            index = max(index - step, search.lowest)
        step *= 2
    push = 1
    while high[0] - low[0] > 1:
        # Where nothing at all is spent there is nothing to interpolate.
        share = (goal - low[1]) / (high[1] - low[1]) if low[1] < goal else 0.5
        index = low[0] + round(share * (high[0] - low[0]))
        # One more on the side that moved last, twice as many each time: it soon lands on the other.
        index = min(max(index + push, low[0] + 1), high[0] - 1)
        value = spent(index)
        if value <= target:
            low, push = (index, _log(value)), 2 * push if push > 0 else 1
        else:
            high, push = (index, _log(value)), 2 * push if push < 0 else -1
    return low[0]


def _log(value: float) -> float:
    return math.log(min(max(value, 1e-9), 1e9))


def _number(index: int) -> float:
    """Return the number of four digits with an index: 1.000 has 0, 1.001 has 1, 10.00 has 9000."""
    power, mantissa = divmod(index, _MANTISSAS)
    return float(f"{mantissa + 1000}e{power - 3}")


def _index(value: float) -> int:
    """Return the index of the largest number of four digits that is not above a positive value."""
    power = math.floor(math.log10(value))
    index = _MANTISSAS * power + math.floor(value / 10.0 ** (power - 3)) - 1000
    # A float may round either way.
    return max(near for near in range(index - 2, index + 3) if _number(near) <= value)


def _within(name: str, number: object, right: Callable[[float], bool], wanted: str) -> None:
    if number is None:
        return
    if (
        isinstance(number, bool)
        or not isinstance(number, int | float)
        or not math.isfinite(number)
        or not right(number)
    ):
        raise UsageError(f"{name} is {number!r}, and not {wanted}")
