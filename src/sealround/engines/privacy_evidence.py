"""The evidence of differential privacy: what left, what it spent, and what that means to an attacker."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sealround.privacy.accounting import epsilon_of, spent_over
from sealround.privacy.events import PrivacyEvent
from sealround.privacy.tradeoff import max_true_positive_rate, membership_advantage, posterior, tradeoff_curve
from sealround.study.sections import DifferentialPrivacy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sealround.federation import Coordinator
    from sealround.federation.private import PrivacyTerms
    from sealround.study import Study

__all__ = ["declared_cohort", "privacy_evidence", "private_results", "private_sums"]

_POINTS = 61
_MOST_ROUNDS = 31
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
    nobody = {"n": None, "positives": None, "roc": None, "calibration": []}
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
    found = max(epsilon_of((event,), options.delta, options.neighboring_relation, "rdp") for event in terms.events)
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
        PrivacyEvent(event.what, event.noise_multiplier * left, event.sampling_probability, event.count)
        for event in terms.events
    ]
    return max(epsilon_of((event,), options.delta, options.neighboring_relation) for event in less)


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
    chosen = np.unique(np.linspace(0, terms.rounds, min(_MOST_ROUNDS, terms.rounds + 1)).round().astype(np.int64))
    rounds, spent = spent_over((terms.round_event(),), chosen, options.delta, options.neighboring_relation)
    return {"rounds": rounds.tolist(), "epsilon": spent.tolist()}


def _attacker(terms: PrivacyTerms) -> dict[str, Any]:
    """Return how well anybody can tell whether a patient was there, whichever release is the most telling of him."""
    relation = terms.options.neighboring_relation
    curves = [tradeoff_curve((event,), relation, _POINTS) for event in terms.events]
    rates = {rate: max(max_true_positive_rate((event,), relation, rate) for event in terms.events) for rate in _RATES}
    return {
        "tradeoff": {
            "alpha": curves[0][0].tolist(),
            "beta": np.minimum.reduce([misses for _, misses in curves]).tolist(),
        },
        "max_true_positive_rate": [
            {"false_positive_rate": rate, "true_positive_rate": found} for rate, found in rates.items()
        ],
        "advantage": max(membership_advantage((event,), relation) for event in terms.events),
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
        f"The time a {site} takes: it grows with the number of patients that were drawn.",
        f"What the study declares: its {site}s, inputs and levels, and the number of patients.",
    ]
    if options.unit == "patient":
        said.append(f"A patient of several {site}s who is not known to be one person: each spends for itself.")
    else:
        said.append("A patient with several records: of k records up to k times as much is spent.")
    if options.trust == "sealed":
        said.append(_about_sums(terms, site))
    if study.evaluation.compare:
        said.append(
            f"The comparisons ({', '.join(study.evaluation.compare)}): they have no noise. A simulation can show them; "
            f"between real {site}s they would not be there."
        )
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
