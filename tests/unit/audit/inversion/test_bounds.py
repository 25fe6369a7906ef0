"""What an update determines: closed forms, ranks known beforehand, and bounds that the best estimator attains."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from sealround.audit.inversion.bounds import (
    Bounds,
    bounds,
    in_words,
    influence_bound,
    information,
    largest_singular,
    mean_update,
    rounding,
)
from sealround.audit.inversion.objectives import Binary
from sealround.audit.inversion.observation import Domain, LocalPlan, Observation, Victims
from sealround.errors import UsageError

# torch 2.13 compiles its forward derivatives with what it calls deprecated, at their first use.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")

FREE = Domain(lower=torch.tensor(-math.inf), upper=torch.tensor(math.inf))


def _normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class _Logit(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(x)
        return logits.squeeze(1)


def _seen(
    module: nn.Module, n: int, p: int, *, blur: float = 0.0, plan: LocalPlan | None = None
) -> tuple[Observation, Victims]:
    module = module.double()
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.copy_(_normal(*parameter.shape, seed=100 + number) / math.sqrt(p))
    victims = Victims(_normal(n, p, seed=5), (torch.arange(n) % 2).double())
    model = torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
    plan = plan or LocalPlan(learning_rate=0.1, batch_size=n)
    seen = Observation(module, Binary(), model, model, plan, n, (p,), FREE, victims.labels, blur)
    batches = [[torch.arange(n)] * plan.steps]
    update = mean_update(seen, victims.labels, batches)(victims.inputs)
    return replace(seen, update=update), victims


def _draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


# Linear algebra


def test_cramer_rao_is_the_block_of_the_joint_inverse() -> None:
    rows, precision = _normal(6, 40), 0.03
    found = information(rows, 2, precision, FREE, (3,))
    inverse = torch.linalg.inv(rows @ rows.T) * precision**2
    for patient, mine in zip(found.patients, (slice(0, 3), slice(3, 6)), strict=True):
        assert patient.unbiased_sd == pytest.approx(math.sqrt(float(inverse[mine, mine].trace()) / 3), rel=1e-9)
        assert patient.leakage == pytest.approx(float(torch.linalg.matrix_norm(rows[mine], 2)) / precision)
        assert patient.smallest_singular == pytest.approx(float(torch.linalg.svdvals(rows[mine])[-1]))
        assert patient.directions == 3
    torch.testing.assert_close(found.singular, torch.linalg.svdvals(rows))
    assert found.rank == 6


def test_least_squares_attains_cramer_rao() -> None:
    rows, precision, trials = _normal(4, 12), 0.2, 4000
    found = information(rows, 2, precision, FREE, (2,))
    noise = precision * _normal(trials, 12, seed=9)
    error = noise @ torch.linalg.pinv(rows)  # of least squares from noise J^T dx + e
    for patient, mine in zip(found.patients, (slice(0, 2), slice(2, 4)), strict=True):
        assert patient.unbiased_sd is not None
        squares = error[:, mine].square().mean(1)
        standard_error = float(squares.std()) / math.sqrt(trials)
        # Within 5 standard errors: false alarm 6e-7 a patient.
        assert float(squares.mean()) == pytest.approx(patient.unbiased_sd**2, abs=5 * standard_error)


def test_the_best_estimate_with_a_prior_attains_the_bound_with_a_prior() -> None:
    rows, precision, trials, half = _normal(4, 3), 0.5, 4000, 2.0
    domain = Domain(lower=torch.tensor(-half), upper=torch.tensor(half), scale=torch.tensor(7.0))
    spread = 2 * half / math.sqrt(12)
    found = information(rows, 2, precision, domain, (2,))
    truth, noise = spread * _normal(trials, 4, seed=3), precision * _normal(trials, 3, seed=4)
    covariance = spread**2 * rows.T @ rows + precision**2 * torch.eye(3, dtype=torch.float64)
    error = (truth @ rows + noise) @ torch.linalg.inv(covariance) @ (spread**2 * rows.T) - truth
    for patient, mine in zip(found.patients, (slice(0, 2), slice(2, 4)), strict=True):
        squares = error[:, mine].square()
        standard_error = squares.mean(1).std().item() / math.sqrt(trials)
        assert patient.prior_sd is not None
        # Within 5 standard errors: false alarm 6e-7 a patient.
        assert squares.mean().item() == pytest.approx(patient.prior_sd**2, abs=5 * standard_error)
        assert patient.unbiased_sd == math.inf  # 3 equations do not determine 4 numbers
        torch.testing.assert_close(patient.number_sd.square().mean().sqrt().item(), 7.0 * patient.prior_sd)


def test_without_blur_directions_are_ranks() -> None:
    rows = _normal(6, 20)
    rows[1] = 2.0 * rows[0]  # within patient 1
    rows[4] = rows[2]  # patient 2's second number is patient 1's third
    found = information(rows, 2, 0.0, FREE, (3,))
    assert found.rank == 4
    ranks = [int(torch.linalg.matrix_rank(rows)) - int(torch.linalg.matrix_rank(part)) for part in (rows[3:], rows[:3])]
    assert [patient.directions for patient in found.patients] == ranks == [1, 2]
    assert [patient.pinned for patient in found.patients] == [0, 2]
    assert [patient.unbiased_sd for patient in found.patients] == [math.inf, math.inf]
    with pytest.raises(UsageError, match="not those of 4 records"):
        information(rows, 4, 0.0, FREE, (3,))


# Updates


def test_one_record_of_a_logistic_regression_is_determined_and_two_are_not() -> None:
    alone = bounds(*_seen(_Logit(nn.Linear(5, 1)), 1, 5), _draw())
    assert alone.method == "exact"
    assert (alone.unknowns, alone.equations, alone.rank) == (5, 6, 5)
    assert (alone.patients[0].directions, alone.patients[0].pinned) == (5, 5)
    assert "5 of 5 numbers" in in_words(alone.patients[0])
    seen, victims = _seen(_Logit(nn.Linear(5, 1)), 2, 5)
    both = bounds(seen, victims, _draw())
    assert both.rank == 6  # as many as the update has coordinates
    assert [patient.directions for patient in both.patients] == [1, 1]  # 6 less the 5 that the other one explains
    told = bounds(seen, victims, _draw(), known=[0])
    assert len(told.patients) == 1
    assert told.patients[0].directions == 5  # whoever knows the other record has this one


def test_a_dead_layer_determines_nothing() -> None:
    seen, victims = _seen(_Logit(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 1)), 3, 4)
    model = seen.model.clone()
    model[24:30] = -100.0  # biases of the hidden layer
    found = bounds(replace(seen, model=model), victims, _draw())
    assert found.rank == 0
    assert [(patient.directions, patient.pinned, patient.leakage) for patient in found.patients] == [(0, 0, 0.0)] * 3
    assert "0 of 4 numbers" in in_words(found.patients[0])


def test_noise_takes_directions_away() -> None:
    module = _Logit(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 1))
    ranks = []
    for blur in (0.0, 1e-4, 1e-2, 10.0):
        found = bounds(*_seen(module, 2, 4, blur=blur), _draw())
        ranks.append(found.rank)
        assert found.precision == (blur or pytest.approx(rounding(_seen(module, 2, 4)[0].update)))
    assert ranks[0] == 8
    assert ranks[-1] == 0
    assert ranks == sorted(ranks, key=lambda rank: -(rank or 0))


def test_rounding_is_that_of_float32() -> None:
    values = 1.0 + 0.5 * torch.rand(20_000, dtype=torch.float64, generator=_draw())
    error = (values.float().double() - values).std().item()
    # Relative to a power of two, values up to 1.5 round within 2^-24 of 1: at most a quarter off.
    assert rounding(values) == pytest.approx(error, rel=0.3)
    assert rounding(torch.zeros(3)) == 0.0


def test_several_steps_and_sites_are_the_derivative_of_what_is_sent() -> None:
    plan = LocalPlan(learning_rate=0.5, batch_size=1, steps=2, momentum=0.9, proximal=0.1)
    seen, victims = _seen(_Logit(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 1)), 3, 3, plan=plan)
    sites = [[torch.tensor([0]), torch.tensor([1])], [torch.tensor([2]), torch.tensor([2])]]
    play = mean_update(seen, victims.labels, sites)
    found = bounds(seen, victims, _draw(), sites=sites)
    flat, step = victims.inputs.flatten(), 1e-5
    rows = torch.stack(
        [
            (play((flat + step * unit).view(3, 3)) - play((flat - step * unit).view(3, 3))) / (2 * step)
            for unit in torch.eye(9, dtype=torch.float64)
        ]
    )
    torch.testing.assert_close(found.singular, torch.linalg.svdvals(rows), rtol=1e-6, atol=1e-9)
    with pytest.raises(UsageError, match="rows of each"):
        bounds(seen, victims, _draw())
    with pytest.raises(UsageError, match="Adam"):
        bounds(replace(seen, plan=LocalPlan(0.1, 1, adaptive=True)), victims, _draw())


def test_nothing_unknown_is_no_question() -> None:
    seen, victims = _seen(_Logit(nn.Linear(3, 1)), 2, 3)
    with pytest.raises(UsageError, match="every record is known"):
        bounds(seen, victims, _draw(), known=[0, 1])


# What does not fit in memory


def _large() -> tuple[Observation, Victims, Bounds]:
    seen, victims = _seen(_Logit(nn.Linear(6, 80), nn.GELU(), nn.Linear(80, 1)), 3, 6, blur=1e-6)
    return seen, victims, bounds(seen, victims, _draw())


def test_a_sketch_is_near() -> None:
    seen, victims, exact = _large()
    found = bounds(seen, victims, _draw(), limit=18 * 18 * 16)
    assert found.method == "sketched"
    assert found.rank == exact.rank == 18
    # 144 sums for 18 unknowns: within a factor of 1 +- sqrt(18 / 144), and half as much again (seeded).
    ratio = found.singular / exact.singular
    assert 0.45 < float(ratio.min()) <= float(ratio.max()) < 1.55


def test_the_largest_singular_value_needs_no_matrix() -> None:
    seen, victims, exact = _large()
    found = bounds(seen, victims, _draw(), limit=100)
    assert found.method == "largest singular value only"
    for ours, theirs in zip(found.patients, exact.patients, strict=True):
        assert ours.largest_singular == pytest.approx(theirs.largest_singular, rel=1e-9)
        assert ours.leakage == pytest.approx(theirs.leakage, rel=1e-9)
        assert ours.influence == pytest.approx(theirs.influence, rel=0.5)  # 8 probes of a trace
        assert ours.directions is None
        assert "too large to say" in in_words(ours)
    rows = _normal(50, 70)
    value = largest_singular(lambda x: x @ rows, _normal(50, seed=3), _draw())
    assert value == pytest.approx(float(torch.linalg.matrix_norm(rows, 2)), rel=1e-6)


def test_inversion_influence_is_below_the_true_displacement() -> None:
    rows, change = _normal(5, 30), _normal(30, seed=2)
    moved = float((torch.linalg.inv(rows @ rows.T) @ rows @ change).norm())
    bound = influence_bound(lambda x: x @ rows, _normal(5, seed=4), change)
    assert 0.1 * moved < bound <= moved
    orthogonal = 3.0 * torch.linalg.qr(rows.T).Q.T
    exact = float((orthogonal @ change).norm()) / 9
    assert influence_bound(lambda x: x @ orthogonal, _normal(5, seed=4), change) == pytest.approx(exact)
    assert influence_bound(lambda x: 0.0 * x, _normal(5), _normal(5)) == math.inf
