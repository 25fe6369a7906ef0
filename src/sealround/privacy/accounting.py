"""What events spend together: the epsilon for a delta, or the delta for an epsilon.

Two accountants, both from Google's dp-accounting, both upper bounds:

- ``pld`` convolves privacy loss distributions (Koskela, Jälkö, Honkela, AISTATS 2020), rounded to a grid by connecting
  the dots (Doroshenko et al., PoPETS 2022): next to exact;
- ``rdp`` adds Rényi divergences (Mironov, CSF 2017; of the sampled Gaussian: Mironov, Talwar, Zhang 2019): looser, and
  a check on the other.

=====================  ====================================  ====================================
Relation               pld                                   rdp
=====================  ====================================  ====================================
add-or-remove-one      yes, the worse of the two directions  yes
replace-one            yes                                   no: no bound for Poisson sampling,
                                                             and one for twice the noise without
=====================  ====================================  ====================================

Guarantee: the numbers hold for adaptive composition, every step seeing the results of those before. Those of ``pld``
are within 0.1 % of the exact ones for an epsilon of 0.01 or more and up to 100 000 steps.
Assumes: Poisson sampling with the probability stated, and noise that nobody knows a part of.
Not covered: a delta below 10^-12, since rounding errors of the convolution are of that order; noise so small that
losses come in tens of thousands counts as none; more than ten million of an event.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from sealround.errors import UnsupportedError, UsageError
from sealround.privacy.events import NeighboringRelation, PrivacyEvent, require_relation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "ACCOUNTANTS",
    "LARGEST_EPSILON",
    "MOST_EVENTS",
    "SMALLEST_DELTA",
    "Accountant",
    "delta_of",
    "epsilon_of",
    "profile",
    "spent_over",
]

Accountant: TypeAlias = Literal["pld", "rdp"]
"""How events are added up."""

ACCOUNTANTS: tuple[Accountant, ...] = get_args(Accountant)
"""Every accountant."""

LARGEST_EPSILON = 600.0
"""Up to which a privacy profile is computed; e^epsilon overflows soon after."""

MOST_EVENTS = 10**7
"""Of one kind, that are counted: a convolution of more may not fit memory."""

SMALLEST_DELTA = 1e-12
"""Below, the accountant's own rounding would speak."""

_Composition: TypeAlias = tuple[tuple[float, float, int], ...]
"""(q, noise multiplier, count), each pair once, sorted; all that is not sampled as one."""

_ORDERS = (
    *(1.0 + step / 100.0 for step in range(2, 10)),
    *(1.0 + step / 10.0 for step in range(1, 100)),
    *range(11, 64),
    *(64, 72, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 768, 1024, 1536, 2048),
)
_SMALLEST_DIVERGENCE = 1e-15  # less is rounding, and dp-accounting takes a logarithm of it

_ROUNDING = 1.8e-3
"""(grid / standard deviation of the loss)^2. Connecting dots adds about grid^2 / 6 to the variance of each step, 3 in
10 000 at this grid, and so less to epsilon."""

_FEWEST_POINTS, _MOST_POINTS = 5_000, 250_000
_FINEST, _COARSEST = 1e-6, 10.0
_NEGLIGIBLE = 1e-6  # noise whose losses are of the order of 10^12
_FARTHEST = 10.5  # standard deviations: what is beyond has a probability below 10^-25
_WIDTH = 20.0  # of a composed loss, in standard deviations


def epsilon_of(
    events: Sequence[PrivacyEvent], delta: float, relation: NeighboringRelation, accountant: Accountant = "pld"
) -> float:
    """Return the smallest epsilon that events are known to spend at a delta.

    Args:
        events: What is released, all of it.
        delta: From 10^-12 to 1, not included.
        relation: Whom nobody can tell apart.
        accountant: How they are added up.

    Returns:
        At least 0; 0 of nothing, infinite without noise.

    Raises:
        UsageError: If delta is out of range or there is no such accountant.
        UnsupportedError: If the accountant does not know the relation, an event is counted more than ten million times,
            or dp-accounting is not installed.
    """
    if not SMALLEST_DELTA <= delta < 1.0:
        raise UsageError(
            f"delta is {delta:g}, and not from {SMALLEST_DELTA:g} to 1", hint="take far less than one over the patients"
        )
    _require(relation, accountant)
    return _epsilon(_composition(events), float(delta), relation, accountant)


def delta_of(
    events: Sequence[PrivacyEvent], epsilon: float, relation: NeighboringRelation, accountant: Accountant = "pld"
) -> float:
    """Return the smallest delta that events are known to spend at an epsilon.

    Args:
        events: What is released, all of it.
        epsilon: Finite, at least 0.
        relation: Whom nobody can tell apart.
        accountant: How they are added up.

    Returns:
        From 0 to 1; 0 of nothing, 1 without noise.

    Raises:
        UsageError: If epsilon is out of range or there is no such accountant.
        UnsupportedError: If the accountant does not know the relation, an event is counted more than ten million times,
            or dp-accounting is not installed.
    """
    if not 0.0 <= epsilon < math.inf:
        raise UsageError(f"epsilon is {epsilon:g}, and not finite and at least 0")
    _require(relation, accountant)
    composition = _composition(events)
    if not composition:
        return 0.0
    if not _noised(composition, relation):
        return 1.0
    if accountant == "rdp":
        found = _library().rdp.rdp_privacy_accountant.compute_delta(_ORDERS, _divergences(composition), float(epsilon))
        return min(float(found[0]), 1.0)
    return min(max(float(_losses(composition, relation).get_delta(float(epsilon))), 0.0), 1.0)


def profile(events: Sequence[PrivacyEvent], epsilons: np.ndarray, relation: NeighboringRelation) -> np.ndarray:
    """Return delta at each of many epsilons: the privacy profile (Balle, Barthe, Gaboardi 2018).

    Args:
        events: What is released, all of it.
        epsilons: ``(n,)``, rising, from 0 to 600.
        relation: Whom nobody can tell apart.

    Returns:
        float64 ``(n,)``, each within 0..1, falling.

    Raises:
        UsageError: If epsilons do not rise or are out of range.
        UnsupportedError: As `epsilon_of`.
    """
    epsilons = np.asarray(epsilons, dtype=np.float64)
    rising = epsilons.ndim == 1 and bool(np.all(np.diff(epsilons) >= 0))
    if not (rising and np.all((epsilons >= 0) & (epsilons <= LARGEST_EPSILON))):
        raise UsageError(f"these epsilons do not rise from 0 to {LARGEST_EPSILON:g} at the most")
    _require(relation, "pld")
    composition = _composition(events)
    if not composition or not _noised(composition, relation):
        return np.full(epsilons.shape, 1.0 if composition else 0.0)
    deltas = np.clip(_losses(composition, relation).get_delta(epsilons), 0.0, 1.0)
    return np.asarray(np.minimum.accumulate(deltas))


def spent_over(
    each_round: Sequence[PrivacyEvent],
    rounds: np.ndarray,
    delta: float,
    relation: NeighboringRelation,
    *,
    once: Sequence[PrivacyEvent] = (),
    accountant: Accountant = "pld",
) -> tuple[np.ndarray, np.ndarray]:
    """Return what is spent after each of a few numbers of rounds, for a plot.

    Args:
        each_round: What is released in one round.
        rounds: Whole numbers ``(n,)``, at least 0.
        delta: As of `epsilon_of`.
        relation: Whom nobody can tell apart.
        once: What is released before the first round.
        accountant: How they are added up.

    Returns:
        The rounds, int64 ``(n,)``, and the epsilon after each, float64 ``(n,)``.

    Raises:
        UsageError: If a number of rounds is negative or no whole number, or as `epsilon_of`.
        UnsupportedError: As `epsilon_of`.
    """
    rounds = np.atleast_1d(rounds)
    if rounds.ndim != 1 or not np.issubdtype(rounds.dtype, np.integer) or np.any(rounds < 0):
        raise UsageError("numbers of rounds are whole, and at least 0")
    spent = []
    for number in rounds.tolist():
        done = [PrivacyEvent(e.what, e.noise_multiplier, e.sampling_probability, e.count * number) for e in each_round]
        spent.append(epsilon_of([*once, *done], delta, relation, accountant))
    return rounds.astype(np.int64), np.array(spent, dtype=np.float64)


def _require(relation: str, accountant: str) -> None:
    require_relation(relation)
    if accountant not in ACCOUNTANTS:
        raise UsageError(f"there is no accountant {accountant!r}", hint=f"accountants are {', '.join(ACCOUNTANTS)}")
    if accountant == "rdp" and relation != "add-or-remove-one":
        raise UnsupportedError(
            f"the rdp accountant has no bound for {relation}", hint="use pld, or the relation add-or-remove-one"
        )


def _library() -> Any:  # noqa: ANN401  (dp-accounting has no types)
    try:
        import dp_accounting  # noqa: PLC0415  (takes a second, and is an extra)
    except ImportError as error:
        raise UnsupportedError(
            "accounting for differential privacy needs dp-accounting", hint="pip install 'sealround[privacy]'"
        ) from error
    return dp_accounting


def _composition(events: Sequence[PrivacyEvent]) -> _Composition:
    """Sort and merge events: equal ones add their counts, Gaussians over everybody their inverse variances."""
    sampled: Counter[tuple[float, float]] = Counter()
    inverses = []
    for event in events:
        if event.count > MOST_EVENTS:
            raise UnsupportedError(f"an event {event.count} times over is more than {MOST_EVENTS} times")
        if event.count and event.sampling_probability == 1.0:
            noise = event.noise_multiplier
            inverses.append(math.sqrt(event.count) / noise if noise > 0 else math.inf)
        elif event.count:
            sampled[event.sampling_probability, event.noise_multiplier] += event.count
    merged = [(q, noise, count) for (q, noise), count in sampled.items()]
    return tuple(sorted([*merged, *([(1.0, 1.0 / math.hypot(*inverses), 1)] if inverses else [])]))


def _noised(composition: _Composition, relation: NeighboringRelation) -> bool:
    """Whether there is noise, and enough of it that losses are finite numbers one can work with."""
    return _grid(composition, relation) <= _COARSEST


@lru_cache(maxsize=4096)
def _epsilon(composition: _Composition, delta: float, relation: NeighboringRelation, accountant: Accountant) -> float:
    if not composition:
        return 0.0
    if not _noised(composition, relation):
        return math.inf
    if accountant == "rdp":
        return float(_library().rdp.compute_epsilon(_ORDERS, _divergences(composition), delta)[0])
    return max(float(_losses(composition, relation).get_epsilon(delta)), 0.0)


def _divergences(composition: _Composition) -> np.ndarray:
    """Rényi divergence at each order."""
    total = sum(count * _divergence(q, noise) for q, noise, count in composition)
    return np.maximum(total, _SMALLEST_DIVERGENCE)


@lru_cache(maxsize=256)
def _divergence(q: float, noise: float) -> np.ndarray:
    library = _library()
    accountant = library.rdp.RdpAccountant(_ORDERS)
    with _without_remarks():
        return np.asarray(accountant.compose(_event(library, q, noise)).rdp, dtype=np.float64)


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Drop dp-accounting's log lines on orders whose series does not converge: it leaves those out, which is sound."""

    def other(record: logging.LogRecord) -> bool:
        return "failed to converge" not in record.getMessage()

    logger = logging.getLogger("absl")
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


@lru_cache(maxsize=16)
def _losses(composition: _Composition, relation: NeighboringRelation) -> Any:  # noqa: ANN401  (a PLDAccountant)
    library = _library()
    names = library.NeighboringRelation
    known = {"add-or-remove-one": names.ADD_OR_REMOVE_ONE, "replace-one": names.REPLACE_ONE}[relation]
    accountant = library.pld.PLDAccountant(known, _grid(composition, relation))
    for q, noise, count in composition:
        accountant.compose(_event(library, q, noise), count)
    return accountant


def _event(library: Any, q: float, noise: float) -> Any:  # noqa: ANN401  (see `_library`)
    gaussian = library.GaussianDpEvent(noise)
    return gaussian if q == 1.0 else library.PoissonSampledDpEvent(q, gaussian)


@lru_cache(maxsize=4096)
def _grid(composition: _Composition, relation: NeighboringRelation) -> float:
    """Choose the interval losses are rounded to: as coarse as accuracy allows, but of a bearable number of points.

    It changes smoothly with the events, so that what grows with them also grows as computed.
    """
    least = most = widest = 0.0
    steps = 0
    for q, noise, count in composition:
        if noise < _NEGLIGIBLE:
            return math.inf
        smaller, larger, width = _spread(q, noise, relation)
        least, most, widest = least + count * smaller, most + count * larger, max(widest, width)
        steps += count
    width = max(widest, _WIDTH * math.sqrt(most))
    wanted = min(math.sqrt(_ROUNDING * least / steps), widest / _FEWEST_POINTS)
    return max(wanted, width / _MOST_POINTS, _FINEST)


def _spread(q: float, noise: float, relation: NeighboringRelation) -> tuple[float, float, float]:
    """Variance of one step's loss, in the direction where it is smaller and where it is larger, and its width.

    The loss is the log ratio of densities with and without one unit: of q N(1, noise^2) + (1 - q) N(0, noise^2), and
    of N(0, noise^2) or, if replaced, of q N(-1, noise^2) + (1 - q) N(0, noise^2).
    """
    z = np.linspace(-_FARTHEST, _FARTHEST, 211)
    weights = np.exp(-(z**2) / 2)
    weights /= weights.sum()

    def log_ratio(x: np.ndarray, towards: float) -> np.ndarray:
        """Log of the density with a unit at 1 or -1, over the one with none, at x noises."""
        exponent = (towards * x - 0.5 / noise) / noise
        return exponent if q == 1.0 else np.logaddexp(math.log1p(-q), math.log(q) + exponent)

    def losses(centre: float) -> np.ndarray:
        x = z + centre / noise
        without = log_ratio(x, -1.0) if relation == "replace-one" else 0.0
        return np.asarray(log_ratio(x, 1.0) - without)

    absent, present = losses(0.0), losses(1.0)
    means = [float(weights @ absent), float(weights @ present)]
    squares = [float(weights @ absent**2), float(weights @ present**2)]
    mean = (1 - q) * means[0] + q * means[1]
    mixed = (1 - q) * squares[0] + q * squares[1] - mean**2
    alone = squares[0] - means[0] ** 2
    width = float(max(absent.max(), present.max()) - min(absent.min(), present.min()))
    return max(min(mixed, alone), 0.0), max(mixed, alone), width
