"""Plays an inversion attack by its word, as hard as a part of the budget allows.

How hard is counted in restarts and steps, which follow from the seconds granted and from the sizes by nominal costs:
the same seed and budget try the same on every machine. The clock only ends what takes three times as long.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

import torch

from sealround.audit.inversion import closed_form, rgap, spear
from sealround.audit.inversion.inverting_gradients import InvertingGradients
from sealround.audit.inversion.inverting_gradients import attack as invert
from sealround.audit.inversion.kinked import Kinked
from sealround.audit.inversion.kinked import attack as cross_kinks
from sealround.audit.inversion.levenberg_marquardt import LevenbergMarquardt
from sealround.audit.inversion.levenberg_marquardt import attack as solve_gradient
from sealround.audit.inversion.local_steps import LocalSteps
from sealround.audit.inversion.local_steps import attack as unroll
from sealround.audit.inversion.prior import LatentSearch, fit_prior
from sealround.audit.inversion.prior import attack as search_prior
from sealround.audit.inversion.tabular import TabLeak
from sealround.audit.inversion.tabular import attack as leak_table
from sealround.audit.inversion.trail import guess_labels
from sealround.errors import SealroundError, UnsupportedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sealround.audit.inversion.observation import Observation, Reconstruction
    from sealround.audit.inversion.scoring import Kind

__all__ = ["INVERSIONS", "Played", "Trial", "play", "why_not"]

_MOST_UNKNOWN = 2
"""With more unknowns for each number of the update than this, a search is not tried."""

_PATIENCE = 3.0
"""An attack is ended by the clock when it has taken so many times its part."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How long and with what randomness.

    Attributes:
        seconds: Part of the budget.
        seed: Of all randomness.
        clock: Tells the time, in seconds.
        others: Encoded examples of other patients that the attacker has, to learn what examples look like.
    """

    seconds: float
    seed: int
    clock: Callable[[], float]
    others: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """How an attack went.

    Attributes:
        status: ``done``, ``stopped`` by the clock, ``not applicable`` or ``failed``.
        reconstruction: What it rebuilt; ``None`` if it failed.
        granted: What the attacker was granted, and how.
        why: Why it failed, or does not apply.
    """

    status: Literal["done", "stopped", "not applicable", "failed"]
    reconstruction: Reconstruction | None
    granted: tuple[tuple[str, str], ...] = ()
    why: str | None = None


class _Inversion(Protocol):
    def __call__(
        self, seen: Observation, generator: torch.Generator, trial: Trial, deadline: float
    ) -> Reconstruction: ...


@dataclass(frozen=True, slots=True)
class _Listed:
    why_not: Callable[[Observation, Kind], str | None]
    attack: _Inversion
    heeds_clock: bool = True


def _closed_form(seen: Observation, generator: torch.Generator, trial: Trial, deadline: float) -> Reconstruction:
    del trial, deadline  # one division
    return closed_form.attack(seen, generator)


def _rgap(seen: Observation, generator: torch.Generator, trial: Trial, deadline: float) -> Reconstruction:
    del trial, deadline  # one linear system a layer
    return rgap.attack(seen, generator)


def _spear(seen: Observation, generator: torch.Generator, trial: Trial, deadline: float) -> Reconstruction:
    del deadline  # its searches are counted, and short
    return spear.attack(seen, generator, starts=_times(trial, 1.0, 1000, 200, 40_000))


def _levenberg_marquardt(
    seen: Observation, generator: torch.Generator, trial: Trial, deadline: float
) -> Reconstruction:
    cost = 1e-9 * seen.update.numel() * seen.examples * 400
    settings = LevenbergMarquardt(restarts=_times(trial, max(1.0, cost), 1, 1, 50))
    return solve_gradient(seen, generator, settings, trial.clock, deadline)


def _local_steps(seen: Observation, generator: torch.Generator, trial: Trial, deadline: float) -> Reconstruction:
    settings = LocalSteps(restarts=_times(trial, 2.0, 4, 2, 64))
    return unroll(seen, generator, settings, trial.clock, deadline)


def _tableak(seen: Observation, generator: torch.Generator, trial: Trial, deadline: float) -> Reconstruction:
    settings = TabLeak(ensemble=_times(trial, 2.0, 8, 4, 64))
    return leak_table(seen, generator, settings, trial.clock, deadline).reconstruction


def _inverting(seen: Observation, generator: torch.Generator, trial: Trial, deadline: float) -> Reconstruction:
    settings = InvertingGradients(iterations=_times(trial, _descent_s(seen), 1, 200, 24_000))
    return invert(seen, generator, settings, trial.clock, deadline)


def _kinked(seen: Observation, generator: torch.Generator, trial: Trial, deadline: float) -> Reconstruction:
    return cross_kinks(
        seen, generator, Kinked(iterations=_times(trial, _descent_s(seen), 1, 100, 2000)), trial.clock, deadline
    )


def _prior(seen: Observation, generator: torch.Generator, trial: Trial, deadline: float) -> Reconstruction:
    """Labels are guessed first: this attack does not search for them."""
    if seen.labels is None:
        seen = replace(seen, labels=guess_labels(seen, generator).labels)
    prior = fit_prior(trial.others, generator)
    settings = LatentSearch(restarts=_times(trial, 600 * _descent_s(seen), 1, 1, 16))
    return search_prior(seen, prior, generator, settings, trial.clock, deadline)


def _descent_s(seen: Observation) -> float:
    """Return what a step of descent takes on an ordinary core: about three passes forwards and twice backwards."""
    return 2e-3 + 3e-9 * seen.update.numel() * seen.examples


def _no_prior(seen: Observation, kind: Kind) -> str | None:
    return "it searches among images" if kind != "image" else _single(seen)


def _single(seen: Observation) -> str | None:
    if not seen.plan.single_gradient:
        return "the update is of several steps, not of one gradient"
    return None


def _no_levenberg_marquardt(seen: Observation, kind: Kind) -> str | None:
    del kind
    return _single(seen) or _undetermined(seen)


def _no_local_steps(seen: Observation, kind: Kind) -> str | None:
    if kind == "image":
        return "too many pixels for Gauss-Newton steps through several local steps"
    if seen.sites > 1 and seen.plan.steps > 1:
        return "the steps of several sites are not one site's"
    return _undetermined(seen)


def _no_tableak(seen: Observation, kind: Kind) -> str | None:
    if kind != "table":
        return "it rebuilds rows of a table"
    return _no_local_steps(seen, kind)


def _no_inverting(seen: Observation, kind: Kind) -> str | None:
    return "it looks for smooth images" if kind != "image" else _single(seen)


def _undetermined(seen: Observation) -> str | None:
    """Say if there are more numbers to find than a search through the update can be led to."""
    if seen.unknowns > _MOST_UNKNOWN * seen.update.numel():
        return f"{seen.unknowns} numbers are unknown, and the update has {seen.update.numel()}"
    return None


def _alone(reason: Callable[[Observation], str | None]) -> Callable[[Observation, Kind], str | None]:
    return lambda seen, _: reason(seen)


INVERSIONS: Mapping[str, _Listed] = {
    "closed-form": _Listed(_alone(closed_form.why_not), _closed_form, heeds_clock=False),
    "r-gap": _Listed(_alone(rgap.why_not), _rgap, heeds_clock=False),
    "spear": _Listed(_alone(spear.why_not), _spear, heeds_clock=False),
    "levenberg-marquardt": _Listed(_no_levenberg_marquardt, _levenberg_marquardt),
    "local-steps": _Listed(_no_local_steps, _local_steps),
    "tableak": _Listed(_no_tableak, _tableak),
    "inverting-gradients": _Listed(_no_inverting, _inverting),
    "kinked": _Listed(_no_inverting, _kinked),
    "generative-prior": _Listed(_no_prior, _prior),
}
"""Every inversion attack, by its word (`sealround.engines.audit.attacks`)."""


def why_not(key: str, seen: Observation, kind: Kind) -> str | None:
    """Return why an attack does not apply to an update, in words, or ``None``."""
    return INVERSIONS[key].why_not(seen, kind)


def play(key: str, seen: Observation, trial: Trial) -> Played:
    """Play an attack.

    Args:
        key: Which.
        seen: The update.
        trial: How long, and with what randomness.
    """
    began, attack = trial.clock(), INVERSIONS[key].attack
    generator = torch.Generator().manual_seed(trial.seed)
    try:
        found = attack(seen, generator, trial, began + _PATIENCE * trial.seconds)
    except (UnsupportedError, UsageError) as error:
        return Played("not applicable", None, why=error.message)
    except SealroundError as error:
        return Played("failed", None, why=error.message)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # torch does not say that it exports it
        return Played("failed", None, why="the equations could not be solved")
    took = trial.clock() - began
    late = INVERSIONS[key].heeds_clock and took >= _PATIENCE * trial.seconds
    found = replace(found, seconds=took)
    return Played("stopped" if late else "done", found, _granted(seen, found))


def _granted(seen: Observation, found: Reconstruction) -> tuple[tuple[str, str], ...]:
    if seen.labels is not None:
        labels = "given"
    elif found.labels is not None:
        labels = "recovered from the update"
    else:
        labels = "not needed"
    return (("labels", labels),)


def _times(trial: Trial, nominal_s: float, for_that: int, least: int, most: int) -> int:
    """Return how many of ``for_that`` in ``nominal_s`` seconds go into the part of the budget."""
    return max(least, min(most, round(for_that * trial.seconds / nominal_s)))
