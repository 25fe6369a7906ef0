"""From the numbers of private training that are given, in a study and beside it, to the one that is missing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sealround.errors import UsageError
from sealround.federation.private import PrivacyTerms
from sealround.privacy.accounting import epsilon_of, spent_over
from sealround.privacy.planning import Plan, noise_to_signal, patients_needed, solve
from sealround.study.sections import ColumnSites, DifferentialPrivacy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.study import Study

__all__ = ["UNKNOWN", "Planned", "planned", "spent_by"]

UNKNOWN: Final = "?"
"""In place of the number that is asked for."""

_SOLVED_FOR: Final = ("epsilon", "delta", "noise_multiplier", "sampling_probability", "rounds")
_OPTION_OF: Final = {name: f"--{name.replace('_', '-')}" for name in _SOLVED_FOR}
_POINTS = 40
_MANY_SITES = 500


@dataclass(frozen=True, slots=True)
class Planned:
    """A solved plan and what else there is to say.

    Attributes:
        study: The study, with the plan's numbers in it.
        options: Its privacy.
        terms: What it means.
        solved: Which number was asked for.
        plan: Steps in place of rounds.
        steps: Steps a round.
        rdp: Epsilon by the other accountant; ``None`` where that has none.
        sites: How many there are, where it is known.
        parameters: Of the model, where it is known.
        over: Rounds, and epsilon after each.
    """

    study: Study
    options: DifferentialPrivacy
    terms: PrivacyTerms
    solved: str
    plan: Plan
    steps: int
    rdp: float | None
    sites: int | None
    parameters: int | None
    over: tuple[np.ndarray, np.ndarray]

    @property
    def senders(self) -> int | None:
        """How many parts of noise there are for one that is needed: each site's, where it stands by itself."""
        return 1 if self.options.trust == "sealed" else self.sites

    @property
    def ratio(self) -> float | None:
        """Length of the noise in a step's mean gradient of all sites, in lengths of the longest that can be."""
        if self.parameters is None or self.senders is None:
            return None
        return noise_to_signal(self.plan, self.parameters) * math.sqrt(self.senders)

    @property
    def patients_needed(self) -> int | None:
        """Fewest patients of all sites with whom the ratio is 1."""
        if self.parameters is None or self.senders is None:
            return None
        return patients_needed(self.plan, self.parameters, 1.0 / math.sqrt(self.senders))

    def as_json(self) -> dict[str, Any]:
        """Return all of it as a tree fit for JSON."""
        plan, options = self.plan, self.options
        return {
            "study": self.study.study.name,
            "unit": options.unit,
            "neighboring_relation": options.neighboring_relation,
            "trust": options.trust,
            "solved": self.solved,
            "epsilon": plan.epsilon,
            "delta": plan.delta,
            "noise_multiplier": plan.noise_multiplier,
            "sampling_probability": plan.sampling_probability,
            "rounds": self.study.study.rounds,
            "steps_per_round": self.steps,
            "l2_clip_norm": plan.l2_clip_norm,
            "patients": plan.patients,
            "epsilon_pld": float(self.over[1][-1]),
            "epsilon_rdp": self.rdp,
            "releases": [
                {**self.terms.release(what).to_json(), "epsilon": spent_by(self.terms, what)}
                for what in self.terms.releases
            ],
            "parameters": self.parameters,
            "noise_to_signal": self.ratio,
            "patients_needed": self.patients_needed,
            "epsilon_over_rounds": [[int(at), float(value)] for at, value in zip(*self.over, strict=True)],
        }


def planned(study: Study, given: Mapping[str, Any]) -> Planned:
    """Solve the plan of a study.

    Args:
        study: The study.
        given: What takes the place of its numbers, ``None`` where nothing does: ``epsilon``, ``delta``,
            ``noise_multiplier``, ``sampling_probability`` and ``rounds``, one of them `UNKNOWN` if it is asked for;
            ``clip``, ``patients``, ``sites`` and ``parameters``.

    Raises:
        UsageError: If not exactly one number is missing, or no value of it keeps to the budget.
        StudyError: If the study's privacy does not add up.
        UnsupportedError: If `dp-accounting` is not installed.
    """
    private = _private(study, given)
    steps = 1 if private.trust == "sealed" else study.training.local_steps or 1
    numbers, solved = _gap(private, study.study.rounds, given)
    rounds = numbers["rounds"]
    asked = Plan(
        numbers["epsilon"],
        numbers["delta"],
        numbers["noise_multiplier"],
        numbers["sampling_probability"],
        None if rounds is None else _whole(rounds) * steps,
        private.l2_clip_norm,
        private.patients,
    )
    whole = solve(asked, private.neighboring_relation)
    if solved == "rounds":
        whole = replace(whole, rounds=(whole.rounds or 0) // steps * steps)
        if not whole.rounds:
            raise UsageError(
                f"{steps} steps a round do not fit the budget once", hint="raise noise_multiplier or epsilon"
            )
    event = whole.steps
    number, delta = event.count // steps, whole.delta or 1.0
    names = ("epsilon", "delta", "noise_multiplier", "sampling_probability")
    options = private.model_copy(update={name: getattr(whole, name) for name in names})
    study = study.model_copy(
        update={
            "study": study.study.model_copy(update={"rounds": number}),
            "protection": study.protection.model_copy(update={"privacy": options}),
        }
    )
    layout = study.cohort.sites
    sites = given["sites"] or (None if isinstance(layout, ColumnSites) else layout.number)
    terms = PrivacyTerms.of(study, sites or _MANY_SITES)
    assert terms is not None  # noqa: S101  (for the type checker: the study is private)
    known = options.neighboring_relation == "add-or-remove-one"
    rdp = epsilon_of((event,), delta, options.neighboring_relation, "rdp") if known else None
    at = np.unique(np.linspace(0, number, min(_POINTS, number) + 1).round().astype(np.int64))
    over = spent_over([replace(event, count=steps)], at, delta, options.neighboring_relation)
    parameters = given["parameters"] or _parameters(study)
    return Planned(study, options, terms, solved, whole, steps, rdp, sites, parameters, over)


def _private(study: Study, given: Mapping[str, Any]) -> DifferentialPrivacy:
    """Return the study's privacy, with clip norm and patients as given; of a study without, as the options say."""
    options = study.protection.privacy
    local = {"l2_clip_norm": given["clip"], "patients": given["patients"]}
    if isinstance(options, DifferentialPrivacy):
        return options.model_copy(update={name: value for name, value in local.items() if value is not None})
    missing = [name for name in ("delta", "sampling_probability") if given[name] is None]
    missing += [] if given["patients"] is not None else ["patients"]
    if missing:
        wanted = " and ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise UsageError(f"{study.study.name} has no differential privacy yet", hint=f"give {wanted} as well")
    return DifferentialPrivacy(
        unit="patient",
        neighboring_relation="add-or-remove-one",
        trust="sealed" if study.protection.sealed else "local",
        delta=1e-6,  # in its place comes what is given or solved for; likewise below
        sampling_probability=1.0,
        l2_clip_norm=given["clip"] or 1.0,
        patients=given["patients"],
    )


def _gap(private: DifferentialPrivacy, rounds: int, given: Mapping[str, Any]) -> tuple[dict[str, float | None], str]:
    """Return the numbers, ``None`` for the one that is asked for, and its name."""
    numbers: dict[str, float | None] = {name: getattr(private, name, rounds) for name in _SOLVED_FOR}
    asked = [name for name in _SOLVED_FOR if given[name] == UNKNOWN]
    if len(asked) > 1:
        options = " and ".join(_OPTION_OF[name] for name in asked)
        raise UsageError(f"a plan is solved for one number, and {options} are asked for", hint="give all but one")
    numbers |= {name: given[name] for name in _SOLVED_FOR if given[name] is not None}
    if not asked:
        # Of epsilon and noise the one that is given on the command line goes first, then the noise.
        by_epsilon = numbers["noise_multiplier"] is None or (
            given["epsilon"] is not None and given["noise_multiplier"] is None
        )
        asked = ["noise_multiplier" if by_epsilon else "epsilon"]
    numbers[asked[0]] = None
    if missing := [_OPTION_OF[name] for name in _SOLVED_FOR if numbers[name] is None and name != asked[0]]:
        raise UsageError(
            f"to solve for {asked[0]}, everything else has to be known", hint=f"give {' and '.join(missing)} as well"
        )
    return numbers, asked[0]


def _whole(rounds: float) -> int:
    if rounds != int(rounds):
        raise UsageError(f"rounds are a whole number, not {rounds:g}")
    return int(rounds)


def _parameters(study: Study) -> int | None:
    """Return how many parameters the model has, if that can be told without the data."""
    from sealround.clinical import Encoder
    from sealround.federation.interfaces import InputShape
    from sealround.federation.statistics import Statistics

    if study.cohort.source.kind not in ("csv", "parquet", "builtin"):
        return None
    table = InputShape("table")
    layout = Encoder(study.cohort, table).layout
    if any(not levels for _, levels in layout.categories) or not (layout.numeric or layout.categories):
        return None
    from sealround.learning.models import parameter_count  # takes torch

    return parameter_count(study, table, Statistics.declared(layout, 1, {}))


def spent_by(terms: PrivacyTerms, what: str) -> float:
    """Return the epsilon of one other release, at the study's delta."""
    return epsilon_of((terms.release(what),), terms.options.delta, terms.options.neighboring_relation)
