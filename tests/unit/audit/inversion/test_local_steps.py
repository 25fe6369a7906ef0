"""Records from whole rounds of local steps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import nn

from sealround.audit.inversion.arrangement import Arrangement, arranged, matched, order_free
from sealround.audit.inversion.first_layer import records_of, row_space, sparse_directions
from sealround.audit.inversion.least_squares import Damping, solve
from sealround.audit.inversion.local_steps import LocalSteps, attack
from sealround.audit.inversion.objectives import Binary, Cox
from sealround.audit.inversion.observation import Domain, LocalPlan, Observation, Victims
from sealround.audit.inversion.simulation import played_update
from sealround.audit.inversion.unrolled import batches_of, unrolled_update
from sealround.errors import UnsupportedError
from sealround.learning.steps import step_for
from sealround.learning.vector import bind
from sealround.study.sections import Adam, Sgd

# torch scripts its own forward-mode formulas on first use.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")

COLUMNS = 10
NEVER = math.inf


def perceptron(inputs: int, hidden: Sequence[int], seed: int) -> nn.Module:
    """Linear and ReLU layers, then one output: what `sealround.learning.models` builds, with its first values."""
    generator = torch.Generator().manual_seed(seed)
    widths = [inputs, *hidden]
    layers: list[nn.Module] = []
    for width, out in itertools.pairwise(widths):
        layers += [nn.Linear(width, out), nn.ReLU()]
    layers += [nn.Linear(widths[-1], 1), nn.Flatten(0)]
    module = nn.Sequential(*layers).double()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, (2.0 / parameter.shape[1]) ** 0.5, generator=generator)
            else:
                parameter.zero_()
    return module


def round_of(
    module: nn.Module, victims: Victims, plan: LocalPlan, domain: Domain, orders: torch.Tensor | None = None
) -> Observation:
    """Play a round; the update is rounded to float32 as it would be sent."""
    flat = torch.cat([parameter.detach().reshape(-1) for parameter in module.parameters()])
    n, shape = len(victims.inputs), tuple(victims.inputs.shape[1:])
    seen = Observation(module, Binary(), flat, torch.zeros_like(flat), plan, n, shape, domain, victims.labels)
    batches = batches_of(plan, n)
    if orders is not None:
        batches = tuple(rows for order in orders for rows in order.split(plan.batch_size))[: plan.steps]
    local = (flat + unrolled_update(seen, victims.inputs, victims.labels, batches)).float().double()
    return replace(seen, update=local - flat.float().double())


def numbers(records: int, columns: int, seed: int) -> Victims:
    """Standard normal records with fair outcomes."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(records, columns, generator=generator, dtype=torch.float64)
    return Victims(inputs, (torch.arange(records) % 2).double())


def anything(columns: int) -> Domain:
    """Standardised numbers within five deviations."""
    return Domain(torch.full((columns,), -5.0).double(), torch.full((columns,), 5.0).double())


def ticking(step: float = 1.0) -> Callable[[], float]:
    """A clock that is asked for the time."""
    ticks = itertools.count()
    return lambda: next(ticks) * step


def worst(rebuilt: torch.Tensor, originals: torch.Tensor) -> float:
    """Return the largest error of any record against the rebuilt one nearest to it."""
    return float((originals.flatten(1).unsqueeze(1) - rebuilt.flatten(1)).abs().amax(2).amin(1).max())


def seed() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def a_round(
    plan: LocalPlan, records: int, hidden: tuple[int, ...] = (40, 20), *, number: int = 0
) -> tuple[Observation, Victims]:
    victims = numbers(records, COLUMNS, number)
    return round_of(perceptron(COLUMNS, hidden, number), victims, plan, anything(COLUMNS)), victims


# --- the played round ---

PLANS = [
    (LocalPlan(0.1, 2, 4), Sgd(kind="sgd", learning_rate=0.1)),
    (LocalPlan(0.1, 2, 4, momentum=0.9), Sgd(kind="sgd", learning_rate=0.1, momentum=0.9)),
    (LocalPlan(0.1, 2, 4, weight_decay=0.3), Sgd(kind="sgd", learning_rate=0.1, weight_decay=0.3)),
    (LocalPlan(0.1, 2, 4, proximal=0.5, momentum=0.5), Sgd(kind="sgd", learning_rate=0.1, momentum=0.5)),
    (LocalPlan(0.01, 2, 4, adaptive=True), Adam(kind="adam", learning_rate=0.01)),
    (
        LocalPlan(0.01, 2, 4, adaptive=True, weight_decay=0.3, proximal=0.5),
        Adam(kind="adam", learning_rate=0.01, weight_decay=0.3),
    ),
]


@pytest.mark.parametrize(("plan", "optimizer"), PLANS)
def test_played_as_a_site_steps(plan: LocalPlan, optimizer: Sgd | Adam) -> None:
    victims = numbers(4, COLUMNS, 1)
    seen = round_of(perceptron(COLUMNS, (6,), 1), victims, plan, anything(COLUMNS))
    flat = bind(perceptron(COLUMNS, (6,), 1), torch.device("cpu"))
    start, step = flat.values.clone(), step_for(optimizer, plan.learning_rate, flat, proximal=plan.proximal)
    for rows in batches_of(plan, 4):
        flat.gradient.zero_()
        seen.objective(flat.module(victims.inputs[rows].float()), victims.labels[rows].float()).backward()
        with torch.no_grad():
            step()
    torch.testing.assert_close(seen.update, (flat.values - start).double(), rtol=0.0, atol=3e-7)


def test_sgd_is_what_the_simulation_plays() -> None:
    plan = LocalPlan(0.1, 2, 5, momentum=0.9, proximal=0.2)
    seen, victims = a_round(plan, 4)
    batches = batches_of(plan, 4)
    ours = unrolled_update(seen, victims.inputs, victims.labels, batches)
    theirs = played_update(seen, victims.inputs, victims.labels, batches)
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=1e-15)


def test_dead_neurons_have_a_derivative_under_adam() -> None:
    seen, victims = a_round(LocalPlan(0.01, 2, 2, adaptive=True), 2, (4,))
    inputs = victims.inputs.abs().mul(-1.0).requires_grad_()
    module = replace(seen, model=seen.model.abs())  # All weights positive, all inputs negative: every neuron is off.
    update = unrolled_update(module, inputs, victims.labels, batches_of(seen.plan, 2))
    (slope,) = torch.autograd.grad(update.square().sum(), inputs)
    assert slope.isfinite().all()


# --- the solver ---


def test_least_squares_finds_a_known_minimum() -> None:
    start = torch.tensor([[-1.2, 1.0], [0.0, 0.0]], dtype=torch.float64)
    found = solve(lambda x: torch.stack([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]]), start, Damping(200), ticking(), NEVER)
    torch.testing.assert_close(found.points[found.best], torch.ones(2, dtype=torch.float64))
    assert found.finished
    assert found.iterations < 200


def test_least_squares_without_time_returns_the_starts() -> None:
    start = torch.ones(1, 2, dtype=torch.float64)
    found = solve(lambda x: x, start, Damping(), ticking(), 0.0)
    assert found.iterations == 0
    assert not found.finished
    torch.testing.assert_close(found.points, start)


# --- the first layer ---


@pytest.mark.parametrize(
    "plan",
    [
        LocalPlan(0.1, 4, 5),
        LocalPlan(0.1, 1, 4),
        LocalPlan(0.1, 2, 6, momentum=0.9),
        LocalPlan(0.1, 4, 5, proximal=0.5),
        LocalPlan(0.1, 4, 5, weight_decay=0.1, momentum=0.5, proximal=0.3),
    ],
)
def test_records_lie_in_the_row_space_of_any_number_of_steps(plan: LocalPlan) -> None:
    seen, victims = a_round(plan, 4)
    space = row_space(seen)
    assert space is not None
    assert space.rank == 4
    nearest = space.place(4)(space.coordinates(victims.inputs))
    torch.testing.assert_close(nearest, victims.inputs, rtol=0.0, atol=1e-3)
    stranger = numbers(4, COLUMNS, 99).inputs
    assert float((space.place(4)(space.coordinates(stranger)) - stranger).abs().max()) > 0.5


def test_sparse_directions_tell_records_apart() -> None:
    seen, victims = a_round(LocalPlan(0.1, 6, 5), 6)
    space = row_space(seen)
    assert space is not None
    sparse = sparse_directions(space, seed(), 20, lambda: True)
    assert len(sparse.directions) == 6
    assert float(sparse.zeros.min()) > 0.1
    assert sparse.agreement > 0.95
    assert worst(records_of(space, sparse.directions), victims.inputs) < 1e-3


def test_no_row_space_where_there_is_none() -> None:
    assert row_space(a_round(LocalPlan(0.1, 16, 1), COLUMNS + 1)[0]) is None
    assert row_space(a_round(LocalPlan(0.01, 4, 2, adaptive=True), 4)[0]) is None
    seen, _ = a_round(LocalPlan(0.1, 4, 5), 4)
    assert row_space(replace(seen, blur=1.0)) is None


# --- the attack ---


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("plan", "records", "hidden"),
    [
        (LocalPlan(0.1, 1, 5), 1, (32,)),
        (LocalPlan(0.1, 4, 5), 4, (32,)),
        (LocalPlan(0.1, 6, 5), 6, (40, 20)),
        (LocalPlan(0.1, 2, 3), 6, (40, 20)),
        (LocalPlan(0.1, 4, 5, momentum=0.9, proximal=0.1), 4, (40, 20)),
    ],
)
def test_rounds_of_local_steps_give_their_records_away(
    plan: LocalPlan, records: int, hidden: tuple[int, ...], known: bool
) -> None:
    seen, victims = a_round(plan, records, hidden)
    found = attack(replace(seen, labels=victims.labels if known else None), seed(), LocalSteps(), ticking(), NEVER)
    assert worst(found.inputs, victims.inputs) < 1e-3
    assert found.certified.all()
    assert found.mismatch < 1e-5
    assert found.labels is not None
    nearest = torch.cdist(victims.inputs, found.inputs).argmin(1)
    torch.testing.assert_close(found.labels[nearest], victims.labels)
    assert str(records * COLUMNS) in found.note


def test_weight_decay_needs_no_biases() -> None:
    seen, victims = a_round(LocalPlan(0.1, 3, 5, weight_decay=0.1), 3)
    found = attack(seen, seed(), LocalSteps(), ticking(), NEVER)
    assert worst(found.inputs, victims.inputs) < 1e-3


def test_random_starts_alone_solve_a_small_round() -> None:
    seen, victims = a_round(LocalPlan(0.1, 2, 3), 2, (16,))
    found = attack(seen, seed(), LocalSteps(first_layer=False, restarts=8, damping=Damping(40)), ticking(), NEVER)
    assert worst(found.inputs, victims.inputs) < 1e-2


def test_adam_shows_a_record() -> None:
    module = nn_gelu(COLUMNS)
    victims = numbers(1, COLUMNS, 3)
    seen = round_of(module, victims, LocalPlan(0.05, 1, 6, adaptive=True), anything(COLUMNS))
    settings = LocalSteps(start=victims.inputs + 0.05, restarts=1, damping=Damping(20))
    found = attack(seen, seed(), settings, ticking(), NEVER)
    assert found.mismatch < 1e-3
    assert worst(found.inputs, victims.inputs) < 0.025  # Half as far as it started, at least.


def nn_gelu(columns: int) -> torch.nn.Module:
    module = perceptron(columns, (24,), 0)
    module[1] = torch.nn.GELU()  # type: ignore[index]
    return module


def test_shuffled_passes() -> None:
    victims, plan = numbers(4, COLUMNS, 5), LocalPlan(0.2, 2, 4)
    orders = torch.tensor([[0, 1, 2, 3], [2, 0, 3, 1]])
    seen = round_of(perceptron(COLUMNS, (40, 20), 5), victims, plan, anything(COLUMNS), orders)
    found = attack(seen, seed(), LocalSteps(), ticking(), NEVER)
    assert worst(found.inputs, victims.inputs) < 1e-3
    assert found.certified.all()
    known = attack(seen, seed(), LocalSteps(order=orders), ticking(), NEVER)
    torch.testing.assert_close(known.inputs, victims.inputs, rtol=0.0, atol=1e-3)


def test_swaps_find_the_steps_of_right_records() -> None:
    victims, plan = numbers(6, COLUMNS, 5), LocalPlan(0.2, 2, 3)
    order = torch.tensor([[5, 1, 3, 0, 2, 4]])
    seen = round_of(perceptron(COLUMNS, (40, 20), 5), victims, plan, anything(COLUMNS), order)
    wrong = Arrangement(torch.arange(6).unsqueeze(0), 1.0 - victims.labels.flip(0), math.inf)
    found = arranged(seen, victims.inputs, wrong, lambda: True, relabel=True)
    steps = [set(step.tolist()) for step in found.orders[0].split(2)]
    assert steps == [{5, 1}, {3, 0}, {2, 4}]
    torch.testing.assert_close(found.labels, victims.labels)
    assert found.distance < 1e-5


def test_passes_are_matched_whatever_their_order() -> None:
    records = numbers(5, COLUMNS, 0).inputs
    passes = torch.stack([records, records[torch.tensor([3, 1, 4, 0, 2])]])
    mean, orders = matched(passes)
    torch.testing.assert_close(mean, records)
    torch.testing.assert_close(records[orders[1]], passes[1])
    tie = order_free(records, seed())
    assert float(tie(passes).abs().max()) < 1e-12
    passes[1, 0] += 1.0
    assert float(tie(passes).abs().max()) > 1e-2


def test_more_unknowns_than_equations_are_certified_by_nobody() -> None:
    seen, victims = a_round(LocalPlan(0.1, 12, 2), 12, (4,))
    found = attack(seen, seed(), LocalSteps(restarts=1, warm=2, damping=Damping(3)), ticking(), NEVER)
    assert found.inputs.shape == victims.inputs.shape
    assert not found.certified.any()
    assert found.note.startswith("120 unknown numbers in 49 equations")


def test_partial_result_at_the_deadline() -> None:
    seen, victims = a_round(LocalPlan(0.1, 9, 5), 9, (12,))
    found = attack(seen, seed(), LocalSteps(), ticking(), 12.0)
    assert found.inputs.shape == victims.inputs.shape
    assert found.inputs.isfinite().all()
    assert found.seconds < 30.0  # Of a clock that goes one ahead each time it is asked.


def test_same_seed_same_result() -> None:
    seen, _ = a_round(LocalPlan(0.1, 4, 2), 4)
    one, other = (attack(seen, seed(), LocalSteps(restarts=2, rounds=4), ticking(), NEVER) for _ in range(2))
    torch.testing.assert_close(one.inputs, other.inputs, rtol=0.0, atol=1e-6)
    assert one.note == other.note


def test_survival_times_have_to_be_known() -> None:
    seen, _ = a_round(LocalPlan(0.1, 4, 2), 4)
    with pytest.raises(UnsupportedError, match="survival"):
        attack(replace(seen, objective=Cox(), labels=None), seed(), LocalSteps(), ticking(), NEVER)
