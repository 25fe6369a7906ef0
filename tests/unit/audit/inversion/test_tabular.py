"""Rows of mixed type, and the attacker's own confidence."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from sealround.audit.inversion.descent import Pace, descend
from sealround.audit.inversion.least_squares import Damping
from sealround.audit.inversion.objectives import Binary
from sealround.audit.inversion.observation import Domain, LocalPlan, Observation, Victims
from sealround.audit.inversion.relaxation import relaxation_of
from sealround.audit.inversion.table_cells import cells_of
from sealround.audit.inversion.tabular import Table, TabLeak, attack
from sealround.audit.inversion.unrolled import batches_of, unrolled_update

# torch scripts its own forward-mode formulas on first use.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")

COLUMNS = 9
AGE, PRESSURE = 0, 5
GROUPS = ((1, 2, 3), (4,), (6, 7, 8))  # A level each; a yes or no; the first of four has no column.


def rows(records: int, seed: int) -> tuple[Victims, Domain]:
    draw = torch.Generator().manual_seed(seed)
    raw = torch.zeros(records, COLUMNS, dtype=torch.float64)
    raw[:, AGE] = torch.randint(20, 90, (records,), generator=draw)
    raw[:, PRESSURE] = 120.0 + 15.0 * torch.randn(records, generator=draw)
    every = torch.arange(records)
    raw[every, torch.randint(1, 4, (records,), generator=draw)] = 1.0
    raw[:, 4] = torch.randint(0, 2, (records,), generator=draw)
    level = torch.randint(0, 4, (records,), generator=draw)
    raw[every[level > 0], 5 + level[level > 0]] = 1.0
    mean = torch.tensor([55.0, 0, 0, 0, 0, 120, 0.3, 0.25, 0.2], dtype=torch.float64)
    scale = torch.tensor([20.0, 1, 1, 1, 1, 15, 0.45, 0.43, 0.4], dtype=torch.float64)
    wide = torch.full((COLUMNS,), 5.0, dtype=torch.float64)
    domain = Domain(-wide, wide, GROUPS, (False, True, True), (AGE,), mean, scale)
    return Victims((raw - mean) / scale, (every % 2).double()), domain


def seen_of(victims: Victims, domain: Domain, *, steps: int = 1, known: bool = True, seed: int = 0) -> Observation:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(COLUMNS, 24), nn.ReLU(), nn.Linear(24, 1), nn.Flatten(0)).double()
    flat = torch.cat([parameter.detach().reshape(-1) for parameter in module.parameters()])
    n = len(victims.inputs)
    seen = Observation(
        module, Binary(), flat, torch.zeros_like(flat), LocalPlan(0.1, n, steps), n, (COLUMNS,), domain, victims.labels
    )
    update = unrolled_update(seen, victims.inputs, victims.labels, batches_of(seen.plan, n)).float().double()
    return replace(seen, update=update, labels=victims.labels if known else None)


def hits_of(found: Table, victims: Victims, domain: Domain) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for every record of a patient which cells are right, and how sure the attacker was of each."""
    place = torch.cdist(victims.inputs, found.reconstruction.inputs).argmin(1)
    cells = cells_of(domain, COLUMNS)
    hits = cells.hits(domain.raw(found.reconstruction.inputs[place]), domain.raw(victims.inputs))
    return hits, found.confidence[place]


def ticking() -> Callable[[], float]:
    """A clock that goes one ahead each time it is asked."""
    ticks = itertools.count()
    return lambda: float(next(ticks))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


QUICK = TabLeak(ensemble=4, pace=Pace(40, 0.1), refined=2, damping=Damping(15))


def test_adam_descends() -> None:
    start = torch.tensor([[3.0, -2.0], [5.0, 5.0]], dtype=torch.float64)
    clock = ticking()
    found = descend(lambda x: (x - 1.0).square().sum(), start, Pace(150, 0.2), clock, math.inf)
    torch.testing.assert_close(found.points, torch.ones_like(start), rtol=0.0, atol=1e-2)
    assert found.course[-1][1] < found.course[0][1]


def test_relaxation_reaches_every_record() -> None:
    victims, domain = rows(6, 1)
    relaxed = relaxation_of(seen_of(victims, domain))
    vector = relaxed.given(victims.inputs)
    torch.testing.assert_close(relaxed.discrete(vector), victims.inputs)
    inputs, _ = relaxed.records(vector)
    torch.testing.assert_close(inputs, victims.inputs, rtol=0.0, atol=0.02)
    assert relaxed.levels == (3, 2, 4)
    assert [len(cell) for cell in relaxed.cells] == [1, 1, 3, 1, 3]


def test_pooling_takes_the_median_and_the_mean_share() -> None:
    victims, domain = rows(2, 1)
    relaxed = relaxation_of(seen_of(victims, domain))
    good = relaxed.given(victims.inputs)
    bad = relaxed.given(rows(2, 2)[0].inputs)
    pooled = relaxed.pooled(torch.stack([good, bad, good]))
    torch.testing.assert_close(relaxed.discrete(pooled), victims.inputs)
    shares = relaxed.shares(torch.stack([good, bad, good]))
    for one, other in zip(relaxed.shares(pooled.unsqueeze(0)), shares, strict=True):
        torch.testing.assert_close(one[0], other.mean(0))


@pytest.mark.parametrize(("steps", "known"), [(1, True), (2, False)])
def test_few_rows_come_back_whole(steps: int, known: bool) -> None:
    victims, domain = rows(2, 3)
    clock = ticking()
    found = attack(seen_of(victims, domain, steps=steps, known=known), generator(), QUICK, clock, 1e9)
    hits, _ = hits_of(found, victims, domain)
    assert hits.all()
    raw = domain.raw(found.reconstruction.inputs)
    torch.testing.assert_close(raw[:, AGE], raw[:, AGE].round())
    assert set(raw[:, 1:5].round(decimals=9).flatten().tolist()) == {0.0, 1.0}
    assert found.reconstruction.mismatch < 1e-5
    assert float(found.confidence.min()) > 0.9


def test_right_cells_are_those_that_the_attacker_is_sure_of() -> None:
    """Batches too large to be solved: what is right of them, confidence has to tell.

    Confidence without meaning gives an area of 1/2 with a standard deviation of 0.04 (150 cells, a third of them
    wrong): 0.7 is five of these away, a false alarm of less than one in a million.
    """
    right, sure = [], []
    for number in range(3):
        victims, domain = rows(10, 10 + number)
        clock = ticking()
        seen = seen_of(victims, domain, seed=number)
        found = attack(
            seen,
            generator(),
            replace(QUICK, pace=Pace(80, 0.1), refined=0, damping=Damping(5)),
            clock,
            1e9,
        )
        hits, confidence = hits_of(found, victims, domain)
        assert found.entropy.shape == confidence.shape == (10, 5)
        right.append(hits.flatten())
        sure.append(confidence.flatten())
    hit, confidence = torch.cat(right), torch.cat(sure)
    good, bad = confidence[hit].unsqueeze(1), confidence[~hit].unsqueeze(0)
    assert 30 < int(hit.sum()) < 120
    area = float((good > bad).double().mean() + 0.5 * (good == bad).double().mean())
    assert area > 0.7


def test_another_attack_gives_a_start() -> None:
    victims, domain = rows(6, 5)
    clock = ticking()
    near = victims.inputs + 0.1 * torch.randn(victims.inputs.shape, generator=generator(), dtype=torch.float64)
    settings = TabLeak(ensemble=1, pace=Pace(1), refined=2, start=near)
    found = attack(seen_of(victims, domain), generator(), settings, clock, 1e9)
    assert hits_of(found, victims, domain)[0].all()


def test_partial_result_at_the_deadline_and_the_same_for_the_same_seed() -> None:
    victims, domain = rows(3, 6)
    found = []
    for _ in range(2):
        clock = ticking()
        found.append(attack(seen_of(victims, domain), generator(), QUICK, clock, 10.0))
    one, other = (each.reconstruction for each in found)
    assert torch.equal(one.inputs, other.inputs)
    assert one.inputs.shape == victims.inputs.shape
    assert one.seconds < 25.0  # Of a clock that goes one ahead each time it is asked.
    assert not one.certified.any()
