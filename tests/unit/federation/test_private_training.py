"""Private trainings: what leaves is clipped and noised as accounted, sealed or not, and nothing else leaves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sealround.crypto import Secret
from sealround.errors import ProtocolViolationError, StudyError, UsageError
from sealround.federation import Coordinator, Plan, Site, TrainOrder, tally
from sealround.federation.interfaces import EvaluateOrder
from sealround.federation.private import CELL_COUNT, ClippedUnits, PrivacyTerms, PrivateWork, coarse, spread
from sealround.federation.private.terms import SCALE_BITS
from sealround.federation.statistics import Layout, Statistics
from sealround.privacy.accounting import epsilon_of
from sealround.privacy.events import PrivacyEvent
from sealround.study import Study, study_digest
from sealround.testing import ClippingWork, Network, sealed_training, small_study, zero_model
from sealround.vocabulary import PartyId, RoundId

SITES = tuple(PartyId(name) for name in ("aachen", "bern", "cork", "delft"))
REASON = "made-up numbers in a test"
OPEN = {"mode": "none", "reason": REASON}
LOCAL = {"local_epochs": None, "local_steps": 3}


def study_of(trust: str = "sealed", aggregation: dict[str, Any] | None = None, **privacy: Any) -> Study:
    options = {
        "unit": "patient",
        "neighboring_relation": "add-or-remove-one",
        "trust": trust,
        "delta": 1e-4,
        "epsilon": 8.0,
        "sampling_probability": 0.5,
        "l2_clip_norm": 1.0,
        "patients": 220,
    }
    aggregation = aggregation or ({"mode": "pairwise"} if trust == "sealed" else OPEN)
    return small_study(
        protection={
            "secure_aggregation": aggregation,
            "robustness": {"rule": "mean", "reason": REASON},
            "privacy": options | privacy,
        },
        training=LOCAL if trust == "local" else {},
    )


def terms_of(study: Study, sites: int = len(SITES)) -> PrivacyTerms:
    found = PrivacyTerms.of(study, sites)
    assert found is not None
    return found


def secret_of(party: PartyId) -> Secret:
    return Secret(party.encode().ljust(32, b"."))


def works_of(study: Study, **kind: Any) -> dict[PartyId, PrivateWork]:
    terms, digest = terms_of(study), study_digest(study)
    return {
        party: PrivateWork(ClippingWork(number, 30 + 10 * number), terms, party, secret_of(party), digest, **kind)
        for number, party in enumerate(SITES)
    }


STATISTICS = Statistics.declared(Layout(("first", "second"), (("group", ("0", "1")),)), 220, {})


def order_of(round_: int = 1, **other: Any) -> TrainOrder:
    fields: dict[str, Any] = {"job": "federated", "round": RoundId(round_), "model": np.zeros(4, np.float32)}
    return TrainOrder(**(fields | {"statistics": STATISTICS} | other))


# --- terms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metrics", ["noised", "kept"])
@pytest.mark.parametrize("trust", ["sealed", "local"])
def test_the_whole_training_spends_its_budget_and_no_more(trust: str, metrics: str) -> None:
    study = study_of(trust, metrics=metrics)
    terms = terms_of(study)
    assert 0.99 * 8.0 < terms.epsilon <= 8.0
    assert terms.events[0] == PrivacyEvent("training", terms.noise_multiplier, 0.5, 3 if trust == "sealed" else 9)
    assert [event.what for event in terms.events[1:]] == (["metrics"] if metrics == "noised" else [])


def test_validation_is_paid_for_where_something_is_chosen_by_it() -> None:
    study = study_of()
    tree = study.model_dump(mode="json", exclude_none=True)
    tree["evaluation"]["threshold"] = {"kind": "youden"}
    terms = terms_of(Study.model_validate(tree, strict=False))
    assert terms.releases == ("validation", "metrics")
    assert terms.epsilon <= 8.0


@pytest.mark.parametrize("sites", [3, 4, 120])
@pytest.mark.parametrize("mode", ["pairwise", "replicated"])
@pytest.mark.parametrize("parameters", [4, 1281, 100_000])
def test_the_honest_sites_noise_is_worth_what_is_accounted(mode: str, sites: int, parameters: int) -> None:
    study = study_of("sealed", {"mode": mode}, dishonest_sites=1, patients=5000)
    terms = terms_of(study, sites)
    noise = terms.noise(parameters)
    assert noise.noise_multiplier == pytest.approx(terms.noise_multiplier, rel=1e-12)
    honest = sites - 1
    changed = noise.clip + math.sqrt(parameters)  # what one patient moves, rounding included; sums of floats besides
    assert math.sqrt(honest) * noise.sigma >= terms.noise_multiplier * changed
    assert math.sqrt(honest) * noise.sigma < 1.35 * terms.noise_multiplier * noise.clip, "noise that nobody asked for"
    # What is sent fits an exact float32, and the sum of all the ring.
    assert noise.limit + 19 * noise.sigma < 2**24
    assert sites * 2**24 <= 2**31 or terms.largest * sites < 2**31 or mode == "replicated"


def test_a_sum_without_an_honest_site_is_refused() -> None:
    with pytest.raises(StudyError, match="does not add up") as caught:
        terms_of(study_of(dishonest_sites=4))
    assert caught.value.problems[0].path == "protection.privacy.dishonest_sites"


def test_noise_that_is_given_is_kept_and_checked_against_the_budget() -> None:
    terms = terms_of(study_of(epsilon=None, noise_multiplier=2.0))
    assert terms.noise_multiplier == 2.0
    assert terms.epsilon == pytest.approx(epsilon_of(terms.events[:1], 1e-4, "add-or-remove-one"), rel=0.01)
    assert terms_of(study_of(noise_multiplier=2.0)).epsilon <= 8.0
    with pytest.raises(StudyError, match="does not add up") as caught:
        terms_of(study_of(noise_multiplier=0.5))
    assert "spends an epsilon of" in caught.value.problems[0].message


def test_an_open_study_has_no_terms() -> None:
    assert PrivacyTerms.of(small_study(), 4) is None


# --- what a site sends ------------------------------------------------------------------------------------------------


def test_a_sealed_step_is_integers_of_the_clipped_sum_and_noise() -> None:
    study = study_of()
    terms, work = terms_of(study), works_of(study)[SITES[2]]
    noise = terms.noise(4)
    raw = ClippingWork(2, 50)
    residuals = []
    for round_ in range(1, 400):
        order = order_of(round_, model=np.full(4, round_ / 1000, np.float32))
        outcome = work.train(order)
        units = outcome.update.astype(np.float64) * 2.0**SCALE_BITS
        assert np.array_equal(units, np.rint(units))
        assert (outcome.weight, outcome.tally.any(), outcome.control) == (1.0, False, None)
        question = work._question("round", order.job, order.round, 1.0, order.model, order.statistics)
        chosen = work.drawn(question, 0)
        exact = raw.clipped_sum(order.model, STATISTICS, chosen, 1.0).total * noise.clip
        residuals.append(units - exact)
    z = np.concatenate(residuals) / noise.sigma
    assert abs(z.mean()) < 6 / math.sqrt(z.size)
    assert abs(z.std() - 1.0) < 6 / math.sqrt(2 * z.size)


@pytest.mark.parametrize("q", [0.1, 0.5, 1.0])
def test_each_unit_is_drawn_by_itself_with_the_same_probability(q: float) -> None:
    """False-alarm rate below 1e-8 for each bound."""
    study = study_of(sampling_probability=q, epsilon=None, noise_multiplier=3.0)
    work = works_of(study)[SITES[3]]
    drawn = np.zeros((600, 60))
    for row in range(600):
        drawn[row, work.drawn(row.to_bytes(32, "big"), 0)] = 1.0
    spread_of_share = 6 * math.sqrt(q * (1 - q) / 600)
    assert np.abs(drawn.mean(axis=0) - q).max() <= spread_of_share
    sizes = drawn.sum(axis=1)
    assert abs(sizes.var() - 60 * q * (1 - q)) <= 6 * 60 * q * (1 - q) * math.sqrt(2 / 600)


def test_more_units_than_chance_can_give_are_refused() -> None:
    study = study_of(patients=2, sampling_probability=1.0, epsilon=None, noise_multiplier=5.0, delta=1e-5)
    with pytest.raises(UsageError, match="units drawn, where chance gives no more"):
        works_of(study)[SITES[3]].train(order_of())


def test_the_same_question_has_the_same_bytes_and_any_other_has_others() -> None:
    study = study_of()
    first = works_of(study)[SITES[0]].train(order_of()).update
    assert np.array_equal(first, works_of(study)[SITES[0]].train(order_of()).update)
    other_study = study_of(l2_clip_norm=1.5)
    digest = study_digest(study)
    others = [
        works_of(study)[SITES[0]].train(order_of(2)),
        works_of(study)[SITES[0]].train(order_of(model=np.full(4, 1e-6, np.float32))),
        works_of(study)[SITES[0]].train(order_of(job="another")),
        works_of(other_study)[SITES[0]].train(order_of()),
        PrivateWork(ClippingWork(9, 30), terms_of(study), SITES[0], secret_of(SITES[0]), digest).train(order_of()),
        PrivateWork(ClippingWork(0, 30), terms_of(study), SITES[0], Secret(b"x" * 32), digest).train(order_of()),
    ]
    noise = terms_of(study).noise(4).sigma * 2.0**-SCALE_BITS
    for outcome in others:
        # With the same noise they would differ by sums of gradients alone; 4 numbers within 1e-3 widths: below 1e-12.
        assert np.abs(outcome.update - first).min() > 1e-6 * noise
        assert not np.array_equal(outcome.update, first)


class Silent(ClippingWork):
    """Has gradients of 0, so that what is left is noise."""

    def clipped_sum(self, model: np.ndarray, *_: Any) -> ClippedUnits:
        return ClippedUnits(np.zeros(model.size), 0)


def test_local_steps_are_each_drawn_and_noised_anew() -> None:
    study = study_of("local")
    terms = terms_of(study)
    noise = terms.noise(4)
    work = PrivateWork(Silent(1, 40), terms, SITES[1], secret_of(SITES[1]), study_digest(study))
    updates = np.concatenate([work.train(order_of(round_)).update for round_ in range(1, 300)])
    # 0.5 is the learning rate of `ClippingWork`; three steps add up.
    step = 0.5 * noise.sigma / noise.clip / terms.expected
    assert updates.std() == pytest.approx(math.sqrt(3) * step, rel=6 / math.sqrt(2 * updates.size))


def test_a_private_round_answers_nothing_more_than_it_has_to() -> None:
    work = works_of(study_of())[SITES[0]]
    for extra in (
        {"candidate": np.zeros(4, np.float32)},
        {"control": np.zeros(4, np.float32)},
        {"weights": np.ones(2)},
    ):
        with pytest.raises(ProtocolViolationError, match="more than a private round answers"):
            work.train(order_of(**extra))
    with pytest.raises(ProtocolViolationError, match="asks for counts of the inputs"):
        work.counts(STATISTICS.layout, 1)
    with pytest.raises(ProtocolViolationError, match="spread"):
        work.squares(STATISTICS.layout, 1, np.zeros(2))
    with pytest.raises(ProtocolViolationError, match="which levels"):
        work.levels(1)
    assert work.groups == ()


class Books:
    def __init__(self, *, full: bool = False) -> None:
        self.entered: list[tuple[PrivacyEvent, bytes]] = []
        self.full = full

    def spend(self, event: PrivacyEvent, question: bytes) -> None:
        if self.full:
            raise UsageError("no more")
        self.entered.append((event, question))


class Watched(ClippingWork):
    def __init__(self, books: Books) -> None:
        super().__init__(1, 40)
        self.books, self.asked_after = books, list[int]()

    def clipped_sum(self, *args: Any) -> ClippedUnits:
        self.asked_after.append(len(self.books.entered))
        return super().clipped_sum(*args)

    def logits_by_unit(self, *args: Any) -> np.ndarray:
        self.asked_after.append(len(self.books.entered))
        return super().logits_by_unit(*args)


def evaluate_order() -> EvaluateOrder:
    return EvaluateOrder("federated", np.full(4, 0.1, np.float32), STATISTICS, 0.5)


@pytest.mark.parametrize("trust", ["sealed", "local"])
def test_an_event_is_entered_before_anything_is_computed(trust: str) -> None:
    study, books = study_of(trust), Books()
    watched = Watched(books)
    work = PrivateWork(watched, terms_of(study), SITES[1], secret_of(SITES[1]), study_digest(study), books)
    work.train(order_of(1))
    work.train(order_of(2))
    work.evaluate(evaluate_order())
    steps = 1 if trust == "sealed" else 3
    assert watched.asked_after == [1] * steps + [2] * steps + [3]
    assert [event.what for event, _ in books.entered] == ["training", "training", "metrics"]
    assert len({question for _, question in books.entered}) == 3
    assert sum(event.count for event, _ in books.entered[:2]) * 3 == 2 * terms_of(study).events[0].count


def test_where_the_allowance_is_used_up_nothing_is_computed() -> None:
    study, books = study_of(), Books(full=True)
    watched = Watched(books)
    work = PrivateWork(watched, terms_of(study), SITES[1], secret_of(SITES[1]), study_digest(study), books)
    with pytest.raises(UsageError, match="no more"):
        work.train(order_of())
    with pytest.raises(UsageError, match="no more"):
        work.evaluate(evaluate_order())
    assert watched.asked_after == []


# --- histograms -------------------------------------------------------------------------------------------------------


def test_cells_hold_the_bins_and_come_back_in_their_middle() -> None:
    draw = np.random.default_rng(1)
    logits, event = draw.normal(0, 3, 5000), (draw.random(5000) < 0.4).astype(float)
    histogram = tally.histogram(logits, event)
    cells = coarse(histogram)
    assert cells.shape == (2 * CELL_COUNT,)
    assert cells.sum() == 5000
    assert np.array_equal(coarse(spread(cells)), cells)
    placed = spread(cells).reshape(2, -1)
    inner = np.abs(tally.BIN_CENTRES) < 4
    mean = (placed[0, inner] @ tally.BIN_CENTRES[inner]) / placed[0, inner].sum()
    exact = histogram.reshape(2, -1)[0, inner]
    assert mean == pytest.approx(exact @ tally.BIN_CENTRES[inner] / exact.sum(), abs=0.1)


def test_results_leave_as_a_noised_histogram_and_stay_exact_at_home() -> None:
    study = study_of()
    work, terms = works_of(study)[SITES[3]], terms_of(study)
    result = work.evaluate(evaluate_order())
    assert result["metrics"] == {}
    assert result["n"] is None
    released = np.asarray(result["histogram"])
    exact = ClippingWork(3, 60).logits_by_unit(evaluate_order(), "test")
    scale, sigma = terms.release_noise(2 * CELL_COUNT)
    difference = coarse(released[4:]) - coarse(exact)
    assert 0.4 * sigma / scale < difference.std() < 1.9 * sigma / scale  # 36 numbers; beyond: below 1e-8
    assert not released[:4].any()
    assert work.evaluate_here(evaluate_order()) == {"n": 60, "trained": 0}
    assert not work.validate(evaluate_order()).any(), "nothing is chosen by validation, so nothing of it leaves"


def test_results_that_are_kept_do_not_leave() -> None:
    work = works_of(study_of(metrics="kept"))[SITES[3]]
    assert not np.asarray(work.evaluate(evaluate_order())["histogram"]).any()


# --- whole trainings --------------------------------------------------------------------------------------------------


def opened(study: Study) -> Coordinator:
    coordinator = Coordinator(Plan(study, "federated", SITES, SITES), zero_model)
    sites = {party: Site(party, study_digest(study), work, 5) for party, work in works_of(study).items()}
    Network(coordinator, sites).run()
    return coordinator


@pytest.mark.parametrize("mode", ["pairwise", "replicated"])
def test_a_sealed_training_is_the_sum_of_what_sites_noised(mode: str) -> None:
    study = study_of("sealed", {"mode": mode})
    coordinator, network = sealed_training(study, works_of(study), zero_model)
    network.run()
    terms, works = terms_of(study), works_of(study)
    model = np.zeros(4, np.float32)
    for round_ in range(1, 4):
        total = sum(works[party].train(order_of(round_, model=model)).update.astype(np.float64) for party in SITES)
        model = model + np.float32(1.0) * (total * terms.step).astype(np.float32)
    assert np.array_equal(coordinator.released.vector, model)
    assert coordinator.scores is not None
    assert coordinator.scores.noise == terms.noise_in_results > 0
    patients = sum(30 + 10 * number for number in range(4))
    assert coordinator.scores.histogram.sum() == pytest.approx(
        patients, abs=7 * math.sqrt(36) * coordinator.scores.noise
    )


def test_a_sealed_training_asks_for_no_counts_and_validates_no_round() -> None:
    study = study_of()
    coordinator, network = sealed_training(study, works_of(study), zero_model)
    network.run()
    assert coordinator.released.statistics == coordinator.released.statistics
    assert coordinator.released.statistics.examples == 220.0
    assert [record.validation for record in coordinator.history] == [None] * len(coordinator.history)


def test_a_local_training_runs_in_clear() -> None:
    coordinator = opened(study_of("local"))
    assert coordinator.released.round == 3
    assert all(not entry["metrics"] for entry in coordinator.evaluations.values())


def test_where_the_unit_is_the_site_its_whole_update_is_clipped_and_noised() -> None:
    """Noise apart, the released model is the mean of clipped updates: 4 numbers within 6 standard deviations."""
    site = {"unit": "site", "patients": 4, "sampling_probability": 1.0, "metrics": "kept", "l2_clip_norm": 0.01}
    study = study_of(**site)
    terms = terms_of(study)
    assert terms.events == (PrivacyEvent("training", terms.noise_multiplier, 1.0, 3),)
    noise = terms.noise(4)
    for number, (party, work) in enumerate(works_of(study).items()):
        update = ClippingWork(number, 30 + 10 * number).train(order_of()).update.astype(np.float64)
        assert np.linalg.norm(update) > 0.01, "there is something to clip"
        expected = -update / np.linalg.norm(update) * noise.clip
        units = work.train(order_of()).update.astype(np.float64) * 2.0**SCALE_BITS
        assert np.abs(units - expected).max() < 6 * noise.sigma, party
        assert np.array_equal(units, np.rint(units))
    coordinator, network = sealed_training(study, works_of(study), zero_model)
    network.run()
    assert coordinator.released.round == 3


# --- a norm that follows the gradients --------------------------------------------------------------------------------

ADAPTIVE = {"clipping": {"kind": "adaptive", "quantile": 0.5, "rate": 0.3}, "l2_clip_norm": 20.0, "epsilon": 30.0}


def test_gradient_and_count_together_are_worth_what_is_accounted() -> None:
    terms = terms_of(study_of(**ADAPTIVE))
    assert terms.count_sigma == pytest.approx(0.05 * 0.5 * 220)
    assert terms.gradient_multiplier > terms.noise_multiplier
    # Two Gaussians of a unit's parts: lengths 1 and 1/2, in standard deviations, add up as squares.
    together = terms.gradient_multiplier**-2 + (0.5 / terms.count_sigma) ** 2
    assert together == pytest.approx(terms.noise_multiplier**-2)
    assert terms.noise(4).noise_multiplier == pytest.approx(terms.gradient_multiplier)
    scale, sigma = terms.count_noise()
    assert math.sqrt(terms.honest) * sigma / scale >= terms.count_sigma
    assert terms.epsilon <= 30.0


def test_a_count_has_its_noise_and_a_draw_of_its_own() -> None:
    """False-alarm rate below 1e-8."""
    study = study_of(**ADAPTIVE)
    terms, work = terms_of(study), works_of(study)[SITES[2]]
    scale, sigma = terms.count_noise()
    residuals, gradients = [], []
    for round_ in range(1, 500):
        order = order_of(round_, clip_norm=20.0)
        outcome = work.train(order)
        question = work._question("round", order.job, order.round, 20.0, order.model, order.statistics)
        within = work.drawn(question, 0).size  # nobody's gradient is as long as 20
        residuals.append((outcome.tally[0] - scale * within / 2) / sigma)
        gradients.append(outcome.update[0])
        assert not outcome.tally[1:].any()
    z = np.array(residuals)
    assert abs(z.mean()) < 6 / math.sqrt(z.size)
    assert abs(z.std() - 1.0) < 6 / math.sqrt(2 * z.size)
    assert abs(np.corrcoef(z, gradients)[0, 1]) < 6 / math.sqrt(z.size)


def test_the_norm_follows_the_quantile_by_noised_counts_alone() -> None:
    terms = terms_of(study_of(**ADAPTIVE))
    scale, drawn = 2.0**10, 110.0
    assert terms.next_clip_norm(1.0, 0.0) == 1.0, "half are within: it stays"
    assert terms.next_clip_norm(1.0, scale * drawn / 2) == pytest.approx(math.exp(-0.3 * 0.5)), "all are: it shrinks"
    assert terms.next_clip_norm(1.0, -scale * drawn / 2) == pytest.approx(math.exp(0.3 * 0.5)), "nobody is: it grows"
    assert terms.next_clip_norm(1.0, -1e9) == pytest.approx(math.exp(0.15)), "noise moves it no further than that"
    assert terms_of(study_of()).next_clip_norm(None, 7.0) is None


@pytest.mark.parametrize("mode", ["pairwise", "replicated"])
def test_a_norm_that_is_far_too_long_comes_down(mode: str) -> None:
    tree = study_of("sealed", {"mode": mode}, **ADAPTIVE).model_dump(mode="json", exclude_none=True)
    tree["study"]["rounds"] = 12
    study = Study.model_validate(tree, strict=False)
    coordinator, network = sealed_training(study, works_of(study), zero_model)
    network.run()
    norm = coordinator._training.learned.clip_norm
    assert norm is not None
    assert 20.0 * math.exp(-12 * 0.15) <= norm < 20.0 * math.exp(-12 * 0.09)
    snapshot = coordinator.snapshot()
    again, _ = sealed_training(study, works_of(study), zero_model)
    again.restore(snapshot)
    assert again._training.learned.clip_norm == norm


def test_a_site_takes_no_norm_that_is_not_the_studys_business() -> None:
    fixed, follows = works_of(study_of())[SITES[0]], works_of(study_of(**ADAPTIVE))[SITES[0]]
    with pytest.raises(ProtocolViolationError, match="another norm than the study"):
        fixed.train(order_of(clip_norm=1.0))
    with pytest.raises(ProtocolViolationError, match="another norm than the study"):
        follows.train(order_of())
    for norm in (0.0, -1.0, math.inf, math.nan, 1e10):
        with pytest.raises(ProtocolViolationError, match="what is no norm"):
            follows.train(order_of(clip_norm=norm))


def test_a_count_that_would_drown_in_noise_is_refused() -> None:
    with pytest.raises(StudyError, match="does not add up") as caught:
        terms_of(study_of(clipping={"kind": "adaptive"}, epsilon=0.1))
    assert caught.value.problems[0].path == "protection.privacy.clipping"
