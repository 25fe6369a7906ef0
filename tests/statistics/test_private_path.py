"""Is a training as private as it claims, on the path that is deployed? Audited from what its coordinator opens.

Every test runs whole trainings in memory: sampling, clipping, rounding and noise at the sites, masks or shares, the
opened sum, the step of the global model. Canaries are the patients; three sites have 1800, half of them in, and 200
coordinates that nobody touches. 50 rounds draw a fifth of them; the claim is an epsilon of 3 at delta = 1e-7, and the
noise is what the study plans for it (2.70 clip norms).

Four tests look at a run, each wrong about an honest one with a probability of 0.001 at the most, so that all four
together are with 0.004. Seeds are fixed: these rates are for seeds drawn anew. Lower bounds on epsilon of honest runs
are 0.3 to 0.9. Bugs are planted in the deployed code; what catches each was measured on 20 runs with other seeds:

    python tests/statistics/test_private_path.py --seeds 20
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sealround import wire
from sealround.audit.privacy import (
    Canaries,
    Mechanism,
    coins,
    directions,
    f_dp,
    independent,
    likelihood_scores,
    noise_check,
    one_run,
    unused_directions,
    variation_scores,
)
from sealround.crypto import Secret
from sealround.crypto.discrete_gaussian import DiscreteGaussian
from sealround.crypto.kdf import Label, derive
from sealround.crypto.masks import WordStream
from sealround.errors import ThresholdError, UsageError
from sealround.federation.private import PrivacyTerms, PrivateWork
from sealround.federation.private import work as private_work
from sealround.federation.private.terms import SCALE_BITS
from sealround.federation.sealing import SealedPlan
from sealround.privacy.accounting import profile
from sealround.study import Study, study_digest
from sealround.testing import small_study
from sealround.testing.canaries import CanaryWork, dealt, local_sums, sealed_sums
from sealround.vocabulary import PartyId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sealround.federation import Coordinator
    from sealround.federation.private import ClippingWork
    from sealround.privacy.events import PrivacyEvent
    from sealround.secagg import FixedPoint

    Plant = Callable[[pytest.MonkeyPatch], None]

SITES = tuple(PartyId(name) for name in ("aachen", "bern", "cork"))
REASON = "made-up patients in a test"
LEVEL = 0.001
COUNT, QUIET, ROUNDS = 1800, 200, 50
TESTS = ("noise", "curve", "epsilon", "independent")
GUESSES = TESTS[1:]


@cache
def study_of(mode: str = "pairwise", **privacy: Any) -> Study:
    """A study of the canaries; 1000 patients are declared, of whom about 900 are there."""
    local = mode == "none"
    options = {
        "unit": "patient",
        "neighboring_relation": "add-or-remove-one",
        "trust": "local" if local else "sealed",
        "delta": 1e-7,
        "epsilon": 3.0,
        "sampling_probability": 0.2,
        "l2_clip_norm": 0.7,
        "patients": 1000,
        "metrics": "kept",
    }
    steps = {"local_epochs": None, "local_steps": 1, "optimizer": {"kind": "sgd", "learning_rate": 1.0}}
    return small_study(
        study={"rounds": ROUNDS},
        protection={
            "secure_aggregation": {"mode": mode, "reason": REASON} if local else {"mode": mode},
            "robustness": {"rule": "mean", "reason": REASON},
            "privacy": options | privacy,
        },
        training=steps if local else {},
    )


def terms_of(study: Study) -> PrivacyTerms:
    found = PrivacyTerms.of(study, len(SITES))
    assert found is not None
    return found


def private(study: Study, works: Mapping[PartyId, ClippingWork], seed: int) -> dict[PartyId, PrivateWork]:
    terms, digest = terms_of(study), study_digest(study)
    return {
        party: PrivateWork(work, terms, party, Secret(wire.digest(["canaries", seed, party])), digest)
        for party, work in works.items()
    }


@dataclass(frozen=True)
class Run:
    study: Study
    canaries: Canaries
    sums: np.ndarray
    coordinator: Coordinator | None = None


def numpy_run(seed: int, mode: str = "pairwise", **privacy: Any) -> Run:
    study = study_of(mode, **privacy)
    canaries = Canaries(count=COUNT, dimension=COUNT + QUIET, seed=seed, quiet=QUIET)
    axes = dealt(canaries, len(SITES))
    works = {party: CanaryWork(own, canaries.dimension) for party, own in zip(SITES, axes, strict=True)}
    leaving = private(study, works, seed)
    if mode == "none":
        return Run(study, canaries, local_sums(study, leaving, canaries.dimension))
    return Run(study, canaries, *sealed_sums(study, leaving, canaries.dimension))


def torch_run(seed: int) -> Run:
    """The same with records of a logistic regression: four a canary, 0 but in a column of its own, clipped by torch.

    There it is 14, or -14 with an outcome of 1: a row's gradient is its error times (14, 1) or (14, -1), the 1 being
    of the intercept. Errors are near 1/2, so that a gradient is about ten times the clip norm of 0.7, and clipped to
    it whatever the model is: 0.997 of it along the column. Half of the canaries each way, and the intercept stays.
    """
    import polars as pl

    from sealround.clinical.cohort import Outcome, SiteCohort
    from sealround.federation.interfaces import InputShape
    from sealround.learning.device import prepare
    from sealround.learning.private_steps import PrivateTorchWork

    prepare()
    study, records = study_of(), 4
    canaries = Canaries(count=COUNT, dimension=COUNT + QUIET, seed=seed, quiet=QUIET)
    works = {}
    for party, own in zip(SITES, dealt(canaries, len(SITES)), strict=True):
        rows = own.size * records
        array = np.zeros((rows, canaries.dimension), dtype=np.float32)
        event = np.repeat(np.arange(own.size) % 2, records).astype(np.float32)
        array[np.arange(rows), np.repeat(own, records)] = 14.0 - 28.0 * event
        shape, patient = InputShape("vector", (canaries.dimension,)), np.repeat(np.arange(own.size), records)
        cohort = SiteCohort(party, shape, pl.DataFrame(), array, Outcome(event), patient, np.zeros(rows, dtype=np.int8))
        works[party] = PrivateTorchWork(study, cohort)
    sums, coordinator = sealed_sums(study, private(study, works, seed), canaries.dimension + 1)
    return Run(study, canaries, sums[:, :-1], coordinator)


@cache
def curve_of(events: tuple[PrivacyEvent, ...]) -> tuple[Any, float]:
    """What the study's accountant claims: the whole curve, and delta at an epsilon of 0."""
    epsilons = np.linspace(0.0, 12.0, 97)
    deltas = profile(events, epsilons, "add-or-remove-one")
    return f_dp.from_profile(epsilons.tolist(), deltas.tolist()), float(deltas[0])


@dataclass(frozen=True)
class Audit:
    """What the tests say.

    Attributes:
        p: p-value of the noise check, of the claimed curve and of independent guesses.
        bound: On epsilon, of `one_run`.
        caught: By which tests, each at `LEVEL`.
        findings: Of the noise check.
        accuracy: Of independent guesses.
    """

    p: dict[str, float]
    bound: float
    caught: tuple[str, ...]
    findings: tuple[str, ...]
    accuracy: float = field(repr=False)


def audit(run: Run) -> Audit:
    """Look at a run with four tests; those that guess have two scores, each at half the level."""
    terms, included, along = terms_of(run.study), coins(run.canaries), directions(run.canaries)
    options = terms.options
    claimed = Mechanism(
        rounds=ROUNDS,
        sampling_probability=options.sampling_probability,
        noise_multiplier=terms.noise_multiplier,
    )
    curve, delta_at_zero = curve_of(terms.events)
    noise = noise_check(run.sums, unused_directions(run.canaries), terms.noise_multiplier, 1 - LEVEL)
    tried = likelihood_scores(run.sums, along, claimed), variation_scores(run.sums, along)
    guessed = [independent.audit(found, included, options.delta, 1 - LEVEL / 2) for found in tried]
    p = {
        "noise": noise.p_value,
        "curve": _of_two(f_dp.audit_claim(found, included, curve).p_value for found in tried),
        "independent": _of_two(independent.p_value(one.guesses, one.correct, delta_at_zero) for one in guessed),
    }
    bound = max(one_run.audit(found, included, options.delta, 1 - LEVEL / 2).epsilon for found in tried)
    wrong = {name: value <= LEVEL for name, value in p.items()} | {"epsilon": bound > terms.epsilon}
    caught = tuple(name for name in TESTS if wrong[name])
    return Audit(p, bound, caught, noise.findings, max(one.correct / one.guesses for one in guessed))


def _of_two(p_values: Iterable[float]) -> float:
    return min(2.0 * min(p_values), 1.0)


# --- nothing wrong ----------------------------------------------------------------------------------------------------

HONEST: dict[str, Callable[[int], Run]] = {
    "pairwise": numpy_run,
    "replicated": partial(numpy_run, mode="replicated"),
    "local": partial(numpy_run, mode="none"),
    "records": torch_run,
}


@pytest.mark.parametrize("kind", HONEST)
def test_an_honest_training_keeps_its_claim(kind: str) -> None:
    run = HONEST[kind](1)
    found = audit(run)
    assert found.caught == ()
    # What is drawn is a sum of the patients who are in, each a fifth of the time: 4.9 standard deviations, 1e-6.
    seen = run.sums[:, directions(run.canaries)].mean(axis=0)
    included, spread = coins(run.canaries), np.sqrt(terms_of(run.study).noise_multiplier ** 2 + 0.16) / np.sqrt(ROUNDS)
    assert seen[included].mean() == pytest.approx(0.2, abs=4.9 * spread / np.sqrt(included.sum()))
    assert seen[~included].mean() == pytest.approx(0.0, abs=4.9 * spread / np.sqrt((~included).sum()))
    # And there is no more noise than rounding and float sums ask for, within 1 %: 4.9 standard deviations again.
    noise = run.sums[:, unused_directions(run.canaries)].std()
    assert noise == pytest.approx(terms_of(run.study).noise_multiplier, rel=0.01 + 4.9 / np.sqrt(2 * QUIET * ROUNDS))
    if run.coordinator is not None:
        assert [record.clipped for record in run.coordinator.history[1:]] == [0] * ROUNDS


def test_the_noise_of_honest_sites_alone_is_enough_where_one_is_not_counted_on() -> None:
    with pytest.MonkeyPatch.context() as patch:
        share_missing(patch)
        run = numpy_run(2, dishonest_sites=1)
    assert audit(run).caught == ()


# --- something wrong --------------------------------------------------------------------------------------------------


def no_noise(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DiscreteGaussian, "draw", lambda _, count, __: np.zeros(count, dtype=np.int32))


def noise_in_wrong_units(patch: pytest.MonkeyPatch) -> None:
    """Drawn as units of the grid, and added as what travels."""
    draw = DiscreteGaussian.draw
    patch.setattr(DiscreteGaussian, "draw", lambda self, count, key: draw(self, count, key) >> SCALE_BITS)


def noise_reused(patch: pytest.MonkeyPatch) -> None:
    """The key of the noise forgets which question it answers."""

    def forgetful(secret: Secret, label: Label, *context: Any) -> Secret:
        return derive(secret, label, b"", 0) if label is Label.PRIVATE_NOISE else derive(secret, label, *context)

    patch.setattr(private_work, "derive", forgetful)


def noise_repeated(patch: pytest.MonkeyPatch) -> None:
    """Every block of 100 coordinates begins the stream anew."""
    draw = DiscreteGaussian.draw
    patch.setattr(DiscreteGaussian, "draw", lambda self, count, key: np.resize(draw(self, 100, key), count))


def share_missing(patch: pytest.MonkeyPatch) -> None:
    """The last site adds no noise."""
    noised_sum = PrivateWork._noised_sum

    def noised(self: PrivateWork, *order: Any) -> np.ndarray:
        with pytest.MonkeyPatch.context() as inner:
            if self._party == SITES[-1]:
                no_noise(inner)
            return noised_sum(self, *order)

    patch.setattr(PrivateWork, "_noised_sum", noised)


def everybody_drawn(patch: pytest.MonkeyPatch) -> None:
    """No word is too large to be drawn."""
    patch.setattr(private_work, "WordStream", AllZero)


class AllZero(WordStream):
    def fill(self, words: np.ndarray) -> None:
        words[:] = 0


def cut_after_noise(patch: pytest.MonkeyPatch) -> None:
    """Sealing cuts noised coordinates at one and a half widths of a site's noise."""
    check = SealedPlan.check

    def cutting(self: SealedPlan, sites: int) -> FixedPoint:
        width = terms_of(self.study).noise(COUNT + QUIET).sigma
        return replace(check(self, sites), linf_clip=1.5 * width * 2.0**-SCALE_BITS)

    patch.setattr(SealedPlan, "check", cutting)


def unclipped(patch: pytest.MonkeyPatch) -> None:
    from sealround.learning import private_steps

    honest = private_steps.clipped_sum
    patch.setattr(private_steps, "clipped_sum", lambda *batch, chunk: honest(*batch[:-1], 1e6, chunk=chunk))


def clipped_per_record(patch: pytest.MonkeyPatch) -> None:
    from sealround.learning import private_steps

    honest = private_steps.clipped_sum

    def each(predictor: Any, examples: Any, rows: Any, patients: Any, loss: Any, norm: float, *, chunk: int) -> Any:
        import torch

        return honest(predictor, examples, rows, torch.arange(len(patients)), loss, norm, chunk=chunk)

    patch.setattr(private_steps, "clipped_sum", each)


@dataclass(frozen=True)
class Bug:
    plant: Plant
    caught: tuple[str, ...]
    run: Callable[[int], Run] = numpy_run


BUGS: dict[str, Bug] = {
    "no noise": Bug(no_noise, TESTS),
    "noise in wrong units": Bug(noise_in_wrong_units, TESTS),
    "noise reused over rounds": Bug(noise_reused, TESTS),
    "noise repeated over coordinates": Bug(noise_repeated, ("noise",)),
    "a site without noise": Bug(share_missing, ("noise",)),
    "a site without noise, local": Bug(share_missing, ("noise",), HONEST["local"]),
    "everybody drawn": Bug(everybody_drawn, GUESSES),
    "everybody drawn, replicated": Bug(everybody_drawn, GUESSES, HONEST["replicated"]),
    "everybody drawn, local": Bug(everybody_drawn, GUESSES, HONEST["local"]),
    "cut after noise": Bug(cut_after_noise, ("noise",)),
    "clipping off": Bug(unclipped, GUESSES, torch_run),
    "clipping per record": Bug(clipped_per_record, ("curve", "independent"), torch_run),
}


def planted(bug: Bug, seed: int) -> tuple[Run, Audit]:
    with pytest.MonkeyPatch.context() as patch:
        bug.plant(patch)
        run = bug.run(seed)
    return run, audit(run)


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_caught(name: str) -> None:
    """By the tests named in `BUGS`, each of which caught it in 20 of 20 runs; what others find is not asserted."""
    bug = BUGS[name]
    run, found = planted(bug, 1)
    assert set(bug.caught) <= set(found.caught), found
    if name in FINDINGS:
        assert FINDINGS[name] in found.findings
    if name == "cut after noise":  # which the coordinator's own records tell as well
        assert run.coordinator is not None
        assert [record.clipped for record in run.coordinator.history[1:]] == [len(SITES)] * ROUNDS


FINDINGS = {
    "no noise": "less noise than claimed",
    "noise in wrong units": "less noise than claimed",
    "noise reused over rounds": "noise of one round is used in another",
    "noise repeated over coordinates": "noise of one direction is used in another",
    "a site without noise": "less noise than claimed",
    "cut after noise": "less noise than claimed",
}


def test_a_site_stops_by_itself_where_it_draws_more_than_chance_can_give() -> None:
    """Of 400 patients declared, 85 are the most at q = 0.05, and a site has about 300: the training ends.

    Of 1000 at q = 0.2 the most are 362, so that the guard stops nothing in `BUGS`: there it takes the audit.
    """
    few = {"patients": 400, "sampling_probability": 0.05, "epsilon": None, "noise_multiplier": 3.0}
    study = study_of(**few)
    work = private(study, {SITES[0]: CanaryWork(np.arange(300), COUNT)}, 1)[SITES[0]]
    assert work.drawn(bytes(32), 0).size <= terms_of(study).most_drawn == 85
    assert terms_of(study_of()).most_drawn == 362
    with pytest.MonkeyPatch.context() as patch:
        everybody_drawn(patch)
        with pytest.raises(UsageError, match="300 units drawn, where chance gives no more than 85"):
            work.drawn(bytes(32), 0)
        with pytest.raises(ThresholdError, match="0 of 3 sites answered"):
            numpy_run(1, **few)


def main() -> None:
    """Print how often each bug is caught, and honest trainings are accused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    honest = {f"honest, {kind}": Bug(lambda _: None, (), run) for kind, run in HONEST.items()}
    for name, bug in (honest | BUGS).items():
        if options.names and name not in options.names:
            continue
        start = time.perf_counter()
        audits = [planted(bug, options.first + seed)[1] for seed in range(options.seeds)]
        caught = "  ".join(f"{test} {np.mean([test in one.caught for one in audits]):.2f}" for test in TESTS)
        bounds, accuracy = [one.bound for one in audits], np.mean([one.accuracy for one in audits])
        seconds = (time.perf_counter() - start) / len(audits)
        sys.stdout.write(
            f"{name:32} {caught}  epsilon above {min(bounds):.2f}..{max(bounds):.2f}"
            f"  accuracy {accuracy:.3f}  {seconds:.1f} s a run\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
