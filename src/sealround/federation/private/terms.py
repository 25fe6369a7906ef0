"""What differential privacy means for the numbers of one study: noise, grids and events, derived from the study alone.

Who is summed adds his part of the noise, and what is summed are integers. In units u of a gradient's length:

1. A site adds up the clipped gradients of the patients it drew, each of length C at the most, divides by u = C / K, and
   rounds to integers. That moves each coordinate by 1/2 at the most, so that one patient changes the rounded sum by
   ``D = K (1 + slack) + sqrt(d)`` at the most, in L2 norm; slack is what float32 sums of gradients can add.
2. It cuts each coordinate to what fits, which brings no two sums further apart, and adds integers of `N_Z(s)`.
3. Integers are summed exactly, under masks or shares or in clear: the noise of h honest sites is ``N_Z(s sqrt h)``.

**What the noise is worth.** ``N_Z(S)`` around an integer x is, to a factor within 1 +- 4 exp(-2 pi^2 r^2) on every
probability, what comes of adding continuous Gaussian noise of variance S^2 - r^2 to x and rounding the result at random
by a discrete Gaussian of width r: summed over the continuous value, the product of both densities is a discrete
Gaussian times a theta function that is 1 to that factor (Peikert 2010, Theorem 3.1). The same holds for the sum of the
sites' noise. With r = 4 the factor is within 2^-390 of 1, for all 2^60 coordinates of all rounds together. Rounding at
random is post-processing, so the mechanism is at least as private as continuous Gaussian noise of S^2 - r^2, and it is
that noise that is accounted: ``noise_multiplier = sqrt(h s^2 - r^2) / D``. Subsampling needs no bound of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from sealround.crypto.discrete_gaussian import NARROWEST
from sealround.errors import Problem, StudyError, UsageError
from sealround.federation.private.histograms import CELL_COUNT
from sealround.privacy.accounting import epsilon_of
from sealround.privacy.events import PrivacyEvent
from sealround.privacy.planning import Plan as NoisePlan
from sealround.privacy.planning import solve
from sealround.study.sealed_sums import ring_bits
from sealround.study.sections import AdaptiveClipping, DifferentialPrivacy, NoSecureAggregation

if TYPE_CHECKING:
    from sealround.study import Study

__all__ = ["CLIP_NORMS", "SCALE_BITS", "PrivacyTerms", "SumNoise"]

CLIP_NORMS = 1e-9, 1e9
"""Between these a norm may move."""

_COUNT_NOISE = 0.05
"""Of the units drawn on average: a twentieth (Andrew et al. 2021, section 3), which costs gradients nearly nothing."""

_COUNT_SCALE = 2.0**10

SCALE_BITS = 8
"""A coordinate travels as a multiple of 2^-8: as coarse as a sealed sum can be, so that integers of 24 bits fit."""

_FLOAT_BITS = 24
_SMOOTHING = 4.0
"""r, in units of the grid."""

_HEADROOM = 64
"""How many patients whose gradients all point one way fit a site's sum; of more, what is beyond is cut."""

_FINEST = 2.0**14
_TAIL = 19.0  # widths: more than `DiscreteGaussian.largest`
_FLOAT_SLACK_PER_PATIENT = 2.0**-16
"""What rounding of float32 sums adds to one patient's part, for each patient that was drawn.

A sum of N terms is off by N 2^-24 of their lengths at the most, with the patient and without: twice that, for N up to
128. That is 64 patients at a time (`sealround.learning.private_steps`), and as many sums of them. Not in it is that
whoever is missing moves others into other batches, whose gradients may round otherwise: as measured, by far less.
"""


@dataclass(frozen=True, slots=True)
class SumNoise:
    """Numbers of one noised sum of gradients.

    Attributes:
        clip: K, the length of the longest gradient in units of the grid.
        sigma: s, the width of one site's noise, in units.
        limit: Largest magnitude of a coordinate of one site's sum, before noise, in units.
        noise_multiplier: What the honest sites' noise is worth, in lengths of what one patient changes.
    """

    clip: float
    sigma: float
    limit: int
    noise_multiplier: float


@dataclass(frozen=True, slots=True)
class PrivacyTerms:
    """The privacy of one training.

    Attributes:
        options: The study's section.
        rounds: Rounds of the training.
        steps: Noised sums a round.
        sites: How many are summed, or send.
        honest: How many sites' noise is counted on: 1 where each message is private by itself.
        ring: Bits of a coordinate of a sealed sum; ``None`` where sums travel as floats.
        noise_multiplier: Of each training step, all that it tells together.
        count_sigma: Standard deviation of the noise in the number of units within the norm, in units; ``None`` where
            nobody counts.
        release_multiplier: Of each other release; ``None`` where there is none.
        releases: How many other releases.
    """

    options: DifferentialPrivacy
    rounds: int
    steps: int
    sites: int
    honest: int
    ring: int | None
    noise_multiplier: float
    count_sigma: float | None
    release_multiplier: float | None
    releases: tuple[str, ...]

    @classmethod
    def of(cls, study: Study, sites: int) -> PrivacyTerms | None:
        """Derive the terms of a training by so many sites; ``None`` where the study has no differential privacy.

        Raises:
            StudyError: If no noise reaches the budget, or nobody's noise could be counted on.
            UnsupportedError: If `dp-accounting` is not installed.
        """
        options = study.protection.privacy
        if not isinstance(options, DifferentialPrivacy):
            return None
        sealed = options.trust == "sealed"
        aggregation = study.protection.secure_aggregation
        ring, honest = None, 1
        if sealed and not isinstance(aggregation, NoSecureAggregation):
            ring = ring_bits(aggregation)
            honest = (aggregation.n_min or sites) - options.dishonest_sites
        if honest < 1:
            summed = honest + options.dishonest_sites
            why = f"a sum of {summed} sites has nobody's noise to count on; say fewer, or raise n_min"
            raise _unfit(study, Problem("protection.privacy.dishonest_sites", why))
        steps = 1 if sealed else study.training.local_steps or 1
        releases = _releases(study)
        try:
            noise, release = _multipliers(options, study.study.rounds * steps, bool(releases))
        except UsageError as error:
            raise _unfit(study, Problem("protection.privacy.epsilon", f"{error.message}; {error.hint or ''}")) from None
        count = None
        if isinstance(options.clipping, AdaptiveClipping):
            count = options.sampling_probability * options.patients * _COUNT_NOISE
            if 2.0 * count <= 1.1 * noise:
                why = f"with {options.patients} patients their number within the norm drowns in noise; say fixed"
                raise _unfit(study, Problem("protection.privacy.clipping", why))
        return cls(options, study.study.rounds, steps, sites, honest, ring, noise, count, release, releases)

    @property
    def events(self) -> tuple[PrivacyEvent, ...]:
        """Everything that leaves, over the whole training; each about other patients."""
        q = self.options.sampling_probability
        training = PrivacyEvent("training", self.noise_multiplier, q, self.rounds * self.steps)
        return (training, *(self.release(what) for what in self.releases))

    def round_event(self) -> PrivacyEvent:
        """What leaves in one round."""
        return PrivacyEvent("training", self.noise_multiplier, self.options.sampling_probability, self.steps)

    def release(self, what: str) -> PrivacyEvent:
        """What leaves in one other release."""
        if self.release_multiplier is None or what not in self.releases:
            raise UsageError(f"{what} is not released in this study")
        return PrivacyEvent(what, self.release_multiplier, 1.0, 1)

    @property
    def epsilon(self) -> float:
        """What any one patient spends at the study's delta.

        Nobody is in two splits: who is trained on is not tested. So what one patient spends is the most of what the
        patients of one split do (parallel composition: McSherry 2009, Theorem 4), and not the sum.
        """
        delta, relation = self.options.delta, self.options.neighboring_relation
        return max(epsilon_of((event,), delta, relation) for event in self.events)

    @property
    def most_drawn(self) -> int:
        """More patients than one site draws by chance in a step, but with a probability below 10^-20."""
        mean = self.options.sampling_probability * self.options.patients
        return math.ceil(mean + 10.0 * math.sqrt(mean)) + 20

    @property
    def gradient_multiplier(self) -> float:
        """The noise of a step's gradient, in lengths of what one unit changes.

        Where a count is told as well, somewhat more than `noise_multiplier`, so that both together are worth that:
        ``(z^-2 - (2 sigma_b)^-2)^(-1/2)`` (Andrew et al. 2021, Theorem 1).
        """
        z = self.noise_multiplier
        return z if self.count_sigma is None else (z**-2 - (2.0 * self.count_sigma) ** -2) ** -0.5

    @property
    def first_clip_norm(self) -> float | None:
        """The norm that the first round clips to, where it follows the gradients; else ``None``."""
        return None if self.count_sigma is None else self.options.l2_clip_norm

    def next_clip_norm(self, clip_norm: float | None, count: float) -> float | None:
        """Return the norm of the next round (Andrew et al. 2021, Algorithm 1: geometric updates).

        Args:
            clip_norm: Of this round.
            count: Sum over the drawn units of 1/2 if their gradients were within it, else -1/2, noise and scale of
                `count_noise` included.
        """
        clipping = self.options.clipping
        if clip_norm is None or not isinstance(clipping, AdaptiveClipping):
            return clip_norm
        share = count / _COUNT_SCALE / (self.options.sampling_probability * self.options.patients) + 0.5
        follows = clip_norm * math.exp(-clipping.rate * (min(max(share, 0.0), 1.0) - clipping.quantile))
        return min(max(follows, CLIP_NORMS[0]), CLIP_NORMS[1])

    def count_noise(self) -> tuple[float, float]:
        """Return what a count is multiplied with, and the width of one site's noise.

        A unit changes the count by 1/2; multiples of 1/2 are multiplied to integers, so that nothing is rounded.
        """
        if self.count_sigma is None:
            raise UsageError("nobody counts in this study")
        return _COUNT_SCALE, math.sqrt(((self.count_sigma * _COUNT_SCALE) ** 2 + _SMOOTHING**2) / self.honest)

    @property
    def step(self) -> float:
        """As `step_at` the study's norm."""
        return self.step_at(None)

    def step_at(self, clip_norm: float | None) -> float:
        """Return what a sealed sum is multiplied with: minus the mean gradient, by public numbers only.

        Args:
            clip_norm: Of the round; ``None`` for the study's.
        """
        options = self.options
        unit = (options.l2_clip_norm if clip_norm is None else clip_norm) / self._grid[0]
        return -unit * 2.0**SCALE_BITS / (options.sampling_probability * options.patients)

    @property
    def expected(self) -> float:
        """How many units one site draws into a step on average, if all have as many."""
        return self.options.sampling_probability * self.options.patients / self.sites

    @property
    def _grid(self) -> tuple[float, int]:
        """K and the largest magnitude of a coordinate with its noise."""
        largest = 2**_FLOAT_BITS - 1
        if self.ring is not None:
            largest = min(largest, 2 ** (self.ring - 1) // self.sites - 2)
        narrow = math.sqrt(self.honest) / self.gradient_multiplier
        # The noise needs its place too.
        most = min(_FINEST * narrow, largest / _HEADROOM, largest / 4.0 / _TAIL * narrow)
        return 2.0 ** math.floor(math.log2(most)), largest

    @property
    def largest(self) -> int:
        """Largest magnitude of a coordinate that a site sends, in units of the grid."""
        return self._grid[1]

    def noise(self, parameters: int) -> SumNoise:
        """Return the numbers of one noised sum of gradients of so many parameters.

        Raises:
            UsageError: If the grid cannot be fine enough for so many.
        """
        clip, largest = self._grid
        changed = clip * (1.0 + _FLOAT_SLACK_PER_PATIENT * self.most_drawn) + math.sqrt(parameters)
        sigma = math.sqrt(((self.gradient_multiplier * changed) ** 2 + _SMOOTHING**2) / self.honest)
        limit = largest - math.ceil(_TAIL * sigma)
        if limit < clip or sigma < NARROWEST:
            raise UsageError(
                f"noise for {parameters} parameters and {self.sites} sites does not fit {_FLOAT_BITS} bits",
                hint="take a smaller model, or fewer sites a round",
            )
        worth = math.sqrt(max(self.honest * sigma * sigma - _SMOOTHING**2, 0.0)) / changed
        return SumNoise(clip, sigma, limit, worth)

    def release_noise(self, numbers: int) -> tuple[float, float]:
        """Return how many units a released number is multiplied with, and the width of one site's noise.

        A unit of privacy changes the released vector by 1 at the most, in L2 norm, before rounding.
        """
        if self.release_multiplier is None:
            raise UsageError("nothing but the model is released in this study")
        # As fine as the widest noise allows, and not coarser than rounding may cost.
        scale = 2.0 ** math.floor(math.log2(2.0**21 * math.sqrt(self.honest) / max(self.release_multiplier, 1.0)))
        changed = scale + math.sqrt(numbers)
        return scale, math.sqrt(((self.release_multiplier * changed) ** 2 + _SMOOTHING**2) / self.honest)

    @property
    def noise_in_results(self) -> float:
        """Standard deviation of the noise in each cell of all sites' released histogram, in patients; 0 without one."""
        if "metrics" not in self.releases:
            return 0.0
        scale, sigma = self.release_noise(2 * CELL_COUNT)
        return math.sqrt(self.sites) * sigma / scale


def _unfit(study: Study, problem: Problem) -> StudyError:
    return StudyError(f"{study.study.name}: its differential privacy does not add up", (problem,))


def _releases(study: Study) -> tuple[str, ...]:
    """Name what leaves besides updates: results, and validation where something is chosen by it."""
    options, evaluation = study.protection.privacy, study.evaluation
    if not isinstance(options, DifferentialPrivacy) or options.metrics == "kept":
        return ()
    chosen = evaluation.threshold.kind != "fixed" or evaluation.recalibration != "none"
    return ("validation", "metrics") if chosen else ("metrics",)


@lru_cache(maxsize=32)
def _multipliers(options: DifferentialPrivacy, steps: int, release: bool) -> tuple[float, float | None]:  # noqa: FBT001
    """Return the noise of a training step, and that of another release where there is one."""
    q, delta, relation = options.sampling_probability, options.delta, options.neighboring_relation
    noise, epsilon = options.noise_multiplier, options.epsilon
    if noise is not None:
        spent = epsilon_of((PrivacyEvent("training", noise, q, steps),), delta, relation)
        if epsilon is not None and spent > epsilon:
            raise UsageError(
                f"noise of {noise:g} clip norms spends an epsilon of {spent:.3f}, more than {epsilon:g}",
                hint="raise noise_multiplier or epsilon, or leave one of them out",
            )
        epsilon = spent if epsilon is None else epsilon
    elif epsilon is None:
        raise UsageError("neither a budget nor the noise is given", hint="say epsilon, or noise_multiplier")
    else:
        noise = _noise_for(options, epsilon, q, steps)
    return noise, _noise_for(options, epsilon, 1.0, 1) if release else None


def _noise_for(options: DifferentialPrivacy, epsilon: float, q: float, steps: int) -> float:
    wanted = NoisePlan(
        epsilon=epsilon,
        delta=options.delta,
        noise_multiplier=None,
        sampling_probability=q,
        rounds=steps,
        l2_clip_norm=options.l2_clip_norm,
        patients=options.patients,
    )
    found = solve(wanted, options.neighboring_relation).noise_multiplier
    assert found is not None  # noqa: S101  (for the type checker: it is what was asked for)
    return found
