"""What every rule promises, whichever it is: one suite over all of them, with and without mixing before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sealround.aggregation import COORDINATE_RULES, RULES, Known, Settings, aggregate, fewest_sites, gram, weigh
from sealround.errors import UsageError

N, F, D = 13, 2, 4000
PLAIN = [
    Settings(rule=rule, num_byzantine=0 if rule == "mean" else F, clip_norm=20.0 if "clipping" in rule else None)
    for rule in RULES
]
_NEVER_MIXED = {"foolsgold", "adaptive"}
ALL = [*PLAIN, *(replace(settings, mixing=True) for settings in PLAIN if settings.rule not in _NEVER_MIXED)]
_WEAK = {"mean", "norm-clipping", "foolsgold", "fltrust", "dnc"}
ROBUST = [settings for settings in ALL if settings.rule not in _WEAK]
"""Those that withstand f updates of any size each. FLTrust does while the root is good, and is tested below."""


def named(settings: Settings) -> str:
    return f"{settings.rule}{'-mixed' if settings.mixing else ''}"


every_rule = pytest.mark.parametrize("settings", ALL, ids=named)
robust_rules = pytest.mark.parametrize("settings", ROBUST, ids=named)


@pytest.fixture(scope="module")
def honest() -> np.ndarray:
    """Sites that agree on a direction, of about its own length apart."""
    random = np.random.default_rng(8)
    return (random.normal(size=D) + random.normal(size=(N, D))).astype(np.float32) / np.float32(8)


@pytest.fixture(scope="module")
def known(honest: np.ndarray) -> Known:
    return Known(root=honest.mean(axis=0), history=honest[:3].mean(axis=0))


@every_rule
def test_the_result_is_a_finite_float32_update(settings: Settings, honest: np.ndarray, known: Known) -> None:
    found = aggregate(settings, honest, known)
    assert found.update.dtype == np.float32
    assert found.update.shape == (D,)
    assert np.isfinite(found.update).all()
    assert found.influence.shape == found.kept.shape == (N,)
    assert found.influence.min() >= 0
    assert found.kept.any()
    assert len(found.reasons) == N


@every_rule
def test_updates_are_only_read(settings: Settings, honest: np.ndarray, known: Known) -> None:
    x = honest.copy()
    x.flags.writeable = False
    found = aggregate(settings, x, known)
    assert not np.shares_memory(found.update, x)
    np.testing.assert_array_equal(x, honest)


@every_rule
def test_the_same_updates_give_the_same_bytes(settings: Settings, honest: np.ndarray, known: Known) -> None:
    first, second = (aggregate(settings, honest, known, threads=threads) for threads in (1, 2))
    assert first.update.tobytes() == second.update.tobytes()
    assert first.reasons == second.reasons


@every_rule
def test_the_order_of_sites_does_not_matter(settings: Settings, honest: np.ndarray, known: Known) -> None:
    order = np.random.default_rng(1).permutation(N)
    first, second = aggregate(settings, honest, known), aggregate(settings, honest[order], known)
    np.testing.assert_allclose(second.update, first.update, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(second.influence, first.influence[order], rtol=1e-3, atol=1e-3)


@every_rule
def test_without_lies_the_result_is_nearer_the_mean_than_a_site_is(
    settings: Settings, honest: np.ndarray, known: Known
) -> None:
    mean = honest.mean(axis=0)
    shorter = {"norm-clipping", "fltrust"}  # they change lengths
    update = aggregate(settings, honest, known).update
    if settings.rule in shorter:
        update = update * np.linalg.norm(mean) / np.linalg.norm(update)
    assert np.linalg.norm(update - mean) <= 1.001 * np.linalg.norm(honest - mean, axis=1).max()


@every_rule
def test_weights_make_the_update(settings: Settings, honest: np.ndarray, known: Known) -> None:
    found = aggregate(settings, honest, replace(known, history=None))
    if found.weights is None:
        assert settings.rule in COORDINATE_RULES
        assert found.influence.sum() == pytest.approx(1.0)
    else:
        np.testing.assert_allclose(found.update, found.weights @ honest, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(found.influence, found.weights)


@every_rule
def test_weights_need_no_updates(settings: Settings, honest: np.ndarray) -> None:
    """The door to secret shares: products alone, wherever they come from, decide as `aggregate` does."""
    if settings.rule in COORDINATE_RULES:
        with pytest.raises(UsageError, match="parameter by parameter"):
            weigh(settings, gram(honest))
        return
    root = honest.mean(axis=0)
    products = gram(honest, {"root": root}, origin=True)
    found = weigh(settings, replace(products, products=np.round(products.products, 3)))
    expected = aggregate(settings, honest, Known(root=root))
    np.testing.assert_allclose(found.weights, expected.influence, atol=1e-3)


@every_rule
def test_too_few_sites_are_refused(settings: Settings, honest: np.ndarray, known: Known) -> None:
    needed = max(fewest_sites(settings.rule, settings.num_byzantine), 2 * settings.num_byzantine * settings.mixing + 1)
    with pytest.raises(UsageError, match=r"sites|nothing to aggregate"):
        aggregate(settings, honest[: needed - 1], known)


@robust_rules
@pytest.mark.parametrize("size", [1e2, 1e6, 1e12])
@pytest.mark.parametrize("towards", ["away", "apart", "backwards"])
def test_f_sites_cannot_take_the_result_out_of_the_honest_cloud(
    settings: Settings, honest: np.ndarray, known: Known, size: float, towards: str
) -> None:
    x = honest.copy()
    mean = honest[F:].mean(axis=0)
    random = np.random.default_rng(2)
    x[:F] = {
        "away": np.ones((F, D)) * size,
        "apart": random.normal(size=(F, D)) * np.array([[size], [100.0]]),
        "backwards": -mean[None] * np.array([[size], [2 * size]]),
    }[towards].astype(np.float32)
    radius = np.linalg.norm(honest[F:] - mean, axis=1).max()
    found = aggregate(settings, x, known)
    assert np.linalg.norm(found.update - mean) <= 2 * radius


@pytest.mark.parametrize("size", [1e2, 1e6, 1e12])
def test_fltrust_bounds_the_length_and_the_direction(honest: np.ndarray, known: Known, size: float) -> None:
    x = honest.copy()
    x[:F] = -np.float32(size) * honest[:F].mean(axis=0)
    found = aggregate(Settings(rule="fltrust", num_byzantine=F), x, known)
    assert found.influence[:F].tolist() == [0.0, 0.0]
    assert np.linalg.norm(found.update) <= 1.001 * np.linalg.norm(known.root)


@robust_rules
def test_a_majority_of_copies_is_the_result(settings: Settings, honest: np.ndarray) -> None:
    x = honest.copy()
    x[: N - F] = honest[0]
    x[N - F :] *= 50
    found = aggregate(settings, x, Known(history=honest[0])).update
    if settings.rule == "centered-clipping":  # each liar pulls by the bound, and all others pull back
        assert np.linalg.norm(found - honest[0]) <= F / (N - F) * (settings.clip_norm or 0)
    else:
        np.testing.assert_allclose(found, honest[0], rtol=1e-5, atol=1e-6)
