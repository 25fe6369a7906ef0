"""The evidence of differential privacy: what left, what it spent, and what that means to an attacker."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sealround.privacy.accounting import epsilon_of, spent_over
from sealround.privacy.events import PrivacyEvent
from sealround.privacy.splits import by_split
from sealround.privacy.tradeoff import max_true_positive_rate, membership_advantage, posterior, tradeoff_curve
from sealround.study.sections import DifferentialPrivacy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sealround.federation import Coordinator
    from sealround.federation.private import PrivacyTerms
    from sealround.study import Study

__all__ = ["declared_cohort", "privacy_evidence", "private_results", "private_sums"]

_POINTS = 61
_FIRST_ROUNDS, _MOST_ROUNDS = 4, 31
_RATES = (0.001, 0.01, 0.1)
_PRIORS = (0.1, 0.5)


def privacy_evidence(study: Study, coordinator: Coordinator) -> dict[str, Any] | None:
    """Describe what a finished training has spent of its patients' privacy.

    Args:
        study: The study that is agreed on.
        coordinator: Of the federation.

    Returns:
        A tree fit for JSON; ``None`` where the study has no differential privacy.
    """
    terms = coordinator.plan.privacy
    if terms is None:
        return None
    options = terms.options
    return {
        "unit": options.unit,
        "relation": options.neighboring_relation,
        "trust": options.trust,
        "budget": options.epsilon,
        "epsilon": terms.epsilon,
        "delta": options.delta,
        "accountant": "pld",
        "epsilon_rdp": _epsilon_rdp(terms),
        "epsilon_seen_by_site": _seen_by_site(terms),
        "l2_clip_norm": options.l2_clip_norm,
        "clipping": options.clipping.kind,
        "noise_multiplier": terms.noise_multiplier,
        "sampling_probability": options.sampling_probability,
        "steps": terms.rounds * terms.steps,
        "patients": options.patients,
        "sites": terms.sites,
        "honest": terms.honest,
        "dishonest_sites": options.dishonest_sites,
        "metrics": options.metrics,
        "noise_in_results": terms.noise_in_results,
        "releases": [_release(terms, event) for event in terms.events],
        "over_rounds": _over_rounds(terms),
        **_attacker(terms),
        "by_site": {site: _release(terms, terms.events[0]) for site in coordinator.plan.roster},
        "simulated": True,
        "simulated_why": "the noise follows from the study's seed, so that whoever has the study file can take it off",
        "not_covered": _not_covered(study, terms),
    }


def declared_cohort(roster: Sequence[str]) -> dict[str, Any]:
    """Return who took part, in place of a table 1: of a private study no count of patients is there."""
    return {"roster": list(roster), "examples": None, "positives": None, "features": []}


def private_results(study: Study, models: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return models without numbers of test patients where results stayed at the sites: nobody counted them."""
    options = study.protection.privacy
    if not isinstance(options, DifferentialPrivacy) or options.metrics == "noised":
        return models
    nobody: dict[str, Any] = {"n": None, "positives": None, "roc": None, "calibration": []}
    return models | {"federated": models["federated"] | {"together": nobody}}


def private_sums(study: Study, summary: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return how sums were sealed with what a private study still tells in clear: less than others do."""
    if summary is None or not study.protection.private:
        return summary
    site = study.cohort.site_term
    in_clear = [
        f"which {site}s take part, drop out or diverge, and when",
        "the names of inputs and of their levels, all of which the study declares",
        "the sizes and times of messages",
        "every sum, with noise: clipped gradients, and where they are released histograms of predictions",
    ]
    return {**summary, "in_clear": in_clear}


def _epsilon_rdp(terms: PrivacyTerms) -> float | None:
    """Return what the other accountant makes of it: a check; ``None`` where it has no bound, or none that is finite."""
    options = terms.options
    if options.neighboring_relation != "add-or-remove-one":
        return None
    found = max(epsilon_of(part, options.delta, options.neighboring_relation, "rdp") for part in _parts(terms))
    return found if math.isfinite(found) else None


def _seen_by_site(terms: PrivacyTerms) -> float | None:
    """Return the epsilon of what a site sees that takes its own noise off a sum; ``None`` where no site could.

    Where dishonest sites are reckoned with, theirs is not counted on in the first place. Of one site that is, no other
    site's noise is left.
    """
    options = terms.options
    if options.trust == "local" or options.dishonest_sites or terms.honest == 1:
        return None
    left = math.sqrt((terms.honest - 1) / terms.honest)
    less = [
        [PrivacyEvent(one.what, one.noise_multiplier * left, one.sampling_probability, one.count) for one in part]
        for part in _parts(terms)
    ]
    return max(epsilon_of(part, options.delta, options.neighboring_relation) for part in less)


def _parts(terms: PrivacyTerms) -> list[tuple[PrivacyEvent, ...]]:
    """Return what is released of the units of each split: nobody is in two of them."""
    return list(by_split(terms.events).values())


def _release(terms: PrivacyTerms, event: PrivacyEvent) -> dict[str, Any]:
    options = terms.options
    return {
        "what": event.what,
        "noise_multiplier": event.noise_multiplier,
        "sampling_probability": event.sampling_probability,
        "count": event.count,
        "epsilon": epsilon_of((event,), options.delta, options.neighboring_relation),
    }


def _over_rounds(terms: PrivacyTerms) -> dict[str, list[Any]]:
    """Return what a training patient has spent after each of some rounds."""
    options = terms.options
    spread = np.linspace(0, terms.rounds, _MOST_ROUNDS).round()
    first = np.arange(min(_FIRST_ROUNDS, terms.rounds) + 1)  # where the curve bends
    chosen = np.unique(np.concatenate((first, spread)).astype(np.int64))
    rounds, spent = spent_over((terms.round_event(),), chosen, options.delta, options.neighboring_relation)
    return {"rounds": rounds.tolist(), "epsilon": spent.tolist()}


def _attacker(terms: PrivacyTerms) -> dict[str, Any]:
    """Return how well anybody can tell whether a patient was there, whichever split it is in."""
    relation = terms.options.neighboring_relation
    parts = _parts(terms)
    curves = [tradeoff_curve(part, relation, _POINTS) for part in parts]
    rates = {rate: max(max_true_positive_rate(part, relation, rate) for part in parts) for rate in _RATES}
    return {
        "tradeoff": {
            "alpha": curves[0][0].tolist(),
            "beta": np.minimum.reduce([misses for _, misses in curves]).tolist(),
        },
        "max_true_positive_rate": [
            {"false_positive_rate": rate, "true_positive_rate": found} for rate, found in rates.items()
        ],
        "advantage": max(membership_advantage(part, relation) for part in parts),
        # By epsilon alone, as if delta were 0: it holds but for a small probability.
        "posterior": [
            {"prior": prior, "posterior": posterior(prior, terms.epsilon), "reading": "pure-epsilon"}
            for prior in _PRIORS
        ],
    }


def _not_covered(study: Study, terms: PrivacyTerms) -> list[str]:
    """Say in short sentences what these numbers do not bound."""
    options, site = terms.options, study.cohort.site_term
    said = [
        "What is true of everybody: that a finding goes with a disease is learned with or without any one patient.",
        f"The {site} itself, which has its own patients' records in clear, and its own results, which have no noise.",
        "Other studies on the same patients, and settings that were tried on them before: what each spends adds up.",
        f"The time a {site} takes: it grows with the number of patients that it computes on.",
        f"What the study declares: its {site}s, inputs and levels, and the number of {{}}.".format(
            f"{site}s" if options.unit == "site" else "patients"
        ),
        {
            "patient": f"A patient of several {site}s who is not known to be one person: each spends for itself.",
            "record": "A patient with several records: of k records up to k times as much is spent.",
            "site": f"That a {site} takes part: everybody sees it. What is hidden is what its records are.",
        }[options.unit],
    ]
    if options.trust == "sealed":
        said.append(_about_sums(terms, site))
    return said


def _about_sums(terms: PrivacyTerms, site: str) -> str:
    """Say whose noise a sum rests on."""
    if terms.options.dishonest_sites:
        dishonest = terms.options.dishonest_sites
        return (
            f"More than {dishonest} {site if dishonest == 1 else site + 's'} that leave out their noise or tell it, "
            "and whoever sees a sum before it is one."
        )
    return (
        f"A {site} that leaves out its noise, or knows its own and takes it off: the study reckons with none "
        "(dishonest_sites = 0). Nor whoever sees a sum before it is one."
    )
