"""Plans keep to their budget, and the number next to the one found does not."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from sealround.errors import UnsupportedError, UsageError
from sealround.privacy import planning
from sealround.privacy.accounting import Accountant, epsilon_of
from sealround.privacy.events import NeighboringRelation, PrivacyEvent
from sealround.privacy.planning import Plan, noise_std, noise_to_signal, patients_needed, solve

ADD: NeighboringRelation = "add-or-remove-one"
WHOLE = Plan(
    epsilon=3.0,
    delta=1e-5,
    noise_multiplier=1.7,
    sampling_probability=0.1,
    rounds=100,
    l2_clip_norm=0.5,
    patients=2561,
)
METRICS = (PrivacyEvent("metrics", 8.0, 1.0, 1), PrivacyEvent("validation", 8.0, 1.0, 1))


def _spent(plan: Plan, relation: NeighboringRelation, others: tuple[PrivacyEvent, ...], how: Accountant) -> float:
    assert plan.delta is not None
    return epsilon_of((*others, plan.steps), plan.delta, relation, how)


def _one_less_private(plan: Plan, name: str) -> Plan:
    """The next number of four digits, or the next number of rounds."""
    value = getattr(plan, name)
    if name == "rounds":
        return replace(plan, rounds=value + 1)
    step = 10.0 ** (math.floor(math.log10(value)) - 3)
    return replace(plan, **{name: value + step if name == "sampling_probability" else value - step})


@pytest.mark.parametrize("others", [(), METRICS], ids=["alone", "with others"])
@pytest.mark.parametrize(("relation", "how"), [(ADD, "pld"), ("replace-one", "pld"), (ADD, "rdp")])
@pytest.mark.parametrize("name", ["noise_multiplier", "sampling_probability", "rounds", "delta"])
def test_the_missing_number_is_the_last_that_keeps_to_the_budget(
    name: str, relation: NeighboringRelation, how: Accountant, others: tuple[PrivacyEvent, ...]
) -> None:
    plan = solve(replace(WHOLE, **{name: None}), relation, others, how)
    assert replace(plan, **{name: None}) == replace(WHOLE, **{name: None})
    assert _spent(plan, relation, others, how) <= 3.0
    assert _spent(_one_less_private(plan, name), relation, others, how) > 3.0
    value = getattr(plan, name)
    assert float(f"{value:.3e}") == value


def test_the_missing_epsilon_is_what_is_spent() -> None:
    plan = solve(replace(WHOLE, epsilon=None), ADD, METRICS)
    assert plan == replace(WHOLE, epsilon=epsilon_of((*METRICS, WHOLE.steps), 1e-5, ADD))


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (replace(WHOLE, epsilon=0.1, noise_multiplier=None), pytest.approx(30.9, rel=0.01)),
        (replace(WHOLE, noise_multiplier=None, sampling_probability=1.0, rounds=1), pytest.approx(1.389, rel=0.01)),
        (replace(WHOLE, epsilon=6e3, noise_multiplier=None, sampling_probability=1.0, rounds=1), planning.LEAST_NOISE),
        (replace(WHOLE, epsilon=9.0, sampling_probability=None, rounds=1), 1.0),
        (replace(WHOLE, noise_multiplier=40.0, sampling_probability=None, rounds=100), 1.0),
        (replace(WHOLE, epsilon=3.0, noise_multiplier=1e6, rounds=None), planning.MOST_ROUNDS),
        (replace(WHOLE, epsilon=0.0, delta=0.1, rounds=None, noise_multiplier=4.0), pytest.approx(98, abs=6)),
        (replace(WHOLE, epsilon=100.0, delta=None), 1e-12),
    ],
)  # fmt: skip
def test_plans_at_the_edges(plan: Plan, expected: object) -> None:
    (name,) = plan.missing
    found = solve(plan, ADD)
    assert getattr(found, name) == expected
    assert plan.epsilon is not None
    assert _spent(found, ADD, (), "pld") <= plan.epsilon


def test_one_full_step_needs_the_noise_of_the_analytic_gaussian_mechanism() -> None:
    """Balle and Wang, ICML 2018: sigma = 3.730632 for epsilon 1 and delta 1e-5."""
    plan = replace(WHOLE, epsilon=1.0, noise_multiplier=None, sampling_probability=1.0, rounds=1)
    assert solve(plan, ADD).noise_multiplier == 3.731


@pytest.mark.parametrize("epsilon", [0.5, 4.0])
def test_one_sampled_step_needs_the_noise_of_one_full_step_at_a_larger_budget(epsilon: float) -> None:
    """Amplification (Balle, Barthe, Gaboardi 2018, Theorem 9), exact where the worse direction is removal."""
    q, delta = 0.1, 1e-5
    full = math.log1p(math.expm1(epsilon) / q)

    def beyond(noise: float) -> float:
        mu = 1 / noise
        return norm.cdf(mu / 2 - full / mu) - math.exp(full) * norm.cdf(-mu / 2 - full / mu) - delta / q

    plan = solve(replace(WHOLE, epsilon=epsilon, noise_multiplier=None, rounds=1), ADD)
    assert plan.noise_multiplier == pytest.approx(brentq(beyond, 0.1, 20.0), rel=1e-3)


@pytest.mark.parametrize(
    "gaps", [{}, {"rounds": None, "epsilon": None}, {"delta": None, "noise_multiplier": None, "rounds": None}]
)
def test_one_number_is_solved_for(gaps: dict[str, Any]) -> None:
    with pytest.raises(
        UsageError, match="and ".join(f"{name} " for name in sorted(gaps, key=planning._UNKNOWNS.index)) or "none"
    ):
        solve(replace(WHOLE, **gaps), ADD)


@pytest.mark.parametrize("name", ["noise_multiplier", "sampling_probability", "rounds"])
def test_a_budget_that_others_have_spent_is_none(name: str) -> None:
    with pytest.raises(UsageError, match=r"other releases alone spend an epsilon of 0\.63"):
        solve(replace(WHOLE, epsilon=0.5, **{name: None}), ADD, METRICS)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (replace(WHOLE, noise_multiplier=0.05, rounds=None, epsilon=1.0), "no rounds keeps to an epsilon of 1"),
        (replace(WHOLE, noise_multiplier=0.05, sampling_probability=None, epsilon=0.01, rounds=10**6), "no sampling_"),
        (replace(WHOLE, noise_multiplier=1e-9, epsilon=None), "no epsilon is finite"),
        (replace(WHOLE, noise_multiplier=1e-9, delta=None), "no delta below 1"),
    ],
)  # fmt: skip
def test_a_target_out_of_reach_is_refused(plan: Plan, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        solve(plan, ADD)
    assert caught.value.hint


def test_no_noise_is_enough_for_nothing() -> None:
    plan = replace(WHOLE, epsilon=0.0, delta=1e-12, noise_multiplier=None)
    with pytest.raises(UsageError, match="no noise_multiplier keeps to an epsilon of 0"):
        solve(plan, ADD)


def test_the_accountant_is_passed_on() -> None:
    with pytest.raises(UnsupportedError, match="rdp"):
        solve(replace(WHOLE, rounds=None), "replace-one", (), "rdp")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epsilon", -1.0),
        ("epsilon", math.inf),
        ("epsilon", True),
        ("delta", 0.0),
        ("delta", 1.0),
        ("delta", 1e-13),
        ("noise_multiplier", 0.0),
        ("noise_multiplier", math.nan),
        ("sampling_probability", 0.0),
        ("sampling_probability", 1.5),
        ("rounds", 0),
        ("rounds", 2.0),
        ("l2_clip_norm", 0.0),
        ("patients", 0),
        ("patients", 10.0),
    ],
)
def test_a_number_out_of_range_is_named(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"^{name} is"):
        replace(WHOLE, **{name: value})  # type: ignore[arg-type]


def test_a_plan_with_a_gap_has_no_steps() -> None:
    assert WHOLE.steps == PrivacyEvent("training", 1.7, 0.1, 100)
    for name in ("noise_multiplier", "sampling_probability", "rounds"):
        with pytest.raises(UsageError, match=f"lacks {name}"):
            _ = replace(WHOLE, **{name: None}).steps
    with pytest.raises(UsageError, match="lacks rounds"):
        noise_to_signal(replace(WHOLE, rounds=None), 10)


def test_noise_beside_signal() -> None:
    assert noise_std(WHOLE) == pytest.approx(1.7 * 0.5 / 256.1)
    assert noise_to_signal(WHOLE, 10_000) == pytest.approx(170 / 256.1)
    assert noise_to_signal(replace(WHOLE, l2_clip_norm=7.0), 10_000) == pytest.approx(170 / 256.1)


@pytest.mark.parametrize("parameters", [1, 7, 10_000, 1_234_567])
@pytest.mark.parametrize("ratio", [0.01, 1.0, 3.7, 1e6])
def test_one_patient_fewer_is_too_few(parameters: int, ratio: float) -> None:
    needed = patients_needed(WHOLE, parameters, ratio)
    assert noise_to_signal(replace(WHOLE, patients=needed), parameters) <= ratio
    assert needed == 1 or noise_to_signal(replace(WHOLE, patients=needed - 1), parameters) > ratio


def test_patients_for_a_signal_as_long_as_its_noise() -> None:
    assert patients_needed(WHOLE, 10_000) == 1700
    assert patients_needed(replace(WHOLE, noise_multiplier=1.0, sampling_probability=0.5), 4) == 4
    for ratio in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="ratio"):
            patients_needed(WHOLE, 10, ratio)


def test_numbers_of_four_digits() -> None:
    assert [planning._number(index) for index in (-1, 0, 1, 8999, 9000)] == [0.9999, 1.0, 1.001, 9.999, 10.0]
    assert [planning._index(value) for value in (0.99999, 1.0, 1.0009, 9.9999, 10.0)] == [-1, 0, 0, 8999, 9000]
    for value in (3e-7, 0.1, 0.3, 0.7, 123400.0):
        assert planning._number(planning._index(value)) == value


def test_the_search_finds_the_edge_from_anywhere() -> None:
    for edge in (1, 2, 37, 999, 1000):
        for start in (1, 36, 38, 500, 1000):
            search = planning._Search(start, 3, 1, 1000)
            tried: list[int] = []

            def spent(index: int, edge: int = edge, tried: list[int] = tried) -> float:
                tried.append(index)
                return math.inf if index > edge + 40 else 2.0 + (index - edge) * 0.01

            assert planning._most(spent, 2.0, search) == edge
            assert len(tried) < 30
    assert planning._most(lambda _: 3.0, 2.0, planning._Search(500, 3, 1, 1000)) is None
